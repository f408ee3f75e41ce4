"""Persons and what is held about them; everything that names somebody is sealed under that person's own key."""

from datetime import datetime

from sqlalchemy import CheckConstraint, Column, Index, LargeBinary, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from service.db.types import BIG


class Person(SQLModel, table=True):
    """Somebody. `alias` is random and stands in links; `public_id` is its readable form and the ledger's subject."""

    __tablename__ = "person"
    __table_args__ = (
        CheckConstraint("state IN ('active','restricted','erased','merged')", name="state"),
        Index(
            "ix_person_merged_into",
            "merged_into",
            sqlite_where=text("merged_into IS NOT NULL"),
            postgresql_where=text("merged_into IS NOT NULL"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    alias: int = Field(sa_column=Column(BIG, nullable=False, unique=True))
    public_id: str = Field(max_length=20, unique=True)
    state: str = Field(default="active", max_length=12)
    locale: str = Field(default="en", max_length=20)
    zone: str = Field(default="", max_length=60)
    wrapped_key: bytes | None = Field(default=None, sa_column=Column(LargeBinary, nullable=True))
    max_per_week: int | None = None
    address_id: int | None = Field(default=None, foreign_key="address.id", index=True)  # where mail goes
    pending_address_id: int | None = Field(
        default=None, foreign_key="address.id"
    )  # a changed one, not yet confirmed
    merged_into: int | None = Field(default=None, foreign_key="person.id")
    created_at: datetime


class Identity(SQLModel, table=True):
    """A source's id for a person, with the profile that source sent (sealed). Pending until its address confirms."""

    __tablename__ = "identity"
    __table_args__ = (UniqueConstraint("source", "external_id"),)

    id: int | None = Field(default=None, primary_key=True)
    source: str = Field(max_length=60)
    external_id: str = Field(max_length=200)
    person_id: int = Field(foreign_key="person.id", index=True)
    profile: bytes | None = Field(default=None, sa_column=Column(LargeBinary, nullable=True))
    created_at: datetime
    changed_at: datetime


class AttributeKind(SQLModel, table=True):
    """A declared attribute: what it may hold, what it is for, how long it is kept."""

    __tablename__ = "attribute_kind"

    name: str = Field(primary_key=True, max_length=40)
    type: str = Field(max_length=10)  # text | number | flag | tags
    purpose: str = Field(max_length=200)
    retention_days: int = 1095
    declared_at: datetime


class PersonAttribute(SQLModel, table=True):
    """One value of one attribute; several rows for tags. Plain and filterable, never identifying."""

    __tablename__ = "person_attribute"
    __table_args__ = (Index("ix_person_attribute_value", "name", "value"),)

    person_id: int = Field(foreign_key="person.id", primary_key=True)
    name: str = Field(primary_key=True, max_length=40)
    value: str = Field(primary_key=True, max_length=200)
    set_at: datetime | None = (
        None  # when it was last given, to the day; None: before that was kept, or by an older version
    )
