"""A time of day on each reader's own clock: who is due when, and that nobody gets it earlier (design.md 5)."""

import asyncio
from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlmodel import Session, col, select

from service.db.session import transaction
from service.domain.deliveries import rules
from service.domain.deliveries.queries import due_batches
from service.domain.mailings.tables import Audience, Batch
from service.kit import clock
from tests.faults.sink import Settings as SinkSettings
from tests.faults.sink import Sink
from tests.scheduler.conftest import Post, send_all

TOMORROW = (clock.now() + timedelta(days=2)).replace(hour=0, minute=0, second=0, microsecond=0)
AT = f"{TOMORROW:%Y-%m-%d}T09:00"
ZONES = {
    "Asia/Tokyo": -9,
    "Etc/GMT-14": -14,
    "Etc/GMT+12": 12,
    "UTC": 0,
    None: -3,
}  # hours from UTC's nine o'clock


def announced(post: Post, *, now: datetime | None = None) -> str:
    """Two people of each zone; the zone of the last two is not known, and theirs is that of the office."""
    for zone in ZONES:
        post.sign_up(2, zone=zone)
    house = post.house(1)
    return post.announce(house, now=now, at=AT, zone="Etc/GMT-3", local=True)


def start(post: Post) -> None:
    """Let the earliest clock of the world reach that hour."""
    from scheduler import jobs

    first = TOMORROW + timedelta(hours=9 - 14)
    jobs.start_due(post.house(1), first)
    jobs.freeze(post.house(1), first)


def test_each_is_due_at_nine_on_their_own_clock(post: Post) -> None:
    announced(post)
    start(post)
    with transaction(post.engine) as session:
        due = session.exec(select(Audience.due_at).order_by(col(Audience.pos))).all()
        batches = session.exec(select(Batch).order_by(col(Batch.due_at))).all()
        listed = [(batch.due_at, [pos for pos, _ in batch.positions]) for batch in batches]
    nine = TOMORROW + timedelta(hours=9)
    assert due == [nine + timedelta(hours=hours) for hours in ZONES.values() for _ in range(2)]
    assert listed == sorted(
        (nine + timedelta(hours=hours), [2 * place + 1, 2 * place + 2])
        for place, hours in enumerate(ZONES.values())
    )


def test_a_sender_takes_a_wave_when_it_is_due_and_no_other(post: Post) -> None:
    announced(post)
    start(post)

    def taken(session: Session, now: datetime) -> int:
        return len(session.scalars(due_batches(now=now, limit=9, system=False)).all())

    with transaction(post.engine) as session:
        nine = TOMORROW + timedelta(hours=9)
        moments = [-14.01, -14, -9, -3, 0, 11.9, 12]
        assert [taken(session, nine + timedelta(hours=hours)) for hours in moments] == [0, 1, 2, 3, 4, 4, 5]


def test_who_lives_east_of_a_time_that_has_passed_gets_it_at_once_and_the_rest_waits(post: Post) -> None:
    async def run() -> None:
        async with Sink(SinkSettings(keep=True)) as sink:
            post.sign_up(3, zone="Etc/GMT-14")
            post.sign_up(2, zone="Etc/GMT+12")
            house = post.house(sink.port)
            wall = clock.now().astimezone(UTC) + timedelta(hours=2)
            announcement = await asyncio.to_thread(
                post.announce, house, at=f"{wall:%Y-%m-%dT%H:%M}", zone="UTC", local=True
            )
            with post.engine.begin() as connection:  # only the waves that are due are waited for below
                later = connection.execute(
                    text("DELETE FROM batch WHERE due_at > :now"), {"now": clock.now()}
                )
                assert later.rowcount == 1
            await send_all(post, house)
            report = post.report(announcement)
            assert report["outcomes"]["sent"] == 3
            assert report["waiting"] == 2

    asyncio.run(run())


def test_an_hour_that_clocks_skip_is_the_hour_after() -> None:
    gap = datetime.fromisoformat("2027-03-28T02:30")
    waves = rules.waves(gap, not_before=datetime(2027, 3, 1, tzinfo=UTC))
    berlin = next(moment for moment, zones in waves.items() if "Europe/Berlin" in zones)
    assert berlin == datetime(2027, 3, 28, 1, 30, tzinfo=UTC)  # half past three, as clocks there show it
    every = [zone for zones in waves.values() for zone in zones]
    assert len(every) == len(set(every))
    assert max(waves) - min(waves) <= timedelta(hours=26)
