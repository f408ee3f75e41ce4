"""A no belongs to the mailbox it was said in, too: who moves away takes it along, and it stays for whoever is registered there next
(design.md 4: noes of the address apply at once, yeses never carry over)."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.engine import Engine
from sqlmodel import Session

from service.db.session import reading, transaction
from service.domain.ledger import safe
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.domain.preferences import access, actions, changes, queries, restoring, rights, rules
from service.domain.preferences.registration import Registered, Registration, register_many
from service.domain.suppressions import actions as suppressions
from service.kit import addresses, clock
from service.kit.clock import to_micros
from service.kit.signing import Keyring
from tests import builders as make
from tests.domain.transfers import files

OLD, NEW = "ana@example.org", "ana.kov@example.net"
HOUR = timedelta(hours=1)


def allowed(session: Session, person: Person, slug: str, now: datetime) -> bool:
    row = make.the_topic(session, slug)
    topic = rules.TopicFacts(row.id or 0, row.mail_class, row.basis)
    return rules.decide(queries.standing(session, person, topic), topic=topic, now=now).allowed


def moves(session: Session, ring: Keyring, person: Person, to: str, now: datetime) -> None:
    """They ask for another address on their page, and press the button in the mail there."""
    by = f"person:{person.public_id}"
    access.change_email(session, ring, person, addresses.parse(to), now=now, by=by)
    make.press(session, ring, make.buttons(session, person)[-1], now=now)


def leaves(session: Session, ring: Keyring, now: datetime) -> Person:
    """Somebody with a yes to `updates` who said no to `new-products` in the old mailbox and moved to another."""
    person = make.a_person(session, ring, OLD, now=now, external_id="1")
    link = make.a_link(session, person, "new-products")
    actions.stop(session, ring, link, how="link", evidence={}, now=now)
    moves(session, ring, person, NEW, now + HOUR)
    return person


@pytest.fixture
def left(session: Session, ring: Keyring, now: datetime) -> Person:
    return leaves(session, ring, now)


def registers(session: Session, ring: Keyring, now: datetime, *topics: str) -> tuple[Person, list[str]]:
    """A site that may attest tells of somebody new at the old mailbox; the person, and what each answer became."""
    said = [make.an_answer(slug, at=now, confirmed=True) for slug in topics]
    done = make.register(session, ring, OLD, said, now=now, external_id="2")
    return make.the_person(session, done.person_id), [one["result"] for one in done.consents]


def test_whoever_is_attested_at_a_mailbox_meets_the_no_that_was_said_there(
    session: Session, ring: Keyring, now: datetime, left: Person
) -> None:
    later = now + 2 * HOUR
    new, results = registers(session, ring, later, "new-products")
    assert new.id != left.id
    assert results == ["confirmation_sent"], "the no of the mailbox stands; a button in it asks"
    assert not allowed(session, new, "new-products", later)
    assert not allowed(session, new, "updates", later), "the yes of who was there before is theirs alone"
    assert make.the_state(session, left, "new-products") == "withdrawn"
    assert allowed(session, left, "updates", later)


def test_the_button_in_that_mailbox_is_the_new_persons_own_yes_and_nobody_elses(
    session: Session, ring: Keyring, now: datetime, left: Person
) -> None:
    later = now + 2 * HOUR
    new, _ = registers(session, ring, later, "new-products")
    make.press(session, ring, make.buttons(session, new)[-1], now=later)
    assert allowed(session, new, "new-products", later)
    assert make.the_state(session, left, "new-products") == "withdrawn"
    assert not allowed(session, left, "new-products", later)


def test_what_was_not_refused_there_is_taken_as_attested(
    session: Session, ring: Keyring, now: datetime, left: Person
) -> None:
    later = now + 2 * HOUR
    new, results = registers(session, ring, later, "updates")
    assert results == ["given"]
    assert allowed(session, new, "updates", later)


def test_a_stop_pressed_in_the_old_mailbox_after_the_move_is_heard_there_too(
    session: Session, ring: Keyring, now: datetime, left: Person
) -> None:
    """The link of an old mail names the person, and it is the mailbox that somebody reads."""
    link = make.a_link(session, left, "updates")
    actions.stop(session, ring, link, how="link", evidence={}, now=now + 2 * HOUR)
    _, results = registers(session, ring, now + 3 * HOUR, "updates")
    assert results == ["confirmation_sent"]
    assert not allowed(session, left, "updates", now + 3 * HOUR)


def test_an_import_meets_that_no_too(
    engine: Engine, ring: Keyring, now: datetime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "now", lambda: now + 2 * HOUR)
    with transaction(engine) as session:
        left = leaves(session, ring, now)
    house = make.a_house(engine, ring, tmp_path)
    done = files.imported(house, files.job(files.simple(OLD), files.GRANT))
    assert done.counts["skipped"] == {"skipped_withdrawn": 1}
    with reading(engine) as session:
        assert make.the_state(session, left, "new-products") == "withdrawn"
        assert people.count(session) == 1


# --- a yes never comes along into a mailbox that has said no ---


def elsewhere(session: Session, ring: Keyring, now: datetime) -> Person:
    """Somebody who said yes to both topics in a third mailbox."""
    return make.a_person(session, ring, "cem@example.org", now=now, external_id="3")


def test_whoever_moves_into_a_mailbox_brings_no_yes_to_what_was_refused_there(
    session: Session, ring: Keyring, now: datetime, left: Person
) -> None:
    other, later = elsewhere(session, ring, now), now + 3 * HOUR
    moves(session, ring, other, OLD, later)
    assert not allowed(session, other, "new-products", later)
    assert make.the_state(session, other, "new-products") == "withdrawn"
    assert allowed(session, other, "updates", later), "nobody there has refused it"


def test_nor_does_a_site_move_somebodys_yes_there(
    session: Session, ring: Keyring, now: datetime, left: Person
) -> None:
    other, later = elsewhere(session, ring, now), now + 3 * HOUR
    said = [make.an_answer("new-products", at=later, confirmed=True)]
    done = make.register(session, ring, OLD, said, now=later, external_id="3")
    assert make.the_person(session, done.person_id).id == other.id
    assert [one["result"] for one in done.consents] == ["kept_no"]
    assert not allowed(session, other, "new-products", later)
    assert allowed(session, other, "updates", later)


def test_a_no_of_an_unconfirmed_registration_there_counts_too(
    session: Session, ring: Keyring, now: datetime
) -> None:
    no = [make.an_answer("new-products", False, at=now)]
    make.register(session, ring, OLD, no, now=now, external_id="9", attest=False)
    other, later = elsewhere(session, ring, now), now + 3 * HOUR
    moves(session, ring, other, OLD, later)
    assert not allowed(session, other, "new-products", later)


def test_who_comes_back_meets_no_no_but_their_own(
    session: Session, ring: Keyring, now: datetime, left: Person
) -> None:
    moves(session, ring, left, OLD, now + 3 * HOUR)
    assert make.the_state(session, left, "new-products") == "withdrawn"
    assert allowed(session, left, "updates", now + 3 * HOUR)


def test_a_yes_by_the_button_there_outlives_a_change_that_was_called_off(
    session: Session, ring: Keyring, now: datetime, left: Person
) -> None:
    later = now + 3 * HOUR
    new, _ = registers(session, ring, later, "new-products")
    make.press(session, ring, make.buttons(session, new)[-1], now=later)
    by = f"person:{new.public_id}"
    access.change_email(session, ring, new, addresses.parse("cem@example.org"), now=later, by=by)
    make.register(session, ring, OLD, now=later, external_id="2", attest=False)
    assert new.pending_address_id is None
    assert allowed(session, new, "new-products", later)


# --- what only the owner of a mailbox takes back ---


def objects(session: Session, ring: Keyring, person: Person, now: datetime) -> None:
    said = changes.consent.Said("page", "page")
    by = f"person:{person.public_id}"
    rights.object_to_marketing(session, ring, person, said, now=now, by=by)


@pytest.mark.parametrize("site", [False, True])
def test_an_objection_goes_along_to_the_new_mailbox(
    session: Session, ring: Keyring, now: datetime, site: bool
) -> None:
    person = make.a_person(session, ring, OLD, now=now, external_id="1")
    objects(session, ring, person, now)
    later = now + HOUR
    if site:
        said = [make.an_answer("updates", at=later, confirmed=True)]
        make.register(session, ring, NEW, said, now=later, external_id="1")
    else:
        moves(session, ring, person, NEW, later)
    make.a_topic(session, now=later)  # not asked when they objected
    said = [make.an_answer("offers", at=later, confirmed=True)]
    make.register(session, ring, NEW, said, now=later, external_id="1")
    assert not allowed(session, person, "offers", later)
    assert rights.lift_objection(session, person, now=later)
    assert not queries.suppressed(session, person)


def test_an_objection_goes_along_into_a_merge(session: Session, ring: Keyring, now: datetime) -> None:
    person = make.a_person(session, ring, OLD, now=now, external_id="1")
    other = elsewhere(session, ring, now)
    objects(session, ring, person, now)
    moves(session, ring, person, "cem@example.org", now + HOUR)
    assert person.merged_into == other.id
    make.a_topic(session, now=now)
    said = [make.an_answer("offers", at=now + HOUR, confirmed=True)]
    make.register(session, ring, "cem@example.org", said, now=now + HOUR, external_id="3")
    assert not allowed(session, other, "offers", now + HOUR)


def test_a_mistyped_mailbox_gives_nobody_the_objection_of_its_owner(
    session: Session, ring: Keyring, now: datetime
) -> None:
    owner = make.a_person(session, ring, OLD, now=now, external_id="1")
    objects(session, ring, owner, now)
    done = make.register(session, ring, OLD, now=now, external_id="2", attest=False)
    make.register(session, ring, NEW, now=now, external_id="2", attest=False)
    assert not queries.suppressed(session, make.the_person(session, done.person_id))


def test_a_dead_mailbox_is_left_behind(session: Session, ring: Keyring, now: datetime) -> None:
    person = make.a_person(session, ring, OLD, now=now, external_id="1")
    given = {"scope": "all", "cause": "hard_bounce", "origin": "m_1", "subject": None}
    suppressions.add(session, make.address_hash(ring, OLD), **given, now=now, by="system")
    moves(session, ring, person, NEW, now)
    assert allowed(session, person, "updates", now)


def test_a_button_takes_a_no_of_a_file_back_for_its_own_topics_only(
    session: Session, ring: Keyring, now: datetime
) -> None:
    for slug in ("new-products", "updates"):
        topic = make.the_topic(session, slug)
        given = {"scope": "topic", "cause": "withdrawal", "origin": "i_1", "subject": None}
        suppressions.add(session, make.address_hash(ring, OLD), **given, topic_id=topic.id, now=now, by="cli")
    new, results = registers(session, ring, now, "updates")
    assert results == ["confirmation_sent"]
    make.press(session, ring, make.buttons(session, new)[-1], now=now)
    assert allowed(session, new, "updates", now)
    _, results = registers(session, ring, now + HOUR, "new-products")
    assert results == ["confirmation_sent"], "they have taken back one of the two"
    assert not allowed(session, new, "new-products", now + HOUR)


@pytest.mark.parametrize("cause", ["withdrawal", "complaint"])
def test_a_button_takes_a_no_to_everything_back_for_its_own_topics_only(
    session: Session, ring: Keyring, now: datetime, cause: str
) -> None:
    """What a file said of all marketing goes on to hold for each topic that the button was not about."""
    marketing = make.a_topic(session, now=now)
    given = {"scope": "marketing", "cause": cause, "origin": "i_1", "subject": None}
    suppressions.add(session, make.address_hash(ring, OLD), **given, now=now, by="cli")
    new, results = registers(session, ring, now, "new-products")
    assert results == ["confirmation_sent"]
    make.press(session, ring, make.buttons(session, new)[-1], now=now)
    assert allowed(session, new, "new-products", now)
    _, results = registers(session, ring, now + HOUR, marketing.slug)
    assert results == ["confirmation_sent"], "they have taken back one of the two"
    assert not allowed(session, new, marketing.slug, now + HOUR)
    make.press(session, ring, make.buttons(session, new)[-1], now=now + HOUR)
    assert allowed(session, new, marketing.slug, now + HOUR)


def test_a_restored_copy_hears_a_no_for_whoever_it_has_in_that_mailbox_or_will_have(
    session: Session, ring: Keyring, now: datetime
) -> None:
    """The one who said it had moved there after the copy was made."""
    there, mover = make.a_person(session, ring, OLD, now=now, external_id="1"), elsewhere(session, ring, now)
    line = {
        "seq": 10_000,
        "hash": "0" * 64,
        "at": to_micros(now + HOUR),
        "kind": "consent.withdrawn",
        "subject": mover.public_id,
        "mailbox": make.address_hash(ring, OLD),
        "body": {"topic": "updates"},
    }
    restoring.reapply(session, ring, [line], now=now + 2 * HOUR)
    assert not allowed(session, mover, "updates", now + 2 * HOUR)
    assert not allowed(session, there, "updates", now + 2 * HOUR)
    assert allowed(session, there, "new-products", now + 2 * HOUR)

    line |= {"seq": 10_001, "mailbox": make.address_hash(ring, NEW), "at": to_micros(now + 2 * HOUR)}
    assert restoring.reapply(session, ring, [line], now=now + 3 * HOUR).again == 1
    assert restoring.reapply(session, ring, [line], now=now + 3 * HOUR).again == 0
    said = [make.an_answer("updates", at=now + 3 * HOUR, confirmed=True)]
    done = make.register(session, ring, NEW, said, now=now + 3 * HOUR, external_id="4")
    assert [one["result"] for one in done.consents] == ["confirmation_sent"]
    make.press(session, ring, make.buttons(session)[-1], now=now + 4 * HOUR)
    assert restoring.reapply(session, ring, [line], now=now + 5 * HOUR).again == 0, "they have said yes since"
    assert allowed(session, make.the_person(session, done.person_id), "updates", now + 5 * HOUR)


def test_a_copy_made_before_the_button_for_a_new_address_hears_of_it_and_the_new_address_is_right_once_it_is_pressed(
    session: Session, ring: Keyring, now: datetime
) -> None:
    """The entry of the press is the one the copy lacks: nothing goes where they have left, and what they chose goes along."""
    ana = make.a_person(session, ring, OLD, now=now)
    access.change_email(session, ring, ana, addresses.parse(NEW), now=now, by="cli")
    line = {"seq": 10_000, "kind": "address.changed", "subject": ana.public_id, "body": {}}
    line |= {"hash": "0" * 64, "at": to_micros(now + HOUR), "mailbox": make.address_hash(ring, NEW)}
    assert restoring.reapply(session, ring, [line], now=now + 2 * HOUR).again == 1
    session.flush()
    assert not allowed(session, ana, "updates", now + 2 * HOUR)
    make.press(session, ring, make.buttons(session, ana)[-1], now=now + 3 * HOUR)
    assert allowed(session, ana, "updates", now + 3 * HOUR)
    assert restoring.reapply(session, ring, [line], now=now + 4 * HOUR) == restoring.Reapplied(0, 0)
    assert allowed(session, ana, "updates", now + 4 * HOUR), "they have pressed a button there since"
    assert make.kinds(session, ana.public_id).count("address.changed") == 2, "asked for, and come true"


def test_the_withdrawal_file_says_who_was_merged_into_whom(
    engine: Engine, ring: Keyring, now: datetime, tmp_path: Path
) -> None:
    with transaction(engine) as session:
        ana, cem = make.a_person(session, ring, OLD, now=now, external_id="1"), elsewhere(session, ring, now)
        moves(session, ring, ana, "cem@example.org", now + HOUR)
        merged = (ana.public_id, cem.public_id)
    with reading(engine) as session:
        restoring.keep(session, tmp_path)
    [line] = [one for one in safe.lines(tmp_path) if one["kind"] == "person.merged"]
    assert (line["subject"], line["body"]["into"]) == merged


def test_a_restored_copy_hears_the_noes_of_who_was_left_for_whom_it_still_has_beside_them(
    session: Session, ring: Keyring, now: datetime
) -> None:
    """Ana turned out to be Cem, said no as Cem, and moved back into the mailbox in which the copy has Ana with her yes."""
    ana, cem = make.a_person(session, ring, OLD, now=now, external_id="1"), elsewhere(session, ring, now)
    kept = allowed(session, cem, "new-products", now)
    at = to_micros(now + HOUR)
    lines = [
        {"seq": 10_000, "kind": "person.merged", "subject": ana.public_id, "body": {"into": cem.public_id}},
        {"seq": 10_001, "kind": "consent.withdrawn", "subject": cem.public_id, "body": {"topic": "updates"}},
    ]
    given = {"hash": "0" * 64, "at": at, "mailbox": make.address_hash(ring, "cem@example.org")}
    restoring.reapply(session, ring, [line | given for line in lines], now=now + 2 * HOUR)
    assert not allowed(session, ana, "updates", now + 2 * HOUR)
    assert not allowed(session, cem, "updates", now + 2 * HOUR)
    assert allowed(session, ana, "new-products", now + 2 * HOUR) is kept
    assert restoring.reapply(session, ring, [line | given for line in lines], now=now + 3 * HOUR).again == 0


def test_no_yes_of_whoever_was_merged_outlives_a_restore_where_the_other_had_none(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana, cem = make.a_person(session, ring, OLD, now=now, external_id="1"), elsewhere(session, ring, now)
    actions.stop(session, ring, make.a_link(session, cem, "updates"), how="link", evidence={}, now=now)
    line = {"seq": 10_000, "kind": "person.merged", "subject": ana.public_id, "body": {"into": cem.public_id}}
    line |= {"hash": "0" * 64, "at": to_micros(now + HOUR), "mailbox": make.address_hash(ring, OLD)}
    assert allowed(session, ana, "updates", now)
    assert restoring.reapply(session, ring, [line], now=now + 2 * HOUR).again == 1
    assert not allowed(session, ana, "updates", now + 2 * HOUR)


def test_two_of_one_call_who_swap_mailboxes_are_told_of_together(
    session: Session, ring: Keyring, now: datetime
) -> None:
    """The first of the two turns out to be the other, who is told of next: one row stands for both, the later answer's."""
    make.a_topic(session, now=now)
    make.a_person(session, ring, OLD, now=now, external_id="1")
    other = make.a_person(session, ring, NEW, now=now, external_id="2")
    both = [
        Registration(name, email, consents=[make.an_answer("offers", at=now, confirmed=attested)])
        for name, email, attested in (("2", OLD, False), ("1", NEW, True))
    ]
    done = register_many(session, ring, "shop", both, attest=True, topics=None, now=now, by=make.BY)
    assert [one.consents[0]["result"] for one in done if isinstance(one, Registered)] == [
        "confirmation_sent",
        "given",
    ]
    assert isinstance(done[1], Registered)
    left, topic = make.the_person(session, done[1].person_id), make.the_topic(session, "offers")
    assert left.public_id == other.public_id
    assert queries.of_person(session, left.id or 0)[topic.id or 0].state == "given"


