"""The projection: one row per person and topic, rebuildable from the ledger alone."""

from datetime import datetime

from sqlalchemy import CheckConstraint, Column, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from service.db.types import BIG

STATES = ("unknown", "requested", "given", "renewed", "refused", "withdrawn", "expired", "invalidated")


class Preference(SQLModel, table=True):
    """The state of one topic for one person, the entry that permits it, and how often."""

    __tablename__ = "preference"
    __table_args__ = (
        CheckConstraint(
            "state IN ('unknown','requested','given','renewed','refused','withdrawn','expired','invalidated')",
            name="state",
        ),
        CheckConstraint("cadence IN ('each','daily','weekly')", name="cadence"),
        Index("ix_preference_topic", "topic_id", "state"),
        Index(
            "ix_preference_valid_until",
            "valid_until",
            sqlite_where=text("valid_until IS NOT NULL"),
            postgresql_where=text("valid_until IS NOT NULL"),
        ),
    )

    person_id: int = Field(foreign_key="person.id", primary_key=True)
    topic_id: int = Field(foreign_key="topic.id", primary_key=True)
    state: str = Field(max_length=12)
    basis: str = Field(max_length=20)
    cadence: str = Field(default="each", max_length=10)
    break_until: datetime | None = None
    warrant_seq: int | None = Field(default=None, sa_column=Column(BIG, nullable=True))
    since_at: datetime
    valid_until: datetime | None = None
    # Of the topic's words that the warrant names; 0: of another system's, or none. None: the version before wrote it, and the clock
    # has not looked yet (`projection.fill`).
    wording_version: int | None = None
    last_seq: int = Field(sa_column=Column(BIG, nullable=False))


class Asking(SQLModel, table=True):
    """One round in which people are asked by mail: whom registering made agree to a topic, or whose yes was to older words."""

    __tablename__ = "asking"
    __table_args__ = (CheckConstraint("state IN ('running','ended','stopped')", name="state"),)

    id: int | None = Field(default=None, primary_key=True)
    public_id: str = Field(max_length=40, unique=True)
    topic_id: int = Field(foreign_key="topic.id", index=True)
    about: str = Field(default="registered", max_length=10)  # registered | renewal
    state: str = Field(default="running", max_length=10)
    after: int = 0  # the number of the last person looked at
    asked: int = 0
    began_at: datetime
    ended_at: datetime | None = None


class Asked(SQLModel, table=True):
    """That somebody was asked something, once for ever: by person, and by the keyed hash of the mailbox, which outlives them."""

    __tablename__ = "asked"
    __table_args__ = (UniqueConstraint("address_hash", "question"),)

    person_id: int = Field(foreign_key="person.id", primary_key=True)
    question: str = Field(
        default="", max_length=40, primary_key=True
    )  # "": whether they agreed at all; or topic and version
    address_hash: str = Field(max_length=64)
    asking_id: int = Field(foreign_key="asking.id")
    asked_at: datetime
