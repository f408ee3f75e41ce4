"""What ends by itself: a consent that a sale or an inquiry stood for, when its time is over (S.C. 2010 c. 23, s. 10(10)).

The gate refuses from that instant on; the clock then writes the entry. Called by the timetable, the topic's page and the
command that lists whose time is nearly over.
"""

from datetime import datetime

from sqlmodel import Session, col, func, select

from service.db.locks import lock_ledger_tail
from service.domain.consent.actions import Said
from service.domain.consent.rules import PERMITTING
from service.domain.people.tables import Person
from service.domain.preferences.changes import Change, move
from service.domain.preferences.tables import Preference
from service.domain.topics import queries as topics

SYSTEM = "system"
MOST = 100  # a transaction's worth of entries


def end_due(session: Session, *, now: datetime) -> int:
    """End the next consents whose time is over; how many. None is left when it is fewer than `MOST`."""
    lock_ledger_tail(session)
    due = session.exec(
        select(Preference)
        .where(col(Preference.valid_until) <= now, col(Preference.state).in_(PERMITTING))
        .order_by(col(Preference.valid_until), col(Preference.person_id), col(Preference.topic_id))
        .limit(MOST)
    ).all()
    for preference in due:
        person = session.get_one(Person, preference.person_id)
        change = Change(session, person, None, Said("expiry"), now, SYSTEM)
        move(change, topics.by_id(session, preference.topic_id), preference, "consent.expired", "expired")
    return len(due)


def waits(session: Session, *, now: datetime) -> bool:
    """Whether the time of any consent is over that still stands; asked before anything is locked."""
    over = select(Preference.person_id).where(
        col(Preference.valid_until) <= now, col(Preference.state).in_(PERMITTING)
    )
    return session.exec(over.limit(1)).first() is not None


def ending(session: Session, topic_id: int, *, now: datetime, until: datetime) -> int:
    """How many consents to a topic end by themselves between now and then, unless they are given anew."""
    return session.exec(
        select(func.count())
        .select_from(Preference)
        .where(
            col(Preference.valid_until) > now,
            col(Preference.valid_until) <= until,
            col(Preference.topic_id) == topic_id,
            col(Preference.state).in_(PERMITTING),
        )
    ).one()


def whose(session: Session, *, now: datetime, until: datetime) -> list[tuple[str, str, str, datetime]]:
    """Whose consents end by themselves between now and then: person's public id, topic, basis, end; the next first."""
    rows = session.exec(
        select(Person.public_id, Preference.topic_id, Preference.basis, Preference.valid_until)
        .join(Preference, col(Preference.person_id) == col(Person.id))
        .where(
            col(Preference.valid_until) > now,
            col(Preference.valid_until) <= until,
            col(Preference.state).in_(PERMITTING),
            col(Person.state) == "active",
        )
        .order_by(col(Preference.valid_until), col(Person.id))
    )
    return [
        (subject, topics.by_id(session, topic).slug, basis, ends)
        for subject, topic, basis, ends in rows
        if ends is not None
    ]
