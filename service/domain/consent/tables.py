"""Consent records and the confirmations that are still waited for."""

from datetime import datetime
from typing import Any

from sqlalchemy import Column, LargeBinary
from sqlmodel import Field, SQLModel

from service.db.types import BIG, json_column


class Consent(SQLModel, table=True):
    """The record of one person and one topic: which words, which policy, which basis; its events are in the ledger."""

    __tablename__ = "consent"

    person_id: int = Field(foreign_key="person.id", primary_key=True)
    topic_id: int = Field(foreign_key="topic.id", primary_key=True)
    record_id: str = Field(max_length=40, unique=True)
    basis: str = Field(max_length=20)
    wording_id: int | None = Field(default=None, foreign_key="wording.id")
    policy_version_id: int | None = Field(default=None, foreign_key="policy_version.id")
    source: str = Field(default="", max_length=120)
    valid_until: datetime | None = None
    changed_at: datetime


class EvidenceKey(SQLModel, table=True):
    """The key of one day's whole network addresses, under the house key. `id` is the day's number (proleptic Gregorian ordinal)."""

    __tablename__ = "evidence_key"

    id: int | None = Field(default=None, primary_key=True)
    sealed: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class Confirmation(SQLModel, table=True):
    """A confirmation mail sent: what its button will make true, until when. Found by the mailing its link names."""

    __tablename__ = "confirmation"

    mailing_id: int = Field(foreign_key="mailing.id", primary_key=True)
    person_id: int = Field(foreign_key="person.id", index=True)
    address_id: int = Field(foreign_key="address.id", index=True)
    topics: Any = Field(
        sa_column=json_column()
    )  # [{"topic": id, "wording": id, "policy": id, "source": "…", "asked": seq, "overtaken": true}]
    requested_seq: int = Field(sa_column=Column(BIG, nullable=False))
    created_at: datetime
    expires_at: datetime
    confirmed_at: datetime | None = None
