"""Contact requests."""

from datetime import datetime

from sqlalchemy import Column, LargeBinary
from sqlmodel import Field, SQLModel


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
