"""Notices."""

from datetime import datetime
from typing import Any

from sqlmodel import Field, SQLModel

from service.db.types import json_column


class Notice(SQLModel, table=True):
    """One notice. Publishing puts it on the changelog; `mail` sends it once. A later edit corrects the page only."""

    __tablename__ = "notice"

    id: int | None = Field(default=None, primary_key=True)
    public_id: str = Field(max_length=40, unique=True)
    slug: str = Field(max_length=120, unique=True)
    topic_id: int = Field(foreign_key="topic.id")
    template: str = Field(default="small-update", max_length=60)
    content: Any = Field(sa_column=json_column())  # {"en": {"title", "preheader", "body"}}
    default_locale: str = Field(max_length=20)
    audience: Any = Field(sa_column=json_column())
    mail: bool = False
    state: str = Field(default="draft", max_length=12)  # draft | published | cancelled
    content_hash: str = Field(max_length=64)
    author: str = Field(max_length=60)
    mailing_id: int | None = Field(default=None, foreign_key="mailing.id", index=True)
    created_at: datetime
    changed_at: datetime
    published_at: datetime | None = None
    corrected_at: datetime | None = None
