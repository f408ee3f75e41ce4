"""Asking once, by mail, whom registering made agree: whether they do. Nothing else is sent to them before they press its button.

The privacy officer begins a round; the clock mails it, a few people at a time. Who was asked is kept by mailbox for ever, so nobody
is asked twice, and nobody at all where the law counts the question itself as advertising (`consent.jurisdictions`).
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, insert
from sqlmodel import Session, col, select

from service.db.locks import for_update, lock_ledger_tail
from service.domain.brands import queries as brands
from service.domain.consent import actions as consent
from service.domain.ledger import actions as ledger
from service.domain.mailings.rules import ASK_AGAIN
from service.domain.mailings.tables import Address
from service.domain.people.tables import Person
from service.domain.policies import queries as policies
from service.domain.preferences import queries, rules
from service.domain.preferences.tables import Asked, Asking
from service.domain.topics import queries as topics
from service.domain.topics.tables import Topic
from service.kit.errors import Conflict, NotFound
from service.kit.ids import new_id
from service.mail.letters import PostalAddressMissing

CHUNK = 100  # people a transaction: each is a mail of their own
ANSWER_WITHIN = timedelta(days=30)
# Why somebody whom registering made agree is not asked, by the gate's reason.
ASKABLE = {"law_forbids_asking": "law_forbids_asking", "not_in_audience": "asked_before"} | {
    "address_pending": "address_pending",
    "on_break": "on_break",
}


class NobodyToAsk(Conflict):
    """There is nobody who may be asked."""


class AskingAlready(Conflict):
    """People are being asked about this topic already."""


class NothingAsked(NotFound):
    """Nobody is being asked about this topic now."""


class AskingNotForService(Conflict):
    """Mails of this topic need no yes, so there is nothing to ask."""


@dataclass(frozen=True)
class Outlook:
    """How many would be asked now, and why the others of those whom registering made agree would not."""

    people: int
    left_out: dict[str, int] = field(default_factory=dict)


def outlook(session: Session, topic: Topic, *, now: datetime) -> Outlook:
    """Count before anybody is asked. Who has answered, or never registered so, is not counted."""
    found = queries.audience_counts(session, _facts(topic), ~_asked_before(), now)
    left_out = {ASKABLE[why]: count for why, count in found.excluded.items() if why in ASKABLE}
    return Outlook(found.total, left_out)


def begin(session: Session, slug: str, *, now: datetime, by: str) -> Asking:
    """Begin a round. Raises `AskingNotForService`, `AskingAlready`, `NobodyToAsk`, `PostalAddressMissing`."""
    lock_ledger_tail(session)
    topic = topics.by_slug(session, slug)
    if topic.mail_class == "service":
        raise AskingNotForService
    if running(session, topic) is not None:
        raise AskingAlready
    if not brands.by_id(session, topic.brand_id).postal_address.strip():
        raise PostalAddressMissing(field="postal_address")
    seen = outlook(session, topic, now=now)
    if not seen.people:
        raise NobodyToAsk
    assert topic.id is not None
    row = Asking(public_id=new_id("q"), topic_id=topic.id, began_at=now)
    session.add(row)
    body = {"topic": slug, "people": seen.people, "left_out": seen.left_out}
    ledger.append(session, "asking.started", subject=row.public_id, body=body, by=by, now=now)
    return row


def stop(session: Session, slug: str, *, now: datetime, by: str) -> None:
    """Ask nobody else. Raises `NothingAsked`."""
    lock_ledger_tail(session)
    row = running(session, topics.by_slug(session, slug))
    if row is None:
        raise NothingAsked
    _end(session, row, "stopped", now=now, by=by)


def stop_every(session: Session, *, now: datetime, by: str) -> int:
    """Ask nobody else about anything: in a copy that was put back, some of those who would come next may have been asked."""
    rows = session.exec(select(Asking).where(col(Asking.state) == "running").order_by(col(Asking.id))).all()
    for row in rows:
        _end(session, row, "stopped", now=now, by=by)
    return len(rows)


def step(session: Session, *, now: datetime) -> int:
    """Ask the next people of every round that runs; how many were looked at. A round ends when nobody is left."""
    rows = session.scalars(
        for_update(session, select(Asking).where(col(Asking.state) == "running").order_by(col(Asking.id)))
    ).all()
    return sum(_ask_next(session, row, now=now) for row in rows)


def any_running(session: Session) -> bool:
    """Whether any round runs; asked before anything is locked."""
    return session.exec(select(Asking.id).where(col(Asking.state) == "running").limit(1)).first() is not None


def running(session: Session, topic: Topic) -> Asking | None:
    """The round about a topic that is not over."""
    return session.exec(
        select(Asking).where(col(Asking.topic_id) == topic.id, col(Asking.state) == "running")
    ).one_or_none()


def last(session: Session, topic: Topic) -> Asking | None:
    """The latest round about a topic."""
    return session.exec(
        select(Asking).where(col(Asking.topic_id) == topic.id).order_by(col(Asking.id).desc()).limit(1)
    ).one_or_none()


def _ask_next(session: Session, row: Asking, *, now: datetime) -> int:
    topic = topics.by_id(session, row.topic_id)
    following = queries.eligible(_facts(topic), ~_asked_before() & (col(Person.id) > row.after), now)
    found = session.connection().execute(following.add_columns(col(Address.address_hash)).limit(CHUNK)).all()
    asked: set[str] = set()
    policy = policies.current(session, "privacy", "en", now=now)
    for address_id, person_id, locale, warrant, address_hash in found:
        row.after = person_id
        if address_hash in asked:  # two registrations of one mailbox: one question
            continue
        asked.add(address_hash)
        session.connection().execute(
            insert(Asked).values(
                person_id=person_id, address_hash=address_hash, asking_id=row.id, asked_at=now
            )
        )
        words = topics.wording_for(session, topic.id or 0, locale)
        consent.ask_confirmation(
            session,
            person=session.get_one(Person, person_id),
            address_id=address_id,
            brand_id=topic.brand_id,
            topics=[{"topic": topic.id, "wording": words.id, "source": "asked by mail", "policy": policy.id}],
            requested_seq=warrant,
            purpose=ASK_AGAIN,
            now=now,
            within=ANSWER_WITHIN,
            under=topic,
        )
    row.asked += len(asked)
    session.add(row)
    if not found:
        _end(session, row, "ended", now=now, by="system")
    return len(found)


def _end(session: Session, row: Asking, state: str, *, now: datetime, by: str) -> None:
    row.state, row.ended_at = state, now
    session.add(row)
    body = {"topic": topics.by_id(session, row.topic_id).slug, "asked": row.asked}
    ledger.append(session, f"asking.{state}", subject=row.public_id, body=body, by=by, now=now)


def _facts(topic: Topic) -> rules.TopicFacts:
    assert topic.id is not None
    facts = rules.TopicFacts(topic.id, topic.mail_class, topic.basis, topic.state == "active")
    return replace(facts, asking=True)


def _asked_before() -> ColumnElement[bool]:
    """Whether this mailbox was asked, by whichever registration of it, or this person at another one."""
    there = (col(Asked.address_hash) == col(Address.address_hash)) | (col(Asked.person_id) == col(Person.id))
    return select(Asked.person_id).where(there).correlate(Address, Person).exists()
