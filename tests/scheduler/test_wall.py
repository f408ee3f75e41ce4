"""The wall clock that cannot be believed (F26): told from a slow one, held for a person, and believed again when one says so."""

import asyncio
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from scheduler import clock as alarm
from scheduler import jobs
from scheduler.jobs import Job
from scheduler.sender import Sender
from scheduler.wall import TOLERATED, Wall
from service.cli import up
from service.db.session import reading, transaction
from service.domain.announcements import actions as announcements
from service.domain.announcements import queries as shown
from service.domain.brands import actions as brands
from service.domain.brands import queries as known
from service.domain.ledger import queries as ledger
from service.domain.senders import actions as senders
from service.kit import clock
from service.ops import health
from service.ops.house import House
from tests.scheduler.conftest import WORDS, Post, Sink, SinkSettings

HOUR = 3600.0


@dataclass
class Clocks:
    """Two clocks that go as they are told: `offset` is what the wall clock is wrong by."""

    steady: float = 1_000.0
    offset: float = 0.0
    start: Any = field(default_factory=clock.now)

    def wall(self) -> Any:
        return self.start + timedelta(seconds=self.steady + self.offset)

    def watch(self, boot_id: str = "this start") -> Wall:
        return Wall(self.wall, lambda: self.steady, boot_id)


@pytest.mark.parametrize("jump", [HOUR, -HOUR, 86_400.0, -86_400.0, 400 * 86_400.0, -400 * 86_400.0, 61.0])
def test_rel_f26_a_jump_is_seen_at_once_and_time_goes_on_without_it(jump: float) -> None:
    clocks = Clocks()
    watch, before = clocks.watch(), clocks.wall()
    assert not watch.jumped()
    clocks.steady += 10
    clocks.offset += jump
    assert watch.jumped() == pytest.approx(jump, abs=0.1)
    assert watch.now() - before == timedelta(seconds=10)
    clocks.offset -= jump
    assert not watch.jumped()
    assert watch.now() == clocks.wall()


def test_rel_f26_a_leap_second_and_a_clock_set_right_now_and_then_are_no_jump() -> None:
    """One second; and ten seconds a day, for a year."""
    clocks = Clocks()
    watch = clocks.watch()
    for day in range(365):
        for _ in range(24):
            clocks.steady += HOUR
            assert not watch.jumped(), day
        clocks.offset += 10
    clocks.offset -= 1
    assert not watch.jumped()


def test_rel_f26_a_frozen_clock_is_seen_after_a_minute() -> None:
    clocks = Clocks()
    watch = clocks.watch()
    for second in range(200):
        clocks.steady += 1
        clocks.offset -= 1
        if watch.jumped():
            assert TOLERATED <= second + 1 <= TOLERATED + 2
            return
    raise AssertionError("never seen")


def _switch(post: Post, on: bool) -> None:
    with transaction(post.engine) as session:
        brands.set_setting(session, "sending_on", on, now=clock.now(), by="cli")


def _is_on(post: Post) -> bool:
    with reading(post.engine) as session:
        return bool(known.setting(session, "sending_on"))


def _hold(post: Post, watch: Wall) -> bool:
    with transaction(post.engine) as session:
        return watch.hold(session)


def _note(post: Post, watch: Wall) -> None:
    with transaction(post.engine) as session:
        watch.note(session)


def _begun(post: Post, watch: Wall) -> Wall:
    with reading(post.engine) as session:
        watch.begin(session)
    return watch


def _fact(house: House) -> health.Fact:
    return next(fact for fact in health.readiness(house, now=clock.now()).facts if fact.name == "wall clock")


def test_a_jump_switches_sending_off_until_a_person_switches_it_on(post: Post) -> None:
    house, clocks = post.house(9), Clocks()
    watch, other = clocks.watch(), clocks.watch()
    _note(post, watch)
    assert _fact(house).ok
    clocks.offset += HOUR
    assert _hold(post, watch)
    assert _hold(post, other)
    assert not _is_on(post)
    assert (_fact(house).ok, _fact(house).says) == (False, "has jumped by +1 h")
    with reading(post.engine) as session:
        seq = ledger.tail(session)[0]
        last = ledger.entry(session, seq)
        assert last is not None
        assert (last.kind, last.body["reason"], last.actor) == ("settings.sending_off", "clock", "system")
    _switch(post, True)
    assert not _hold(post, watch)
    assert not _hold(post, other), "the second process heard of it from the first"
    assert _is_on(post)
    assert (watch.jumped(), other.jumped()) == (0.0, 0.0)
    assert watch.now() == clocks.wall()
    assert _fact(house).ok


