"""API keys and the answers kept for idempotent repeats."""

from datetime import datetime
from typing import Any

from sqlalchemy import Text
from sqlmodel import Field, SQLModel

from service.db.types import json_column


class ApiKey(SQLModel, table=True):
    """One key: what it may do (`scopes`), whose people it speaks of (`source`), which topics it may touch
    (null: all).
    """

    __tablename__ = "api_key"

    id: int | None = Field(default=None, primary_key=True)
    public_id: str = Field(max_length=40, unique=True)
    name: str = Field(max_length=120)
    source: str = Field(max_length=60, index=True)
    prefix: str = Field(max_length=16)
    key_hash: str = Field(max_length=64, unique=True)
    scopes: Any = Field(sa_column=json_column())
    topics: Any = Field(default=None, sa_column=json_column(nullable=True))
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None


class IdempotentAnswer(SQLModel, table=True):
    """The answer given to one Idempotency-Key, kept 30 days; `body_hash` tells a repeat from a new one."""

    __tablename__ = "idempotent_answer"

    api_key_id: int = Field(foreign_key="api_key.id", primary_key=True)
    key: str = Field(primary_key=True, max_length=200)
    body_hash: str = Field(max_length=64)
    status: int | None = None
    answer: str = Field(default="", sa_type=Text)
    at: datetime
