"""The ledger in its database: one chain whoever writes, no change let through, every change found (P4, standards K1, K2)."""

import errno
import json
import multiprocessing
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import delete, insert, select, update
from sqlalchemy.engine import Connection, Engine
from sqlmodel import Session, col

from service.db import migrate
from service.db.engine import make_engine
from service.db.session import reading, transaction
from service.domain.ledger import actions, queries, rules, safe
from service.domain.ledger.tables import LedgerEntry
from service.kit.signing import Keyring
from tests import builders as make
from tests import checks

SEQ = col(LedgerEntry.seq)


def _append(session: Session, now: datetime, n: int = 0, kind: str = "note.made") -> int:
    return actions.append(session, kind, subject=f"s{n}", body={"n": n}, by="system", now=now)


def _fill(engine: Engine, now: datetime, count: int = 30) -> int:
    with transaction(engine) as session:
        first = _append(session, now)
        for n in range(1, count):
            _append(session, now, n)
    return first


def test_std_k2_sixteen_threads_append_one_chain(engine: Engine, now: datetime) -> None:
    with reading(engine) as session:
        start = queries.tail(session)[0]

    def write(thread: int) -> list[int]:
        made = []
        for n in range(50):
            with transaction(engine) as session:
                made.append(_append(session, now, thread * 100 + n))
        return made

    with ThreadPoolExecutor(16) as pool:
        numbers = [seq for made in pool.map(write, range(16)) for seq in made]
    assert sorted(numbers) == list(range(start + 1, start + 801))
    assert checks.chain(engine) == []


def test_a_transaction_that_fails_leaves_no_gap(engine: Engine, now: datetime) -> None:
    with reading(engine) as session:
        before = queries.tail(session)
    with pytest.raises(RuntimeError), transaction(engine) as session:  # noqa: PT012 - it fails at its end
        _append(session, now)
        raise RuntimeError
    with transaction(engine) as session:
        assert _append(session, now) == before[0] + 1
    assert checks.chain(engine) == []


def test_entries_of_one_transaction_stand_together_and_last(engine: Engine, now: datetime) -> None:
    with transaction(engine) as session:
        first = _append(session, now, 1)
        assert [one.seq for one in actions.appended(session)] == [first]
        assert _append(session, now, 2, "consent.withdrawn") == first + 1
        assert session.info["fence_seq"] == first + 1
    with reading(engine) as session:
        assert [one.seq for one in queries.taken_since(session, first - 1)] == [first + 1]
        assert queries.taken_since(session, first + 1) == []


# --- guards ---


def test_std_k1_the_ledger_cannot_be_changed_shortened_or_added_to_in_the_middle(
    engine: Engine, now: datetime
) -> None:
    _fill(engine, now)
    assert checks.ledger_guards(engine) == []
    assert checks.chain(engine) == []


def test_the_guards_are_found_missing_when_they_are(engine: Engine, now: datetime) -> None:
    _fill(engine, now)
    with engine.execution_options(write=True).begin() as connection:
        checks.without_guards(connection)
    assert len(checks.ledger_guards(engine)) >= 5


def test_a_plain_insert_at_the_end_passes(engine: Engine, now: datetime) -> None:
    """The control of the tests above: what they try is refused for its place, not for its form."""
    with reading(engine) as session:
        tail = queries.tail(session)[0]
    assert checks._passes(engine, insert(LedgerEntry).values(**checks._row(tail + 1)))


VERSIONS = sorted((Path(migrate.__file__).parent / "migrations" / "versions").glob("*.py"))
REWRITES = ("batch_alter_table", "drop_table", "rename_table", "alter_column", "drop_column")


@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.stem)
def test_no_migration_ever_rewrites_what_is_only_added_to(version: Path) -> None:
    """Alembic's batch mode copies a table and drops the old one: that would go past every guard. Nor does one take a guard down."""
    source = re.sub(r"\s", "", version.read_text("utf-8").partition("def downgrade")[0]).replace("'", '"')
    for table in ("ledger_entry", "outcome"):
        if f'create_table("{table}"' not in source:
            assert [way for way in REWRITES if f'{way}("{table}"' in source] == []
    assert "DROPTRIGGER" not in source.upper()
    assert "DISABLETRIGGER" not in source.upper()


