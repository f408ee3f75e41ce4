"""What a copy from an earlier day hears of the withdrawal file although it lacks what the line speaks of: person, topic or import."""

from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlmodel import Session

from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.domain.preferences import actions, projection, queries, restoring, rights, rules
from service.domain.suppressions import queries as suppressions
from service.kit import addresses
from service.kit.clock import to_micros
from service.kit.signing import Keyring
from tests import builders as make

ANA, NEW = "ana@example.org", "new@example.org"
HOUR = timedelta(hours=1)


def allowed(session: Session, person: Person, slug: str, now: datetime) -> bool:
    session.flush()
    row = make.the_topic(session, slug)
    topic = rules.TopicFacts(row.id or 0, row.mail_class, row.basis)
    return rules.decide(queries.standing(session, person, topic), topic=topic, now=now).allowed


def a_line(ring: Keyring, kind: str, subject: str, email: str, at: datetime, **body: Any) -> dict[str, Any]:
    """A line of the withdrawal file about somebody whose mail went to `email`."""
    mailbox = make.address_hash(ring, email)
    told = {"seq": 9_999, "hash": "x", "at": to_micros(at), "kind": kind, "subject": subject}
    return told | {"mailbox": mailbox, "body": body}


def taken_back(ring: Keyring, subject: str, at: datetime, topic: str = "updates", email: str = ANA) -> Any:
    return a_line(ring, "consent.invalidated", subject, email, at, topic=topic)


def again(session: Session, ring: Keyring, line: dict[str, Any], now: datetime) -> tuple[int, int]:
    done = restoring.reapply(session, ring, [line], now=now)
    session.flush()
    for last in session.info.pop("at_end", []):  # its entries are in the table at the end of the transaction
        last(session)
    assert projection.differences(session) == []
    return done.again, done.left


