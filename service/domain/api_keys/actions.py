"""Making and revoking keys, and keeping the answers of requests that carry an Idempotency-Key."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import update
from sqlmodel import Session, col

from service.db.bulk import delete_some
from service.db.locks import insert_or_skip
from service.domain.api_keys import queries, rules
from service.domain.api_keys.tables import ApiKey, IdempotentAnswer
from service.domain.ledger import actions as ledger
from service.kit.ids import new_id


@dataclass(frozen=True)
class Created:
    """A new key, and its text, which is shown once and stored nowhere."""

    key: ApiKey
    plaintext: str


@dataclass(frozen=True)
class Answer:
    """What was answered to the first of several equal requests."""

    status: int
    text: str


def create(
    session: Session,
    *,
    name: str,
    source: str,
    scopes: Iterable[str],
    topics: list[str] | None = None,
    expires_at: datetime | None = None,
    now: datetime,
    by: str,
) -> Created:
    """Make a key; `topics` are the slugs it may touch (None: all). Raises `ScopeUnknown`, `KeyNameInvalid`,
    `SourceInvalid`, `SourceReserved`.
    """
    plaintext = rules.PREFIX + secrets.token_urlsafe(32)
    key = ApiKey(
        public_id=new_id("k"),
        name=rules.check_name(name),
        source=rules.check_source(source),
        prefix=plaintext[:8],
        key_hash=rules.key_hash(plaintext),
        scopes=rules.expand(scopes),
        topics=topics,
        created_at=now,
        expires_at=expires_at,
    )
    session.add(key)
    session.flush()
    body = {"name": key.name, "source": key.source, "scopes": key.scopes, "topics": topics}
    ledger.append(session, "api_key.created", subject=key.public_id, body=body, by=by, now=now)
    return Created(key, plaintext)


def revoke(session: Session, public_id: str, *, now: datetime, by: str) -> None:
    """End a key for good; nothing happens when it has ended already. Raises `KeyUnknown`."""
    key = queries.by_public_id(session, public_id)
    if key.revoked_at is not None:
        return
    key.revoked_at = now
    session.flush()
    ledger.append(session, "api_key.revoked", subject=public_id, body={}, by=by, now=now)


def touch(session: Session, key_id: int, *, now: datetime) -> None:
    """Note that a key was used; the door calls it when `queries.wants_touch` says so."""
    session.connection().execute(update(ApiKey).where(col(ApiKey.id) == key_id).values(last_used_at=now))


def replay(
    session: Session, key_id: int, idempotency_key: str, body_hash: str, *, now: datetime
) -> Answer | None:
    """The answer to give again, or None: then the key is reserved, do the work and `remember` in this
    transaction.

    Called first in the transaction. Of equal requests at once, the others wait here for the first one's
    commit (H51). Raises `IdempotencyKeyReused` for another request under the same key, and
    `IdempotencyKeyInvalid`.
    """
    key = rules.check_idempotency_key(idempotency_key)
    row = {"api_key_id": key_id, "key": key, "body_hash": body_hash, "status": None, "answer": "", "at": now}
    insert = insert_or_skip(session, IdempotentAnswer, ["api_key_id", "key"]).values(row)
    if session.connection().execute(insert.returning(col(IdempotentAnswer.key))).first() is not None:
        return None
    known = session.get_one(IdempotentAnswer, (key_id, key))
    if known.body_hash != body_hash or known.status is None:
        raise rules.IdempotencyKeyReused(field="Idempotency-Key")
    return Answer(known.status, known.answer)


def remember(session: Session, key_id: int, idempotency_key: str, *, status: int, text: str) -> None:
    """Keep the answer for a later repeat; in the transaction that did the work."""
    own = (col(IdempotentAnswer.api_key_id) == key_id, col(IdempotentAnswer.key) == idempotency_key)
    session.connection().execute(update(IdempotentAnswer).where(*own).values(status=status, answer=text))


def forget_answers(session: Session, *, now: datetime) -> int:
    """Delete answers older than 30 days, a few hundred at most; returns how many."""
    return sum(delete_some(session, table, when) for table, when in queries.over(now))
