"""Mutants of a stored ledger on each database (BIDDEN_TEST_MUTANTS=2000 for the record): every one is found, at its place, by the
product and by the checker that was written from the specification alone (P4, F33)."""

import os
import random
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy.engine import Engine

from service.db.engine import is_sqlite
from service.db.session import reading, transaction
from service.domain.ledger import actions, checkpoints, queries
from service.kit.signing import Keyring
from tests.domain.ledger import mutants
from tests.domain.ledger.mutant_runs import missed, ours, played, theirs, write

SEEDS = int(os.environ.get("BIDDEN_TEST_MUTANTS", "150"))  # on each database
UNTOUCHED = 50


def test_rel_f33_every_mutant_is_found_at_its_place(
    engine: Engine, ring: Keyring, now: datetime, tmp_path: Path
) -> None:
    write(engine, ring, tmp_path, now)
    assert missed(engine, ring, tmp_path, range(SEEDS)) == []


@pytest.mark.parametrize("mark", ["2", "'no'", "x''"])
@pytest.mark.parametrize("kind", ["consent.withdrawn", "note.made"])
def test_a_mark_that_is_neither_yes_nor_no_is_found(
    engine: Engine, ring: Keyring, now: datetime, tmp_path: Path, mark: str, kind: str
) -> None:
    """SQLite takes any value in any column; whoever reads what takes away does not see an entry marked with a word."""
    if not is_sqlite(engine):
        pytest.skip("PostgreSQL's column holds yes or no")
    with transaction(engine) as session:
        last = actions.append(session, kind, subject="p_any", body={}, by="system", now=now)
    with played(engine) as connection:
        connection.exec_driver_sql(f"UPDATE ledger_entry SET takes = {mark} WHERE seq = {last}")
        assert ours(connection, tmp_path, ring) == ("columns_differ", last)
        assert theirs(connection, tmp_path, ring) == ("columns_differ", last)


@pytest.mark.parametrize(
    ("name", "word"), [("entry", "not_json"), ("hash", "hash_differs"), ("kind", "columns_differ")]
)
def test_octets_in_place_of_a_text_are_found(
    engine: Engine, ring: Keyring, now: datetime, tmp_path: Path, name: str, word: str
) -> None:
    """They are the same octets, and SQLite does not mind."""
    if not is_sqlite(engine):
        pytest.skip("PostgreSQL's column holds a text")
    write(engine, ring, tmp_path, now)
    with played(engine) as connection:
        connection.exec_driver_sql(f"UPDATE ledger_entry SET {name} = CAST({name} AS BLOB) WHERE seq = 5")
        assert ours(connection, tmp_path, ring) == (word, 5)
        assert theirs(connection, tmp_path, ring)[0] in (word, "unreadable")
    with transaction(engine) as session:
        last = actions.append(session, "note.made", subject=None, body={}, by="system", now=now)
    with played(engine) as connection:
        connection.exec_driver_sql(f"UPDATE ledger_entry SET subject = x'00' WHERE seq = {last}")
        assert ours(connection, tmp_path, ring) == ("columns_differ", last)
        assert theirs(connection, tmp_path, ring) == ("columns_differ", last)


@pytest.mark.parametrize("name", ["entry", "kind"])
def test_a_bit_that_makes_a_text_none_is_found_at_its_place(
    engine: Engine, ring: Keyring, now: datetime, tmp_path: Path, name: str
) -> None:
    """SQLite keeps octets that are no UTF-8, and the driver ends at them; what is wrong is said all the same."""
    if not is_sqlite(engine):
        pytest.skip("PostgreSQL takes no such text")
    write(engine, ring, tmp_path, now)
    with played(engine) as connection:
        flipped = (
            f"CAST(CAST(substr({name}, 1, 3) AS BLOB) || x'F1' || CAST(substr({name}, 5) AS BLOB) AS TEXT)"
        )
        connection.exec_driver_sql(f"UPDATE ledger_entry SET {name} = {flipped} WHERE seq = 5")
        word = "hash_differs" if name == "entry" else "columns_differ"
        assert ours(connection, tmp_path, ring) == (word, 5)
        assert theirs(connection, tmp_path, ring) == (word, 5)


def test_untouched_copies_hold(engine: Engine, ring: Keyring, now: datetime, tmp_path: Path) -> None:
    """The control: fifty copies, each with an entry more."""
    write(engine, ring, tmp_path, now)
    for n in range(UNTOUCHED):
        with transaction(engine) as session:
            actions.append(session, "note.made", subject=None, body={"copy": n}, by="system", now=now)
        with played(engine) as connection:
            assert ours(connection, tmp_path, ring) == (None, None)
            assert theirs(connection, tmp_path, ring) == (None, None)


def test_a_mutant_beyond_the_last_head_is_what_the_chain_alone_cannot_tell(
    engine: Engine, ring: Keyring, now: datetime, tmp_path: Path
) -> None:
    """The limit of the promise, on record: what no head outside covers yet can be cut off unseen (P4)."""
    write(engine, ring, tmp_path, now)
    with transaction(engine) as session:
        last = actions.append(session, "note.made", subject=None, body={}, by="system", now=now)
    with played(engine) as connection:
        mutants.Ledger(connection, ring, tmp_path, random.Random(0)).connection.exec_driver_sql(
            f"DELETE FROM ledger_entry WHERE seq = {last}"
        )
        assert ours(connection, tmp_path, ring) == (None, None)
    with reading(engine) as session:
        assert queries.tail(session)[0] == last
        assert checkpoints.verify(session, tmp_path, ring).after_last == 1
