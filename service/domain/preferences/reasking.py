"""Asking once, by mail: whom registering made agree, whether they do; and whose yes was to older words, whether it holds for new ones.

The privacy officer begins the first kind of round; the second begins with the words that promise more (`publish`). The clock mails
it, a few people at a time. Who was asked what is kept by mailbox for ever, so nobody is asked it twice. Whom registering made agree
is not asked at all where the law counts the question itself as advertising (`consent.jurisdictions`), and gets nothing else before
the button is pressed; an older yes goes on for what it covered.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, insert
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from service.db.locks import for_update, lock_ledger_tail
from service.domain.brands import queries as brands
from service.domain.consent import actions as consent
from service.domain.ledger import actions as ledger
from service.domain.mailings import actions as mailings
from service.domain.mailings import queries as mailing_queries
from service.domain.mailings.rules import ASK_AGAIN, ASK_ANEW
from service.domain.mailings.tables import Address
from service.domain.people.tables import Person
from service.domain.policies import queries as policies
from service.domain.preferences import queries, rules
from service.domain.preferences.rules import REGISTERED, RENEWAL
from service.domain.preferences.tables import Asked, Asking
from service.domain.topics import actions as wordings
from service.domain.topics import queries as topics
from service.domain.topics.rules import WordingText
from service.domain.topics.tables import Topic, Wording
from service.kit.errors import Conflict, NotFound
from service.kit.ids import new_id
from service.mail.letters import PostalAddressMissing

CHUNK = 100  # people a transaction: each is a mail of their own
ANSWER_WITHIN = timedelta(days=30)
PURPOSES = {REGISTERED: ASK_AGAIN, RENEWAL: ASK_ANEW}
# Why somebody who could be asked is not, by the gate's reason.
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
    """How many would be asked now, and why the others it concerns would not."""

    people: int
    left_out: dict[str, int] = field(default_factory=dict)


def outlook(session: Session, topic: Topic, about: str = REGISTERED, *, now: datetime) -> Outlook:
    """Count before anybody is asked. Whom it does not concern, having answered already, say, is not counted."""
    if about == RENEWAL and not topic.since_version:
        return Outlook(0)
    found = queries.audience_counts(
        session, _facts(topic, about), ~_asked_before(_question(topic, about)), now
    )
    left_out = {ASKABLE[why]: count for why, count in found.excluded.items() if why in ASKABLE}
    return Outlook(found.total, left_out)


def publish(
    session: Session,
    slug: str,
    texts: Mapping[str, WordingText],
    *,
    material: bool,
    after: int | None = None,
    now: datetime,
    by: str,
) -> list[Wording]:
    """Publish the next wording; where it promises more or other mail, whose yes was to older words is asked for a new one.

    Raises what `topics.actions.publish_wording` raises, and `PostalAddressMissing` where a mail would have to be sent.
    """
    older = _hold(session, topics.by_slug(session, slug), RENEWAL, now=now) if material else None
    lock_ledger_tail(session)
    made = wordings.publish_wording(session, slug, texts, material=material, after=after, now=now, by=by)
    topic = topics.by_slug(session, slug)
    if not material or topic.mail_class == "service":
        return made
    if older is not None:  # about words that are no longer the newest
        _cancel(session, older, now=now, by=by)
    if outlook(session, topic, RENEWAL, now=now).people:
        begin(session, slug, RENEWAL, now=now, by=by)
    return made


def begin(session: Session, slug: str, about: str = REGISTERED, *, now: datetime, by: str) -> Asking:
    """Begin a round. Raises `AskingNotForService`, `AskingAlready`, `NobodyToAsk`, `PostalAddressMissing`."""
    lock_ledger_tail(session)
    topic = topics.by_slug(session, slug)
    if topic.mail_class == "service":
        raise AskingNotForService
    if running(session, topic, about) is not None:
        raise AskingAlready
    if not brands.by_id(session, topic.brand_id).postal_address.strip():
        raise PostalAddressMissing(field="postal_address")
    seen = outlook(session, topic, about, now=now)
    if not seen.people:
        raise NobodyToAsk
    assert topic.id is not None
    row = Asking(public_id=new_id("q"), topic_id=topic.id, about=about, began_at=now)
    session.add(row)
    body = {"topic": slug, "about": about, "people": seen.people, "left_out": seen.left_out}
    ledger.append(session, "asking.started", subject=row.public_id, body=body, by=by, now=now)
    return row


def stop(session: Session, slug: str, about: str = REGISTERED, *, now: datetime, by: str) -> int:
    """Ask nobody else: what waits does not leave any more, how many that are is returned, and who was not asked may be another time.
    The entry is one the fence waits for. Raises `NothingAsked` where nothing runs and no mail waits.
    """
    found = _hold(session, topics.by_slug(session, slug), about, now=now)
    if found is None:
        raise NothingAsked
    return _cancel(session, found, now=now, by=by)


def waiting(session: Session, topic: Topic, about: str = REGISTERED, *, now: datetime) -> int:
    """How many mails that ask are not under way yet, also of a round that is through."""
    return mailing_queries.singles_waiting(session, PURPOSES[about], topic.id or 0, now=now)


def lock_running(session: Session) -> list[Asking]:
    """Every round that runs, ours until commit. Whoever wants the ledger's tail, too, comes here first."""
    statement = select(Asking).where(col(Asking.state) == "running").order_by(col(Asking.id))
    return list(session.scalars(for_update(session, statement)))


def stop_every(session: Session, *, now: datetime, by: str) -> int:
    """Ask nobody else about anything: in a copy that was put back, some of those who would come next may have been asked."""
    rows = lock_running(session)
    for row in rows:
        _end(session, row, "stopped", now=now, by=by)
    return len(rows)


