"""The ledger's one table. `entry` holds the final bytes; the other columns repeat parts of it for look-up only."""

from sqlalchemy import CHAR, Column, Index, Text, text
from sqlmodel import Field, SQLModel

from service.db.types import BIG


class LedgerEntry(SQLModel, table=True):
    """One entry. `takes` marks what can stop mail, the part senders and the withdrawal file read."""

    __tablename__ = "ledger_entry"
    __table_args__ = (
        Index("ix_ledger_entry_takes", "seq", sqlite_where=text("takes"), postgresql_where=text("takes")),
    )

    seq: int = Field(sa_column=Column(BIG, primary_key=True, autoincrement=False))
    entry: str = Field(sa_column=Column(Text, nullable=False))
    hash: str = Field(sa_column=Column(CHAR(64), nullable=False))
    kind: str = Field(max_length=60, index=True)
    subject: str | None = Field(default=None, max_length=60, index=True)
    at: int = Field(sa_column=Column(BIG, nullable=False))
    takes: bool = False
