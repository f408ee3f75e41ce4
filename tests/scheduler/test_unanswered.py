"""A database that fails the sender: a commit nobody answered is found again, a damaged file is not asked again."""

import asyncio
import fcntl
import os
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text, update
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DatabaseError, OperationalError

from scheduler import database, journal
from scheduler.journal import JournalFailed
from scheduler.sender import Sender
from service.db.session import reading, transaction
from service.domain.deliveries import claims, rules
from service.domain.mailings.tables import Batch
from service.domain.senders import actions as senders
from service.kit import clock
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


def test_rel_t1_a_sender_that_ends_gives_back_what_it_claimed_without_knowing(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked to end before it has looked for such a claim; its journal is gone with it, so nobody else would."""
    lost: list[int] = []
    post.sign_up(5)
    post.announce(post.house(9))

    async def run() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()

        @contextmanager
        def unanswered(engine: Engine) -> Iterator[Any]:
            with transaction(engine) as session:
                yield session
            if not lost and post.batches_in_hand():
                lost.append(1)
                loop.call_soon_threadsafe(stop.set)
                raise OperationalError("COMMIT", None, Exception("the connection was lost"))

        monkeypatch.setattr(database, "transaction", unanswered)
        await asyncio.wait_for(Sender(post.house(9), "one").run(stop), 20)

    asyncio.run(run())
    assert lost
    assert (post.batches_in_hand(), post.open_batches()) == (0, 1)


@pytest.mark.parametrize("given_up", [False, True])
def test_rel_t1_a_sender_given_up_claims_nothing_when_it_wakes(post: Post, given_up: bool) -> None:
    """What it claimed would be found by nobody: its journals and batches have been looked through already."""
    post.sign_up(3)
    house = post.house(9)
    post.announce(house)
    with transaction(post.engine) as session:
        lease = senders.begin(session, "far", boot_id="b", seen_seq=0, now=clock.now())
        assert lease.id is not None
        lease_id = lease.id
    if given_up:
        with transaction(post.engine) as session:
            senders.end(session, "far", now=clock.now())
    with transaction(post.engine) as session:
        found = claims.claim(session, post.ring, lease_id, now=clock.now(), limit=1, system=False)
    assert bool(found) is not given_up
    assert bool(post.batches_in_hand()) is not given_up


def test_rel_t1_who_ends_a_lease_waits_for_a_claim_under_way(post: Post) -> None:
    """Else it would look for what the lease holds before that is there."""
    with transaction(post.engine) as session:
        lease = senders.begin(session, "far", boot_id="b", seen_seq=0, now=clock.now())
        assert lease.id is not None
        lease_id = lease.id
    order: list[str] = []

    def end() -> None:
        with transaction(post.engine) as session:
            senders.end(session, "far", now=clock.now())
            order.append("ended")

    with ThreadPoolExecutor(1) as executor:
        with transaction(post.engine) as session:
            assert senders.holds(session, lease_id)
            done = executor.submit(end)
            time.sleep(0.3)
            order.append("claimed")
        done.result(10)
    assert order == ["claimed", "ended"]


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
                    file = sender.journals.last()
                    os.write(full, file.path.read_bytes())
                    fcntl.fcntl(full, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)
                    os.dup2(full, file._fd)
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


def test_rel_f18_what_was_claimed_and_cannot_be_taken_up_goes_back(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A further journal file is due and cannot be made, for the directory is gone: the sender stops. Its journal goes with it, so
    nobody else would ever look for that claim."""
    monkeypatch.setattr(journal, "ROOM", 150)
    for name in ("BATCH", "SMALLEST_BATCH"):
        monkeypatch.setattr(rules, name, 2)
    post.sign_up(10)
    announcement = post.announce(post.house(9))
    directory = post.house(9).settings.journals

    async def run() -> list[str]:
        async with Sink(SinkSettings(keep=True, delay=0.05)) as sink:
            house = post.house(sink.port)

            def lose(_message: object) -> None:
                shutil.rmtree(directory, ignore_errors=True)

            sink.settings.on_dot = lose
            with pytest.raises(JournalFailed):
                await asyncio.wait_for(Sender(house, "one").run(asyncio.Event()), 20)
            assert post.batches_in_hand() == 0
            sink.settings.on_dot = None
            await asyncio.wait_for(send_all(post, house), 20)
            return [message.rcpt for message in sink.kept]

    readers = asyncio.run(run())
    assert len(readers) == len(set(readers)) == post.report(announcement)["outcomes"]["sent"] == 10


def test_rel_t1_a_claim_that_commits_while_the_lease_ends_goes_back(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of the lease waits for it; nothing of it was ever in hand, and with the journal gone nobody else would look."""
    post.sign_up(3)
    post.announce(post.house(9))
    now = clock.now()
    with transaction(post.engine) as session:  # so that the sender does not take it by itself
        session.connection().execute(update(Batch).values(due_at=now + timedelta(hours=1)))
    claimed, ends = threading.Event(), threading.Event()
    sender = Sender(post.house(9), "one")
    end_lease = sender.lease.end

    def claim() -> None:
        with transaction(post.engine) as session:
            given = {"now": now + timedelta(hours=2), "limit": 1, "system": False}
            made = claims.claim(session, post.ring, sender.lease.id, **given, incarnation=sender.incarnation)
            assert len(made) == 1
            claimed.set()
            assert ends.wait(20)

    async def seen() -> None:
        ends.set()
        await end_lease()

    async def run() -> None:
        monkeypatch.setattr(sender.lease, "end", seen)
        stop = asyncio.Event()
        sending = asyncio.create_task(sender.run(stop))
        while not sender.lease.id:
            await asyncio.sleep(0.01)
        in_doubt = asyncio.create_task(asyncio.to_thread(claim))
        assert await asyncio.to_thread(claimed.wait, 20)
        stop.set()
        await asyncio.wait_for(asyncio.gather(sending, in_doubt), 30)

    asyncio.run(run())
    assert post.batches_in_hand() == 0
    assert post.open_batches() == 1