def step(session: Session, *, now: datetime) -> int:
    """Ask the next people of every round that runs; how many were looked at. A round ends when nobody is left.

    While sending is off nobody is asked: their mail would run out where it waits, and they would never be asked again.
    """
    rows = lock_running(session)
    lock_ledger_tail(session)
    if not brands.setting(session, "sending_on"):
        return 0
    return sum(_ask_next(session, row, now=now) for row in rows)


def any_running(session: Session) -> bool:
    """Whether any round runs; asked before anything is locked."""
    return session.exec(select(Asking.id).where(col(Asking.state) == "running").limit(1)).first() is not None


def running(session: Session, topic: Topic, about: str = REGISTERED) -> Asking | None:
    """The round of a kind about a topic that is not over."""
    return session.exec(_rounds(topic, about).where(col(Asking.state) == "running")).one_or_none()


def last(session: Session, topic: Topic, about: str = REGISTERED) -> Asking | None:
    """The latest round of a kind about a topic."""
    return session.exec(_rounds(topic, about).order_by(col(Asking.id).desc()).limit(1)).one_or_none()


def _rounds(topic: Topic, about: str) -> SelectOfScalar[Asking]:
    return select(Asking).where(col(Asking.topic_id) == topic.id, col(Asking.about) == about)


def _ask_next(session: Session, row: Asking, *, now: datetime) -> int:
    topic = topics.by_id(session, row.topic_id)
    question = _question(topic, row.about)
    next_ones = ~_asked_before(question) & (col(Person.id) > row.after)
    following = queries.eligible(_facts(topic, row.about), next_ones, now)
    found = session.connection().execute(following.add_columns(col(Address.address_hash)).limit(CHUNK)).all()
    asked: set[str] = set()
    shown = policies.in_force(session, "privacy", now=now)
    for address_id, person_id, locale, warrant, address_hash in found:
        row.after = person_id
        if address_hash in asked:  # two registrations of one mailbox: one question
            continue
        asked.add(address_hash)
        session.connection().execute(
            insert(Asked).values(
                person_id=person_id,
                address_hash=address_hash,
                question=question,
                asking_id=row.id,
                asked_at=now,
            )
        )
        words = topics.wording_for(session, topic.id or 0, locale)
        policy = policies.best(shown, locale)
        consent.ask_confirmation(
            session,
            person=session.get_one(Person, person_id),
            address_id=address_id,
            brand_id=topic.brand_id,
            topics=[{"topic": topic.id, "wording": words.id, "source": "asked by mail", "policy": policy.id}],
            requested_seq=warrant,
            purpose=PURPOSES[row.about],
            now=now,
            within=ANSWER_WITHIN,
            under=topic,
            values={"new_words": words.text} if row.about == RENEWAL else None,
        )
    row.asked += len(asked)
    session.add(row)
    if not found:
        _end(session, row, "ended", now=now, by="system")
    return len(found)


def _hold(
    session: Session, topic: Topic, about: str, *, now: datetime
) -> tuple[Asking, mailings.Held] | None:
    """The latest round of a kind and what of it waits, ours until commit: no mail is added to it meanwhile, and none claimed for the
    first time. None where it does not run and nothing waits. To be called before the ledger's tail is locked."""
    latest = _rounds(topic, about).order_by(col(Asking.id).desc()).limit(1)
    row = session.scalars(
        for_update(session, latest), execution_options={"populate_existing": True}
    ).one_or_none()
    held = mailings.hold_singles(session, PURPOSES[about], topic.id or 0, now=now)
    return None if row is None or not (row.state == "running" or held.every) else (row, held)


def _cancel(session: Session, found: tuple[Asking, mailings.Held], *, now: datetime, by: str) -> int:
    """End a round, and what of it waits. Whom no sender ever had in hand was not asked: nothing keeps them from being asked once."""
    row, held = found
    mailings.cancel_held(session, held)
    for part in mailings.parts(held.untouched):
        there = col(Asked.address_hash).in_(mailings.boxes_of(part))
        unasked = delete(Asked).where(col(Asked.asking_id) == row.id, there)
        row.asked -= session.connection().execute(unasked).rowcount
    row.state, row.ended_at = "stopped", now
    session.add(row)
    kept_back = len(held.every) - held.in_hand
    slug = topics.by_id(session, row.topic_id).slug
    body = {"topic": slug, "about": row.about, "asked": row.asked, "kept_back": kept_back}
    ledger.append(session, "asking.cancelled", subject=row.public_id, body=body, by=by, now=now)
    return kept_back


def _end(session: Session, row: Asking, state: str, *, now: datetime, by: str) -> None:
    row.state, row.ended_at = state, now
    session.add(row)
    body = {"topic": topics.by_id(session, row.topic_id).slug, "about": row.about, "asked": row.asked}
    ledger.append(session, f"asking.{state}", subject=row.public_id, body=body, by=by, now=now)


def _facts(topic: Topic, about: str) -> rules.TopicFacts:
    assert topic.id is not None
    active = topic.state == "active"
    return rules.TopicFacts(topic.id, topic.mail_class, topic.basis, active, about, topic.since_version)


def _question(topic: Topic, about: str) -> str:
    """What nobody is asked twice: once for ever whether they agreed at all, and once each time that words promise more."""
    return "" if about == REGISTERED else f"{topic.id}:{topic.since_version}"


def _asked_before(question: str) -> ColumnElement[bool]:
    """Whether this mailbox was asked, by whichever registration of it, or this person at another one."""
    there = (col(Asked.address_hash) == col(Address.address_hash)) | (col(Asked.person_id) == col(Person.id))
    asked = select(Asked.person_id).where(col(Asked.question) == question, there)
    return asked.correlate(Address, Person).exists()
