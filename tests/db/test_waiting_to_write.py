"""Who waits to write on SQLite: served while another writes, told clearly when it never ends (H70, F16)."""

import sqlite3
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from service.db import engine as engines
from service.db.session import transaction


def _database(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'waiting.db'}"
    with transaction(engines.make_engine(url)) as session:
        session.connection().execute(text("CREATE TABLE told (who TEXT)"))
    return url


def test_all_get_their_turn_beside_one_who_writes_again_and_again(tmp_path: Path) -> None:
    """Another process writes again and again with hardly a pause, while eight threads want to write once."""
    url = _database(tmp_path)
    engine, other = engines.make_engine(url), engines.make_engine(url)  # two engines wait as two processes do
    stop, waited = threading.Event(), []

    def busy() -> None:
        while not stop.is_set():
            with transaction(other) as session:
                session.connection().execute(text("INSERT INTO told VALUES ('busy')"))
                time.sleep(0.02)
            time.sleep(0.002)

    def once() -> None:
        began = time.monotonic()
        with transaction(engine) as session:
            session.connection().execute(text("INSERT INTO told VALUES ('once')"))
        waited.append(time.monotonic() - began)

    hog = threading.Thread(target=busy)
    hog.start()
    doors = [threading.Thread(target=once) for _ in range(8)]
    for door in doors:
        door.start()
    for door in doors:
        door.join()
    stop.set()
    hog.join()
    assert len(waited) == 8


def test_a_lock_that_never_ends_is_said_after_the_patience(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = _database(tmp_path)
    monkeypatch.setattr(engines, "PATIENCE", 0.3)
    engine = engines.make_engine(url)
    holder = sqlite3.connect(tmp_path / "waiting.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    began = time.monotonic()
    with pytest.raises(OperationalError, match="locked"), transaction(engine) as session:
        session.connection()
    assert time.monotonic() - began >= 0.3
    holder.execute("ROLLBACK")
    with transaction(engine) as session:  # the line is free again
        session.connection()
    assert session.connection().exec_driver_sql("PRAGMA busy_timeout").scalar_one() == 300


def test_another_error_is_said_at_once(tmp_path: Path) -> None:
    url = _database(tmp_path)
    engine = engines.make_engine(url)
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")  # which begins
        began = time.monotonic()
        with pytest.raises(OperationalError, match="within a transaction"):
            engines._begin_to_write(threading.Lock(), connection)
        assert time.monotonic() - began < engines.PATIENCE / 2