# --- tampering ---


def _edit(connection: Connection, seq: int) -> None:
    row = connection.execute(select(LedgerEntry).where(seq == SEQ)).one()
    connection.execute(update(LedgerEntry).where(seq == SEQ).values(entry=row.entry.replace('"n":', '"m":')))


def _edit_and_rehash(connection: Connection, seq: int) -> None:
    row = connection.execute(select(LedgerEntry).where(seq == SEQ)).one()
    text = row.entry.replace('"n":', '"m":')
    connection.execute(update(LedgerEntry).where(seq == SEQ).values(entry=text, hash=rules.leaf_hash(text)))


def _edit_column(connection: Connection, seq: int) -> None:
    connection.execute(update(LedgerEntry).where(seq == SEQ).values(subject="p_somebody_else"))


def _delete(connection: Connection, seq: int) -> None:
    connection.execute(delete(LedgerEntry).where(seq == SEQ))


def _truncate_in_the_middle(connection: Connection, seq: int) -> None:
    connection.execute(delete(LedgerEntry).where(SEQ.between(seq, seq + 4)))


def _delete_and_close_up(connection: Connection, seq: int) -> None:
    connection.execute(delete(LedgerEntry).where(seq == SEQ))
    for number in connection.execute(select(SEQ).where(seq < SEQ).order_by(SEQ)).scalars().all():
        connection.execute(update(LedgerEntry).where(number == SEQ).values(seq=number - 1))


def _insert(connection: Connection, seq: int) -> None:
    for number in connection.execute(select(SEQ).where(seq <= SEQ).order_by(SEQ.desc())).scalars().all():
        connection.execute(update(LedgerEntry).where(number == SEQ).values(seq=number + 1))
    before = connection.execute(select(LedgerEntry).where(seq - 1 == SEQ)).one()
    forged = rules.make(
        seq=seq, at=before.at, kind="note.made", actor="system", subject="s", body={}, prev_hash=before.hash
    )
    values = {
        "seq": seq,
        "entry": forged.text,
        "hash": forged.hash,
        "kind": forged.kind,
        "subject": "s",
        "at": forged.at,
        "takes": False,
    }
    connection.execute(insert(LedgerEntry).values(**values))


def _swap(connection: Connection, seq: int) -> None:
    one, two = connection.execute(select(LedgerEntry).where(SEQ.in_([seq, seq + 1])).order_by(SEQ)).all()
    for target, source in ((seq, two), (seq + 1, one)):
        values = {name: getattr(source, name) for name in ("entry", "hash", "kind", "subject", "at", "takes")}
        connection.execute(update(LedgerEntry).where(target == SEQ).values(**values))


@pytest.mark.parametrize(
    ("tamper", "off"),
    [
        (_edit, 0),
        (_edit_column, 0),
        (_delete, 0),
        (_truncate_in_the_middle, 0),
        (_swap, 0),
        (_edit_and_rehash, 1),
        (_insert, 1),
        (_delete_and_close_up, 0),
    ],
    ids=lambda one: getattr(one, "__name__", str(one)).strip("_"),
)
def test_std_k2_tampering_is_found_at_its_position(
    engine: Engine, now: datetime, tamper: Callable[[Connection, int], None], off: int
) -> None:
    """A changed entry whose hash was made anew is found where the next one no longer follows it."""
    seq = _fill(engine, now) + 9
    with engine.execution_options(write=True).begin() as connection:
        checks.without_guards(connection)
        tamper(connection, seq)
    with reading(engine) as session:
        verdict = queries.verify(session)
    assert not verdict.holds
    assert verdict.position == seq + off
    assert verdict.entries == seq + off - 1


def test_an_entry_before_the_first_is_found(engine: Engine, now: datetime) -> None:
    with engine.execution_options(write=True).begin() as connection:
        checks.without_guards(connection)
        connection.execute(insert(LedgerEntry).values(**checks._row(0)))
    assert checks.chain(engine) == ["entry 1: out_of_order"]


