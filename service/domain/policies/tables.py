"""Policies and their versions, and the versions of what is done with people's data."""

from datetime import datetime

from sqlalchemy import Column, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from service.db.types import BIG


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


class ProcessingProfile(SQLModel, table=True):
    """What was done with people's data from an entry of the ledger on: by whom, which data, where, how long (ISO/IEC TS 27560).
    Never changed afterwards; shared by every consent of its time."""

    __tablename__ = "processing_profile"

    version: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    body: str = Field(sa_type=Text)  # canonical JSON, as `ops.processing.profile` makes it
    sha256: str = Field(max_length=64)  # of the body
    # Its publication in the ledger: what was said after that entry was said under it.
    entry_seq: int = Field(sa_column=Column(BIG, nullable=False, unique=True))
    published_at: datetime
