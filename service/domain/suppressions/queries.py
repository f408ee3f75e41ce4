"""Reading the do-not-mail list."""

from sqlalchemy import ColumnElement, exists
from sqlalchemy.orm import Mapped
from sqlmodel import Session, col, select

from service.db.bulk import among
from service.domain.suppressions import rules
from service.domain.suppressions.tables import Suppression
from service.kit import paging

_IN_FORCE = select(Suppression).where(
    among(col(Suppression.address_hash), "hashes"), col(Suppression.lifted_at).is_(None)
)
_BY_CAUSE = _IN_FORCE.where(among(col(Suppression.cause), "causes"))


def live_for(session: Session, hashes: list[str]) -> dict[str, list[Suppression]]:
    """What is in force for these keyed hashes of addresses."""
    found: dict[str, list[Suppression]] = {}
    for row in session.exec(_IN_FORCE, params={"hashes": hashes}):
        found.setdefault(row.address_hash, []).append(row)
    return found


def page(
    session: Session, *, after: str | None, limit: int | None, cause: str | None = None
) -> paging.Page[Suppression]:
    """What is in force, newest first; for one cause, or for any. Raises `CursorInvalid`."""
    key, size = paging.decode(after), paging.size(limit)
    statement = select(Suppression).where(col(Suppression.lifted_at).is_(None))
    if cause:
        statement = statement.where(col(Suppression.cause) == cause)
    if isinstance(key, int):
        statement = statement.where(col(Suppression.id) < key)
    rows = session.exec(statement.order_by(col(Suppression.id).desc()).limit(size + 1)).all()
    return paging.Page(rows[:size], paging.encode(rows[size - 1].id or 0) if len(rows) > size else None)


def with_cause(session: Session, hashes: list[str], cause: str) -> set[str]:
    """Which of these have something in force for one cause."""
    found = session.exec(_BY_CAUSE, params={"hashes": hashes, "causes": [cause]})
    return {row.address_hash for row in found}


def applies(
    address_hash: ColumnElement[str] | Mapped[str],
    topic_id: int,
    mail_class: str,
    causes: tuple[str, ...] = (),
) -> ColumnElement[bool]:
    """SQL: is anything in force that stops mail of this topic to that address? `causes` narrows; none means any."""
    scopes = col(Suppression.scope) == "all"
    if mail_class != "service":
        scopes |= (col(Suppression.scope) == "topic") & (col(Suppression.topic_id) == topic_id)
    if mail_class == "marketing":
        scopes |= col(Suppression.scope) == "marketing"
    found = exists().where(
        col(Suppression.address_hash) == address_hash, col(Suppression.lifted_at).is_(None), scopes
    )
    return found.where(col(Suppression.cause).in_(causes)) if causes else found


def withdrawn(session: Session, hashes: list[str], topic_ids: list[int]) -> set[tuple[str, int]]:
    """(keyed hash, topic) of mailboxes whose owners said a no of their own, as far as the do-not-mail list knows it."""
    return {
        (row.address_hash, topic_id)
        for row in session.exec(_BY_CAUSE, params={"hashes": hashes, "causes": list(rules.OWN)})
        for topic_id in ([row.topic_id] if row.topic_id else topic_ids)
    }


def scopes_for(rows: list[Suppression], topic_id: int, mail_class: str) -> frozenset[tuple[str, str]]:
    """The same question in memory: (scope, cause) of what concerns this topic."""
    concerned = set()
    for row in rows:
        if (
            row.scope == "all"
            or (row.scope == "topic" and row.topic_id == topic_id)
            or (row.scope == "marketing" and mail_class == "marketing")
        ):
            concerned.add((row.scope, row.cause))
    return frozenset(concerned)
