"""What became of a mailing, in sums computed from rows (`members` tells of each member).

Called by the report pages, the API and the command line. Sums are never stored: `adds_up` compares what is
planned with what is on record.
"""

import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, case, func, literal, select
from sqlmodel import Session, col

from service.domain.announcements import queries as announcements
from service.domain.announcements.tables import Announcement
from service.domain.consent.rules import NOES
from service.domain.ledger.tables import LedgerEntry
from service.domain.mailings import queries as mailings
from service.domain.mailings.tables import Audience, Batch, Mailing, Outcome
from service.domain.notices import queries as notices
from service.domain.notices.tables import Notice
from service.kit import clock
from service.kit.clock import to_micros

OUTCOMES = ("sent", "bounced", "deferred", "cancelled", "expired", "unknown")
STOP, STOP_REASON, RESTORED = "consent.withdrawn", "stop.reason", "consent.restored"


@dataclass(frozen=True)
class Progress:
    """How far a mailing has come: members planned, settled for good, not yet; messages per second of the last
    minute, and when it will end at that rate (None: it does not move)."""

    planned: int
    settled: int
    waiting: int
    per_second: float
    ends_at: datetime | None


@dataclass(frozen=True)
class Bounce:
    """How many members a server refused with one code."""

    code: int | None
    reason: str
    people: int


@dataclass(frozen=True)
class Stops:
    """How many people ended a topic by a link of this mailing, and why, as far as they said (often, notforme,
    never)."""

    people: int
    reasons: dict[str, int]


@dataclass(frozen=True)
class Bucket:
    """What left and what bounced between `at` and the next bucket."""

    at: datetime
    sent: int
    bounced: int


def of_announcement(session: Session, announcement: Announcement) -> dict[str, Any]:
    """The report of an announcement, sent or not."""
    mailing = announcements.mailing_of(session, announcement)
    state, reason = announcements.state_of(announcement, mailing)
    return report(session, mailing, state=state, reason=reason)


def of_notice(session: Session, notice: Notice) -> dict[str, Any]:
    """The report of a notice's mailing; of the page alone, when it was not mailed."""
    mailing = notices.mailing_of(session, notice)
    state, reason = (mailing.state, mailing.reason) if mailing else (notice.state, "")
    return report(session, mailing, state=state, reason=reason)


def report(session: Session, mailing: Mailing | None, *, state: str, reason: str = "") -> dict[str, Any]:
    """The report of design.md 6; `waiting` are the members nothing has become of yet (0 at the end), `next_at` is when the
    first of them is due, `waits` are those of them, and of the deferred, who wait for a pace and not for their turn, by
    reason.

    planned = outcomes together + waiting. Before the audience is frozen everything is 0.
    """
    frozen = mailing if mailing is not None and mailing.state != "freezing" else None
    counts = mailings.outcome_counts(session, _id(frozen)) if frozen else {}
    planned = members(session, frozen) if frozen else 0
    outcomes: dict[str, Any] = {name: total(counts, name) for name in OUTCOMES}
    outcomes["skipped"] = {why: count for (kind, why), count in sorted(counts.items()) if kind == "skipped"}
    return {
        "state": state,
        "reason": reason or None,
        "planned": planned,
        "outcomes": outcomes,
        "waiting": planned - sum(counts.values()),
        "next_at": _next_at(session, frozen) if frozen else None,
        "waits": mailings.waits(session, _id(frozen), now=clock.now()) if frozen else {},
        "excluded": mailings.exclusions(session, _id(frozen)) if frozen else {},
    }


def _next_at(session: Session, mailing: Mailing) -> str | None:
    due = select(func.min(col(Batch.due_at))).where(
        col(Batch.mailing_id) == mailing.id, col(Batch.state) == "open"
    )
    moment = session.execute(due).scalar()
    return moment.isoformat() if moment else None


def adds_up(session: Session, mailing: Mailing) -> bool:
    """Whether the record holds together (P3): the audience is positions 1 to planned, every outcome belongs
    to one of them, nobody has two final states, and once the mailing has ended everybody has one."""
    members, first, last = session.connection().execute(
        select(func.count(), func.min(col(Audience.pos)), func.max(col(Audience.pos))).where(
            col(Audience.mailing_id) == mailing.id
        )
    ).one()  # fmt: skip
    finals, settled, lowest, highest = (
        session.connection()
        .execute(
            select(
                func.count(),
                func.count(col(Outcome.pos).distinct()),
                func.min(col(Outcome.pos)),
                func.max(col(Outcome.pos)),
            ).where(col(Outcome.mailing_id) == mailing.id, col(Outcome.final).is_(True))
        )
        .one()
    )
    placed = members == 0 or (first, last) == (1, members)
    inside = finals == 0 or (lowest >= 1 and highest <= members)
    whole = settled == members or mailing.state not in ("sent", "cancelled", "expired")
    return bool(members == (mailing.planned or 0) and placed and inside and finals == settled and whole)