def test_a_person_who_had_switched_it_off_decides_that_too(post: Post) -> None:
    clocks = Clocks()
    watch = clocks.watch()
    _switch(post, False)
    clocks.offset -= HOUR
    assert _hold(post, watch)
    _switch(post, True)
    assert not _hold(post, watch)
    assert _is_on(post)


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_jump_while_nobody_ran_is_seen_at_the_start(post: Post, jump: float) -> None:
    clocks = Clocks()
    _note(post, clocks.watch())
    clocks.offset += jump
    clocks.steady += 30
    watch = _begun(post, clocks.watch())
    assert watch.jumped() == pytest.approx(jump, abs=0.1)
    assert _hold(post, watch)
    assert _hold(post, _begun(post, clocks.watch())), "another start changes nothing"
    _switch(post, True)
    assert not _hold(post, _begun(post, clocks.watch())), "nor does one after a person has spoken"
    assert not _begun(post, clocks.watch()).jumped()


def test_after_the_machine_itself_was_started_only_a_clock_gone_back_is_seen(post: Post) -> None:
    clocks = Clocks()
    _note(post, clocks.watch())
    later = Clocks(steady=5.0, start=clocks.wall() + timedelta(hours=3))
    assert not _begun(post, later.watch("another start")).jumped()
    before = Clocks(steady=5.0, start=clocks.wall() - timedelta(hours=3))
    assert _begun(post, before.watch("another start")).jumped() == pytest.approx(-3 * HOUR, abs=10)


def _schedule(post: Post, house: House, **when: Any) -> str:
    """An announcement that is to go then."""
    with transaction(post.engine) as session:
        brands.set_fields(session, "default", {"postal_address": "Street 1"}, now=clock.now(), by="cli")
        made = announcements.create(
            session, house.settings, topic="new-products", template="letter", content=WORDS, now=clock.now(), by="s"
        )  # fmt: skip
        name = made.public_id
        announcements.submit(session, house.settings, name, now=clock.now(), by="s")
        announcements.approve(
            session, house.settings, name, content_hash=made.content_hash, now=clock.now(), by="s"
        )
        announcements.schedule(session, name, hold_seconds=0, now=clock.now(), by="s", **when)
    return name


def _state(post: Post, name: str) -> str:
    with reading(post.engine) as session:
        return shown.by_public_id(session, name).state


def _pass(house: House, watch: Wall) -> None:
    for job in jobs.TIMETABLE:
        alarm.tick(house, job, watch)


@pytest.mark.parametrize("days", [1 / 24, 1, 400])
def test_rel_f26_nothing_begins_early_and_nothing_expires_by_a_jump(post: Post, days: float) -> None:
    house, clocks = post.house(9), Clocks(start=clock.now() - timedelta(seconds=1_000))
    watch = clocks.watch()
    post.sign_up(3)
    name = _schedule(post, house, at=(clocks.wall() + timedelta(minutes=30)).isoformat())
    clocks.offset += days * 86_400
    _pass(house, watch)
    assert _state(post, name) == "scheduled"
    clocks.offset = 0.0
    _switch(post, True)
    _pass(house, watch)
    assert _state(post, name) == "scheduled"
    clocks.steady += 1801
    _pass(house, watch)
    assert _state(post, name) == "freezing", "now it is time"


def test_sabotage_a_clock_that_is_always_believed_begins_early(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Wall, "jumped", lambda self: 0.0)
    house, clocks = post.house(9), Clocks(start=clock.now() - timedelta(seconds=1_000))
    watch = clocks.watch()
    name = _schedule(post, house, at=(clocks.wall() + timedelta(minutes=30)).isoformat())
    clocks.offset += HOUR
    _pass(house, watch)
    assert _state(post, name) != "scheduled"


