"""Many rows in one statement. Called by whoever records what happened to a whole batch, and by registration.

SQLite's driver gives other threads a turn after every row it inserts, and in a process whose other thread is busy sending each
turn is waited for, with the database locked meanwhile. So the rows travel as one JSON text that a single statement takes apart.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    LargeBinary,
    Table,
    delete,
    func,
    insert,
    inspect,
    select,
    text,
    tuple_,
)
from sqlalchemy.engine import Dialect
from sqlmodel import Session, SQLModel

from service.db.engine import is_sqlite


def insert_rows(session: Session, model: type[SQLModel], rows: list[dict[str, Any]]) -> None:
    """Insert them all. Every row names the same columns. No rows, no statement."""
    if not rows:
        return
    connection, table = session.connection(), model.__table__  # type: ignore[attr-defined]
    if not is_sqlite(connection):
        connection.execute(insert(table), rows)
        return
    how = _by_hand(table, tuple(rows[0]), connection.dialect)
    values = [tuple([store(row[name]) for name, store in how.store]) for row in rows]
    packed = json.dumps(values) if how.packed and len(values) > 1 else ""
    if packed and "\\u0000" not in packed:  # SQLite's JSON ends a text there
        connection.exec_driver_sql(how.packed, (packed,))
    else:
        connection.exec_driver_sql(how.plain, values)


@dataclass(frozen=True)
class _ByHand:
    """How rows of one shape get into SQLite: the statement for one, that for a JSON text of all (none where they hold octets), and
    how each column's values are stored. For a row of ten columns SQLAlchemy's own way costs thrice as much."""

    plain: str
    packed: str
    store: list[tuple[str, Callable[[Any], Any]]]


@lru_cache(maxsize=32)
def _by_hand(table: Table, names: tuple[str, ...], dialect: Dialect) -> _ByHand:
    store = [(name, _stored(table.c[name].type, dialect)) for name in names]
    octets = any(isinstance(table.c[name].type, LargeBinary) for name in names)
    into = f"INSERT INTO {table.name} ({', '.join(table.c[name].name for name in names)})"
    values = ", ".join(f"json_extract(value, '$[{place}]')" for place in range(len(names)))
    packed = "" if octets else f"{into} SELECT {values} FROM json_each(?)"  # noqa: S608
    return _ByHand(f"{into} VALUES ({', '.join('?' * len(names))})", packed, store)


def _stored(kind: Any, dialect: Dialect) -> Callable[[Any], Any]:
    processor: Callable[[Any], Any] | None = kind.dialect_impl(dialect).bind_processor(dialect)
    return processor or (lambda value: value)


def next_numbers(session: Session, model: type[SQLModel], count: int) -> list[int]:
    """The numbers of so many rows about to be inserted, for rows that name each other. On SQLite they are the ones it would give:
    nobody else writes till commit."""
    connection, table = session.connection(), model.__table__  # type: ignore[attr-defined]
    if is_sqlite(connection):
        last = connection.execute(select(func.max(table.c.id))).scalar() or 0
        return list(range(last + 1, last + 1 + count))
    drawn = text("SELECT nextval(pg_get_serial_sequence(:name, 'id')) FROM generate_series(1, :count)")
    return list(connection.execute(drawn, {"name": table.name, "count": count}).scalars())


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
