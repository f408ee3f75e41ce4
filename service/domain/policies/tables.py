"""Policies and their versions."""

from datetime import datetime

from sqlalchemy import Text, UniqueConstraint
from sqlmodel import Field, SQLModel


class Policy(SQLModel, table=True):
    """One document, by slug."""

    __tablename__ = "policy"

    id: int | None = Field(default=None, primary_key=True)
    slug: str = Field(max_length=60, unique=True)
    title: str = Field(max_length=200)


class PolicyVersion(SQLModel, table=True):
    """One published text; never changed afterwards."""

    __tablename__ = "policy_version"
    __table_args__ = (UniqueConstraint("policy_id", "version", "locale"),)

    id: int | None = Field(default=None, primary_key=True)
    policy_id: int = Field(foreign_key="policy.id")
    version: int
    locale: str = Field(max_length=20)
    title: str = Field(max_length=200)
    body: str = Field(sa_type=Text)
    sha256: str = Field(max_length=64)
    published_at: datetime
    effective_at: datetime
