"""Address, and mailing → audience → batch → outcome (design.md 4). Outcomes are inserted, never changed."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Text,
    UniqueConstraint,
    text,
)
from sqlmodel import Field, SQLModel

from service.db.types import BIG, json_column

_LIVE = "owner_kind = 'person' AND confirmed_at IS NOT NULL AND ended_at IS NULL"
FINAL = ("sent", "bounced", "skipped", "cancelled", "expired", "unknown")


class Address(SQLModel, table=True):
    """An e-mail address: sealed text, keyed hash for exact look-up. A changed one ends; it is never overwritten."""

    __tablename__ = "address"
    __table_args__ = (
        CheckConstraint("owner_kind IN ('person','staff','visitor')", name="owner_kind"),
        Index(
            "uq_address_live",
            "address_hash",
            unique=True,
            sqlite_where=text(_LIVE),
            postgresql_where=text(_LIVE),
        ),
        Index("ix_address_owner", "owner_id", "owner_kind"),
        Index("ix_address_hash", "address_hash"),
    )

    id: int | None = Field(default=None, primary_key=True)
    owner_kind: str = Field(max_length=10)
    owner_id: int | None = None
    sealed: bytes | None = Field(default=None, sa_column=Column(LargeBinary, nullable=True))
    address_hash: str = Field(max_length=64)
    attested: bool = False  # a site under contract gave it: enough for service mail, never for marketing
    created_at: datetime
    confirmed_at: datetime | None = None
    ended_at: datetime | None = None


class Mailing(SQLModel, table=True):
    """One send: an announcement, a notice, a test, or a single system mail. `alias` stands in its links."""

    __tablename__ = "mailing"
    __table_args__ = (
        CheckConstraint(
            "state IN ('scheduled','freezing','sending','paused','sent','cancelled','expired','halted')",
            name="state",
        ),
        Index("ix_mailing_open", "state", "due_at"),
    )

    id: int | None = Field(default=None, primary_key=True)
    alias: int = Field(sa_column=Column(BIG, nullable=False, unique=True))
    public_id: str = Field(max_length=40, unique=True)
    kind: str = Field(max_length=20)  # announcement | notice | system | test
    purpose: str = Field(default="", max_length=40)  # of a system mail: confirm, sign_in, …
    mail_class: str = Field(max_length=20)  # marketing | notice | service | system
    topic_id: int | None = Field(default=None, foreign_key="topic.id", index=True)
    brand_id: int = Field(foreign_key="brand.id")
    state: str = Field(max_length=12)
    reason: str = Field(default="", max_length=40)
    unknown_rule: str = Field(default="at_most_once", max_length=20)
    audience: Any = Field(default=None, sa_column=json_column(nullable=True))
    content_hash: str = Field(default="", max_length=64)
    facts: Any = Field(
        default=None, sa_column=json_column(nullable=True)
    )  # of a system mail: what its text needs, no personal matter
    planned: int | None = None
    due_at: datetime
    valid_until: datetime
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None


class MailingContent(SQLModel, table=True):
    """The frozen text of a mailing per locale."""

    __tablename__ = "mailing_content"

    mailing_id: int = Field(foreign_key="mailing.id", primary_key=True)
    locale: str = Field(primary_key=True, max_length=20)
    template_version_id: int = Field(foreign_key="template_version.id")


class Audience(SQLModel, table=True):
    """One member of a frozen audience, with the entry that permitted it at the freeze."""

    __tablename__ = "audience"
    __table_args__ = (UniqueConstraint("mailing_id", "address_id"),)

    mailing_id: int = Field(sa_column=Column(Integer, ForeignKey("mailing.id"), primary_key=True))
    pos: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    address_id: int
    person_id: int | None = Field(default=None, index=True)
    locale: str = Field(default="en", max_length=20)
    warrant_seq: int = Field(sa_column=Column(BIG, nullable=False))
    due_at: datetime


class Exclusion(SQLModel, table=True):
    """How many people a freeze left out, by reason."""

    __tablename__ = "exclusion"

    mailing_id: int = Field(foreign_key="mailing.id", primary_key=True)
    reason: str = Field(primary_key=True, max_length=40)
    people: int


class Batch(SQLModel, table=True):
    """The unit of every claim: a range of positions, or listed ones on a retry. `token` names its holder's claim."""

    __tablename__ = "batch"
    __table_args__ = (
        Index("ix_batch_due", "state", "due_at"),
        Index("ix_batch_mailing", "mailing_id", "state"),
    )

    id: int | None = Field(default=None, primary_key=True)
    mailing_id: int = Field(foreign_key="mailing.id")
    first_pos: int
    last_pos: int
    positions: Any = Field(
        default=None, sa_column=json_column(nullable=True)
    )  # of a retry: [[pos, attempt], …]
    due_at: datetime
    reason: str = Field(default="", max_length=40)  # why it waits, when that is not the schedule or a refusal
    state: str = Field(default="open", max_length=10)  # open | claimed | closed
    token: str | None = Field(default=None, max_length=40)
    sender_id: int | None = Field(default=None, foreign_key="sender.id")
    claimed_at: datetime | None = None
    # What was taken away up to this entry, the claim has heeded.
    claimed_seq: int | None = Field(default=None, sa_column=Column(BIG, nullable=True))
    warrants: bytes | None = Field(default=None, sa_column=Column(LargeBinary, nullable=True))
    closed_at: datetime | None = None
    root: str | None = Field(default=None, max_length=64)


class WarmUpDay(SQLModel, table=True):
    """How many letters of a day's warm-up amount the senders have taken, all together."""

    __tablename__ = "warm_up_day"

    on: date = Field(primary_key=True)
    taken: int = 0


class Outcome(SQLModel, table=True):
    """What became of one attempt. The highest attempt is the member's state; at most one row per member says sent."""

    __tablename__ = "outcome"
    __table_args__ = (
        CheckConstraint(
            "state IN ('sent','bounced','skipped','cancelled','expired','unknown','deferred')", name="state"
        ),
        Index(
            "uq_outcome_sent",
            "mailing_id",
            "pos",
            unique=True,
            sqlite_where=text("state = 'sent'"),
            postgresql_where=text("state = 'sent'"),
        ),
        Index("ix_outcome_state", "mailing_id", "state"),
    )

    mailing_id: int = Field(sa_column=Column(Integer, ForeignKey("mailing.id"), primary_key=True))
    pos: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    attempt: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    state: str = Field(max_length=12)
    reason: str = Field(default="", max_length=40)
    code: int | None = None
    reply: str = Field(default="", sa_type=Text)
    warrant_seq: int = Field(sa_column=Column(BIG, ForeignKey("ledger_entry.seq"), nullable=False))  # P2
    at: datetime
    final: bool = True  # false only for a deferral, which a later attempt follows
