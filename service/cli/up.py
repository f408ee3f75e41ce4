"""`bidden up`: web, clock, senders and captured inbox under one supervisor, which starts what dies again."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import httpx2
from sqlalchemy.exc import SQLAlchemyError

from service.cli import desk, parent
from service.db.session import reading, transaction
from service.domain.senders import actions as senders
from service.domain.senders import queries as leases
from service.domain.staff import actions as staff
from service.kit import clock
from service.ops.house import House, upgrade

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds before a dead process is started again
LONG_ENOUGH = 60.0  # seconds of life after which the wait begins small again
FROZEN_AFTER = 10.0  # seconds; without a sign of life a sender is taken for frozen; it gives one every second
WATCH_EVERY = 1.0
GRACE = 12.0  # seconds a process gets to end by itself
SENDERS_GRACE = (
    40.0  # a sender waits up to 30 s for answers to what is on the wire, and records them (reliability 2.4)
)
READY_WITHIN = 60.0


@dataclass
class Role:
    """One process to keep running. Lower `last` is stopped earlier; `lease` is the name of a sender's lease."""

    name: str
    arguments: Sequence[str]
    last: int
    lease: str | None = None
    process: asyncio.subprocess.Process | None = field(default=None, repr=False)


def roles(house: House) -> list[Role]:
    """What this installation needs. At the end the clock stops first, and the inbox only after the senders."""
    settings = house.settings
    needed = [Role("clock", ["clock"], 1)]
    for number in range(1, settings.senders + 1):
        name = f"{socket.gethostname()}-{number}"
        needed.append(Role(f"sender {name}", ["send", "--name", name], 2, lease=name))
    needed.append(Role("web", ["web"], 3))
    if settings.practice:
        needed.append(Role("inbox", ["inbox"], 4))
    return needed


class Supervisor:
    """Keeps every role running until it is told to stop, then ends them in order."""

    def __init__(self, house: House, needed: Sequence[Role]) -> None:
        self.house, self.roles = house, needed
        self.stopping = asyncio.Event()

    async def run(self, meanwhile: Callable[[], Awaitable[None]]) -> None:
        """Run until SIGTERM or SIGINT; `meanwhile` is done once, beside it. A second signal ends everything at once: they hear of our
        death by another one, and what a sender had in hand is settled by its journal."""
        parent.until_told(self.stopping)
        keepers = {role.name: asyncio.create_task(self._keep(role)) for role in self.roles}
        beside = asyncio.gather(meanwhile(), self._watch_leases())
        await self.stopping.wait()
        beside.cancel()
        for last in sorted({role.last for role in self.roles}):
            await asyncio.gather(*(self._end(role) for role in self.roles if role.last == last))
        await asyncio.gather(beside, *keepers.values(), return_exceptions=True)

    async def _keep(self, role: Role) -> None:
        wait = FIRST_WAIT
        while not self.stopping.is_set():
            began = time.monotonic()
            role.process = await self._start(role)
            code = await role.process.wait()
            if role.lease is not None:
                await self._end_lease(role.lease, role.process.pid)
            if self.stopping.is_set():
                return
            wait = FIRST_WAIT if time.monotonic() - began > LONG_ENOUGH else wait
            print(
                f"{role.name} ended ({code}); it is started again in {wait:g} s", file=sys.stderr, flush=True
            )
            await self._rest(wait)
            wait = min(wait * 2, LONGEST_WAIT)

    async def _end_lease(self, name: str, pid: int) -> None:
        """Tried until the database takes it: who gave up here would keep nothing running any more."""
        while True:
            try:
                return await asyncio.to_thread(_end_lease, self.house, name, pid)
            except SQLAlchemyError:
                if self.stopping.is_set():
                    return
                await self._rest(WATCH_EVERY)

    async def _watch_leases(self) -> None:
        """A sender that does not renew its lease though the database answers is frozen: killed, so that it is surely gone
        and nobody need wait for it (reliability 2.3). Judged by our own steady clock, whatever the wall clock does."""
        seen: dict[_Beat, float] = {}
        while True:
            await asyncio.sleep(WATCH_EVERY)
            try:
                beats = await asyncio.to_thread(_beats, self.house)
            except SQLAlchemyError:
                seen = {}
                continue
            moment = time.monotonic()
            seen = {beat: seen.get(beat, moment) for beat in beats}
            stands = {(beat.name, beat.pid) for beat, since in seen.items() if moment - since > FROZEN_AFTER}
            for role in self.roles:
                process = role.process
                if process is not None and (role.lease, process.pid) in stands:
                    print(f"{role.name} stands still; it is ended", file=sys.stderr, flush=True)
                    with suppress(ProcessLookupError):
                        process.kill()

    async def _start(self, role: Role) -> asyncio.subprocess.Process:
        """A session of its own, so that Ctrl-C reaches only us and the order of ending is kept."""
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "service",
            *role.arguments,
            env={**os.environ, parent.PARENT: str(os.getpid())},
            stdin=subprocess.DEVNULL if sys.platform == "linux" else subprocess.PIPE,
            start_new_session=True,
        )

    async def _rest(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self.stopping.wait(), seconds)
        except TimeoutError:
            return

    async def _end(self, role: Role) -> None:
        process = role.process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), GRACE if role.lease is None else SENDERS_GRACE)
        except TimeoutError:
            process.kill()
            await process.wait()


