"""Objection and restriction in the domain: every ground, every registration of the mailbox, through merges and restores."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlmodel import Session, col, select

from service.domain.consent.actions import Said
from service.domain.deliveries.queries import topic_facts
from service.domain.ledger import actions as ledger
from service.domain.ledger import safe
from service.domain.people.tables import Person
from service.domain.preferences import queries, restoring, rights, rules
from service.domain.preferences.tables import Preference
from service.domain.privacy import requests
from service.kit.signing import Keyring
from tests import builders as make


def reason(session: Session, person: Person, slug: str, now: datetime) -> str | None:
    """The gate's word, said alike by both of its halves."""
    topic = topic_facts(make.the_topic(session, slug))
    session.flush()
    decided = rules.decide(queries.standing(session, person, topic), topic=topic, now=now).reason
    row = session.execute(
        queries.standing_of_everyone(topic)
        .with_only_columns(queries.refusal(topic, now))
        .where(Person.id == person.id)  # type: ignore[arg-type]
    ).scalar_one()
    assert row == decided
    return decided


def object_to(session: Session, ring: Keyring, person: Person, now: datetime) -> str | None:
    by = f"person:{person.public_id}"
    return rights.object_to_marketing(session, ring, person, Said("objection", "me"), now=now, by=by)


@pytest.mark.parametrize("basis", ["consent", "soft_opt_in", "implied_purchase", "contract"])
def test_std_h15_an_objection_kills_every_ground_for_advertising(
    session: Session, ring: Keyring, now: datetime, basis: str
) -> None:
    offers = make.a_topic(session, now=now)
    lives = {"country": "us"}  # where each of these permits
    ana = make.a_person(session, ring, yes=("new-products", "offers"), now=now, attributes=lives)
    row = make.the_preference(session, ana, "offers")
    assert row is not None
    row.basis = basis
    session.add(row)
    assert reason(session, ana, "offers", now) is None
    assert object_to(session, ring, ana, now)
    assert reason(session, ana, "offers", now) == "do_not_mail"
    row.state = "given"  # whatever ground somebody finds later
    session.add(row)
    assert reason(session, ana, "offers", now) == "do_not_mail"
    assert reason(session, ana, "important-notices", now) is None, "no advertising, and nothing to object to"
    assert offers.mail_class == "marketing"


