"""The alarm clock: APScheduler in memory, in UTC, ticking through the timetable. It remembers nothing; the tables do.

Run by `bidden clock`. A tick that fails is logged and comes again; a second clock is harmless.
"""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

from apscheduler.executors.pool import ThreadPoolExecutor as Pool
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

from scheduler.jobs import TIMETABLE, Job
from service.kit import clock
from service.ops.house import House

log = logging.getLogger("bidden.clock")


def tick(house: House, job: Job) -> None:
    """Do one line of the timetable now; whatever goes wrong waits for the next tick."""
    try:
        job.action(house, clock.now())
    except Exception:
        log.exception("a job failed and will be tried again", extra={"facts": {"job": job.name}})


async def run(house: House, *, stop: asyncio.Event) -> None:
    """Tick until `stop` is set; the job under way is finished first."""
    scheduler = AsyncIOScheduler(
        timezone="UTC",
        executors={"default": Pool(4)},
        job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 1},
    )
    for job in TIMETABLE:
        scheduler.add_job(
            tick,
            IntervalTrigger(seconds=job.every.total_seconds(), timezone="UTC"),
            args=[house, job],
            id=job.name,
            next_run_time=clock.now(),
        )
    scheduler.start()
    log.info("clock started")
    await stop.wait()
    await asyncio.get_running_loop().run_in_executor(ThreadPoolExecutor(1), scheduler.shutdown)
