"""The figures of the home page: consents and mail by day, the latest mailings. Called by the staff pages;
writes nothing."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import func, or_, select
from sqlmodel import Session, col

from service.domain.announcements import queries as announcements
from service.domain.announcements.tables import Announcement
from service.domain.ledger.tables import LedgerEntry
from service.domain.mailings import queries as mailings
from service.domain.mailings.tables import Mailing, Outcome
from service.domain.notices import queries as notices
from service.domain.notices.tables import Notice
from service.domain.preferences.rules import NOES, PERMITTING
from service.domain.preferences.tables import Preference
from service.domain.reports import queries
from service.domain.topics import queries as topics
from service.kit.clock import EPOCH, to_micros

TOPIC_KINDS = ("announcement", "notice")
DAY = timedelta(days=1)
_DAY_MICROS = 86_400_000_000


@dataclass(frozen=True)
class TopicGrowth:
    """Yeses of one topic that stand today: how many were given before the first day, and on each day."""

    slug: str
    name: str
    before: int
    days: list[date]
    given: list[int]


@dataclass(frozen=True)
class Day:
    """One day's mail (UTC): sent, bounced, and topics ended."""

    on: date
    sent: int
    bounced: int
    stopped: int


@dataclass(frozen=True)
class Recent:
    """A past or running mailing, for the home page."""

    name: str
    kind: str
    public_id: str
    state: str
    at: datetime
    planned: int
    sent: int
    bounced: int
    stopped: int


def growth(session: Session, *, now: datetime, days: int = 30) -> list[TopicGrowth]:
    """Yeses that stand today, by the day they were given (UTC), for every active topic."""
    edges = _days(now, days)
    standing = select(Preference).where(col(Preference.state).in_(PERMITTING))
    given = queries.by_step(session, col(Preference.since_at), edges, col(Preference.topic_id), standing)
    dates = [edge.date() for edge in edges]
    return [
        TopicGrowth(
            topic.slug,
            topics.wording_for(session, topic.id or 0, "en").title,
            given[topic.id, -1],
            dates,
            [given[topic.id, place] for place in range(days)],
        )
        for topic in topics.active(session)
    ]


def traffic(session: Session, *, now: datetime, days: int = 30) -> list[Day]:
    """Mail under topics per day: sent, bounced, topics ended. Tests and system mails are not counted."""
    edges = _days(now, days)
    lately = select(col(Mailing.id)).where(
        col(Mailing.kind).in_(TOPIC_KINDS), col(Mailing.valid_until) >= edges[0]
    )
    tried = select(Outcome).where(
        col(Outcome.mailing_id).in_(lately),
        col(Outcome.state).in_(("sent", "bounced")),
        col(Outcome.at) >= edges[0],
    )
    counts = queries.by_step(session, col(Outcome.at), edges, col(Outcome.state), tried)
    stopped = _stops_by_day(session, edges[0])
    return [
        Day(at.date(), counts["sent", place], counts["bounced", place], stopped[at.date()])
        for place, at in enumerate(edges)
    ]


def _stops_by_day(session: Session, start: datetime) -> Counter[date]:
    day = (col(LedgerEntry.at) // _DAY_MICROS).label("day")
    again = [col(LedgerEntry.entry).contains(f'"state_before":"{no}"') for no in NOES]
    inner = (
        select(day)
        .where(col(LedgerEntry.kind) == queries.STOP, col(LedgerEntry.at) >= to_micros(start), ~or_(*again))
        .subquery()
    )
    rows = session.connection().execute(select(inner.c.day, func.count()).group_by(inner.c.day))
    return Counter({(EPOCH + DAY * int(number)).date(): count for number, count in rows})


def recent(session: Session, limit: int = 5) -> list[Recent]:
    """The latest announcements and mailed notices with their figures."""
    statement = (
        select(Mailing)
        .where(col(Mailing.kind).in_(TOPIC_KINDS))
        .order_by(col(Mailing.due_at).desc(), col(Mailing.id).desc())
        .limit(limit)
    )
    found = session.scalars(statement).all()
    ids = [mailing.id or 0 for mailing in found]
    of = announcements.by_mailings(session, ids), notices.by_mailings(session, ids)
    return [_recent(session, mailing, *of) for mailing in found]


def _recent(
    session: Session, mailing: Mailing, announced: dict[int, Announcement], noticed: dict[int, Notice]
) -> Recent:
    assert mailing.id is not None
    counts = mailings.outcome_counts(session, mailing.id)
    name, public_id = "", mailing.public_id
    if announcement := announced.get(mailing.id):
        name, public_id = announcements.name_of(announcement), announcement.public_id
    elif notice := noticed.get(mailing.id):
        name, public_id = notices.title_of(notice), notice.public_id
    return Recent(
        name=name,
        kind=mailing.kind,
        public_id=public_id,
        state=mailing.state,
        at=max(filter(None, (mailing.started_at, mailing.due_at))),
        planned=queries.members(session, mailing),
        sent=queries.total(counts, "sent"),
        bounced=queries.total(counts, "bounced"),
        stopped=queries.stops(session, mailing).people,
    )


def _days(now: datetime, days: int) -> list[datetime]:
    """Midnights (UTC) of the last so many days, today's last."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return [today - DAY * back for back in range(days - 1, -1, -1)]