def test_p7_a_copy_hears_that_an_import_was_taken_back(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.a_person(session, ring, ANA, now=now)
    line = taken_back(ring, ana.public_id, now + HOUR)
    assert again(session, ring, line, now + HOUR) == (1, 0)
    assert (make.the_state(session, ana, "updates"), make.the_state(session, ana)) == ("invalidated", "given")
    assert not allowed(session, ana, "updates", now + HOUR)
    assert again(session, ring, line, now + HOUR) == (0, 0)


def test_a_yes_said_since_an_import_was_taken_back_stands(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.a_person(session, ring, ANA, now=now)
    assert again(session, ring, taken_back(ring, ana.public_id, now - HOUR), now + HOUR) == (0, 0)
    assert make.the_state(session, ana, "updates") == "given"


@pytest.mark.parametrize("known", [True, False])
def test_p7_what_was_taken_back_is_not_believed_where_the_copy_has_not_heard_of_it_at_all(
    session: Session, ring: Keyring, now: datetime, known: bool
) -> None:
    """The same file, or a site, that brings it once more makes no yes of it."""
    subject = make.a_person(session, ring, ANA, yes=(), now=now).public_id if known else "p_2222222222222"
    assert again(session, ring, taken_back(ring, subject, now), now) == (1, 0)
    yes = make.an_answer("updates", at=now + HOUR, confirmed=True)
    done = make.register(session, ring, ANA, [yes], now=now + HOUR)
    assert done.consents[0]["result"] in ("confirmation_sent", "kept_no")
    assert not allowed(session, make.the_person(session, done.person_id), "updates", now + HOUR)


def test_p1_a_restriction_of_somebody_unknown_is_kept_for_the_mailbox(
    session: Session, ring: Keyring, now: datetime
) -> None:
    line = a_line(ring, "person.restricted", "p_2222222222222", ANA, now)
    assert again(session, ring, line, now) == (1, 0)
    mailbox = make.address_hash(ring, ANA)
    assert {(one.scope, one.cause) for one in suppressions.live_for(session, [mailbox])[mailbox]} == {
        ("all", "restriction")
    }
    assert again(session, ring, line, now) == (0, 0)


def test_a_restriction_kept_for_a_mailbox_passes_to_whoever_is_registered_there(
    session: Session, ring: Keyring, now: datetime
) -> None:
    """A site that tells of them again makes nobody who gets mail; they can sign in and lift it, as before the copy."""
    again(session, ring, a_line(ring, "person.restricted", "p_2222222222222", ANA, now), now)
    ana = make.a_person(session, ring, ANA, now=now + HOUR)
    assert ana.state == "restricted"
    assert not allowed(session, ana, "important-notices", now + HOUR)
    assert not suppressions.live_for(session, [make.address_hash(ring, ANA)]), "they can sign in"
    by = f"person:{ana.public_id}"
    assert rights.lift_restriction(session, ana, how="me", now=now + HOUR, by=by)
    assert allowed(session, ana, "important-notices", now + HOUR)


def test_p1_a_restriction_of_somebody_unknown_holds_for_whoever_the_copy_has_in_their_mailbox(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.a_person(session, ring, ANA, now=now)
    assert again(session, ring, a_line(ring, "person.restricted", "p_2222222222222", ANA, now), now) == (1, 0)
    assert ana.state == "restricted"
    assert not suppressions.live_for(session, [make.address_hash(ring, ANA)]), "they can still sign in"


def test_p7_a_known_persons_no_to_a_topic_that_the_copy_lacks_is_kept_for_their_mailbox(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.a_person(session, ring, ANA, now=now)
    line = a_line(ring, "consent.withdrawn", ana.public_id, ANA, now, topic="offers")
    assert again(session, ring, line, now) == (1, 0)
    make.a_topic(session, "offers", now=now)
    yes = make.an_answer("offers", at=now + HOUR, confirmed=True)
    done = make.register(session, ring, ANA, [yes], now=now + HOUR)
    assert [one["result"] for one in done.consents] == ["confirmation_sent"]
    assert not allowed(session, ana, "offers", now + HOUR)
    assert allowed(session, ana, "important-notices", now + HOUR)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(("said", "void"), [(HOUR, True), (-HOUR, False)])
def test_rel_h39_a_button_of_the_copy_does_not_go_over_a_later_no_of_its_mailbox(
    session: Session, ring: Keyring, now: datetime, known: bool, said: timedelta, void: bool
) -> None:
    """Whoever said it, and whether or not the copy has them: they had moved away by the time the button is pressed."""
    subject = make.a_person(session, ring, NEW, yes=(), now=now).public_id if known else "p_2222222222222"
    told = make.register(session, ring, ANA, [], now=now, source="crm", external_id="c1")
    asking, choice = make.the_person(session, told.person_id), actions.Choices({"updates": "each"})
    by = f"person:{asking.public_id}"
    actions.save(session, ring, asking, choice, how="page", evidence={}, now=now, by=by)
    question = make.buttons(session, asking)[-1]
    again(
        session,
        ring,
        a_line(ring, "consent.withdrawn", subject, ANA, now + said, topic="updates"),
        now + HOUR,
    )
    with pytest.raises(rules.GrantNeedsNewConfirmation) if void else nullcontext():
        make.press(session, ring, question, now=now + 2 * HOUR)
    assert make.the_state(session, asking, "updates") == ("unknown" if void else "given")


@pytest.mark.parametrize(
    ("cause", "scope", "topic", "said", "void"),
    [
        ("withdrawal", "topic", "updates", HOUR, True),
        ("withdrawal", "topic", "new-products", HOUR, False),
        ("complaint", "marketing", None, HOUR, True),
        ("complaint", "marketing", None, -HOUR, False),
        ("hard_bounce", "all", None, HOUR, False),
    ],
)
def test_rel_h39_nor_over_what_a_file_had_said_of_the_mailbox(
    session: Session,
    ring: Keyring,
    now: datetime,
    cause: str,
    scope: str,
    topic: str | None,
    said: timedelta,
    void: bool,
) -> None:
    """An import says a no of a mailbox, whoever has it: the do-not-mail list is all that tells of it. A dead mailbox is no no."""
    asking = make.the_person(session, make.register(session, ring, ANA, [], now=now).person_id)
    choice, by = actions.Choices({"updates": "each"}), f"person:{asking.public_id}"
    actions.save(session, ring, asking, choice, how="page", evidence={}, now=now, by=by)
    question = make.buttons(session, asking)[-1]
    body = {"address_hash": make.address_hash(ring, ANA), "scope": scope, "cause": cause, "origin": "im_1"}
    line = a_line(
        ring, "suppression.added", "", ANA, now + said, **body, **({"topic": topic} if topic else {})
    )
    again(session, ring, line | {"subject": None}, now + HOUR)
    with pytest.raises(rules.GrantNeedsNewConfirmation) if void else nullcontext():
        make.press(session, ring, question, now=now + 2 * HOUR)
    assert make.the_state(session, asking, "updates") == ("unknown" if void else "given")


def test_an_older_button_still_asks_whom_an_import_had_brought(
    session: Session, ring: Keyring, now: datetime
) -> None:
    """Nobody of the mailbox said no; the button is their own answer."""
    ana = make.a_person(session, ring, ANA, yes=("new-products",), now=now)
    make.register(session, ring, ANA, [make.an_answer("updates", at=now)], now=now)
    assert make.the_state(session, ana, "updates") == "requested"
    assert again(session, ring, taken_back(ring, ana.public_id, now + HOUR), now + HOUR) == (0, 0)
    make.press(session, ring, make.buttons(session, ana)[-1], now=now + 2 * HOUR)
    assert allowed(session, ana, "updates", now + 2 * HOUR)


def test_a_bar_of_a_mailbox_that_nobody_holds_comes_again_and_says_no_in_nobodys_name(
    session: Session, ring: Keyring, now: datetime
) -> None:
    make.register(session, ring, NEW, [make.an_answer(at=now)], now=now, attest=False)
    [asked] = make.buttons(session)
    law = {"scope": "all", "cause": "legal", "address_hash": make.address_hash(ring, NEW)}
    line = a_line(ring, "suppression.added", "", NEW, now + HOUR, **law) | {"subject": None}
    assert again(session, ring, line, now + HOUR) == (1, 0)
    rights.unbar_mailbox(session, law["address_hash"], reason="order withdrawn", now=now + HOUR, by="cli")
    session.flush()
    make.press(session, ring, asked, now=now + 2 * HOUR)
    person = people.by_address(session, ring, addresses.parse(NEW))[0]
    assert make.the_state(session, person) == "given"
