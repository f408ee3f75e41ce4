"""An older copy of the database in which a sender has batches in hand: what it calls claimed may have been sent and recorded since,
so nobody calls it unsent before a merge has called it `unknown` (P3). And a sender that comes late to a copy that was merged."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import Any, Self

import pytest
from sqlalchemy import Table, delete, insert, select, update
from sqlalchemy.engine import Engine
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, SQLModel, col

from scheduler import jobs, journal, recovery
from scheduler.database import Database
from scheduler.lease import Lease, LeaseLost
from scheduler.sender import Sender
from service.db.engine import is_sqlite
from service.db.session import reading, transaction
from service.domain.announcements import actions as announcements
from service.domain.brands import actions as brands
from service.domain.brands import queries as settings
from service.domain.ledger import queries as ledger
from service.domain.senders import actions as senders
from service.domain.senders.tables import Sender as Row
from service.kit import clock
from service.ops import restored
from service.ops.house import House
from tests import checks
from tests.faults.sink import Message
from tests.scheduler.conftest import Post, Sink, SinkSettings, send_all

PEOPLE = 3
EVERYBODY = [f"u{n}@example.org" for n in range(PEOPLE)]


class Copy:
    """Every row of the database as of one moment."""

    def __init__(self, rows: dict[Table, list[dict[str, Any]]]) -> None:
        self.rows = rows

    @classmethod
    def of(cls, engine: Engine) -> Self:
        """As it is now."""
        level = "SERIALIZABLE" if is_sqlite(engine) else "REPEATABLE READ"
        with engine.connect().execution_options(isolation_level=level) as connection:
            tables = SQLModel.metadata.sorted_tables
            return cls(
                {one: [dict(row._mapping) for row in connection.execute(select(one))] for one in tables}
            )

    def put_back(self, engine: Engine) -> None:
        """In the place of what is there."""
        with transaction(engine) as session:
            connection = session.connection()
            for table in self.rows:
                checks.without_guards(
                    connection, f'"{table.name}"' if not is_sqlite(connection) else table.name
                )
            for table in reversed(self.rows):
                connection.execute(delete(table))
            for table, rows in self.rows.items():
                if rows:
                    connection.execute(insert(table), rows)


def _table(name: str) -> Table:
    return SQLModel.metadata.tables[name]


@dataclass
class AtWork:
    """A sender that has sent and recorded everything, and the copy from when its batch was in its hands."""

    house: House
    sender: Sender
    sending: "asyncio.Task[None]"
    stop: asyncio.Event
    copy: Copy


def _sent_since(post: Post, story: Callable[[AtWork], Awaitable[None]]) -> list[str]:
    """All got their mail and it is recorded; then the `story`, in which the copy is put back, a merge, and the announcement goes
    on. Who got a mail."""
    post.sign_up(PEOPLE)
    announcement = post.announce(post.house(9))
    copies: list[Copy] = []

    def take(_message: Message) -> None:
        if not copies:
            copies.append(Copy.of(post.engine))

    async def run() -> list[str]:
        async with Sink(SinkSettings(keep=True, on_dot=take)) as sink:
            house, stop = post.house(sink.port), asyncio.Event()
            sender = Sender(house, "one")
            sending = asyncio.create_task(sender.run(stop))
            try:
                async with asyncio.timeout(30):
                    while sender.works or await asyncio.to_thread(post.open_batches):
                        await asyncio.sleep(0.02)
                    await story(AtWork(house, sender, sending, stop, copies[0]))
            finally:
                stop.set()
                await asyncio.gather(sending, return_exceptions=True)
            assert post.batches_in_hand() == 1, "it may have been sent: nobody calls it unsent"
            _merge_and_go_on(post, house, announcement)
            await send_all(post, house, meanwhile=partial(_settled, house))
            assert (post.batches_in_hand(), list(house.settings.journals.glob("*.journal"))) == (0, [])
            return [message.rcpt for message in sink.kept]

    return asyncio.run(run())


async def _settled(house: House) -> None:
    """Until a sender that has started is done with the journals of those before it."""
    while len(list(house.settings.journals.glob("*.journal"))) != 1:
        await asyncio.sleep(0.02)


def _merge_and_go_on(post: Post, house: House, announcement: str) -> None:
    restored.merge(house, now=clock.now())
    assert post.report(announcement)["outcomes"]["unknown"] == PEOPLE
    with transaction(post.engine) as session:
        brands.set_setting(session, "sending_on", True, now=clock.now(), by="cli")
        announcements.resume(session, announcement, now=clock.now(), by="cli")


def _noted(engine: Engine) -> dict[str, Any]:
    with reading(engine) as session:
        return settings.noted_behind(session)


def _signs_of_life(engine: Engine) -> datetime:
    with reading(engine) as session:
        return session.scalars(select(col(Row.renewed_at)).where(col(Row.name) == "one")).one()


async def _killed(work: AtWork) -> None:
    """Its journal stays, without the lines of what it had recorded."""
    work.stop.set()
    await work.sending
    journal.Journal.open(work.house.settings.journals, "one", work.sender.incarnation).close()
    jobs.checkpoint(work.house, clock.now())  # so that there is a word outside of what was there
    work.copy.put_back(work.house.engine)


def test_a_sender_that_starts_on_an_older_copy_leaves_what_it_calls_claimed_to_the_merge(post: Post) -> None:
    async def story(work: AtWork) -> None:
        await _killed(work)
        engine, stop = work.house.engine, asyncio.Event()
        sending = asyncio.create_task(Sender(work.house, "one").run(stop))
        beats: set[datetime] = set()
        while len(beats) < 4 or not await asyncio.to_thread(_noted, engine):
            beats.add(await asyncio.to_thread(_signs_of_life, engine))
            await asyncio.sleep(0.05)
        stop.set()
        await sending
        assert post.batches_in_hand() == 1, "it may have been sent: nobody calls it unsent"
        assert len(list(work.house.settings.journals.glob("*.journal"))) == 1, "thrown away before the merge"

    assert sorted(_sent_since(post, story)) == EVERYBODY


def test_a_sender_given_up_on_an_older_copy_is_not_settled_by_its_journal(post: Post) -> None:
    async def story(work: AtWork) -> None:
        await _killed(work)
        assert await recovery.recover_lost(work.house, "one") == 0
        with transaction(work.house.engine) as session:
            senders.end(session, "one", now=clock.now())

    assert sorted(_sent_since(post, story)) == EVERYBODY


@pytest.mark.parametrize("outage", [False, True])
def test_a_sender_under_which_an_older_copy_is_put_gives_back_nothing_of_it(post: Post, outage: bool) -> None:
    """Neither when it ends, nor when it looks for what it may have claimed while the database was away."""

    async def story(work: AtWork) -> None:
        failed: list[int] = []

        def fails_once(_session: Session) -> None:
            if outage and not failed:
                failed.append(1)
                raise OperationalError("COMMIT", None, Exception("the connection was lost"))

        await work.sender.database.write(fails_once)
        await asyncio.to_thread(work.copy.put_back, work.house.engine)
        with pytest.raises(LeaseLost):
            await work.sending
        assert (await asyncio.to_thread(_noted, work.house.engine))["reason"] == "behind"

    assert sorted(_sent_since(post, story)) == EVERYBODY


def test_what_a_sender_forgot_in_an_older_copy_is_not_given_back(post: Post) -> None:
    """Looked for after an outage, before anybody else has noticed the copy."""

    async def story(work: AtWork) -> None:
        work.stop.set()
        await work.sending
        work.copy.put_back(work.house.engine)
        work.sender.database.failed = time.monotonic()
        await recovery.give_back(work.house, work.sender.lease, (), chance=Random(1))
        assert _noted(work.house.engine)["reason"] == "behind"
        with transaction(work.house.engine) as session:
            senders.end(session, "one", now=clock.now())

    assert sorted(_sent_since(post, story)) == EVERYBODY


def test_a_sender_under_which_an_older_copy_is_put_claims_nothing_of_it(post: Post) -> None:
    """What the copy calls open it would find before it says what it has seen."""
    post.sign_up(PEOPLE)
    post.announce(post.house(9))
    batches = Copy.of(post.engine).rows[_table("batch")]
    copies: list[Copy] = []

    def take(_message: Message) -> None:
        copies.append(Copy.of(post.engine))

    async def run() -> list[str]:
        async with Sink(SinkSettings(keep=True, on_dot=take)) as sink, asyncio.timeout(30):
            sender = Sender(post.house(sink.port), "one")
            sending = asyncio.create_task(sender.run(asyncio.Event()))
            while sender.works or await asyncio.to_thread(post.open_batches):
                await asyncio.sleep(0.02)
            copies[0].rows[_table("batch")] = (
                batches  # of a moment earlier, when the sender was there and had not claimed
            )
            await asyncio.to_thread(copies[0].put_back, post.engine)
            with pytest.raises(LeaseLost):
                await sending
            return [message.rcpt for message in sink.kept]

    assert sorted(asyncio.run(run())) == EVERYBODY
    assert _noted(post.engine)["reason"] == "behind"


def _written(post: Post, times: int) -> None:
    with transaction(post.engine) as session:
        for n in range(times):
            brands.set_setting(session, "weekly_cap", 2 + n % 2, now=clock.now(), by="cli")


async def _cut_off(post: Post) -> tuple[Lease, Copy]:
    """A sender elsewhere, which has seen a good deal that the copy has not, and of which nothing was heard for a minute."""
    far = Lease(Database(post.engine, ThreadPoolExecutor(1)), "far", dict, "fafafafafafa")
    await far.begin(clock.now())
    with transaction(post.engine) as session:
        ago, beat = clock.now() - timedelta(minutes=1), {"beat": clock.since_boot() - 60}
        session.execute(update(Row).values(renewed_at=ago, pace=beat))
    copy = Copy.of(post.engine)
    _written(post, 40)
    with reading(post.engine) as session:
        far.saw(ledger.tail(session)[0])
    return far, copy


def _merge(post: Post, house: House) -> None:
    """The operator's: the copy is found to be one, merged, and sends."""
    with transaction(post.engine) as session:
        brands.note_behind(session, {"reason": "behind", "size": 1, "known": 2}, now=clock.now())
    restored.merge(house, now=clock.now())
    with transaction(post.engine) as session:
        brands.set_setting(session, "sending_on", True, now=clock.now(), by="cli")


