"""Whoever waited for their turn acts on the person as they stand now: at the mailbox they have moved to, on whoever is left.

On PostgreSQL a door can read somebody before it has the ledger's tail; another transaction may confirm a new address, or make two
people one, and commit in between. On SQLite a writer is alone from its first word on, so there the other comes before.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

import pytest
from sqlalchemy.engine import Engine
from sqlmodel import Session

from service.db.engine import is_sqlite
from service.db.session import reading, transaction
from service.domain.consent import queries as consents
from service.domain.consent.actions import Said
from service.domain.ledger.rules import open_part
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.domain.preferences import access, actions, rights
from service.domain.privacy import erasing
from service.domain.suppressions import queries as suppressions
from service.kit import addresses
from service.kit.signing import Keyring
from tests import builders as make

ANA, BEA, NEW = "ana@example.org", "bea@example.org", "new@example.org"


@contextmanager
def overtaken(engine: Engine, ring: Keyring, now: datetime, email: str) -> Iterator[tuple[Session, Person]]:
    """A transaction that has read Bea when another presses the button of her new address `email`, and commits."""
    with transaction(engine) as session:
        make.a_person(session, ring, ANA, now=now)
        bea = make.a_person(session, ring, BEA, now=now)
        access.change_email(session, ring, bea, addresses.parse(email), now=now, by=own(bea))
        [button] = make.buttons(session, bea)[-1:]
    if is_sqlite(engine):
        with transaction(engine) as session:
            make.press(session, ring, button, now=now)
    with transaction(engine) as session:
        held = session.get_one(Person, bea.id)
        if not is_sqlite(engine):
            with transaction(engine) as other:
                make.press(other, ring, button, now=now)
        yield session, held


def own(person: Person) -> str:
    return f"person:{person.public_id}"


def objects(session: Session, ring: Keyring, person: Person, now: datetime) -> None:
    said = Said("objection", "me", {"path": "/me"})
    assert rights.object_to_marketing(session, ring, person, said, now=now, by=own(person))


def stops(session: Session, ring: Keyring, person: Person, now: datetime) -> None:
    chosen = actions.Choices({"new-products": "off"})
    given = {"how": "page", "evidence": {"path": "/p/"}, "now": now, "by": own(person)}
    assert actions.save(session, ring, person, chosen, **given).changed == ["new-products"]  # type: ignore[arg-type]


def barred(session: Session, ring: Keyring, person: Person, now: datetime) -> None:
    assert rights.bar(session, person, reason="order 12/2026", now=now, by=make.STAFF)


def restricts(session: Session, ring: Keyring, person: Person, now: datetime) -> None:
    assert rights.restrict(session, person, how="me", now=now, by=own(person))


def erases(session: Session, ring: Keyring, person: Person, now: datetime) -> None:
    erasing.erase(session, ring, person, how="staff", reason="a letter", now=now, by=make.STAFF)


Act = Callable[[Session, Keyring, Person, datetime], None]


@pytest.mark.parametrize(("act", "cause"), [(objects, "objection"), (barred, "legal")])
def test_p1_what_is_said_of_the_mailbox_is_said_of_the_one_they_have_moved_to(
    engine: Engine, ring: Keyring, now: datetime, act: Act, cause: str
) -> None:
    with overtaken(engine, ring, now, NEW) as (session, bea):
        act(session, ring, bea, now)
    with reading(engine) as session:
        assert cause in _causes(session, ring, NEW)


def test_p1_a_no_ends_the_yeses_of_whoever_else_is_at_the_mailbox_they_have_moved_to(
    engine: Engine, ring: Keyring, now: datetime
) -> None:
    with transaction(engine) as session:
        answer = make.register(
            session, ring, NEW, [make.an_answer(at=now)], source="crm", attest=False, now=now
        )
        there = make.the_person(session, answer.person_id)
        assert make.the_state(session, there) == "requested"
    with overtaken(engine, ring, now, NEW) as (session, bea):
        stops(session, ring, bea, now)
    with reading(engine) as session:
        assert make.the_state(session, there) == "refused"


@pytest.mark.parametrize("act", [objects, stops, barred, restricts, erases])
def test_p1_a_no_of_somebody_who_was_made_one_with_another_holds_for_who_is_left(
    engine: Engine, ring: Keyring, now: datetime, act: Act
) -> None:
    with overtaken(engine, ring, now, ANA) as (session, bea):
        act(session, ring, bea, now)
    with reading(engine) as session:
        left = make.the_person(session, bea.public_id)
        assert left.id != bea.id
        if act in (restricts, erases):
            assert left.state == ("restricted" if act is restricts else "erased")
        elif act is barred:
            assert "legal" in _causes(session, ring, ANA)
        else:
            assert make.the_state(session, left) == "withdrawn"
            assert act is stops or "objection" in _causes(session, ring, ANA)


def test_the_evidence_opens_with_the_key_of_who_is_left(engine: Engine, ring: Keyring, now: datetime) -> None:
    with overtaken(engine, ring, now, ANA) as (session, bea):
        objects(session, ring, bea, now)
    with reading(engine) as session:
        left = make.the_person(session, bea.public_id)
        [no] = [one for one in consents.events(session, left.public_id) if one.kind == "consent.withdrawn"]
        key, kind = people.person_key(ring, left), no.kind
        opened = open_part(key, no.body["evidence"], subject=left.public_id, kind=kind)
        assert opened == {"path": "/me"}


def _causes(session: Session, ring: Keyring, email: str) -> set[str]:
    digest = make.address_hash(ring, email)
    return {row.cause for row in suppressions.live_for(session, [digest]).get(digest, [])}
