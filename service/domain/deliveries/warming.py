"""The warm-up plan: a day's letters are taken from that day's amount, the others wait for the next day's.

Called by `claims` while a plan speaks of today, and only then. What must be said, to people who cannot refuse it, goes first within
the amount. One row a day, locked, is what any number of senders share. An
amount is taken at the claim; what came back unsent is put back when the batch is recorded. What a dead sender had taken is not.
"""

from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import select, update
from sqlmodel import Session, col

from service.db.locks import for_update, insert_or_skip
from service.domain.deliveries import queries
from service.domain.mailings.tables import Batch, Mailing, WarmUpDay

WAITS = "warm_up"
AT_ONCE = 1_000  # batches put off in one statement


def left(session: Session, amount: int, on: date) -> int:
    """How much of the day's amount nobody has taken yet; the day is ours until commit."""
    session.connection().execute(insert_or_skip(session, WarmUpDay, ["on"]).values(on=on, taken=0))
    day = select(col(WarmUpDay.taken)).where(col(WarmUpDay.on) == on)
    return max(0, amount - int(session.execute(for_update(session, day)).scalar_one()))


def take(session: Session, on: date, count: int) -> None:
    """Take so many letters from the day, or give them back (negative)."""
    if count:
        changed = update(WarmUpDay).where(col(WarmUpDay.on) == on)
        session.connection().execute(changed.values(taken=col(WarmUpDay.taken) + count))


def split(members: list[queries.Member], room: int) -> tuple[list[queries.Member], list[queries.Member]]:
    """Who is in today's amount, with all whom the gate refuses anyway; and who waits."""
    sendable = [one for one in members if one.refusal is None]
    waiting = {one.pos for one in sendable[room:]}
    return [one for one in members if one.pos not in waiting], sendable[room:]


def put_off(session: Session, *, now: datetime) -> None:
    """Nothing is left of today's amount: what is due waits for tomorrow's."""
    due = queries.due_batches(now=now, limit=AT_ONCE, system=False)
    batches = list(session.scalars(for_update(session, due, skip_locked=True)))
    if batches:
        these = col(Batch.id).in_(batches)
        mailings = list(session.scalars(select(col(Batch.mailing_id)).where(these).distinct()))
        session.connection().execute(update(Batch).where(these).values(due_at=next_day(now), reason=WAITS))
        _live_on(session, mailings, now)


def _live_on(session: Session, mailings: list[int], now: datetime) -> None:
    """What waits for the plan does not run out of time because of it."""
    until = next_day(now) + timedelta(days=1)
    shorter = col(Mailing.id).in_(mailings), col(Mailing.valid_until) < until
    session.connection().execute(update(Mailing).where(*shorter).values(valid_until=until))


def next_day(now: datetime) -> datetime:
    """When the next day begins (UTC)."""
    return datetime.combine(now.astimezone(UTC).date() + timedelta(days=1), time(), UTC)
