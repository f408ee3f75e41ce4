"""Putting an address on the do-not-mail list, and lifting what only its owner may lift."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from sqlmodel import Session, col, select

from service.db.locks import lock_ledger_tail
from service.domain.ledger import actions as ledger
from service.domain.ledger import queries as entries
from service.domain.suppressions import rules
from service.domain.suppressions.tables import Suppression
from service.domain.topics.tables import Topic


def add(
    session: Session,
    address_hash: str,
    *,
    scope: str,
    cause: str,
    origin: str,
    subject: str | None,
    now: datetime,
    by: str,
    topic_id: int | None = None,
    reason: str = "",
) -> Suppression | None:
    """Suppress an address in a scope; None when it already was, for this cause. `reason`: the ground, where staff wrote it down."""
    lock_ledger_tail(session)  # two who say it at once say it once
    present = select(Suppression).where(
        col(Suppression.address_hash) == address_hash,
        col(Suppression.scope) == scope,
        col(Suppression.cause) == cause,
        col(Suppression.topic_id).is_(None) if topic_id is None else col(Suppression.topic_id) == topic_id,
        col(Suppression.lifted_at).is_(None),
    )
    if session.exec(present).first():
        return None
    body = {"address_hash": address_hash, "scope": scope, "cause": cause, "origin": origin}
    body |= _concerning(session, topic_id) | ({"reason": reason} if reason else {})
    seq = ledger.append(session, "suppression.added", subject=subject, body=body, by=by, now=now)
    row = Suppression(
        address_hash=address_hash,
        scope=scope,
        topic_id=topic_id,
        cause=cause,
        origin=origin,
        since_at=now,
        source_seq=seq,
    )
    session.add(row)
    return row


def take_along(
    session: Session, old_hash: str, new_hash: str, *, subject: str, owned: bool, now: datetime, by: str
) -> None:
    """Somebody moves to another mailbox: what they said themselves goes along, what concerns the mailbox (dead, or erased) stays.

    `owned`: the old mailbox was surely theirs; else only what was written down under `subject` is. What a restored copy holds
    against a mailbox, because it does not know who is there now, stays as well.
    """
    statement = select(Suppression).where(
        col(Suppression.address_hash) == old_hash,
        col(Suppression.cause).in_(rules.OWN),
        col(Suppression.lifted_at).is_(None),
    )
    for row in session.exec(statement).all():
        said = entries.entry(session, row.source_seq)
        theirs = owned or (said is not None and said.subject == subject)
        if theirs and (row.cause, row.origin) != ("withdrawal", "restore"):
            add(
                session,
                new_hash,
                scope=row.scope,
                cause=row.cause,
                origin="moved",
                subject=subject,
                topic_id=row.topic_id,
                now=now,
                by=by,
            )


def lift(
    session: Session,
    address_hash: str,
    *,
    causes: tuple[str, ...],
    subject: str | None,
    now: datetime,
    by: str,
    topic_ids: Collection[int] | None = None,
    others: Mapping[int, str] = MappingProxyType({}),
    marketing: bool = True,
    reason: str = "",
) -> int:
    """Lift what is in force for these causes, because the owner of the mailbox confirmed anew; how many were lifted.

    `topic_ids`: of what concerns one topic only these; None means any. `others` (topic → mail class) were not confirmed: a no that
    reached over them, too, is narrowed to each of them. `marketing`: False where nothing of it was confirmed, so that a no to all of
    it stands, for what there will be as well.
    """
    lock_ledger_tail(session)
    statement = select(Suppression).where(
        col(Suppression.address_hash) == address_hash,
        col(Suppression.cause).in_(causes),
        col(Suppression.lifted_at).is_(None),
    )
    rows = [
        row
        for row in session.exec(statement)
        if (row.topic_id is None or topic_ids is None or row.topic_id in topic_ids)
        and (marketing or row.scope != "marketing" or row.cause not in rules.OWN)
    ]
    for row in rows:
        row.lifted_at = now
        session.add(row)
        body = {"address_hash": address_hash, "scope": row.scope, "cause": row.cause}
        body |= _concerning(session, row.topic_id) | ({"reason": reason} if reason else {})
        ledger.append(session, "suppression.lifted", subject=subject, body=body, by=by, now=now)
        for scope, topic_id, cause in _still_refused(row, others, marketing):
            add(
                session,
                address_hash,
                scope=scope,
                cause=cause,
                origin=row.origin,
                subject=subject,
                topic_id=topic_id,
                now=now,
                by=by,
            )
    return len(rows)


def note_look(session: Session, shown: Sequence[Suppression], *, now: datetime, by: str) -> None:
    """Somebody looked an address up, and was shown what stands for it: by the entries it rests on, for a keyed hash would say of
    which address (standards K8)."""
    body = {"entries": sorted(one.source_seq for one in shown)}
    ledger.append(session, "suppression.viewed", subject=None, body=body, by=by, now=now)


def _still_refused(
    row: Suppression, others: Mapping[int, str], marketing: bool
) -> list[tuple[str, int | None, str]]:
    """What a lifted no was about as well: scope, topic, cause."""
    if row.topic_id is not None or row.cause not in rules.OWN:
        return []
    advertising = [] if marketing else [("marketing", None, row.cause)]
    concerned = {
        topic_id: kind for topic_id, kind in others.items() if row.scope == "all" or kind == "marketing"
    }
    each = [topic_id for topic_id, kind in concerned.items() if marketing or kind != "marketing"]
    return [*advertising, *(("topic", topic_id, "withdrawal") for topic_id in each)]


def _concerning(session: Session, topic_id: int | None) -> dict[str, str]:
    """The topic, where it is about one: a restored copy hears of it from the entry alone."""
    topic = session.get(Topic, topic_id) if topic_id else None
    return {"topic": topic.slug} if topic else {}
