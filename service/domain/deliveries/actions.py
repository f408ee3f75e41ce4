"""The course of a mailing: start, pause, resume, cancel, expire, and its end computed from its rows.

Called by announcements and notices, and by the timetable. Claims are `claims`' part, the audience is `freeze`'s.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import case, delete, func, select, update
from sqlmodel import Session, col

from service.db.bulk import insert_rows
from service.db.locks import for_update
from service.domain.brands import queries as brands
from service.domain.deliveries import queries, rules, seals
from service.domain.deliveries.freeze import SYSTEM, halt
from service.domain.ledger import actions as ledger
from service.domain.ledger import queries as entries
from service.domain.mailings import actions as mailings
from service.domain.mailings import queries as mailing_queries
from service.domain.mailings.rules import TimeRanOut, WrongState, message_id
from service.domain.mailings.tables import Audience, Batch, Mailing, MailingContent, Outcome
from service.domain.topics.tables import Topic
from service.kit import failpoints
from service.kit.signing import Keyring

SETTLED = "settled"  # in the facts of one that was cancelled or expired: the last position that has its outcome for sure


def start(
    session: Session,
    *,
    kind: str,
    topic: Topic,
    audience: dict[str, Any],
    contents: dict[str, int],
    content_hash: str,
    now: datetime,
    due_at: datetime,
    valid_until: datetime,
    local: tuple[str, str | None] | None = None,
    by: str,
) -> Mailing:
    """A mailing that the clock freezes from now on, chunk by chunk.

    `local`: the time of day at which each member gets it on their own clock, and the zone of whose is not known.
    """
    assert topic.id is not None
    mailing = mailings.new_mailing(
        kind=kind,
        mail_class=topic.mail_class,
        brand_id=topic.brand_id,
        state="freezing",
        now=now,
        valid_until=valid_until,
        topic_id=topic.id,
        due_at=due_at,
        audience=audience,
        content_hash=content_hash,
    )
    since = queries.words_since(session, topic, audience)
    facts: dict[str, Any] = {"wall_time": local[0], "zone": local[1] or "UTC"} if local else {}
    words = {queries.SINCE_VERSION: since} if since else {}
    mailing.facts = facts | words or None
    session.add(mailing)
    session.flush()
    assert mailing.id is not None
    for locale, version in contents.items():
        session.add(MailingContent(mailing_id=mailing.id, locale=locale, template_version_id=version))
    body = {"kind": kind, "topic": topic.slug, "content": content_hash, **words}
    ledger.append(session, "mailing.started", subject=mailing.public_id, body=body, by=by, now=now)
    return mailing


def pause(session: Session, mailing: Mailing, reason: str, *, now: datetime, by: str) -> None:
    """Nothing of it is claimed any more; the caller writes the entry that the senders heed."""
    if mailing.state not in ("freezing", "sending"):
        raise WrongState
    mailing.state, mailing.reason = "paused", reason
    session.add(mailing)


def resume(session: Session, mailing: Mailing, *, now: datetime, by: str) -> None:
    """Go on with who is left; nobody gets it twice, because outcomes are never taken back. Raises TimeRanOut where it may
    not leave any more: then `expire` ends it."""
    if mailing.state not in ("paused", "halted"):
        raise WrongState
    if mailing.valid_until <= now:
        raise TimeRanOut
    mailing.state, mailing.reason = ("freezing" if mailing.planned is None else "sending"), ""
    session.add(mailing)


def cancel(session: Session, mailing: Mailing, *, now: datetime, by: str) -> None:
    """Nobody else gets it; the clock then writes down who was left (`settle_ended`)."""
    if mailing.state not in ("freezing", "sending", "paused", "halted"):
        raise WrongState
    mailing.state = "cancelled"
    session.add(mailing)


def expire(session: Session, *, now: datetime) -> int:
    """Mailings whose time has run out end; who was left is written down by `settle_ended`."""
    over = col(Mailing.state).in_(["sending", "paused", "halted"]), col(Mailing.valid_until) <= now
    statement = select(Mailing).where(*over).order_by(col(Mailing.id))  # as everybody who holds several
    rows = session.scalars(for_update(session, statement)).all()
    for mailing in rows:
        mailing.state = "expired"
        session.add(mailing)
    return len(rows)


def settle_ended(session: Session, ring: Keyring, *, now: datetime, limit: int = rules.CHUNK) -> int:
    """Write the outcome of who was left when a mailing was cancelled or expired: the next `limit` positions, then its end.
    Returns 0 when there is nothing to do. How far it is stands with the mailing: each position is looked at once."""
    statement = (
        select(Mailing)
        .where(
            col(Mailing.state).in_(["cancelled", "expired"]),
            col(Mailing.finished_at).is_(None),
            ~select(col(Batch.id))
            .where(col(Batch.mailing_id) == col(Mailing.id), col(Batch.state) == "claimed")
            .exists(),
        )
        .limit(1)
    )
    mailing = session.scalars(for_update(session, statement, skip_locked=True)).first()
    if mailing is None or mailing.id is None:
        return 0
    done: int = (mailing.facts or {}).get(SETTLED, 0)
    if mailing.planned is None or done >= mailing.planned:  # None: its audience was never closed
        _finish(session, mailing, mailing.state, now=now)
        return 1
    last: int = min(done + limit, mailing.planned)
    _settle(session, ring, mailing, done + 1, last, now=now)
    mailing.facts = {**(mailing.facts or {}), SETTLED: last}
    session.add(mailing)
    return last - done


def _settle(
    session: Session, ring: Keyring, mailing: Mailing, first: int, last: int, *, now: datetime
) -> None:
    """The final outcome of everybody at these positions who has none, under its seal."""
    assert mailing.id is not None
    left = _without_final_outcome(session, mailing.id, first, last)
    doubts = queries.unknown_ends(session, mailing.id, [pos for pos, *_ in left])
    rows = [
        {
            "mailing_id": mailing.id,
            "pos": pos,
            "attempt": attempt + 1,
            "state": rules.after_doubt(mailing.state, doubts.get(pos, 0)),
            "reason": "",
            "warrant_seq": warrant,
            "at": now,
            "code": None,
            "reply": "",
            "final": True,
        }
        for pos, warrant, attempt in left
    ]
    if not rows:
        return
    insert_rows(session, Outcome, rows)
    number, domain = mailing.id, mailing_queries.domains(mailing, brands.by_id(session, mailing.brand_id)).ids
    sealed = seals.leaves(rows, lambda pos: message_id(ring.message_key, number, pos, domain))
    told = seals.body(sealed, seen=entries.tail(session)[0])
    seals.write(session, mailing.public_id, told, now=now)


def _without_final_outcome(
    session: Session, mailing_id: int, first: int, last: int
) -> list[tuple[int, int, int]]:
    """Who of these positions has no outcome or is to be tried again: position, warrant, attempts so far. Each table is read once
    between the two ends: joining them PostgreSQL would compare each with each while it has not counted this mailing's rows."""
    tried = (
        select(
            col(Outcome.pos),
            func.max(col(Outcome.attempt)),
            func.max(case((col(Outcome.final), 1), else_=0)),
        )
        .where(col(Outcome.mailing_id) == mailing_id, col(Outcome.pos).between(first, last))
        .group_by(col(Outcome.pos))
    )
    ends = {pos: (attempts, final) for pos, attempts, final in session.execute(tried)}
    members = (
        select(col(Audience.pos), col(Audience.warrant_seq))
        .where(col(Audience.mailing_id) == mailing_id, col(Audience.pos).between(first, last))
        .order_by(col(Audience.pos))
    )
    left = []
    for pos, warrant in session.execute(members):
        attempts, final = ends.get(pos, (0, 0))
        if not final:
            left.append((pos, warrant, attempts))
    return left


