"""Many rows in one statement. Called by whoever records what happened to a whole batch.

SQLite's driver gives other threads a turn after every row it inserts, and in a process whose other thread is busy sending each
turn is waited for, with the database locked meanwhile. So the rows travel as one JSON text that a single statement takes apart.
"""

import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, LargeBinary, Table, delete, insert, inspect, select, text, tuple_
from sqlalchemy.engine import Dialect
from sqlmodel import Session, SQLModel

from service.db.engine import is_sqlite


def insert_rows(session: Session, model: type[SQLModel], rows: list[dict[str, Any]]) -> None:
    """Insert them all. Every row names the same columns, none of which holds octets. No rows, no statement."""
    if not rows:
        return
    connection, table = session.connection(), model.__table__  # type: ignore[attr-defined]
    packed = ""
    if is_sqlite(connection):
        names = tuple(rows[0])
        statement, store = _unpacking(table, names, connection.dialect)
        packed = json.dumps([[store[name](row[name]) for name in names] for row in rows])
    if not packed or "\\u0000" in packed:  # SQLite's JSON ends a text there
        connection.execute(insert(table), rows)
    else:
        connection.exec_driver_sql(statement, (packed,))


@lru_cache(maxsize=32)
def _unpacking(
    table: Table, names: tuple[str, ...], dialect: Dialect
) -> tuple[str, dict[str, Callable[[Any], Any]]]:
    """The statement, and how each column's values are stored."""
    store = {name: _stored(table.c[name].type, dialect) for name in names}
    values = ", ".join(f"json_extract(value, '$[{place}]')" for place in range(len(names)))
    columns = ", ".join(table.c[name].name for name in names)
    return f"INSERT INTO {table.name} ({columns}) SELECT {values} FROM json_each(?)", store  # noqa: S608


def _stored(kind: Any, dialect: Dialect) -> Callable[[Any], Any]:
    if isinstance(kind, LargeBinary):
        raise TypeError("Octets do not travel in JSON.")
    processor: Callable[[Any], Any] | None = kind.dialect_impl(dialect).bind_processor(dialect)
    return processor or (lambda value: value)


def chunk_by_index(session: Session) -> None:
    """Till commit PostgreSQL finds what a row refers to by index, row by row, as SQLite always does.

    For statements that take the next few thousand of a million: it would rather hash whole tables for each chunk or, where it
    has not counted them since many came, read through a kept copy for each row.
    """
    if not is_sqlite(session.connection()):
        for way in ("hashjoin", "mergejoin", "material"):
            session.connection().execute(text(f"SET LOCAL enable_{way} = off"))


def delete_some(session: Session, model: type[SQLModel], when: ColumnElement[bool], most: int = 200) -> int:
    """Delete rows of which that is true, so many at most, and say how many: for old rows, of which there may be millions."""
    key = inspect(model).primary_key
    some = select(*key).where(when).limit(most)
    return session.connection().execute(delete(model).where(tuple_(*key).in_(some))).rowcount
