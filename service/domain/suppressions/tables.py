"""Suppressions."""

from datetime import datetime

from sqlalchemy import CheckConstraint, Column, Index
from sqlmodel import Field, SQLModel

from service.db.types import BIG


class Suppression(SQLModel, table=True):
    """An address, as keyed hash, that must not be written to in `scope`. Lifted rows stay as history."""

    __tablename__ = "suppression"
    __table_args__ = (
        CheckConstraint("scope IN ('all','marketing','topic')", name="scope"),
        Index("ix_suppression_live", "address_hash", "lifted_at"),
    )

    id: int | None = Field(default=None, primary_key=True)
    address_hash: str = Field(max_length=64)
    scope: str = Field(max_length=10)
    topic_id: int | None = Field(default=None, foreign_key="topic.id")
    cause: str = Field(max_length=20)  # one of `rules.CAUSES`
    origin: str = Field(default="", max_length=60)
    since_at: datetime
    source_seq: int = Field(sa_column=Column(BIG, nullable=False))
    lifted_at: datetime | None = None
