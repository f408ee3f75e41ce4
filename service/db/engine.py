"""Engines for both dialects. SQLite in WAL with full sync is the embedded default; PostgreSQL when more machines work.

Reads open with BEGIN, writes with BEGIN IMMEDIATE (execution option `write`), because an upgrade from one to the other
ignores the busy timeout and the driver's own transactions lose updates.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import Engine, make_url


def make_engine(url: str) -> Engine:
    """An engine whose connections keep our promises on either dialect. Parameters never show up in errors (P6)."""
    if make_url(url).get_backend_name() == "sqlite":
        return _sqlite(url)
    return create_engine(
        url,
        hide_parameters=True,
        pool_size=10,
        max_overflow=20,
        pool_pre_ping=True,
        connect_args={"prepare_threshold": 3},
    )


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
        connect_args={"check_same_thread": False, "isolation_level": None, "timeout": 5},
    )
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: Any, _record: object) -> None:
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "busy_timeout=5000",
        "secure_delete=ON",
        "recursive_triggers=ON",
        "cache_size=-16384",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    write = connection.get_execution_options().get("write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def rest(engine: Engine) -> float:
    """Seconds that bulk work leaves to others between two of its transactions: SQLite has one writer (design.md 3)."""
    return 0.02 if is_sqlite(engine) else 0.0


def is_sqlite(bind: Engine | Connection) -> bool:
    """Whether this is the embedded database."""
    return bind.dialect.name == "sqlite"
