"""The alarm clock: goes through the timetable by the clock that never steps. It remembers nothing; the tables do.

Run by `bidden clock`. A tick that fails is logged and comes again; a second clock is harmless. While the wall clock cannot be
believed, what goes by the hour waits (`wall`).
"""

import asyncio
import logging
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

from scheduler.jobs import TIMETABLE, Job
from scheduler.wall import Wall
from service.db.session import reading, transaction
from service.ops.house import House

log = logging.getLogger("bidden.clock")
AT_ONCE = 4  # jobs


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
    log.info("clock started")
    with ThreadPoolExecutor(AT_ONCE) as threads:
        await asyncio.gather(*(_repeat(house, job, wall, threads, stop) for job in (*TIMETABLE, keep)))


async def _repeat(house: House, job: Job, wall: Wall, threads: Executor, stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    while not stop.is_set():
        await loop.run_in_executor(threads, tick, house, job, wall)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), job.every.total_seconds())


def _keep_time(house: House, wall: Wall) -> None:
    with transaction(house.engine) as session:
        wall.note(session)