# --- the withdrawal file ---


def _lines(directory: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (directory / safe.NAME).read_bytes().splitlines()]


def _bring(engine: Engine, directory: Path) -> int:
    with reading(engine) as session:
        return safe.bring_up_to_date(session, directory, lambda _, subjects: {})


def test_the_withdrawal_file_holds_what_was_taken_away_and_nobody_s_data(
    engine: Engine, ring: Keyring, now: datetime, tmp_path: Path
) -> None:
    from service.domain.preferences import actions as preferences

    with transaction(engine) as session:
        ana = make.a_person(session, ring, now=now)
        preferences.stop(
            session, ring, make.a_link(session, ana), how="link", evidence={"ip": "203.0.113.9"}, now=now
        )
    assert _bring(engine, tmp_path) == 1
    assert _bring(engine, tmp_path) == 0
    [line] = _lines(tmp_path)
    assert (line["kind"], line["subject"], line["body"]) == (
        "consent.withdrawn",
        ana.public_id,
        {"topic": "new-products"},
    )
    with reading(engine) as session:
        seen = queries.entry(session, int(str(line["seq"])))
        assert seen is not None
        assert seen.hash == line["hash"]
    raw = (tmp_path / safe.NAME).read_text()
    assert not any(word in raw for word in ("203.0.113.9", "ana@", "sealed"))


@pytest.mark.parametrize("torn", [b'{"at": 1', b"{", b"\x00\x00\x00\x00", b'{"seq": 99999}'])
def test_a_torn_last_line_is_cut_off_and_written_again(
    engine: Engine, now: datetime, tmp_path: Path, torn: bytes
) -> None:
    with transaction(engine) as session:
        for n in range(3):
            _append(session, now, n, "consent.withdrawn")
    assert _bring(engine, tmp_path) == 3
    file = tmp_path / safe.NAME
    whole = file.read_bytes()
    file.write_bytes(whole.rpartition(b"\n")[0].rpartition(b"\n")[0] + b"\n" + torn)
    assert len(safe.lines(tmp_path)) == 2
    assert _bring(engine, tmp_path) == 1
    assert file.read_bytes() == whole


def test_a_file_of_one_torn_line_begins_anew(engine: Engine, now: datetime, tmp_path: Path) -> None:
    with transaction(engine) as session:
        _append(session, now, 1, "consent.withdrawn")
    (tmp_path / safe.NAME).write_bytes(b'{"at":')
    assert _bring(engine, tmp_path) == 1
    assert len(_lines(tmp_path)) == 1


def test_rel_f17_what_did_not_surely_reach_the_disk_is_written_anew(
    engine: Engine, now: datetime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line whose sync failed would else be taken for written by the next call."""
    with transaction(engine) as session:
        _append(session, now, 1, "consent.withdrawn")

    def fails(descriptor: int) -> None:
        raise OSError(errno.EIO, "no")

    with monkeypatch.context() as broken:
        broken.setattr("os.fsync", fails)
        with pytest.raises(OSError):
            _bring(engine, tmp_path)
    assert _lines(tmp_path) == []
    assert _bring(engine, tmp_path) == 1


def _bring_often(url: str, directory: str, now: datetime, worker: int) -> None:
    engine = make_engine(url)
    for n in range(8):
        with transaction(engine) as session:
            _append(session, now, worker * 100 + n, "consent.withdrawn")
        _bring(engine, Path(directory))
    engine.dispose()


def test_many_processes_write_each_line_once_and_in_order(
    database_url: str, now: datetime, tmp_path: Path
) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_bring_often, args=(database_url, str(tmp_path), now, n)) for n in range(3)
    ]
    for one in workers:
        one.start()
    for one in workers:
        one.join(60)
        assert one.exitcode == 0
    numbers = [line["seq"] for line in _lines(tmp_path)]
    assert len(numbers) == 24
    assert numbers == sorted(set(map(int, map(str, numbers))))
