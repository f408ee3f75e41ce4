"""Putting an address on the do-not-mail list, and lifting what only its owner may lift."""

from datetime import datetime

from sqlmodel import Session, col, select

from service.domain.ledger import actions as ledger
from service.domain.suppressions.tables import Suppression


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
) -> Suppression | None:
    """Suppress an address in a scope; None when it already was, for this cause."""
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


def lift(
    session: Session,
    address_hash: str,
    *,
    causes: tuple[str, ...],
    subject: str | None,
    now: datetime,
    by: str,
) -> int:
    """Lift what is in force for these causes, because the owner of the mailbox confirmed anew; how many were lifted."""
    statement = select(Suppression).where(
        col(Suppression.address_hash) == address_hash,
        col(Suppression.cause).in_(causes),
        col(Suppression.lifted_at).is_(None),
    )
    rows = session.exec(statement).all()
    for row in rows:
        row.lifted_at = now
        session.add(row)
        body = {"address_hash": address_hash, "scope": row.scope, "cause": row.cause}
        ledger.append(session, "suppression.lifted", subject=subject, body=body, by=by, now=now)
    return len(rows)