def _finish(session: Session, mailing: Mailing, state: str, *, now: datetime) -> None:
    assert mailing.id is not None
    if mailing.planned is None:
        session.connection().execute(delete(Audience).where(col(Audience.mailing_id) == mailing.id))
        mailing.planned = 0
    session.connection().execute(
        update(Batch)
        .where(col(Batch.mailing_id) == mailing.id, col(Batch.state) == "open")
        .values(state="closed")
    )
    mailing.state, mailing.finished_at = state, now
    session.add(mailing)
    counts = mailing_queries.outcome_counts(session, mailing.id)
    totals: dict[str, int] = {}
    for (outcome, _), people in counts.items():
        totals[outcome] = totals.get(outcome, 0) + people
    body = {"planned": mailing.planned, "outcomes": totals}
    ledger.append(session, f"mailing.{state}", subject=mailing.public_id, body=body, by=SYSTEM, now=now)
    failpoints.hit("finish.before_commit")


def finish(session: Session, *, now: datetime, limit: int = 50) -> int:
    """Mailings with nothing left to do become `sent`, computed from their rows; figures that do not add up halt them."""
    still_open = (
        select(col(Batch.id))
        .where(col(Batch.mailing_id) == col(Mailing.id), col(Batch.state) != "closed")
        .exists()
    )
    statement = (
        select(Mailing)
        .where(col(Mailing.state) == "sending", ~still_open)
        .order_by(col(Mailing.id))
        .limit(limit)
    )
    done = session.scalars(for_update(session, statement, skip_locked=True)).all()
    for mailing in done:
        assert mailing.id is not None
        counts = mailing_queries.outcome_counts(session, mailing.id)
        final = sum(people for (state, _), people in counts.items() if state != "deferred")
        if final == mailing.planned:
            _finish(session, mailing, "sent", now=now)
        else:
            halt(session, mailing, "outcomes_do_not_add_up", now=now)
    return len(done)
