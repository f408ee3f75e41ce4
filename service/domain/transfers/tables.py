"""Imports: what was decided, how far it got, and which entries of the ledger it wrote."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Column, Index, LargeBinary
from sqlmodel import Field, SQLModel

from service.db.types import BIG, json_column


class Import(SQLModel, table=True):
    """One file under one plan. `mended` holds cells of the file and is sealed; the file itself is never kept
    beyond its run."""

    __tablename__ = "people_import"
    __table_args__ = (
        CheckConstraint("state IN ('draft','running','done','taking_back','taken_back')", name="state"),
        Index("ix_people_import_file", "file_sha256", "plan_sha256"),
    )

    id: int | None = Field(default=None, primary_key=True)
    public_id: str = Field(max_length=40, unique=True)
    state: str = Field(max_length=12)
    file_name: str = Field(default="", max_length=120)
    file_sha256: str = Field(max_length=64)
    octets: int = Field(sa_column=Column(BIG, nullable=False))
    plan: Any = Field(sa_column=json_column())
    plan_sha256: str = Field(max_length=64)
    rows_total: int = 0
    rows_done: int = 0
    counts: Any = Field(sa_column=json_column())
    mended: bytes | None = Field(default=None, sa_column=Column(LargeBinary, nullable=True))
    back_after: int = 0  # taking back goes on after this person's row number
    taken_back: int = 0
    created_at: datetime
    created_by: str = Field(max_length=60)
    beat_at: datetime | None = None  # when a run last wrote
    ended_at: datetime | None = None


class ImportChunk(SQLModel, table=True):
    """The rows of one transaction and the entries it wrote: nothing else of the ledger lies between them."""

    __tablename__ = "people_import_chunk"

    import_id: int = Field(foreign_key="people_import.id", primary_key=True)
    first_row: int = Field(primary_key=True)
    rows: int
    first_seq: int = Field(sa_column=Column(BIG, nullable=False))
    last_seq: int = Field(sa_column=Column(BIG, nullable=False))
