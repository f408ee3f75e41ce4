"""Column types and the naming of constraints, imported by every `tables.py` before a table is declared."""

from typing import Any

from sqlalchemy import JSON, BigInteger, Column, Integer
from sqlmodel import SQLModel

SQLModel.metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

BIG = BigInteger().with_variant(Integer(), "sqlite")


def json_column(*, nullable: bool = False) -> Column[Any]:
    """A JSON value, always replaced whole (a change inside it would not be noticed)."""
    return Column(JSON, nullable=nullable)
