"""Announcements."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Index
from sqlmodel import Field, SQLModel

from service.db.types import json_column


class Announcement(SQLModel, table=True):
    """One announcement. `content_hash` covers everything a reader will see and whom it goes to."""

    __tablename__ = "announcement"
    __table_args__ = (
        CheckConstraint(
            "state IN ('draft','in_review','approved','scheduled','freezing','sending','paused','sent','cancelled','expired','halted')",
            name="state",
        ),
        Index("ix_announcement_due", "state", "due_at"),
    )

    id: int | None = Field(default=None, primary_key=True)
    public_id: str = Field(max_length=40, unique=True)
    topic_id: int = Field(foreign_key="topic.id")
    template: str = Field(max_length=60)
    content: Any = Field(sa_column=json_column())  # {"en": {"subject", "preheader", "body"}}
    default_locale: str = Field(max_length=20)
    audience: Any = Field(sa_column=json_column())
    state: str = Field(default="draft", max_length=12)
    reason: str = Field(default="", max_length=40)
    content_hash: str = Field(max_length=64)
    approved_hash: str | None = Field(default=None, max_length=64)
    approved_by: str | None = Field(default=None, max_length=60)
    approved_at: datetime | None = None
    author: str = Field(max_length=60)
    due_at: datetime | None = None
    zone: str | None = Field(default=None, max_length=60)
    wall_time: str | None = Field(default=None, max_length=30)
    hold_until: datetime | None = None
    valid_until: datetime | None = None
    mailing_id: int | None = Field(default=None, foreign_key="mailing.id", index=True)
    created_at: datetime
    changed_at: datetime
