"""Beginnings that the tests of what is kept how long share: a sign-up nobody confirmed, and what is left of it."""

from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session, select

from service.db.session import reading
from service.domain.ledger import queries as ledger
from service.domain.mailings.tables import Audience, Mailing, Outcome
from service.domain.people.tables import Person
from service.domain.preferences import actions
from service.domain.preferences.registration import Registration, register_many
from service.domain.privacy import actions as contact
from service.domain.privacy import requests, retention, rules
from service.kit import addresses
from service.kit.errors import DomainError
from service.kit.ids import new_id
from service.ops import retention as ops
from service.ops.house import House
from tests import builders as make
from tests.ops.test_ops_backup import _postgres_tools  # noqa: F401 - its fixture

DAY = timedelta(days=1)
START = datetime.fromisoformat("2026-03-02T10:00:00+00:00")


def sign_up(
    house: House, email: str = "zoe@example.org", *, at: datetime = START, mailed: bool = True
) -> str:
    """Somebody types an address into our own form; the mail with the button is gone, nobody presses it. Their opaque id."""

    def act(session: Session) -> str:
        asked = {"topic": "new-products", "given": True, "source": "join", "evidence": {"at": at.isoformat()}}
        visitor = Registration(
            new_id("v"), email, profile={"first_name": "Zoe"}, consents=[asked], attested=False
        )
        [done] = register_many(
            session, house.ring, "join", [visitor], attest=False, topics=None, now=at, by="visitor"
        )
        assert not isinstance(done, DomainError), done
        assert done.mail == "confirmation_sent"
        return done.person_id

    made: str = make.act(house, act)
    if mailed:
        depart(house, at=at)
    return made


def depart(house: House, *, at: datetime) -> None:
    """Whatever waits has left, and its mailing is over."""

    def act(session: Session) -> None:
        for one in session.exec(select(Audience)).all():
            if session.get(Outcome, (one.mailing_id, one.pos, 1)) is None:
                session.add(
                    Outcome(
                        mailing_id=one.mailing_id,
                        pos=one.pos,
                        attempt=1,
                        state="sent",
                        warrant_seq=one.warrant_seq,
                        at=at,
                    )
                )
                mailing = session.get_one(Mailing, one.mailing_id)
                mailing.state, mailing.finished_at = "sent", at
                session.add(mailing)

    make.act(house, act)


def state(house: House, person: str) -> str:
    with reading(house.engine) as session:
        return make.the_person(session, person).state


def purged(house: House) -> list[dict[str, Any]]:
    """The bodies of the entries that say what went."""
    with reading(house.engine) as session:
        return [one.body for one in ledger.of_kinds(session, (retention.PURGED,))]


def due(house: House, at: datetime) -> dict[str, int]:
    """What would go, where anything would."""
    with reading(house.engine) as session:
        return {one.data_class.name: one.due for one in ops.standing(session, house, now=at) if one.due}


def size(house: House) -> int:
    with reading(house.engine) as session:
        return ledger.tail(session)[0]


def said_no(session: Session, house: House, person: Person, now: datetime) -> None:
    actions.stop(session, house.ring, make.a_link(session, person), how="link", evidence={}, now=now)


def asked_for_a_right(session: Session, house: House, person: Person, now: datetime) -> None:
    requests.receive(
        session,
        house.ring,
        right="access",
        door="staff",
        came_on=now.date(),
        person=person,
        who="Zoe",
        text="A copy, please",
        now=now,
        by="staff:s_test",
    )


def write(session: Session, house: House, email: str, now: datetime) -> str:
    asked = contact.ask(
        session,
        house.ring,
        address=addresses.parse(email),
        name="Zoe",
        subject=rules.SUBJECTS["question"],
        text="Where is my mail?",
        locale="en",
        now=now,
    )
    return asked.public_id
