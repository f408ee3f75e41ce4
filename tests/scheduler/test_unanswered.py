"""A database that fails the sender: a commit nobody answered is found again, a damaged file is not asked again."""

import asyncio
import fcntl
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DatabaseError, OperationalError

from scheduler import database
from scheduler.journal import JournalFailed
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


def test_rel_f18_a_reply_the_journal_has_no_room_for_is_recorded_all_the_same(post: Post) -> None:
    """The journal cannot grow when the third reply comes: the sender stops, whoever's mail was taken is on record, and nobody is left
    without an outcome."""
    post.sign_up(6)
    announcement = post.announce(post.house(9))
    dots: list[int] = []

    async def run() -> list[str]:
        async with Sink(SinkSettings(keep=True)) as sink:
            house = post.house(sink.port)
            sender = Sender(house, "one")

            def fill(_message: object) -> None:
                dots.append(1)
                if len(dots) == 3:
                    full = os.memfd_create("full", os.MFD_ALLOW_SEALING)
                    os.write(full, sender.journal.path.read_bytes())
                    fcntl.fcntl(full, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)
                    os.dup2(full, sender.journal._fd)
                    os.close(full)

            sink.settings.on_dot = fill
            with pytest.raises(JournalFailed, match=r"not permitted|earlier"):
                await asyncio.wait_for(sender.run(asyncio.Event()), 20)
            assert post.report(announcement)["outcomes"]["sent"] == 3
            await asyncio.wait_for(send_all(post, house), 20)
            return [message.rcpt for message in sink.kept]

    readers = asyncio.run(run())
    outcomes = post.report(announcement)["outcomes"]
    assert len(readers) == len(set(readers)) == 6
    assert outcomes["sent"] + outcomes["unknown"] == 6
