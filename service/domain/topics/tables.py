"""Topics and wordings."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Column, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from service.db.types import BIG, json_column


class Topic(SQLModel, table=True):
    """A subject of mail. Retired, never deleted: its stop links live for ever."""

    __tablename__ = "topic"
    __table_args__ = (
        CheckConstraint("mail_class IN ('marketing','notice','service')", name="mail_class"),
        CheckConstraint("basis IN ('consent','soft_opt_in','contract','legal_obligation')", name="basis"),
    )

    id: int | None = Field(default=None, primary_key=True)
    alias: int = Field(sa_column=Column(BIG, nullable=False, unique=True))
    slug: str = Field(max_length=60, unique=True)
    brand_id: int = Field(foreign_key="brand.id")
    basis: str = Field(max_length=20)
    mail_class: str = Field(max_length=20)
    visibility: str = Field(default="public", max_length=10)  # public | private
    cadences: Any = Field(sa_column=json_column())  # ["each"] until digests exist
    double_opt_in: bool = True
    mailbox: str = Field(max_length=64)  # local part of From
    state: str = Field(default="active", max_length=10)  # active | retired
    position: int = 0
    since_version: int = 0  # its words since the last material change; 0: any words cover what it mails


class Wording(SQLModel, table=True):
    """The text a person sees when agreeing, with its hash; never changed afterwards."""

    __tablename__ = "wording"
    __table_args__ = (UniqueConstraint("topic_id", "version", "locale"),)

    id: int | None = Field(default=None, primary_key=True)
    public_id: str = Field(max_length=120, unique=True)  # new-products-v1-en
    topic_id: int = Field(foreign_key="topic.id")
    version: int
    locale: str = Field(max_length=20)
    title: str = Field(max_length=120)  # New products
    frequency: str = Field(max_length=120)  # Launches, about two a month
    text: str = Field(sa_type=Text)  # Send me news about new products, …
    sha256: str = Field(max_length=64)
    material: bool = False  # says more or other than the version before: a yes to that one does not cover it
    published_at: datetime
