"""kill -9 in the middle of a send (P3): nobody twice, nobody lost, what nobody can know is said to be unknown."""

import asyncio
import multiprocessing
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Engine

from scheduler import journal
from scheduler.sender import Sender
from service import fence
from service.db.engine import make_engine
from service.db.session import transaction
from service.domain.deliveries import claims, rules
from service.domain.preferences import actions as preferences
from service.domain.senders import actions as senders
from service.kit import clock
from service.kit.signing import Keyring
from service.ops.house import House
from tests.scheduler.conftest import Post, Sink, SinkSettings, send_all

CONNECTIONS = 3


def _send_until_killed(url: str, ring: Keyring, directory: str, port: int, name: str) -> None:
    import service.domain

    service.domain.load_tables()
    engine = make_engine(url)
    house: House = Post(engine, ring, Path(directory)).house(port, connections=CONNECTIONS)
    asyncio.run(Sender(house, name).run(asyncio.Event()))


@pytest.mark.parametrize("again", ["one", "two"])
def test_std_f1_a_killed_sender_is_recovered_by_whoever_starts(
    engine: Engine, ring: Keyring, tmp_path: Path, database_url: str, again: str
) -> None:
    """Under its own name or another's: everyone once, but for those whose dot had left without an answer."""
    post = Post(engine, ring, tmp_path)
    post.sign_up(300)
    announcement = post.announce(post.house(9))

    async def run() -> list[str]:
        async with Sink(SinkSettings(keep=True, delay=0.01)) as sink:
            context = multiprocessing.get_context("spawn")
            victim = context.Process(
                target=_send_until_killed, args=(database_url, ring, str(tmp_path), sink.port, "one")
            )
            victim.start()
            deadline = time.monotonic() + 60
            while sink.committed < 60:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.005)
            os.kill(victim.pid or 0, signal.SIGKILL)
            await asyncio.to_thread(victim.join, 30)
            await asyncio.sleep(0.2)
            sink.settings.delay = 0.0
            await send_all(post, post.house(sink.port, connections=CONNECTIONS), names=(again,))
            return [message.rcpt for message in sink.kept]

    readers = asyncio.run(run())
    report = post.report(announcement)
    outcomes: dict[str, Any] = report["outcomes"]
    assert max(Counter(readers).values()) == 1
    assert outcomes["sent"] + outcomes["unknown"] == report["planned"] == 300
    assert outcomes["unknown"] <= CONNECTIONS
    assert 300 - outcomes["unknown"] <= len(readers) <= 300
    assert list((tmp_path / "journal").glob("*.journal")) == []


def test_a_new_incarnation_waits_for_whoever_is_recovering_the_old_one(post: Post) -> None:
    """Else the recoverer would take the new one's batches for the old one's, and send them again."""
    post.sign_up(3)
    announcement = post.announce(post.house(9))
    directory = post.house(9).settings.journals
    old = journal.Journal.open(directory, "one")
    old.close()

    async def run() -> None:
        async with Sink(SinkSettings(keep=True)) as sink:
            stop = asyncio.Event()
            with journal.claim(old.path) as mine:
                assert mine
                sending = asyncio.create_task(Sender(post.house(sink.port), "one").run(stop))
                await asyncio.sleep(1)
                assert sink.began == 0
                old.path.unlink()
            while sink.committed < 3:
                await asyncio.sleep(0.01)
            stop.set()
            await sending

    asyncio.run(run())
    assert post.report(announcement)["outcomes"]["sent"] == 3


def test_a_no_is_heeded_while_a_sender_is_still_recovering(post: Post) -> None:
    """However long that takes: its lease holds the fence from its first moment, so it reads and says what it has seen. (Its signs of
    life, too, by which a supervisor knows it from a frozen one.)"""
    post.sign_up(1)
    post.announce(post.house(9))
    old = journal.Journal.open(post.house(9).settings.journals, "one")
    old.close()
    link = post.stop_link("u0")

    def act(session: Any) -> Any:
        return preferences.stop(session, post.ring, link, how="link", evidence={}, now=clock.now())

    async def run() -> tuple[bool, int]:
        async with Sink(SinkSettings(keep=True)) as sink:
            stop = asyncio.Event()
            with journal.claim(old.path):
                sending = asyncio.create_task(Sender(post.house(sink.port), "one").run(stop))
                while not await asyncio.to_thread(_live, post.engine):
                    await asyncio.sleep(0.01)
                settled = (await fence.perform(post.house(9), act)).settled
            stop.set()
            await asyncio.wait_for(sending, 20)
            return settled, sink.began

    assert asyncio.run(run()) == (True, 0)
    assert not _live(post.engine)


def _live(engine: Engine) -> int:
    with engine.connect() as connection:
        live = text("SELECT count(*) FROM sender WHERE state = 'live'")
        return int(connection.execute(live).scalar_one())


