"""What links leave behind: used one-time links and undo values."""

from datetime import datetime
from typing import Any

from sqlmodel import Field, SQLModel

from service.db.types import json_column


class LinkUse(SQLModel, table=True):
    """A link that works once (sign-in), used. The link itself names mailing and position."""

    __tablename__ = "link_use"

    mailing_alias: str = Field(primary_key=True, max_length=20)
    position: int = Field(primary_key=True)
    purpose: int = Field(primary_key=True)
    used_at: datetime


class Undo(SQLModel, table=True):
    """A one-time value given only in the answer to the POST that stopped; what it would bring back."""

    __tablename__ = "undo"

    value_hash: str = Field(primary_key=True, max_length=64)
    person_id: int = Field(foreign_key="person.id", index=True)
    before: Any = Field(sa_column=json_column())
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None = None
