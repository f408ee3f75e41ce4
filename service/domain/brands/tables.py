"""Brands and settings."""

from datetime import datetime
from typing import Any

from sqlalchemy import Text
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


class Setting(SQLModel, table=True):
    """One setting of the installation, by name; the known names and their defaults stand in `rules`."""

    __tablename__ = "setting"

    name: str = Field(primary_key=True, max_length=60)
    value: Any = Field(sa_column=json_column())
    changed_at: datetime
