"""Mutants of a stored ledger played one after the other, each undone, and what the two checkers say of it.

Used by test_mutants on the product as it is, and by tests/sabotage on one that believes any signature.
"""

import io
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from sqlalchemy.engine import Connection, Engine
from sqlmodel import Session

import verify_ledger
from service.db.session import reading, transaction
from service.domain.ledger import actions, bundles, checkpoints
from service.kit.signing import Keyring
from tests import checks
from tests.domain.ledger import mutants


def write(engine: Engine, ring: Keyring, outside: Path, now: datetime) -> None:
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
def played(engine: Engine) -> Iterator[Connection]:
    """A connection whose changes are never kept."""
    with engine.execution_options(write=True).connect() as connection, connection.begin() as undone:
        checks.without_guards(connection)
        yield connection
        undone.rollback()


def ours(connection: Connection, outside: Path, ring: Keyring) -> tuple[str | None, int | None]:
    with Session(connection) as session:
        found = checkpoints.verify(session, outside, ring)
    return found.fault, found.position


def theirs(connection: Connection, outside: Path, ring: Keyring) -> tuple[str | None, int | None]:
    with Session(connection) as session:
        bundle = "".join(bundles.lines(session, outside, ring))
    keys = verify_ledger.read_keys(list(checkpoints.keys(ring)))
    found = verify_ledger.check(io.BytesIO(bundle.encode()), keys)
    return found.fault, found.position


def missed(engine: Engine, ring: Keyring, outside: Path, seeds: Sequence[int]) -> list[str]:
    """What was not found, or not at its place, in words; empty when every mutant was, by both."""
    kept, found = (outside / checkpoints.NAME).read_bytes(), []
    for seed in seeds:
        way = mutants.WAYS[seed % len(mutants.WAYS)]
        with played(engine) as connection:
            must = way(mutants.Ledger(connection, ring, outside, random.Random(seed)))
            said = {"ours": ours(connection, outside, ring), "theirs": theirs(connection, outside, ring)}
        (outside / checkpoints.NAME).write_bytes(kept)
        for who, (fault, position) in said.items():
            if fault not in must.words or position != must.position:
                found.append(f"{seed} {way.__name__}: {who} said {fault} at {position}, not {must}")
    return found
