"""The alarm clock: APScheduler in memory, in UTC, ticking through the timetable. It remembers nothing; the tables do.

Run by `bidden clock`. A tick that fails is logged and comes again; a second clock is harmless. While the wall clock cannot be
believed, what goes by the hour waits (`wall`). APScheduler reckons by the wall clock itself: set back by an hour it would rest
for that hour, so a tick that is late by the clock that never steps is brought forward; put forward by a year it would count
every second of that year for each line, so its trigger is one that knows no past.
"""

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta

from apscheduler.executors.pool import ThreadPoolExecutor as Pool
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

from scheduler.jobs import TIMETABLE, Job
from scheduler.wall import Wall
from service.db.session import reading, transaction
from service.kit import clock
from service.ops.house import House

log = logging.getLogger("bidden.clock")
AT_ONCE = 4  # jobs
LOOK = 0.5  # seconds between two looks whether a tick is late


def tick(house: House, job: Job, wall: Wall) -> None:
    """Do one line of the timetable now; whatever goes wrong waits for the next tick."""
    try:
        if job.by_the_hour and wall.jumped():
            with transaction(house.engine) as session:
                if wall.hold(session):
                    return
        job.action(house, wall.now())
    except Exception:
        log.exception("a job failed and will be tried again", extra={"facts": {"job": job.name}})


async def run(house: House, *, stop: asyncio.Event, wall: Wall | None = None) -> None:
    """Tick until `stop` is set; the jobs under way are finished first."""
    wall = wall or Wall()
    with reading(house.engine) as session:
        wall.begin(session)
    keep = Job("keep_time", timedelta(minutes=1), lambda house, now: _keep_time(house, wall))
    lines = [_Line(job) for job in (*TIMETABLE, keep)]
    alarm = AsyncIOScheduler(
        timezone="UTC",
        executors={"default": Pool(AT_ONCE)},
        job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 1},
    )
    for line in lines:
        alarm.add_job(
            line.tick,
            Every(line.job.every),
            args=[house, wall],
            id=line.job.name,
            next_run_time=clock.now(),
        )
    alarm.start()
    log.info("clock started")
    while not stop.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), LOOK)
        for line in lines:
            if line.late(time.monotonic()):
                alarm.modify_job(line.job.name, next_run_time=clock.now())
    await asyncio.get_running_loop().run_in_executor(ThreadPoolExecutor(1), alarm.shutdown)


class _Line:
    """A line of the timetable, and when it was last done by the clock that never steps."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.busy = False
        self.done = time.monotonic()

    def tick(self, house: House, wall: Wall) -> None:
        self.busy = True
        try:
            tick(house, self.job, wall)
        finally:
            self.busy, self.done = False, time.monotonic()

    def late(self, moment: float) -> bool:
        """Whether it has not come for one interval and a little more."""
        return not self.busy and moment > self.done + self.job.every.total_seconds() + 2 * LOOK


class Every(BaseTrigger):  # type: ignore[misc]  # APScheduler comes without types
    """Once each interval; however much time went by unseen, once for all of it."""

    def __init__(self, interval: timedelta) -> None:
        self.interval = interval

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """The tick after that one, which is always still to come."""
        following = (previous_fire_time or now) + self.interval
        return following if following > now else now + self.interval


def _keep_time(house: House, wall: Wall) -> None:
    with transaction(house.engine) as session:
        wall.note(session)
