"""Transactions: everything or nothing, in the order promised; and locks that let others by."""

import threading
from contextlib import suppress
from datetime import datetime

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError
from sqlmodel import col

from service.db.engine import is_sqlite
from service.db.locks import for_update, insert_or_skip, lock_ledger_tail
from service.db.session import after_commit, at_end, reading, transaction
from service.domain.brands.tables import Setting


def test_what_is_to_come_last_comes_last_and_what_comes_after_is_durable(
    engine: Engine, now: datetime
) -> None:
    order: list[str] = []
    with transaction(engine) as session:
        at_end(session, lambda _: order.append("end"))
        after_commit(session, lambda: order.append(f"after {_settings(engine)}"))
        session.add(Setting(name="x", value=1, changed_at=now))
        order.append("body")
    assert order == ["body", "end", "after 1"]


def _settings(engine: Engine) -> int:
    with reading(engine) as session:
        return len(session.exec(select(Setting)).all())  # type: ignore[call-overload]


@pytest.mark.parametrize("when", ["body", "end"])
def test_a_failure_anywhere_leaves_nothing_behind(engine: Engine, now: datetime, when: str) -> None:
    after: list[int] = []

    def fail(_: object) -> None:
        raise RuntimeError(when)

    with pytest.raises(RuntimeError), transaction(engine) as session:  # noqa: PT012 - the failure comes at its end
        after_commit(session, lambda: after.append(1))
        session.add(Setting(name="x", value=1, changed_at=now))
        if when == "end":
            at_end(session, fail)
        else:
            fail(session)
    assert after == []
    assert _settings(engine) == 0


def test_a_reader_cannot_write_by_accident(engine: Engine, now: datetime) -> None:
    with reading(engine) as session:
        session.add(Setting(name="x", value=1, changed_at=now))
        session.exec(select(Setting)).all()  # type: ignore[call-overload]
    assert _settings(engine) == 0


def test_errors_do_not_show_what_was_sent(engine: Engine) -> None:
    with pytest.raises(DBAPIError) as raised, engine.connect() as connection:
        connection.execute(text("INSERT INTO nowhere VALUES (:secret)"), {"secret": "ana@example.org"})
    assert "ana@" not in str(raised.value)


def test_two_writers_wait_for_each_other(engine: Engine, now: datetime) -> None:
    """A read that becomes a write would lose an update; both come through instead."""
    with transaction(engine) as session:
        session.add(Setting(name="n", value=0, changed_at=now))

    def add() -> None:
        for _ in range(15):
            with transaction(engine) as session:
                statement = for_update(session, select(Setting).where(col(Setting.name) == "n"))
                row = session.scalars(statement).one()
                row.value = row.value + 1
                session.add(row)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    with reading(engine) as session:
        assert session.get_one(Setting, "n").value == 60


def test_who_holds_the_ledgers_tail_asks_for_it_once_and_again_when_it_is_gone(engine: Engine) -> None:
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        if "advisory" in statement:
            asked.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        with transaction(engine) as session:
            with suppress(ValueError), session.begin_nested():
                lock_ledger_tail(session)
                raise ValueError  # the savepoint goes, and with it what was locked within
            lock_ledger_tail(session)
            lock_ledger_tail(session)
            with session.begin_nested():
                lock_ledger_tail(session)
            assert len(asked) == (0 if is_sqlite(engine) else 2)
            session.commit()
            lock_ledger_tail(session)
            assert len(asked) == (0 if is_sqlite(engine) else 3)
    finally:
        event.remove(engine, "before_cursor_execute", note)


def test_a_locked_row_is_skipped_where_rows_are_locked(engine: Engine, now: datetime) -> None:
    if is_sqlite(engine):
        return  # it has one writer, and locks no rows
    with transaction(engine) as session:
        session.add_all([Setting(name=name, value=0, changed_at=now) for name in "ab"])
    with transaction(engine) as first, transaction(engine) as second:
        mine = first.scalars(
            for_update(first, select(Setting).order_by(col(Setting.name)).limit(1), skip_locked=True)
        ).one()
        rest = second.scalars(
            for_update(second, select(Setting).order_by(col(Setting.name)), skip_locked=True)
        ).all()
        assert [mine.name, *(row.name for row in rest)] == ["a", "b"]


def test_insert_or_skip_leaves_what_is_there(engine: Engine, now: datetime) -> None:
    for value in (1, 2):
        with transaction(engine) as session:
            session.connection().execute(
                insert_or_skip(session, Setting, ["name"]).values(name="x", value=value, changed_at=now)
            )
    with reading(engine) as session:
        assert session.get_one(Setting, "x").value == 1


def test_sqlite_keeps_its_promises(engine: Engine) -> None:
    if not is_sqlite(engine):
        return
    with engine.connect() as connection:
        asked = (
            "journal_mode",
            "synchronous",
            "foreign_keys",
            "recursive_triggers",
            "secure_delete",
            "busy_timeout",
        )
        said = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in asked]
    assert said == ["wal", 2, 1, 1, 1, 5000]
