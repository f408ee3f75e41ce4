"""Two thousand mutants of a stored ledger on each database: every one is found, at its place, by the product and by the checker
that was written from the specification alone (P4, F33)."""

import io
import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import verify_ledger
from sqlalchemy.engine import Connection, Engine
from sqlmodel import Session

from service.db.session import reading, transaction
from service.domain.ledger import actions, bundles, checkpoints, queries
from service.kit.signing import Keyring
from tests import checks
from tests.domain.ledger import mutants

SEEDS = 1000  # on each database
UNTOUCHED = 50


def _write(engine: Engine, ring: Keyring, outside: Path, now: datetime) -> None:
    """Three signed heads, and what people say in between."""
    for part in range(3):
        with transaction(engine) as session:
            for n in range(4):
                kind = "consent.withdrawn" if n == 2 else "note.made"
                actions.append(session, kind, subject=f"p_{part}", body={"n": n}, by="system", now=now)
        with transaction(engine) as session:
            checkpoints.sign(session, ring, now=now)
        with reading(engine) as session:
            checkpoints.write_out(session, outside)


@contextmanager
def _played(engine: Engine) -> Iterator[Connection]:
    """A connection whose changes are never kept."""
    with engine.execution_options(write=True).connect() as connection, connection.begin() as undone:
        checks.without_guards(connection)
        yield connection
        undone.rollback()


def _ours(connection: Connection, outside: Path, ring: Keyring) -> tuple[str | None, int | None]:
    with Session(connection) as session:
        found = checkpoints.verify(session, outside, ring)
    return found.fault, found.position


def _theirs(connection: Connection, outside: Path, ring: Keyring) -> tuple[str | None, int | None]:
    with Session(connection) as session:
        bundle = "".join(bundles.lines(session, outside, ring))
    found = verify_ledger.check(io.BytesIO(bundle.encode()), list(checkpoints.keys(ring)))
    return found.fault, found.position


def test_rel_f33_every_mutant_is_found_at_its_place(
    engine: Engine, ring: Keyring, now: datetime, tmp_path: Path
) -> None:
    _write(engine, ring, tmp_path, now)
    kept = (tmp_path / checkpoints.NAME).read_bytes()
    missed = []
    for seed in range(SEEDS):
        way = mutants.WAYS[seed % len(mutants.WAYS)]
        with _played(engine) as connection:
            on = mutants.Ledger(connection, ring, tmp_path, random.Random(seed))
            must = way(on)
            said = {"ours": _ours(connection, tmp_path, ring), "theirs": _theirs(connection, tmp_path, ring)}
        (tmp_path / checkpoints.NAME).write_bytes(kept)
        for who, (fault, position) in said.items():
            if fault not in must.words or position != must.position:
                missed.append(f"{seed} {way.__name__}: {who} said {fault} at {position}, not {must}")
    assert missed == []


def test_untouched_copies_hold(engine: Engine, ring: Keyring, now: datetime, tmp_path: Path) -> None:
    """The control: fifty copies, each with an entry more."""
    _write(engine, ring, tmp_path, now)
    for n in range(UNTOUCHED):
        with transaction(engine) as session:
            actions.append(session, "note.made", subject=None, body={"copy": n}, by="system", now=now)
        with _played(engine) as connection:
            assert _ours(connection, tmp_path, ring) == (None, None)
            assert _theirs(connection, tmp_path, ring) == (None, None)


def test_a_mutant_beyond_the_last_head_is_what_the_chain_alone_cannot_tell(
    engine: Engine, ring: Keyring, now: datetime, tmp_path: Path
) -> None:
    """The limit of the promise, on record: what no head outside covers yet can be cut off unseen (P4)."""
    _write(engine, ring, tmp_path, now)
    with transaction(engine) as session:
        last = actions.append(session, "note.made", subject=None, body={}, by="system", now=now)
    with _played(engine) as connection:
        mutants.Ledger(connection, ring, tmp_path, random.Random(0)).connection.exec_driver_sql(
            f"DELETE FROM ledger_entry WHERE seq = {last}"
        )
        assert _ours(connection, tmp_path, ring) == (None, None)
    with reading(engine) as session:
        assert queries.tail(session)[0] == last
        assert checkpoints.verify(session, tmp_path, ring).after_last == 1
