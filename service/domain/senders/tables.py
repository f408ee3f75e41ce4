"""One row per sender incarnation."""

from datetime import datetime
from typing import Any

from sqlalchemy import Column
from sqlmodel import Field, SQLModel

from service.db.types import BIG, json_column


class Sender(SQLModel, table=True):
    """A lease. `seen_seq` is what the fence reads; `state` is live, suspect, ended or lost."""

    __tablename__ = "sender"

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(max_length=80, unique=True)
    host: str = Field(max_length=255)
    pid: int
    boot_id: str = Field(max_length=60)
    incarnation: str = Field(
        default="", max_length=20
    )  # drawn at each start: name and pid may be another's, too
    state: str = Field(default="live", max_length=10, index=True)
    seen_seq: int = Field(default=0, sa_column=Column(BIG, nullable=False))
    renewed_at: datetime
    started_at: datetime
    ended_at: datetime | None = None
    pace: Any = Field(
        default=None, sa_column=json_column(nullable=True)
    )  # its servers, and domains left alone
