"""A PostgreSQL that answers and does not let anybody write, as a stand-by that was not promoted yet: it is away, not damaged."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from psycopg.errors import ReadOnlySqlTransaction
from sqlalchemy import text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DatabaseError
from sqlmodel import Session

from scheduler.database import Database
from service.db.engine import AWAY, is_damaged, make_engine
from service.db.session import transaction

WRITES = text("UPDATE brand SET title = 'x'")


@pytest.fixture
def served(postgres_database: str) -> Iterator[Engine]:
    """A database with one row."""
    engine = make_engine(postgres_database)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE brand AS SELECT 'a' AS title"))
    yield engine
    engine.dispose()


@pytest.fixture
def stand_by(served: Engine) -> Engine:
    """The same, in which nobody may write for now."""
    _set(served, "SET default_transaction_read_only = on")
    served.dispose()
    return served


def _set(engine: Engine, what: str) -> None:
    other = make_engine(engine.url.render_as_string(hide_password=False))
    with other.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET default_transaction_read_only = off"))
        connection.execute(text(f"ALTER DATABASE {engine.url.database} {what}"))
    other.dispose()


def test_it_is_away(stand_by: Engine) -> None:
    """So a page says that it is busy, and a command that it cannot be used."""
    with pytest.raises(AWAY) as told, transaction(stand_by) as session:
        session.execute(WRITES)
    assert isinstance(told.value.orig, ReadOnlySqlTransaction)
    assert not is_damaged(told.value)


def test_a_sender_waits_until_it_is_promoted(stand_by: Engine) -> None:
    """By whatever connection it came: one that the pool has kept may lead to a server that is none of the first any more."""
    refused = threading.Event()

    def write(session: Session) -> int:
        try:
            return session.connection().execute(WRITES).rowcount
        except DatabaseError:
            refused.set()
            raise

    async def run() -> int:
        with ThreadPoolExecutor(1) as executor:
            writing = asyncio.create_task(Database(stand_by, executor).write(write))
            await asyncio.to_thread(refused.wait, 20)
            await asyncio.to_thread(_set, stand_by, "RESET default_transaction_read_only")
            return await asyncio.wait_for(writing, 20)

    assert asyncio.run(run()) == 1


@pytest.mark.parametrize(
    ("state", "damaged"),
    [("XX001", True), ("XX002", True), ("25006", False), ("25P02", False), ("25P03", False)],
)
def test_only_what_the_server_calls_corrupted_is_damaged(served: Engine, state: str, damaged: bool) -> None:
    raises = text(f"DO $$ BEGIN RAISE EXCEPTION 'so it is' USING ERRCODE = '{state}'; END $$")
    with pytest.raises(DatabaseError) as told, served.connect() as connection:
        connection.execute(raises)
    assert is_damaged(told.value) is damaged
