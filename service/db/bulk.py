"""Many rows in one statement. Called by whoever records what happened to a whole batch, and by registration.

SQLite's driver gives other threads a turn after every row it inserts, and in a process whose other thread is busy sending each
turn is waited for, with the database locked meanwhile. So the rows of hundreds travel in two or three statements, one after the
other among the parameters. What is asked of hundreds of people at once travels as one parameter (`among`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any

import orjson
from sqlalchemy import (
    ARRAY,
    Boolean,
    ColumnElement,
    Select,
    Table,
    Text,
    TypeDecorator,
    bindparam,
    delete,
    func,
    insert,
    inspect,
    select,
    text,
    tuple_,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine
from sqlmodel import Session, SQLModel
from sqlmodel.sql.sqltypes import UTCDateTime

from service.db.engine import is_sqlite

PARAMETERS = 5000  # of one statement, at most; SQLite takes 32,766


def insert_rows(session: Session, model: type[SQLModel], rows: list[dict[str, Any]]) -> None:
    """Insert them all. Every row names the same columns. No rows, no statement."""
    if not rows:
        return
    connection, table = session.connection(), model.__table__  # type: ignore[attr-defined]
    if not is_sqlite(connection):
        connection.execute(insert(table), rows)
        return
    how = _by_hand(table, tuple(rows[0]), connection.dialect)
    columns = [
        [store(row[name]) for row in rows] if store else [row[name] for row in rows]
        for name, store in how.store
    ]
    values, done = list(zip(*columns, strict=True)), 0
    while done < len(values):
        count = 1 << min(len(values) - done, how.most).bit_length() - 1
        told = tuple(chain.from_iterable(values[done : done + count]))
        connection.exec_driver_sql(how.statement(count), told)
        done += count


@dataclass(frozen=True)
class _ByHand:
    """How rows of one shape get into SQLite: the statement for so many at a time, `most` at once, and how each column's values are
    stored (None: as they are). For a row of ten columns SQLAlchemy's own way costs thrice as much.

    So many is a power of two, because every connection keeps what it made of each statement."""

    statement: Callable[[int], str]
    most: int
    store: list[tuple[str, Callable[[Any], Any] | None]]


@lru_cache(maxsize=32)
def _by_hand(table: Table, names: tuple[str, ...], dialect: Dialect) -> _ByHand:
    store = [(name, _stored(table.c[name].type, dialect)) for name in names]
    into = f"INSERT INTO {table.name} ({', '.join(table.c[name].name for name in names)})"
    one = f"({', '.join('?' * len(names))})"

    @lru_cache(maxsize=16)
    def statement(rows: int) -> str:
        return f"{into} VALUES {', '.join([one] * rows)}"

    return _ByHand(statement, PARAMETERS // len(names), store)


def _stored(kind: Any, dialect: Dialect) -> Callable[[Any], Any] | None:
    processor: Callable[[Any], Any] | None = kind.dialect_impl(dialect).bind_processor(dialect)
    return _remembering(processor) if processor and isinstance(kind, UTCDateTime) else processor


def _remembering(process: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Rows written together mostly hold one instant, and writing it out costs as much as all else about the row."""
    last: tuple[Any, Any] = (None, process(None))

    def store(value: Any) -> Any:
        nonlocal last
        before, stored = last  # in one step: other threads come here, too
        if value is not before:
            stored = process(value)
            last = value, stored
        return stored

    return store


class Among(FunctionElement[bool]):
    """Whether a column's value is one of many, which travel as one parameter."""

    name = "among"
    type = Boolean()
    inherit_cache = True

    def self_group(self, against: Any = None) -> Any:
        """As it is: SQLite would be asked whether it equals 1, and use no index then."""
        return self


def among(column: Any, name: str) -> ColumnElement[bool]:
    """`column` is among the values that will come as the parameter `name`, a list. The statement is the same however many they are,
    so that it is built once, where it stands; `in_` costs thrice as much, half of it before the database is asked."""
    return Among(column, bindparam(name, type_=_Several(column.type)))


class _Several(TypeDecorator[list[Any]]):
    """A list of values of one type: an array, and in SQLite JSON."""

    impl = Text
    cache_ok = True

    def __init__(self, of: Any) -> None:
        super().__init__()
        self.of = of

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else ARRAY(self.of))

    def process_bind_param(self, value: list[Any] | None, dialect: Dialect) -> Any:
        return orjson.dumps(value).decode() if dialect.name == "sqlite" else value


@compiles(Among, "sqlite")
def _among_json(element: Among, compiler: SQLCompiler, **how: Any) -> str:
    column, values = (compiler.process(one, **how) for one in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({values}))"  # noqa: S608


@compiles(Among)
def _among_array(element: Among, compiler: SQLCompiler, **how: Any) -> str:
    column, values = (compiler.process(one, **how) for one in element.clauses)
    return f"{column} = ANY({values})"


def next_numbers(session: Session, model: type[SQLModel], count: int) -> list[int]:
    """The numbers of so many rows about to be inserted, for rows that name each other. On SQLite they are the ones it would give:
    nobody else writes till commit."""
    connection, table = session.connection(), model.__table__  # type: ignore[attr-defined]
    if is_sqlite(connection):
        last = connection.execute(_last_number(table)).scalar() or 0
        return list(range(last + 1, last + 1 + count))
    drawn = text("SELECT nextval(pg_get_serial_sequence(:name, 'id')) FROM generate_series(1, :count)")
    return list(connection.execute(drawn, {"name": table.name, "count": count}).scalars())


@lru_cache(maxsize=32)
def _last_number(table: Table) -> Select[Any]:
    return select(func.max(table.c.id))


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
