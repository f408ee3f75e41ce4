"""The ledger. `entry` holds an entry's final bytes; its other columns repeat parts of them for look-up only, and the two
tables beside it hold what is computed from it: subtrees, and signed heads."""

from sqlalchemy import CHAR, Column, Index, SmallInteger, Text, text
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


class LedgerNode(SQLModel, table=True):
    """A whole subtree of the Merkle tree, 2^height leaves wide, number `place` from the left: kept so that a proof among ten
    million entries reads a few hundred hashes. Whoever doubts it computes it from the entries (`bidden ledger verify` does)."""

    __tablename__ = "ledger_node"

    height: int = Field(sa_column=Column(SmallInteger, primary_key=True, autoincrement=False))
    place: int = Field(sa_column=Column(BIG, primary_key=True, autoincrement=False))
    hash: str = Field(sa_column=Column(CHAR(64), nullable=False))


class Checkpoint(SQLModel, table=True):
    """The signed head of the tree at one size. The note says all of it; size and moment stand beside it for look-up."""

    __tablename__ = "checkpoint"

    size: int = Field(sa_column=Column(BIG, primary_key=True, autoincrement=False))
    at: int = Field(sa_column=Column(BIG, nullable=False))
    note: str = Field(sa_column=Column(Text, nullable=False))
