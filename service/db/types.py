"""Column types and the naming of constraints, imported by every `tables.py` before a table is declared."""

from typing import Any, TypeVar

from sqlalchemy import JSON, BigInteger, Column, Integer, inspect
from sqlmodel import SQLModel

Table = TypeVar("Table", bound=SQLModel)

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


def loaded(table: type[Table], values: dict[str, Any]) -> Table:
    """A row just inserted by a statement of its own, as if it had been read back. Bulk work only: it costs 3 µs where the
    class's own construction costs 80, and the row belongs to no session.
    """
    manager = _managers.get(table)
    if manager is None:  # looking it up costs more than the row
        manager = _managers[table] = inspect(table).class_manager
    row: Table = manager.new_instance()
    row.__dict__.update(values)
    return row


_managers: dict[Any, Any] = {}  # what makes rows, by table
