"""Who may get a mail, but not now: quiet hours on the reader's own clock, the most announcements a week, and how those who
come back are put into batches again.

Called by claims. Whoever waits is put into a batch of its own that is due when the wait is over; nobody is
dropped, no attempt is counted, and the report says who waits for what (design.md 2, deferred).
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, time, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlmodel import Session, col

from service.db.locks import lock_weekly_cap
from service.domain.deliveries import rules
from service.domain.deliveries.queries import Member
from service.domain.mailings.tables import Audience, Batch, Mailing, Outcome

QUIET, CAP = "quiet", "cap"
WEEK = timedelta(days=7)
IN_HAND = timedelta(minutes=5)  # after which it is known what became of a letter that a sender has in hand


def later(
    session: Session, mailing: Mailing, members: Sequence[Member], settings: dict[str, Any], *, now: datetime
) -> dict[int, tuple[str, datetime]]:
    """By position who waits, for what and until when. Only marketing waits."""
    if mailing.kind != "announcement" or mailing.mail_class != "marketing":
        return {}
    free = [member for member in members if member.refusal is None]
    found = _capped(session, mailing, free, settings["weekly_cap"], now=now)
    hours, usual = settings["quiet_hours"], (mailing.facts or {}).get("zone", "UTC")
    if hours:
        start, end = time.fromisoformat(hours["from"]), time.fromisoformat(hours["until"])
        for member in free:
            reason, due = found.get(member.pos, (QUIET, now))
            awake = awake_at(due, member.zone or usual, start, end)
            if awake > due:
                found[member.pos] = (reason, awake)
    return found


def awake_at(moment: datetime, zone: str, start: time, end: time) -> datetime:
    """The first instant from `moment` on that is outside the quiet hours, which run from `start` to `end` on the clocks
    of `zone`, over midnight too."""
    local = moment.astimezone(ZoneInfo(zone))
    clock = local.time()
    inside = start <= clock < end if start < end else clock >= start or clock < end
    if not inside:
        return moment
    day = local.date() + timedelta(days=1 if clock >= end else 0)
    return datetime.combine(day, end, ZoneInfo(zone)).astimezone(moment.tzinfo)


def _capped(
    session: Session, mailing: Mailing, members: Sequence[Member], cap: int | None, *, now: datetime
) -> dict[int, tuple[str, datetime]]:
    """Who has had as many announcements in seven days as the house, or they themselves, allow. What may have arrived counts, and
    what is in a sender's hands: it is on its way, and who waits for it is looked at again soon."""
    most = {member.pos: min(filter(None, (cap, member.most))) for member in members if cap or member.most}
    if not most:
        return {}
    lock_weekly_cap(session)
    mine = select(col(Audience.pos), col(Audience.person_id)).where(
        col(Audience.mailing_id) == mailing.id, col(Audience.pos).in_(most)
    )
    positions = {person: pos for pos, person in session.execute(mine) if person is not None}
    got = (
        select(col(Audience.person_id), col(Outcome.at))
        .join(
            Outcome,
            (col(Outcome.mailing_id) == col(Audience.mailing_id)) & (col(Outcome.pos) == col(Audience.pos)),
        )
        .join(Mailing, col(Mailing.id) == col(Audience.mailing_id))
        .where(
            col(Audience.person_id).in_(positions),
            col(Outcome.state).in_(("sent", "unknown")),
            col(Outcome.at) > now - WEEK,
            col(Mailing.kind) == "announcement",
            col(Mailing.mail_class) == "marketing",
        )
        .order_by(col(Outcome.at).desc())
    )
    # First: what is recorded in between is then counted twice for once, and not at all if the outcomes were read before.
    in_hand = _in_hand(session, mailing, list(positions))
    lately: dict[int, list[datetime]] = {}
    for person, at in session.execute(got):
        lately.setdefault(positions[person], []).append(at)
    waits = {
        pos: (CAP, times[most[pos] - 1] + WEEK) for pos, times in lately.items() if len(times) >= most[pos]
    }
    for person, letters in in_hand.items():
        pos = positions[person]
        if pos not in waits and len(lately.get(pos, ())) + letters >= most[pos]:
            waits[pos] = (CAP, now + IN_HAND)
    return waits


def _in_hand(session: Session, mailing: Mailing, people: list[int]) -> dict[int, int]:
    """How many letters of other announcements senders have in hand for these people."""
    claimed = (
        select(col(Batch.mailing_id), col(Batch.warrants))
        .join(Mailing, col(Mailing.id) == col(Batch.mailing_id))
        .where(
            col(Batch.state) == "claimed",
            col(Batch.mailing_id) != mailing.id,
            col(Mailing.kind) == "announcement",
            col(Mailing.mail_class) == "marketing",
        )
    )
    held: dict[int, set[int]] = {}
    for other, warrants in session.execute(claimed):
        noted = (one.partition(b":")[0] for one in (warrants or b"").split(b",") if one)
        held.setdefault(other, set()).update(map(int, noted))
    if not held:
        return {}
    theirs = select(col(Audience.mailing_id), col(Audience.pos), col(Audience.person_id)).where(
        col(Audience.mailing_id).in_(held), col(Audience.person_id).in_(people)
    )
    found = session.execute(theirs)
    return Counter(person for other, pos, person in found if person is not None and pos in held[other])


class Again(NamedTuple):
    """A position to come back: why (only if no refusal is the reason), when, and at which attempt."""

    reason: str
    due: datetime
    pos: int
    attempt: int


def come_back(session: Session, mailing_id: int, again: list[Again]) -> None:
    """Positions to come back, as batches of listed positions; those due within one minute of each other go together.

    Those that wait for the pace of a domain are due with the first of them, and as many as a sender keeps in hand.
    """
    again.sort()
    groups: list[list[Again]] = []
    for one in again:
        first = groups[-1][0] if groups else None
        window = rules.PACED_TOGETHER if one.reason else timedelta(minutes=1)
        near = first and first.reason == one.reason and one.due - first.due < window
        if near and len(groups[-1]) < rules.BATCH:
            groups[-1].append(one)
        else:
            groups.append([one])
    for group in groups:
        positions = sorted((one.pos, one.attempt) for one in group)
        session.add(
            Batch(
                mailing_id=mailing_id,
                first_pos=positions[0][0],
                last_pos=positions[-1][0],
                positions=[list(one) for one in positions],
                due_at=group[0].due if group[0].reason else group[-1].due,
                reason=group[0].reason,
            )
        )