class _Beat(NamedTuple):
    """A sign of life of a sender."""

    name: str
    pid: int
    at: datetime
    beat: float | None


def _beats(house: House) -> list[_Beat]:
    """The last sign of life of every sender that has a lease."""
    with reading(house.engine) as session:
        return [
            _Beat(one.name, one.pid, one.renewed_at, (one.pace or {}).get("beat"))
            for one in leases.live(session)
        ]


def _end_lease(house: House, name: str, pid: int) -> None:
    """Its process is gone: nobody need wait for what it has seen."""
    with transaction(house.engine) as session:
        senders.end(session, name, now=clock.now(), pid=pid)


async def ready(house: House, stopping: asyncio.Event, *, within: float = READY_WITHIN) -> bool:
    """Wait until the web process answers; false when it did not in time, or we are to stop."""
    deadline = time.monotonic() + within
    async with httpx2.AsyncClient(base_url=listens_at(house), headers=_host(house), timeout=2) as client:
        while not stopping.is_set() and time.monotonic() < deadline:
            try:
                if (await client.get("/readyz")).status_code == 200:
                    return True
            except httpx2.TransportError:
                pass
            await asyncio.sleep(0.1)
    return False


def listens_at(house: House) -> str:
    """Where this machine reaches its own web process, whatever the public address is."""
    host, _, port = house.settings.listen.rpartition(":")
    return f"http://{'127.0.0.1' if host in ('0.0.0.0', '') else host}:{port}"  # noqa: S104 - compared, not bound


def _host(house: House) -> dict[str, str]:
    return {"host": house.settings.base_url.partition("://")[2].partition("/")[0]}


def first_link(house: House) -> str | None:
    """The one-time link that makes the first admin, while there is none."""
    with transaction(house.engine) as session:
        token = staff.first_run(session, now=clock.now())
    return None if token is None else f"{house.settings.base_url}/staff/start/{token}"


@desk.command
def up(as_json: desk.Json = False) -> None:
    """Run everything on this machine: pages, API, clock, senders, and the captured inbox while no SMTP server is set."""
    house = desk.house_that_runs()
    upgrade(house)
    link = first_link(house)

    async def run() -> None:
        supervisor = Supervisor(house, roles(house))

        async def announce() -> None:
            if await ready(house, supervisor.stopping):
                print(words(house, link, as_json=as_json), flush=True)
            elif not supervisor.stopping.is_set():
                print("The web process does not answer; see the lines above.", file=sys.stderr, flush=True)

        await supervisor.run(announce)

    asyncio.run(run())


def words(house: House, link: str | None, *, as_json: bool) -> str:
    """What a person wants to know first."""
    url, practice = house.settings.base_url, house.settings.practice
    if as_json:
        return json.dumps({"url": url, "inbox": f"{url}/inbox" if practice else None, "sign_in": link})
    lines = [f"Bidden runs at   {url}"]
    if practice:
        lines.append(f"Captured mail    {url}/inbox   (nothing leaves this machine)")
    if link:
        lines.append(f"Sign in (once)   {link}")
    return "\n".join(lines)