def test_a_journal_does_not_grow_with_the_mailing(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is always a batch in hand until the end; what lies there to be recovered is some batches' lines, not the mailing's."""
    room, people, line = 1_000, 400, 150
    monkeypatch.setattr(journal, "ROOM", room, raising=False)
    monkeypatch.setattr(rules, "BATCH", 10)
    monkeypatch.setattr(rules, "SMALLEST_BATCH", 10)
    post.sign_up(people)
    announcement = post.announce(post.house(9))
    directory, largest = post.house(9).settings.journals, [0]

    def look(_message: object) -> None:
        sizes = [path.stat().st_size for path in directory.glob("*.journal")]
        largest[0] = max(largest[0], sum(sizes))

    async def run() -> None:
        async with Sink(SinkSettings(on_dot=look)) as sink:
            await asyncio.wait_for(send_all(post, post.house(sink.port, connections=2)), 60)

    asyncio.run(run())
    assert post.report(announcement)["outcomes"]["sent"] == people
    assert room < largest[0] < 3 * (room + 10 * 2 * line) < people * 2 * 50
    assert list(directory.glob("*.journal")) == []


@pytest.mark.parametrize("set_back", [False, True])
def test_rel_f26_a_clock_set_back_between_two_deaths_hides_no_reply(post: Post, set_back: bool) -> None:
    """The second incarnation died before it had settled the first one's batch, and its journal looks older: what the first had
    sent is sent all the same, and nobody gets it twice."""
    post.sign_up(3)
    announcement = post.announce(post.house(9))
    directory = post.house(9).settings.journals
    with transaction(post.engine) as session:
        lease = senders.begin(session, "one", boot_id=journal.boot_id(), seen_seq=0, now=clock.now())
        [claimed] = claims.claim(session, post.ring, lease.id or 0, now=clock.now(), limit=1, system=False)
    first = journal.Journal.open(directory, "one")
    for pos in (1, 2):
        first.sent_mark(claimed.mailing.id or 0, pos, 1, claimed.token)
    first.reply(claimed.mailing.id or 0, 1, 1, 250, "2.0.0")
    first.close()
    second = journal.Journal.open(directory, "one")
    second.close()
    if set_back:
        os.utime(second.path, (1_000, 1_000))

    async def run() -> list[str]:
        async with Sink(SinkSettings(keep=True)) as sink:
            await asyncio.wait_for(send_all(post, post.house(sink.port)), 20)
            return [message.rcpt for message in sink.kept]

    assert asyncio.run(run()) == ["u2@example.org"]
    outcomes = post.report(announcement)["outcomes"]
    assert (outcomes["sent"], outcomes["unknown"]) == (2, 1)


def test_a_no_waits_for_a_dead_sender_to_be_buried(post: Post) -> None:
    """A lease whose process is gone still holds the fence: the answer is honest until somebody ends it."""
    post.sign_up(1)
    with post.engine.execution_options(write=True).begin() as connection:
        connection.execute(
            text(
                "INSERT INTO sender (name, host, pid, boot_id, state, seen_seq, renewed_at, started_at)"
                " VALUES ('gone', 'elsewhere', 1, 'b', 'live', 0, :now, :now)"
            ),
            {"now": clock.now()},
        )
    link = post.stop_link("u0")

    def act(session: Any) -> Any:
        return preferences.stop(session, post.ring, link, how="link", evidence={}, now=clock.now())

    assert not asyncio.run(fence.perform(post.house(9), act)).settled


def test_a_journal_speaks_of_its_own_incarnation_alone(post: Post, tmp_path: Path) -> None:
    """What a dead `one` left on this machine says nothing of the `one` that is at work on another: else whoever starts here would
    take its batches for never sent, and send them again (P3)."""
    post.sign_up(40)
    announcement = post.announce(post.house(9))
    old = journal.Journal.open(post.house(9).settings.journals, "one", "0123456789ab")
    old.close()

    async def run() -> list[str]:
        async with Sink(SinkSettings(keep=True, delay=0.02)) as sink:
            stop = asyncio.Event()
            elsewhere = post.house(sink.port, journal_dir=tmp_path / "elsewhere")
            at_work = asyncio.create_task(Sender(elsewhere, "one").run(stop))
            while sink.committed < 4:
                await asyncio.sleep(0.01)
            here = asyncio.create_task(Sender(post.house(sink.port), "two").run(stop))
            while await asyncio.to_thread(post.open_batches) and sink.committed < 80:
                await asyncio.sleep(0.05)
            stop.set()
            await asyncio.gather(at_work, here)
            return [message.rcpt for message in sink.kept]

    readers = asyncio.run(run())
    assert max(Counter(readers).values()) == 1
    assert post.report(announcement)["outcomes"]["sent"] == len(readers) == 40
    assert not old.path.exists(), "it was read, and it spoke of nothing"
