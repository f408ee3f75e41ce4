"""Brands, their DKIM keys, and settings."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Column, Index, LargeBinary, Text, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from service.db.types import json_column


class Brand(SQLModel, table=True):
    """The face of a sender. A marketing mail without a postal address does not render."""

    __tablename__ = "brand"

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(max_length=60, unique=True)
    title: str = Field(max_length=120)
    postal_address: str = Field(default="", sa_type=Text)
    from_domain: str = Field(max_length=255)
    reply_to: str = Field(default="", max_length=320)
    bounce_domain: str = Field(default="", max_length=255)
    public_url: str = Field(default="", max_length=255)
    logo_url: str = Field(default="", max_length=500)
    colour: str = Field(default="#0B6B5D", max_length=7)


_SIGNING = "state = 'signing'"


class DkimKey(SQLModel, table=True):
    """A key that signs a brand's mail. `published`: its record stands in DNS, because it will sign or mail it signed is
    still under way. Retired, its private half is gone for good.

    `domain` is the brand's From domain when the key was made: it signs for that one only.
    """

    __tablename__ = "dkim_key"
    __table_args__ = (
        CheckConstraint("state IN ('published','signing','retired')", name="state"),
        UniqueConstraint("domain", "selector"),
        Index(
            "uq_dkim_key_signing",
            "brand_id",
            unique=True,
            sqlite_where=text(_SIGNING),
            postgresql_where=text(_SIGNING),
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    brand_id: int = Field(foreign_key="brand.id", index=True)
    domain: str = Field(max_length=255)
    selector: str = Field(max_length=63)
    state: str = Field(default="published", max_length=10)
    public: str = Field(sa_type=Text)  # as the record's p= holds it
    sealed: bytes | None = Field(default=None, sa_column=Column(LargeBinary, nullable=True))
    created_at: datetime
    began_at: datetime | None = None  # when it last began to sign
    ended_at: datetime | None = None  # when it last ceased to
    retired_at: datetime | None = None


class Setting(SQLModel, table=True):
    """One setting of the installation, by name; the known names and their defaults stand in `rules`."""

    __tablename__ = "setting"

    name: str = Field(primary_key=True, max_length=60)
    value: Any = Field(sa_column=json_column())
    changed_at: datetime
