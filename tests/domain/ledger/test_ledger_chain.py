"""One chain, whoever writes; guards that refuse; a verifier that names the place."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DatabaseError

from service.db.engine import is_sqlite
from service.db.session import reading, transaction
from service.domain.ledger import actions, queries, safe
from service.kit import chain


def _write(engine: Engine, count: int, now: datetime, kind: str = "settings.changed") -> None:
    with transaction(engine) as session:
        for n in range(count):
            actions.append(session, kind, subject=f"p_{n}", body={"n": n}, by="cli", now=now + timedelta(seconds=n))


def _verdict(engine: Engine) -> queries.Verdict:
    with reading(engine) as session:
        return queries.verify(session)


def test_std_k2_many_writers_one_chain(engine: Engine, now: datetime) -> None:
    before = _verdict(engine).entries

    def write(_: int) -> None:
        for _ in range(10):
            _write(engine, 3, now)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    verdict = _verdict(engine)
    assert verdict.holds
    assert verdict.entries == before + 8 * 10 * 3


def test_nothing_is_written_when_the_transaction_fails(engine: Engine, now: datetime) -> None:
    before = _verdict(engine).entries
    with pytest.raises(RuntimeError, match="stop"), transaction(engine) as session:
        actions.append(session, "settings.changed", subject=None, body={}, by="cli", now=now)
        raise RuntimeError("stop")
    assert _verdict(engine).entries == before


FORBIDDEN = [
    "UPDATE ledger_entry SET kind = 'x' WHERE seq = 1",
    "UPDATE ledger_entry SET entry = entry || ' '",
    "DELETE FROM ledger_entry WHERE seq = 1",
    "DELETE FROM ledger_entry",
    "INSERT INTO ledger_entry (seq, entry, hash, kind, at, takes) VALUES (999999, '{}', 'x', 'k', 1, false)",
    "INSERT INTO ledger_entry (seq, entry, hash, kind, at, takes) VALUES (1, '{}', 'x', 'k', 1, false)",
    "INSERT INTO ledger_entry (seq, entry, hash, kind, at, takes) VALUES (0, '{}', 'x', 'k', 1, false)",
]
ONLY_SQLITE = [
    "INSERT OR REPLACE INTO ledger_entry (seq, entry, hash, kind, at, takes) VALUES (1, '{}', 'x', 'k', 1, false)",
    "REPLACE INTO ledger_entry (seq, entry, hash, kind, at, takes) VALUES (1, '{}', 'x', 'k', 1, false)",
    "UPDATE OR REPLACE ledger_entry SET seq = 2 WHERE seq = 1",
]
ONLY_POSTGRESQL = ["TRUNCATE ledger_entry CASCADE", "TRUNCATE outcome"]


def test_std_k1_guards_refuse(engine: Engine, now: datetime) -> None:
    _write(engine, 3, now)
    before = _verdict(engine)
    for statement in FORBIDDEN + (ONLY_SQLITE if is_sqlite(engine) else ONLY_POSTGRESQL):
        with pytest.raises(DatabaseError), engine.execution_options(write=True).begin() as connection:
            connection.execute(text(statement))
    assert _verdict(engine) == before


def drop_guards(engine: Engine) -> None:
    """What somebody with the database's own password can do."""
    with engine.execution_options(write=True).begin() as connection:
        if is_sqlite(engine):
            names = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'ledger_entry'")).scalars().all()
            for name in names:
                connection.execute(text(f"DROP TRIGGER {name}"))
        else:
            connection.execute(text("ALTER TABLE ledger_entry DISABLE TRIGGER USER"))


def _edit_text(engine: Engine, seq: int) -> str:
    with engine.connect() as connection:
        return str(connection.execute(text("SELECT entry FROM ledger_entry WHERE seq = :s"), {"s": seq}).scalar_one())


@pytest.mark.parametrize(
    ("harm", "position"),
    [
        ("UPDATE ledger_entry SET entry = :edited WHERE seq = :s", 0),
        ("UPDATE ledger_entry SET entry = :edited, hash = :rehashed WHERE seq = :s", 1),
        ("UPDATE ledger_entry SET kind = 'consent.given' WHERE seq = :s", 0),
        ("UPDATE ledger_entry SET subject = 'p_other' WHERE seq = :s", 0),
        ("UPDATE ledger_entry SET at = at + 1 WHERE seq = :s", 0),
        ("DELETE FROM ledger_entry WHERE seq = :s", 0),
    ],
)
def test_std_k2_harm_is_named_with_its_position(engine: Engine, now: datetime, harm: str, position: int) -> None:
    _write(engine, 8, now)
    last = _verdict(engine).entries
    seq = last - 4
    drop_guards(engine)
    edited = _edit_text(engine, seq).replace('"n":3', '"n":4')
    assert edited != _edit_text(engine, seq)
    known = {"s": seq, "edited": edited, "rehashed": chain.leaf_hash(edited)}
    with engine.execution_options(write=True).begin() as connection:
        connection.execute(text(harm), {name: value for name, value in known.items() if f":{name}" in harm})
    verdict = _verdict(engine)
    assert not verdict.holds
    assert verdict.position == seq + position


def test_swapped_entries_are_named(engine: Engine, now: datetime) -> None:
    _write(engine, 6, now)
    seq = _verdict(engine).entries - 3
    drop_guards(engine)
    with engine.execution_options(write=True).begin() as connection:
        for a, b in ((seq, -1), (seq + 1, seq), (-1, seq + 1)):
            connection.execute(text("UPDATE ledger_entry SET seq = :b WHERE seq = :a"), {"a": a, "b": b})
    assert _verdict(engine).position == seq


def test_withdrawal_file_has_every_no_once(engine: Engine, now: datetime, tmp_path: Path) -> None:
    _write(engine, 5, now, "consent.withdrawn")

    def bring(_: int) -> int:
        with reading(engine) as session:
            return safe.bring_up_to_date(session, tmp_path)

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(bring, range(6))) == 5
    assert [line["subject"] for line in safe.lines(tmp_path)] == [f"p_{n}" for n in range(5)]


def test_withdrawal_file_mends_a_torn_line(engine: Engine, now: datetime, tmp_path: Path) -> None:
    _write(engine, 3, now, "consent.withdrawn")
    with reading(engine) as session:
        safe.bring_up_to_date(session, tmp_path)
    file = tmp_path / safe.NAME
    file.write_bytes(file.read_bytes()[:-9])
    with reading(engine) as session:
        assert safe.bring_up_to_date(session, tmp_path) == 1
    assert [line["subject"] for line in safe.lines(tmp_path)] == ["p_0", "p_1", "p_2"]
    assert all(json.dumps(line) for line in safe.lines(tmp_path))