@pytest.mark.parametrize("known", [True, False])
def test_a_restored_copy_hears_a_no_of_a_file_for_the_topic_it_was_said_of(
    engine: Engine, ring: Keyring, now: datetime, tmp_path: Path, known: bool
) -> None:
    """As its entry says it; where the copy has no such topic, for all marketing."""
    with transaction(engine) as session:
        ana = make.a_person(session, ring, OLD, now=now, external_id="1")
        given = {"scope": "topic", "cause": "complaint", "origin": "i_1", "subject": None}
        topic = make.the_topic(session, "updates")
        suppressions.add(session, make.address_hash(ring, NEW), **given, topic_id=topic.id, now=now, by="cli")
    with reading(engine) as session:
        restoring.keep(session, tmp_path)
    [line] = [one for one in safe.lines(tmp_path) if one["kind"] == "suppression.added"]
    line |= {"seq": 10_000, "hash": "0" * 64}
    line["body"] |= {"address_hash": make.address_hash(ring, OLD)} | ({} if known else {"topic": "not-here"})
    with transaction(engine) as session:
        assert restoring.reapply(session, ring, [line], now=now + HOUR).again == 1
        ana = make.the_person(session, ana.public_id)
        assert allowed(session, ana, "updates", now + HOUR) is not known
        assert allowed(session, ana, "new-products", now + HOUR) is known


@pytest.mark.parametrize("holder", [True, False])
def test_p7_a_no_told_beside_the_news_that_they_moved_is_said_by_whoever_they_are_now(
    session: Session, ring: Keyring, now: datetime, holder: bool
) -> None:
    """One call names somebody twice: by one id they move into a mailbox (whose holder they then are), by the other they say no."""
    bea = make.a_person(session, ring, "bea@example.org", now=now, external_id="1")
    again = [make.an_answer("updates", at=now, confirmed=True)]
    make.register(session, ring, "bea@example.org", again, now=now, external_id="2")
    if holder:
        make.a_person(session, ring, "ana@example.org", now=now, source="crm")
    moves = Registration("1", "ana@example.org", consents=again)
    no = Registration("2", "bea@example.org", consents=[make.an_answer("updates", given=False, at=now)])
    register_many(session, ring, "shop", [moves, no], attest=True, topics=None, now=now + HOUR, by=make.BY)
    left = make.the_person(session, bea.public_id)
    assert left.state == "active"
    assert make.the_state(session, left, "updates") == "withdrawn"
