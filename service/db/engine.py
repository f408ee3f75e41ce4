"""Engines for both dialects. SQLite in WAL with full sync is the embedded default; PostgreSQL when more machines work.

Reads open with BEGIN, writes with BEGIN IMMEDIATE (execution option `write`), because an upgrade from one to the other
ignores the busy timeout and the driver's own transactions lose updates.
"""

import os
import sqlite3
import stat
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Connection, ExceptionContext, Executable, create_engine, event
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import (
    DatabaseError,
    DataError,
    IntegrityError,
    InternalError,
    OperationalError,
    ProgrammingError,
)  # fmt: skip
from sqlalchemy.exc import TimeoutError as NoneLeft

AWAY = (
    OperationalError,
    NoneLeft,
)  # the database is away, busy or full: what was asked is not done, and may be asked again
PATIENCE = 5.0  # seconds a write waits for another's end
GONE = 4  # seconds after which, on either side, an unanswered network connection to PostgreSQL counts as gone
WE_LOOK = {"keepalives_idle": 2, "keepalives_interval": 1, "keepalives_count": 2}
SERVER_LOOKS = {f"tcp_{name}": value for name, value in WE_LOOK.items()}
NOTICED = 0.2  # seconds of waiting that are counted against it
GLANCE = 8  # milliseconds after which SQLite's own waiting, which takes ever longer steps, begins anew


def make_engine(url: str) -> Engine:
    """An engine whose connections keep our promises on either dialect. Parameters never show up in errors (P6)."""
    if make_url(url).get_backend_name() == "sqlite":
        return _sqlite(url)
    engine = create_engine(
        url,
        hide_parameters=True,
        pool_size=10,
        max_overflow=20,
        pool_timeout=PATIENCE,
        pool_pre_ping=True,
        connect_args={"prepare_threshold": 3} | _alive(make_url(url).query),
    )
    event.listen(engine, "connect", _limit_waiting)
    event.listen(engine, "begin", _wait_no_longer)
    event.listen(engine, "handle_error", _away, retval=True)
    return engine


# What was answered is on the disk, however the server, the database or the role is set (a stricter word stays): a claim or a no
# that a crash takes back would be sent on (reliability 2.3, T1).
_DURABLE = (
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
)


def _limit_waiting(connection: Any, _record: object) -> None:
    """What is committed is kept. Nobody waits longer for a lock than on SQLite, and the server looks whether we are still there
    (without meaning on a Unix socket). Said once connected: poolers refuse it as a start-up option."""
    connection.execute(_DURABLE)
    said = {"lock_timeout": f"{PATIENCE * 1000:.0f}", "tcp_user_timeout": GONE * 1000, **SERVER_LOOKS}
    connection.execute("; ".join(f"SET {name} = {value}" for name, value in said.items()))
    connection.commit()


# read_only_sql_transaction, of a stand-by too that was not promoted yet; idle_in_transaction_session_timeout; transaction_timeout
_NOT_NOW = ("25006", "25P03", "25P04")


def _away(context: ExceptionContext) -> BaseException | None:
    """A server that takes nothing now, for which the driver has the name of an internal error, is away; its connections are given
    up, for new ones may lead to another server."""
    refused = context.original_exception
    if getattr(refused, "sqlstate", None) not in _NOT_NOW:
        return None
    context.is_disconnect = True
    return OperationalError(context.statement, None, refused, hide_parameters=True)


def asked_at(connection: Connection) -> float:
    """When this was asked for, by the steady clock: waiting for a thread was waiting, too (execution option `since`)."""
    return float(connection.get_execution_options().get("since") or time.monotonic())


def _wait_no_longer(connection: Connection) -> None:
    if (waited := time.monotonic() - asked_at(connection)) > NOTICED:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {max(NOTICED, PATIENCE - waited) * 1000:.0f}")


def _alive(given: Mapping[str, Any]) -> dict[str, Any]:
    """We look whether the server is still there, as it looks for us (`_limit_waiting`). Else a process cut off in
    mid-transaction would keep its locks (the ledger's tail, on which every no waits) for two hours, and would itself wait a
    quarter of an hour for an answer.

    Without meaning on a Unix socket. What the URL says itself comes first.
    """
    ours = {"connect_timeout": int(PATIENCE), "tcp_user_timeout": GONE * 1000, **WE_LOOK}
    return {name: value for name, value in ours.items() if name not in given}


