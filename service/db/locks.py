"""Who waits for whom, and by whose clock. With `engine.py`, `bulk.py` and the migrations the only place that knows the dialect."""

import time
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import Insert
from sqlmodel import Session

from service.db.engine import NOTICED, PATIENCE, asked_at, is_sqlite

LEDGER_TAIL = 0x6C656467  # "ledg": one number for the one lock every append takes
HOLDS = "ledger_tail_in"  # in a session's info: the transaction that holds that lock
WEEKLY_CAP = 0x63617021  # "cap!": the one that whoever counts for the weekly cap takes


def lock_ledger_tail(session: Session) -> None:
    """Hold the ledger's tail until commit, so that numbers and commits come in one order (reliability 1, PostgreSQL).

    On SQLite BEGIN IMMEDIATE already holds it. Whoever waited long for it has no patience left for another lock. Who holds it
    does not ask again: everybody else waits for that round trip, too.
    """
    connection = session.connection()
    if is_sqlite(connection) or session.info.get(HOLDS) is connection.get_transaction():
        return
    began = asked_at(connection)
    connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": LEDGER_TAIL})
    if (waited := time.monotonic() - began) > NOTICED:
        left = max(NOTICED, PATIENCE - waited)
        connection.execute(text(f"SET LOCAL lock_timeout = {left * 1000:.0f}"))
    if not connection.in_nested_transaction():  # one taken within a savepoint goes with it
        session.info[HOLDS] = connection.get_transaction()


def lock_weekly_cap(session: Session) -> None:
    """Whoever counts what people have had holds this until commit: two who count at once would each let the same mail through.
    On SQLite BEGIN IMMEDIATE already holds it."""
    connection = session.connection()
    if not is_sqlite(connection):
        connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": WEEKLY_CAP})


def for_update(session: Session, statement: Select[Any], *, skip_locked: bool = False) -> Select[Any]:
    """Lock the chosen rows till commit; on SQLite the whole database is ours already and the clause is left out.

    FOR NO KEY UPDATE, because keys never change and rows that refer to these (outcomes, say) may be inserted meanwhile.
    """
    return (
        statement
        if is_sqlite(session.connection())
        else statement.with_for_update(skip_locked=skip_locked, key_share=True)
    )


def for_reference(session: Session, statement: Select[Any]) -> Select[Any]:
    """Lock the chosen rows against `for_removal` alone, till commit: others may change them meanwhile (a heartbeat)."""
    return (
        statement if is_sqlite(session.connection()) else statement.with_for_update(read=True, key_share=True)
    )


def for_removal(session: Session, statement: Select[Any]) -> Select[Any]:
    """Wait until no open transaction holds the chosen rows by `for_reference`, and let none begin to till commit."""
    return statement if is_sqlite(session.connection()) else statement.with_for_update()


def server_time(session: Session) -> datetime | None:
    """The time by the database server's own clock, which all machines that use it share; it goes on within a transaction. None
    where database and machine are one, and that machine's steady clock says more."""
    connection = session.connection()
    return None if is_sqlite(connection) else connection.execute(select(func.clock_timestamp())).scalar_one()


def insert_for(session: Session, table: Any) -> Any:
    """An INSERT that knows ON CONFLICT, in this session's dialect."""
    return sqlite.insert(table) if is_sqlite(session.connection()) else postgresql.insert(table)


def insert_or_skip(session: Session, table: Any, index: list[str]) -> Insert:
    """An INSERT that leaves a row alone which is already there by `index`."""
    statement: Insert = insert_for(session, table).on_conflict_do_nothing(index_elements=index)
    return statement
