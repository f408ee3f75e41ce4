"""Contact requests, requests under a person's rights, breaches, and how far the forgetting of old data has come."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import Column, Index, LargeBinary, Text, text
from sqlmodel import Field, SQLModel

from service.db.types import json_column


class ContactRequest(SQLModel, table=True):
    """A question from the contact form, sealed; answered by mail from the staff side."""

    __tablename__ = "contact_request"

    id: int | None = Field(default=None, primary_key=True)
    public_id: str = Field(max_length=40, unique=True)
    address_id: int = Field(foreign_key="address.id")
    sealed: bytes = Field(sa_column=Column(LargeBinary, nullable=False))  # {"name", "subject", "text"}
    answer: bytes | None = Field(default=None, sa_column=Column(LargeBinary, nullable=True))
    locale: str = Field(default="en", max_length=20)
    state: str = Field(default="open", max_length=12)  # open | answered | closed
    created_at: datetime
    answered_at: datetime | None = None
    answered_by: str | None = Field(default=None, max_length=60)


class RightsRequest(SQLModel, table=True):
    """What somebody asks for by law, and until when it has to be answered. What they said and who they say they are is
    sealed, and goes with them at an erasure; the row stays."""

    __tablename__ = "rights_request"
    __table_args__ = (
        Index(
            "ix_rights_request_due",
            "due_on",
            sqlite_where=text("closed_at IS NULL"),
            postgresql_where=text("closed_at IS NULL"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    public_id: str = Field(max_length=40, unique=True)
    right: str = Field(max_length=20)  # rules.RIGHTS
    door: str = Field(max_length=12)  # rules.DOORS
    person_id: int | None = Field(default=None, foreign_key="person.id", index=True)
    contact_id: int | None = Field(default=None, foreign_key="contact_request.id", index=True)
    sealed: bytes | None = Field(
        default=None, sa_column=Column(LargeBinary, nullable=True)
    )  # {"who", "text"}
    came_on: date
    due_on: date
    extension: str = Field(default="", max_length=500)  # why it takes longer, as the person was told
    extended_at: datetime | None = None
    outcome: str = Field(default="", max_length=20)  # rules.OUTCOMES
    note: str = Field(default="", max_length=500)
    closed_at: datetime | None = None
    closed_by: str | None = Field(default=None, max_length=60)
    created_at: datetime
    created_by: str = Field(max_length=60)


class Breach(SQLModel, table=True):
    """A breach as far as it is known; it names nobody. The ledger has every step to it."""

    __tablename__ = "breach"

    id: int | None = Field(default=None, primary_key=True)
    public_id: str = Field(max_length=40, unique=True)
    noticed_at: datetime
    what: str = Field(sa_type=Text)
    whom: str = Field(default="", sa_type=Text)  # kinds of people and of data
    how_many: str = Field(default="", max_length=12)  # of people; empty: not known yet
    consequences: str = Field(default="", sa_type=Text)
    done: str = Field(default="", sa_type=Text)
    reported_at: datetime | None = None
    reported_to: str = Field(default="", max_length=500)
    report_note: str = Field(default="", max_length=500)  # why late, or why not at all
    people_told: bool | None = None
    people_note: str = Field(default="", max_length=500)  # how they were told, or why not
    closed_at: datetime | None = None
    closed_by: str | None = Field(default=None, max_length=60)
    created_at: datetime
    created_by: str = Field(max_length=60)


class Retention(SQLModel, table=True):
    """One class of data (`periods.CLASSES`): what went since its last entry in the ledger, and when it was last gone through to the
    end. A run that was cut off goes on from here, and its entry counts all of it."""

    __tablename__ = "retention"

    data_class: str = Field(primary_key=True, max_length=20)
    gone: int = 0
    names: Any = Field(sa_column=json_column())  # of attributes: {name: how many}
    ran_at: datetime | None = None
