"""Nobody waits longer for another's lock than they may, whoever else waits beside them (reliability 3, F14 and F16)."""

import threading
import time

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Engine

from service.db import engine as engines
from service.db.engine import is_sqlite
from service.db.session import transaction

SHORT = 0.4


def test_rel_f16_whoever_waits_in_line_waits_no_longer(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five at once behind a writer that does not end: each is refused after the same time. (PostgreSQL counts each lock for
    itself, and a row has two: those who wait for it, and whoever has it.)"""
    monkeypatch.setattr(engines, "PATIENCE", SHORT)
    engine.dispose()  # what stands open has the longer patience
    waited: list[float] = []

    def write() -> None:
        began = time.monotonic()
        with pytest.raises(engines.AWAY), transaction(engine) as session:
            session.execute(text("UPDATE brand SET title = 'x'"))
        waited.append(time.monotonic() - began)

    with transaction(engine) as session:
        session.execute(text("UPDATE brand SET title = 'y'"))
        threads = [threading.Thread(target=write) for _ in range(5)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    assert len(waited) == 5
    assert max(waited) < SHORT * (1.8 if is_sqlite(engine) else 2.8)


def test_rel_f14_a_new_connection_has_its_patience(engine: Engine) -> None:
    with engine.connect() as connection:
        if is_sqlite(connection):
            assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() == 5_000
        else:
            assert connection.exec_driver_sql("SHOW lock_timeout").scalar_one() == "5s"


def test_rel_f16_waiting_for_a_turn_was_waiting_too(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever was asked long ago is refused at once, and comes through where nobody else writes."""
    monkeypatch.setattr(engines, "PATIENCE", SHORT)
    with transaction(engine) as session:
        session.execute(text("UPDATE brand SET title = 'y'"))
        began = time.monotonic()
        with pytest.raises(engines.AWAY), transaction(engine, since=began - SHORT) as other:
            other.execute(text("UPDATE brand SET title = 'x'"))
        assert time.monotonic() - began < SHORT
    with transaction(engine, since=began - 9) as session:
        session.execute(text("UPDATE brand SET title = 'z'"))
