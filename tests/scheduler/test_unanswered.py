"""A database that fails the sender: a commit nobody answered is found again, a damaged file is not asked again."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DatabaseError, OperationalError

from scheduler import database
from scheduler.journal import Journal, JournalFailed
from scheduler.sender import Sender
from service.db.session import reading, transaction
from service.kit.errors import DatabaseDamaged
from tests.scheduler.conftest import Post, Sink, SinkSettings, send_all

CLAIMED = text("SELECT count(*) FROM batch WHERE state = 'claimed'")


def test_rel_t1_a_claim_whose_commit_nobody_answered_goes_back(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands in the database, and the claim is made again for another batch: both are sent, everybody once."""
    lost: list[int] = []

    @contextmanager
    def unanswered(engine: Engine) -> Iterator[Any]:
        with transaction(engine) as session:
            yield session
        with reading(engine) as session:
            claimed = session.connection().execute(CLAIMED).scalar_one()
        if claimed and not lost:
            lost.append(claimed)
            raise OperationalError("COMMIT", None, Exception("the connection was lost"))

    monkeypatch.setattr(database, "transaction", unanswered)
    post.sign_up(5)
    announcement = post.announce(post.house(9))

    async def run() -> list[str]:
        async with Sink(SinkSettings(keep=True)) as sink:
            await asyncio.wait_for(send_all(post, post.house(sink.port)), 20)
            return [message.rcpt for message in sink.kept]

    readers = asyncio.run(run())
    assert lost
    assert len(readers) == len(set(readers)) == post.report(announcement)["outcomes"]["sent"] == 5


def test_a_damaged_database_is_not_asked_again(engine: Engine) -> None:
    asked: list[int] = []

    def query(session: Any) -> None:
        asked.append(1)
        raise DatabaseError("SELECT", None, Exception("database disk image is malformed"))

    with ThreadPoolExecutor(1) as executor, pytest.raises(DatabaseDamaged):
        asyncio.run(database.Database(engine, executor).read(query))
    assert len(asked) == 1


def test_rel_f18_a_reply_the_journal_has_no_room_for_is_recorded_all_the_same(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sender stops; whoever's mail was taken is on record, nobody is left without an outcome."""
    replied: list[int] = []

    def full(*line: Any) -> None:
        replied.append(1)
        if len(replied) > 2:
            raise JournalFailed

    post.sign_up(6)
    announcement = post.announce(post.house(9))

    async def run() -> list[str]:
        async with Sink(SinkSettings(keep=True)) as sink:
            house = post.house(sink.port)
            with monkeypatch.context() as broken:
                broken.setattr(Journal, "reply", full)
                with pytest.raises(JournalFailed):
                    await asyncio.wait_for(Sender(house, "one").run(asyncio.Event()), 20)
            await asyncio.wait_for(send_all(post, house), 20)
            return [message.rcpt for message in sink.kept]

    readers = asyncio.run(run())
    outcomes = post.report(announcement)["outcomes"]
    assert len(readers) == len(set(readers))
    assert outcomes["sent"] + outcomes["unknown"] == 6
    assert outcomes["sent"] >= 3