def progress(session: Session, mailing: Mailing, *, now: datetime) -> Progress:
    """How far it has come, and how fast."""
    planned = members(session, mailing)
    final = (col(Outcome.mailing_id) == mailing.id, col(Outcome.final).is_(True))
    settled = _count(session, Outcome, *final)
    lately = _count(session, Outcome, *final, col(Outcome.at) > now - timedelta(minutes=1))
    rate, waiting = lately / 60, planned - settled
    ends_at = (
        now + timedelta(seconds=waiting / rate) if rate and waiting and mailing.state == "sending" else None
    )
    return Progress(planned, settled, waiting, rate, ends_at)


def bounces(session: Session, mailing: Mailing) -> list[Bounce]:
    """What servers refused, by code, the commonest first."""
    people = func.count().label("people")
    rows = session.connection().execute(
        select(col(Outcome.code), col(Outcome.reason), people)
        .where(col(Outcome.mailing_id) == mailing.id, col(Outcome.state) == "bounced")
        .group_by(col(Outcome.code), col(Outcome.reason))
        .order_by(people.desc(), col(Outcome.code))
    )
    return [Bounce(row.code, row.reason, row.people) for row in rows]


def stops(session: Session, mailing: Mailing) -> Stops:
    """Who ended a topic by a link of this mailing and did not take it back at once, read from the ledger. A no said again ends
    nothing."""
    ours = col(LedgerEntry.entry).contains(f'"mailing":"{mailing.public_id}"', autoescape=True)
    rows = session.connection().execute(
        select(col(LedgerEntry.kind), col(LedgerEntry.subject), col(LedgerEntry.entry))
        .where(
            (col(LedgerEntry.kind).in_((STOP, STOP_REASON)) & ours) | (col(LedgerEntry.kind) == RESTORED),
            col(LedgerEntry.at) >= to_micros(mailing.created_at),
        )
        .order_by(col(LedgerEntry.seq))
    )
    stopped: set[tuple[str, str]] = set()
    reasons: dict[str, str] = {}
    for row in rows:
        body = json.loads(row.entry)["body"]
        if row.kind == STOP_REASON:
            reasons[row.subject] = str(body.get("reason", ""))
        elif row.kind == STOP and body.get("state_before") not in NOES:
            stopped.add((row.subject, str(body.get("topic", ""))))
        else:
            stopped.discard((row.subject, str(body.get("topic", ""))))
    people = {subject for subject, _ in stopped}
    return Stops(len(people), dict(Counter(why for who, why in reasons.items() if who in people)))


def curve(session: Session, mailing: Mailing, *, buckets: int = 48) -> list[Bucket]:
    """What left over time, in equal steps from the first outcome to the last; nothing before the first."""
    ours = (col(Outcome.mailing_id) == mailing.id, col(Outcome.state).in_(("sent", "bounced")))
    span = select(func.min(col(Outcome.at)), func.max(col(Outcome.at))).where(*ours)
    first, last = tuple[datetime | None, datetime | None](session.connection().execute(span).one())
    if first is None or last is None:
        return []
    step = max((last - first) / buckets, timedelta(seconds=1))
    edges = [first + step * place for place in range(int((last - first) / step) + 1)]
    counts = by_step(session, col(Outcome.at), edges, col(Outcome.state), select(Outcome).where(*ours))
    return [Bucket(at, counts["sent", place], counts["bounced", place]) for place, at in enumerate(edges)]


def by_step(
    session: Session,
    at: Any,
    edges: list[datetime],
    by: Any,
    rows: Select[Any],
) -> Counter[tuple[Any, int]]:
    """How many rows lie between edges, by another column: (value, place) → count; place -1 is before the
    first edge."""
    place = case(
        *((at < edge, literal(number - 1)) for number, edge in enumerate(edges)),
        else_=literal(len(edges) - 1),
    )
    inner = rows.with_only_columns(by.label("value"), place.label("place")).subquery()
    grouped = select(inner.c.value, inner.c.place, func.count()).group_by(inner.c.value, inner.c.place)
    return Counter({(value, place): count for value, place, count in session.connection().execute(grouped)})


def members(session: Session, mailing: Mailing) -> int:
    """How many members the frozen audience has."""
    return _count(session, Audience, col(Audience.mailing_id) == mailing.id)


def _count(session: Session, table: Any, *conditions: ColumnElement[bool]) -> int:
    return (
        session.connection().execute(select(func.count()).select_from(table).where(*conditions)).scalar_one()
    )


def total(counts: dict[tuple[str, str], int], state: str) -> int:
    """How many stand in one state, whatever the reason."""
    return sum(count for (kind, _), count in counts.items() if kind == state)


def _id(mailing: Mailing) -> int:
    assert mailing.id is not None
    return mailing.id
