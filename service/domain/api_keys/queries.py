"""Finding a key by what was sent, and listing keys."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, select

from service.domain.api_keys import rules
from service.domain.api_keys.tables import ApiKey, IdempotentAnswer

TOUCH_EVERY = timedelta(minutes=1)
ANSWERS_LIVE = timedelta(days=30)


def by_plaintext(session: Session, text: str, *, now: datetime) -> ApiKey | None:
    """The key that was sent, or None: unknown, revoked or expired. Found by its hash, so that time tells
    nothing.
    """
    if not text.startswith(rules.PREFIX) or len(text) > 200:
        return None
    key = session.exec(select(ApiKey).where(col(ApiKey.key_hash) == rules.key_hash(text))).first()
    if key is None or key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now):
        return None
    return key


def by_public_id(session: Session, public_id: str) -> ApiKey:
    """One key by its id. Raises `KeyUnknown`."""
    key = session.exec(select(ApiKey).where(col(ApiKey.public_id) == public_id)).first()
    if key is None:
        raise rules.KeyUnknown
    return key


def everyone(session: Session) -> list[ApiKey]:
    """Every key ever made, newest first."""
    return list(session.exec(select(ApiKey).order_by(col(ApiKey.id).desc())))


def wants_touch(key: ApiKey, *, now: datetime) -> bool:
    """Whether the use of this key should be noted (at most once a minute)."""
    return key.last_used_at is None or now - key.last_used_at >= TOUCH_EVERY


def over(now: datetime) -> list[tuple[Any, ColumnElement[bool]]]:
    """Answers that a site's repeated request gets no more, as (table, which rows)."""
    return [(IdempotentAnswer, col(IdempotentAnswer.at) < now - ANSWERS_LIVE)]
