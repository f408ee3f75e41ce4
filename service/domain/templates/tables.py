"""Compiled, immutable versions of what mails say."""

from datetime import datetime
from typing import Any

from sqlalchemy import Text
from sqlmodel import Field, SQLModel

from service.db.types import json_column


class TemplateVersion(SQLModel, table=True):
    """One compiled mail: Jinja sources of subject, HTML and text, with its fields. Same content, same row."""

    __tablename__ = "template_version"

    id: int | None = Field(default=None, primary_key=True)
    sha256: str = Field(max_length=64, unique=True)
    starter: str = Field(max_length=60)
    locale: str = Field(max_length=20)
    mail_class: str = Field(max_length=20)
    subject: str = Field(sa_type=Text)
    preheader: str = Field(sa_type=Text)
    html: str = Field(sa_type=Text)
    text: str = Field(sa_type=Text)
    fields: Any = Field(sa_column=json_column())
    created_at: datetime


class Media(SQLModel, table=True):
    """A picture used in mails, kept while a mail may be read; its name is its hash."""

    __tablename__ = "media"

    sha256: str = Field(primary_key=True, max_length=64)
    extension: str = Field(max_length=5)
    content: bytes
    width: int
    height: int
    created_at: datetime