def _keep_private(path: Path) -> None:
    """The file is its owner's alone, and so are its WAL and index, which take their mode from it (P6)."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with suppress(PermissionError):  # another user's, to which we were let in on purpose
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            path.chmod(0o600)


def _sqlite(url: str) -> Engine:
    path = make_url(url).database
    if path and path != ":memory:":
        _keep_private(Path(path))
    engine = create_engine(
        url,
        hide_parameters=True,
        pool_size=10,
        max_overflow=20,
        pool_timeout=PATIENCE,
        connect_args={"check_same_thread": False, "isolation_level": None, "timeout": 5},
    )
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", partial(_begin, threading.Lock()))
    return engine


def _prepare(connection: Any, _record: object) -> None:
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={PATIENCE * 1000:.0f}",
        "secure_delete=ON",
        "recursive_triggers=ON",
        "cache_size=-16384",
    ):
        connection.execute(f"PRAGMA {pragma}")


def spare_temporary_files(engine: Engine) -> None:
    """What SQLite sets aside within one statement stays in memory from now on. A sender's statements are short, and in a large database
    one that writes four hundred outcomes needed room for temporary files, without which nothing was recorded (F18)."""
    if is_sqlite(engine):
        event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA temp_store=MEMORY"))
        engine.dispose()


def _begin(line: threading.Lock, connection: Connection) -> None:
    if connection.get_execution_options().get("write"):
        _begin_to_write(line, connection)
    else:
        connection.exec_driver_sql("BEGIN")


def _begin_to_write(line: threading.Lock, connection: Connection) -> None:
    """SQLite has one writer and no queue for the next: whoever waited long looks ever more seldom and is passed by all who
    come later. So one thread of each process stands in `line` for all of its threads, and looks often."""
    until = asked_at(connection) + PATIENCE
    raw = cast(sqlite3.Connection, connection.connection.dbapi_connection)
    ours = line.acquire(timeout=max(0.0, until - time.monotonic()))
    try:
        raw.execute(f"PRAGMA busy_timeout={GLANCE}")
        while time.monotonic() < until:
            try:
                return raw.execute("BEGIN IMMEDIATE").close()
            except sqlite3.OperationalError as refused:
                if refused.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    break
        # Once more, for its error, and no longer: waiting in line was waiting, too.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    finally:
        raw.execute(f"PRAGMA busy_timeout={PATIENCE * 1000:.0f}")
        if ours:
            line.release()


def is_damaged(error: BaseException) -> bool:
    """Whether the database's own file is what is wrong (SQLite: malformed, no database; PostgreSQL: class XX, XX001 above all):
    asking again does not help. PostgreSQL has other internal errors, of a transaction's state, that pass."""
    if type(error) not in (DatabaseError, InternalError):
        return False
    return str(getattr(error.orig, "sqlstate", "XX")).startswith("XX")  # type: ignore[attr-defined]


def is_refused(error: BaseException) -> bool:
    """Whether the database is there and will not have what was asked: a rule broken, a value that does not fit, a statement it does
    not understand. All else may pass: it is away or busy, a lock came too late, or two stood in each other's way (40001, 40P01)."""
    refused = isinstance(error, (IntegrityError, DataError, ProgrammingError))
    return refused and not error.connection_invalidated  # type: ignore[attr-defined]


def found_damaged(connection: Connection) -> bool:
    """Whether SQLite finds its file damaged, reading all of it. (PostgreSQL has checksums for that, and says so when it reads.)"""
    if not is_sqlite(connection):
        return False
    return bool(connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar_one() != "ok")


def rows_as_they_lie(connection: Connection, statement: Executable) -> Sequence[Any]:
    """All rows of a statement, those too whose text is not UTF-8, with what cannot be read replaced (U+FFFD): SQLite keeps whatever
    octets somebody puts there, and its driver reads no further than them. PostgreSQL takes none."""
    try:
        return connection.execute(statement).all()
    except OperationalError:
        if not is_sqlite(connection):
            raise
    raw = cast(sqlite3.Connection, connection.connection.dbapi_connection)
    raw.text_factory = lambda octets: octets.decode(errors="replace")
    try:
        return connection.execute(statement).all()
    finally:
        raw.text_factory = str


def forget_freed(engine: Engine) -> bool:
    """SQLite zeroes what is deleted in its file (secure_delete), but the write-ahead log holds pages as they were before: fold
    it in and cut it to nothing. False: somebody was reading or writing just then; ask again later.

    PostgreSQL keeps old rows until `VACUUM FULL` and the log's turn-over, and nothing is done here (docs/operations.md).
    """
    if not is_sqlite(engine):
        return True
    with engine.connect() as connection:
        raw = cast(sqlite3.Connection, connection.connection.dbapi_connection)
        raw.execute(f"PRAGMA busy_timeout={NOTICED * 1000 / 4:.0f}")  # writers wait behind it meanwhile
        try:
            return bool(raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0)
        except sqlite3.OperationalError:
            return False
        finally:
            raw.execute(f"PRAGMA busy_timeout={PATIENCE * 1000:.0f}")


def keeps_old_rows(engine: Engine) -> bool:
    """Whether what was deleted stays in the database's files until it is vacuumed and its log has turned over."""
    return not is_sqlite(engine)


def at_one_moment(engine: Engine) -> Engine:
    """The same engine for a transaction that sees one moment to its end. SQLite's all do; PostgreSQL's see at each statement what is
    committed by then."""
    return engine if is_sqlite(engine) else engine.execution_options(isolation_level="REPEATABLE READ")


def rest(engine: Engine) -> float:
    """Seconds that bulk work leaves to others between two of its transactions: SQLite has one writer (design.md 3)."""
    return 0.02 if is_sqlite(engine) else 0.0


def is_sqlite(bind: Engine | Connection) -> bool:
    """Whether this is the embedded database."""
    return bind.dialect.name == "sqlite"
