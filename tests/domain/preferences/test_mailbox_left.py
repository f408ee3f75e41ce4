"""A no belongs to the mailbox it was said in, too: who moves away takes it along, and it stays for whoever is registered there next
(design.md 4: noes of the address apply at once, yeses never carry over)."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.engine import Engine
from sqlmodel import Session

from service.db.session import reading, transaction
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.domain.preferences import access, actions, queries, rules
from service.kit import addresses, clock
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