def test_an_objection_said_again_is_one_entry_and_waits_like_the_first(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.a_person(session, ring, now=now)
    object_to(session, ring, ana, now)
    written = len(ledger.appended(session))
    session.info.pop("fence_seq")
    object_to(session, ring, ana, now)
    assert len(ledger.appended(session)) == written


def test_p7_only_the_person_takes_an_objection_back_and_that_is_no_yes(
    session: Session, ring: Keyring, now: datetime
) -> None:
    make.a_topic(session, now=now)
    ana = make.a_person(session, ring, yes=("new-products", "offers"), now=now)
    object_to(session, ring, ana, now)
    later = now + timedelta(days=1)
    yes = make.an_answer(at=later, confirmed=True)
    answer = make.register(session, ring, consents=[yes], now=later)
    assert answer.consents[0]["result"] == "kept_no"
    assert make.the_state(session, ana) == "withdrawn"
    make.press(session, ring, make.buttons(session, ana)[-1], now=later)
    assert reason(session, ana, "new-products", later) == "do_not_mail", "a yes to one topic is not that"
    assert rights.lift_objection(session, ana, now=later)
    assert reason(session, ana, "new-products", later) is None
    assert make.the_state(session, ana, "offers") == "withdrawn"
    assert not rights.lift_objection(session, ana, now=later)


def test_a_new_registration_of_an_objectors_mailbox_is_asked_and_not_believed(
    session: Session, ring: Keyring, now: datetime
) -> None:
    """Another site attests a yes of the same mailbox: nothing of it counts without the button."""
    ana = make.a_person(session, ring, yes=(), now=now)
    object_to(session, ring, ana, now)
    later = now + timedelta(days=1)
    yes = make.an_answer("updates", at=later, confirmed=True)
    answer = make.register(session, ring, consents=[yes], source="crm", now=later)
    assert reason(session, make.the_person(session, answer.person_id), "new-products", later) == "do_not_mail"


def test_std_h12_a_restriction_stops_every_topic_and_keeps_everything(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.a_person(session, ring, now=now)
    other = make.register(session, ring, source="crm", attest=False, now=now)
    assert rights.restrict(session, ana, how="me", now=now, by=f"person:{ana.public_id}")
    for slug in ("new-products", "updates", "important-notices"):
        assert reason(session, ana, slug, now) == "restricted"
    assert make.the_state(session, ana) == "given"
    assert make.the_person(session, other.person_id).state == "restricted", "one mailbox is one person"
    assert not rights.restrict(session, ana, how="me", now=now, by=f"person:{ana.public_id}")
    assert rights.lift_restriction(session, ana, how="me", now=now, by=f"person:{ana.public_id}")
    assert reason(session, ana, "new-products", now) is None
    assert make.the_person(session, other.person_id).state == "active"


@pytest.mark.parametrize("attest", [True, False])
def test_p1_a_restriction_holds_for_whoever_a_site_tells_of_at_that_mailbox_later(
    session: Session, ring: Keyring, now: datetime, attest: bool
) -> None:
    """Anew, or of somebody it knew under another address; the person lifts it for all of them."""
    ana, own = make.a_person(session, ring, now=now), "person:{}"
    make.register(session, ring, "cem@example.org", source="crm", external_id="8", now=now, attest=False)
    rights.restrict(session, ana, how="me", now=now, by=own.format(ana.public_id))
    later = now + timedelta(hours=1)
    yes = [make.an_answer(at=later, confirmed=True)] if attest else []
    for external_id in ("7", "8"):
        make.register(
            session, ring, consents=yes, source="crm", external_id=external_id, now=later, attest=attest
        )
    make.register(session, ring, source="crm", external_id="9", now=later, attest=False)
    people = list(session.exec(select(Person).where(Person.state != "merged").order_by(col(Person.id))))
    assert {one.state for one in people} == {"restricted"}
    assert len(people) == (2 if attest else 4)
    assert make.kinds(session, people[-1].public_id)[-1] == "person.restricted"
    assert reason(session, people[-1], "important-notices", later) == "restricted"
    assert rights.lift_restriction(session, ana, how="me", now=later, by=own.format(ana.public_id))
    assert {one.state for one in people} == {"active"}


def test_a_restriction_goes_along_when_two_become_one(session: Session, ring: Keyring, now: datetime) -> None:
    held = make.a_person(session, ring, now=now)
    answer = make.register(
        session, ring, "other@example.org", source="crm", external_id="7", now=now, attest=False
    )
    bea = make.the_person(session, answer.person_id)
    rights.restrict(session, bea, how="staff", reason="a letter", now=now, by=make.STAFF)
    yes = [make.an_answer(at=now, confirmed=True)]
    make.register(session, ring, "ana@example.org", yes, source="crm", external_id="7", now=now)
    session.refresh(bea)
    assert bea.state == "merged"
    assert held.state == "restricted"


def test_a_copy_from_before_hears_of_a_restriction(session: Session, ring: Keyring, now: datetime) -> None:
    ana = make.a_person(session, ring, now=now)
    line = {
        "seq": 9_999,
        "at": 1,
        "kind": "person.restricted",
        "subject": ana.public_id,
        "body": {},
        "hash": "x",
    }
    done = restoring.reapply(session, ring, [line], now=now)
    assert (done.again, ana.state) == (1, "restricted")
    for last in session.info.pop("at_end"):  # its entry is in the table at the end of the transaction
        last(session)
    with pytest.raises(rules.RestrictedByThemselves):
        rights.lift_restriction(session, ana, how="staff", now=now, by=make.STAFF)


def test_a_preference_row_is_all_that_tells_a_preference(
    session: Session, ring: Keyring, now: datetime
) -> None:
    """What was given stays as it was through a restriction: nobody has to ask again afterwards."""
    ana = make.a_person(session, ring, now=now)
    before = _states(session, ana)
    rights.restrict(session, ana, how="me", now=now, by=f"person:{ana.public_id}")
    rights.lift_restriction(session, ana, how="me", now=now, by=f"person:{ana.public_id}")
    assert _states(session, ana) == before


def _states(session: Session, person: Person) -> dict[int, tuple[str, int | None]]:
    rows: dict[int, Preference] = queries.of_person(session, person.id or 0)
    return {topic: (row.state, row.warrant_seq) for topic, row in rows.items()}


# --- who asked for a restriction ---


def settle(session: Session) -> None:
    """The entries of this transaction go into the table, as they do at its end."""
    for last in session.info.pop("at_end", []):
        last(session)


@pytest.mark.parametrize(("asked", "lifts"), [("controller", True), ("person", False), (None, False)])
def test_a_copy_that_hears_of_a_restriction_hears_who_asked_for_it(
    session: Session, ring: Keyring, now: datetime, tmp_path: Path, asked: str | None, lifts: bool
) -> None:
    """Through the line of the file; a line from before that says nothing is taken for theirs."""
    ana = make.a_person(session, ring, now=now)
    rights.restrict(session, ana, how="staff", asked=asked or "person", now=now, by=make.STAFF)
    settle(session)
    restoring.keep(session, tmp_path)
    [line] = [one for one in safe.lines(tmp_path) if one["kind"] == rights.RESTRICTED]
    assert line["body"] == {"how": "staff", "asked": asked or "person"}
    if asked is None:
        del line["body"]["asked"]
    ana.state = "active"  # as the copy has her, which does not have that entry either
    session.add(ana)
    restoring.reapply(session, ring, [{**line, "seq": 9_999, "hash": "x"}], now=now)
    settle(session)
    assert ana.state == "restricted"
    if lifts:
        with pytest.raises(rules.LiftNotTold):
            rights.lift_restriction(session, ana, how="staff", now=now, by=make.STAFF)
        assert rights.lift_restriction(session, ana, how="staff", told=True, now=now, by=make.STAFF)
    else:
        with pytest.raises(rules.RestrictedByThemselves):
            rights.lift_restriction(session, ana, how="staff", told=True, now=now, by=make.STAFF)
    assert (ana.state == "active") == lifts


@pytest.mark.parametrize(
    ("written", "lifts"), [(None, True), ("open", False), ("done", False), ("refused", True)]
)
def test_an_entry_from_before_is_the_controller_s_unless_a_request_for_it_was_written_down(
    session: Session, ring: Keyring, now: datetime, written: str | None, lifts: bool
) -> None:
    ana = make.a_person(session, ring, now=now)
    if written:
        row = requests.receive(
            session, ring, right="restriction", door="staff", came_on=now.date(), person=ana, who="Ana",
            text="Keep it", now=now, by=make.STAFF,
        )  # fmt: skip
        if written != "open":
            requests.close(session, row.public_id, outcome=written, note="so", now=now, by=make.STAFF)
    else:  # what the page wrote down by itself was no request of theirs
        requests.fulfilled(session, ana, "restriction", door="staff", now=now, by=make.STAFF)
    ana.state = "restricted"
    session.add(ana)
    body = {"how": "staff", "reason": "x"}
    ledger.append(session, rights.RESTRICTED, subject=ana.public_id, body=body, by=make.STAFF, now=now)
    settle(session)
    if lifts:
        assert rights.lift_restriction(session, ana, how="staff", told=True, now=now, by=make.STAFF)
    else:
        with pytest.raises(rules.RestrictedByThemselves):
            rights.lift_restriction(session, ana, how="staff", told=True, now=now, by=make.STAFF)
        by = f"person:{ana.public_id}"
        assert rights.lift_restriction(session, ana, how="me", now=now, by=by)


def test_what_the_controller_set_the_person_may_ask_for_themselves(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.a_person(session, ring, now=now)
    ours = {"how": "staff", "asked": rights.CONTROLLER, "now": now, "by": make.STAFF}
    assert rights.restrict(session, ana, **ours)  # type: ignore[arg-type]
    assert not rights.restrict(session, ana, **ours)  # type: ignore[arg-type]
    assert rights.restrict(session, ana, how="me", now=now, by=f"person:{ana.public_id}")
    with pytest.raises(rules.RestrictedByThemselves):
        rights.lift_restriction(session, ana, how="staff", told=True, now=now, by=make.STAFF)
    assert rights.lift_restriction(session, ana, how="me", now=now, by=f"person:{ana.public_id}")


def test_the_controller_s_own_is_not_lifted_beside_what_was_asked_for_under_another_registration(
    session: Session, ring: Keyring, now: datetime
) -> None:
    """One mailbox is one person: mail would find its way there through the one that is lifted. The person lifts both."""
    ana = make.a_person(session, ring, now=now)
    crm = make.register(session, ring, source="crm", attest=False, now=now)
    other = make.the_person(session, crm.person_id)
    ours = {"how": "staff", "now": now, "by": make.STAFF}
    assert rights.restrict(session, ana, asked=rights.CONTROLLER, **ours)  # type: ignore[arg-type]
    later = make.register(session, ring, source="new", attest=False, now=now)
    assert make.the_person(session, later.person_id).state == "restricted", "along, and no word of theirs"
    assert rights.lift_restriction(session, ana, told=True, **ours)  # type: ignore[arg-type]
    assert rights.restrict(session, ana, asked=rights.CONTROLLER, **ours)  # type: ignore[arg-type]
    assert rights.restrict(session, other, asked=rights.PERSON, **ours)  # type: ignore[arg-type]
    with pytest.raises(rules.RestrictedByThemselves):
        rights.lift_restriction(session, ana, told=True, **ours)  # type: ignore[arg-type]
    assert rights.lift_restriction(session, ana, how="me", now=now, by=f"person:{ana.public_id}")
    assert {ana.state, other.state, make.the_person(session, later.person_id).state} == {"active"}