async def _after_a_jump(post: Post) -> None:
    async with Sink(SinkSettings(keep=True)) as sink:
        house, clocks = post.house(sink.port), Clocks()
        post.sign_up(3)
        await asyncio.to_thread(post.announce, house)
        sender, stop = Sender(house, "one"), asyncio.Event()
        sender.wall = clocks.watch()
        clocks.offset += HOUR
        running = asyncio.create_task(sender.run(stop))
        while await asyncio.to_thread(_is_on, post):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        assert sink.messages == []
        assert await asyncio.to_thread(post.open_batches) == 1
        _switch(post, True)
        while await asyncio.to_thread(post.open_batches):
            await asyncio.sleep(0.01)
        stop.set()
        await running
        assert len(sink.kept) == 3


def test_rel_f26_a_sender_takes_nothing_up_by_a_clock_that_has_jumped(post: Post) -> None:
    asyncio.run(asyncio.wait_for(_after_a_jump(post), 30))


def test_rel_f26_the_clock_ticks_on_while_the_wall_clock_goes_back_or_stands(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, clocks, ticks = post.house(9), Clocks(), []
    job = Job("count", timedelta(milliseconds=20), lambda house, now: ticks.append(now))
    monkeypatch.setattr(alarm, "TIMETABLE", [job])

    async def run() -> None:
        stop = asyncio.Event()
        running = asyncio.create_task(alarm.run(house, stop=stop, wall=clocks.watch()))
        for offset in (0.0, -HOUR, -400 * 86_400.0, 0.0):
            clocks.offset, before = offset, len(ticks)
            async with asyncio.timeout(10):
                while len(ticks) < before + 3:
                    await asyncio.sleep(0.005)
        stop.set()
        await running

    asyncio.run(run())
    assert max(ticks) - min(ticks) < timedelta(seconds=TOLERATED)


@pytest.mark.parametrize("unseen", [0.1, 1.0, 61.5, 400 * 86_400.0, 50 * 365 * 86_400.0])
def test_rel_f26_a_clock_put_forward_ticks_once_for_all_that_time(unseen: float) -> None:
    """APScheduler asks for one tick after the other until they are no longer past: it must not take a year's worth of them."""
    every, last = alarm.Every(timedelta(seconds=1)), clock.now()
    now = last + timedelta(seconds=unseen)
    assert timedelta() < every.get_next_fire_time(last, now) - now <= every.interval
    assert every.get_next_fire_time(None, now) == now + every.interval


def test_rel_f26_the_alarm_rings_at_once_after_four_hundred_days_put_forward() -> None:
    """Its next tick then lies so far back; counting the ticks between would take it minutes and gigabytes."""
    rung: list[float] = []

    async def run() -> None:
        scheduler = AsyncIOScheduler(
            timezone="UTC", job_defaults={"coalesce": True, "misfire_grace_time": None}
        )
        long_ago = clock.now() - timedelta(days=400)
        scheduler.add_job(
            lambda: rung.append(time.monotonic()), alarm.Every(timedelta(seconds=0.2)), next_run_time=long_ago
        )
        scheduler.start()
        async with asyncio.timeout(10):
            while len(rung) < 3:
                await asyncio.sleep(0.01)
        scheduler.shutdown()

    asyncio.run(run())
    assert rung[2] - rung[0] > 0.2, "once for all that time, then as ever"


def test_a_tick_that_is_taken_up_a_little_late_keeps_the_beat() -> None:
    every, last = alarm.Every(timedelta(seconds=1)), clock.now()
    assert every.get_next_fire_time(last, last + timedelta(milliseconds=30)) == last + every.interval


def test_rel_f26_a_sender_under_a_frozen_wall_clock_still_gives_signs_of_life(post: Post) -> None:
    """Else its supervisor would take it for frozen and end it, again and again."""
    house, now = post.house(9), clock.now()
    with transaction(post.engine) as session:
        lease = senders.begin(session, "one", boot_id="b", seen_seq=0, now=now)
        assert lease.id is not None
        lease_id = lease.id
    beats = set()
    for beat in (1.0, 2.0):
        with transaction(post.engine) as session:
            senders.renew(session, lease_id, seen_seq=0, says={"beat": beat}, now=now)
        beats |= set(up._beats(house))
    assert len(beats) == 2