def _sends(post: Post) -> bool:
    with reading(post.engine) as session:
        return bool(settings.setting(session, "sending_on")) and not settings.noted_behind(session)


@pytest.mark.parametrize("lost", [False, True])
def test_a_sender_cut_off_before_a_merge_ends_and_leaves_the_merged_database_alone(
    post: Post, lost: bool
) -> None:
    """What it has seen is of another past. The merge has ended its lease, or the operator before that."""

    async def story() -> None:
        far, copy = await _cut_off(post)
        copy.put_back(post.engine)
        if lost:
            with transaction(post.engine) as session:
                senders.lose(session, "far", now=clock.now())
        _merge(post, post.house(9))
        with transaction(post.engine) as session:
            assert far.is_behind(session), "so it claims nothing"
        with pytest.raises(LeaseLost):
            await far._publish()

    asyncio.run(story())
    assert _sends(post)


@pytest.mark.parametrize("knows", ["live", "another", "nothing", "lost"])
def test_a_sender_notes_an_older_copy_that_nobody_has_merged(post: Post, knows: str) -> None:
    """Whatever the copy says of its lease; and a merge that was before the sender began is none of this copy."""
    _merge(post, post.house(9))

    async def story() -> None:
        far, copy = await _cut_off(post)
        copy.put_back(post.engine)
        with transaction(post.engine) as session:
            if knows == "another":
                session.execute(update(Row).values(incarnation="eeeeeeeeeeee", state="ended"))
            elif knows == "nothing":
                session.execute(delete(Row))
            elif knows == "lost":
                senders.lose(session, "far", now=clock.now())
        with pytest.raises(LeaseLost):
            await far._publish()

    asyncio.run(story())
    assert not _sends(post)
    assert _noted(post.engine)["reason"] == "behind"
