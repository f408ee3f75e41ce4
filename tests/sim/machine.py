"""The machine under the engine: clocks, chance, process numbers, the journal's files. All by the virtual clock and the seed.

What is replaced is the standard library's, for the length of a run and for whoever runs inside it; of the product only the
places made for it: `clock.now`, `failpoints.hit`, the path of the boot id. Entered by `world`.
"""

import fcntl
import os
import random
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from service.kit import clock, failpoints
from tests.sim.loop import BEGINNING, Killed, Loop, Process, current

OURS = (
    ".journal",
    ".lock",
    ".new",
    ".recovery",
)  # the files of senders, whose locks and writes are the machine's
EPOCH = datetime.fromisoformat("2026-11-24T09:20:00+00:00")


@dataclass(eq=False)
class Host:
    """One machine: its name, its boot, its disk, its wall clock."""

    name: str
    journals: Path
    boot: str = ""
    wall: float = 0.0  # seconds its wall clock is ahead of the true time
    slept: float = 0.0  # seconds that have passed while nothing of it ran
    dark: bool = False
    processes: dict[int, Process] = field(default_factory=dict)


class Machine:
    """What the patched functions ask."""

    def __init__(self, loop: Loop, seed: int, home: Host) -> None:
        self.loop, self.home = loop, home
        self.entropy = random.Random(f"entropy {seed}")
        self.owners: dict[int, Process | None] = {}
        self.full: dict[str, tuple[float, float]] = {}  # by host: no room for a line between these moments
        self.pids = 1000
        self.hit: Callable[[str], None] = lambda name: None
        self.kernel_holds: Callable[[int], bytes] = lambda number: bytes(4)
        self.real = {
            "open": os.open,
            "dup": os.dup,
            "close": os.close,
            "write": os.write,
            "kill": os.kill,
            "ioctl": fcntl.ioctl,
            "flock": fcntl.flock,
        }

    def spawn(self, name: str, host: Host) -> Process:
        """A new process on that host."""
        self.pids += 1
        process = Process(self.loop, name, host, self.pids)
        host.processes[process.pid] = process
        process.at_death.append(lambda: self._left(process))
        return process

    def _left(self, process: Process) -> None:
        """The kernel's part of a death: its locks are free. (The numbers stay taken until the run is over.)"""
        process.host.processes.pop(process.pid, None)
        for number, owner in self.owners.items():
            if owner is process:
                self.real["flock"](number, fcntl.LOCK_UN)

    def close_files(self) -> None:
        """At the end of a run."""
        for number in list(self.owners):
            self.real["close"](number)
        self.owners.clear()

    # Clocks

    @property
    def host(self) -> Host:
        process = current.get()
        return process.host if process is not None else self.home

    def monotonic(self) -> float:
        return self.loop.moment

    def wall(self) -> float:
        """Seconds since 1970 on the clock of whoever asks."""
        return EPOCH.timestamp() + self.loop.moment - BEGINNING + self.host.wall

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=round(self.loop.moment - BEGINNING + self.host.wall, 6))

    # Processes

    def getpid(self) -> int:
        process = current.get()
        return process.pid if process is not None else 1

    def kill(self, pid: int, number: int) -> None:
        """Signal 0 asks; SIGKILL ends."""
        process = self.host.processes.get(pid)
        if process is None:
            raise ProcessLookupError
        if number == signal.SIGKILL:
            process.end(-9)

    # Files of the journal

    def open(self, path: Any, flags: int, *more: Any, **given: Any) -> int:
        number: int = self.real["open"](path, flags, *more, **given)
        if str(path).endswith(OURS):
            self.owners[number] = current.get()
        return number

    def dup(self, number: int) -> int:
        twin: int = self.real["dup"](number)
        if number in self.owners:
            self.owners[twin] = self.owners[number]
        return twin

    def close(self, number: int) -> None:
        owner = self.owners.get(number)
        if owner is not None and not owner.alive:
            return
        self.owners.pop(number, None)
        self.real["close"](number)

    def write(self, number: int, data: bytes) -> int:
        if number not in self.owners:
            return int(self.real["write"](number, data))
        process = self.owners[number]
        if process is not None and not process.alive:
            raise Killed
        since, until = self.full.get(self.host.name, (0.0, 0.0))
        if since <= self.loop.moment < until:
            if self.entropy.random() < 0.5:
                raise OSError(28, "No space left on device")
            data = data[: self.entropy.randrange(len(data))]
        written = int(self.real["write"](number, data))
        moment = int(self.wall() * 1e9)
        os.utime(number, ns=(moment, moment))
        return written

    def flock(self, file: Any, what: int) -> None:
        """A lock that is waited for lets others go first: whoever has it rests, perhaps."""
        if what & (fcntl.LOCK_NB | fcntl.LOCK_UN):
            self.real["flock"](file, what)
            return
        while True:
            try:
                self.real["flock"](file, what | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                self.loop.rest(0.002)

    def ioctl(self, number: int, *given: Any) -> Any:
        return self.kernel_holds(number) if number >= 1_000_000 else self.real["ioctl"](number, *given)

    @contextmanager
    def running(self) -> Iterator[None]:
        """For the length of a run the machine is this one."""
        urandom = self.entropy.randbytes
        places: list[tuple[Any, str, Any]] = [
            (time, "monotonic", self.monotonic),
            (time, "time", self.wall),
            (time, "time_ns", lambda: int(self.wall() * 1e9)),
            (time, "clock_gettime", lambda which: self.loop.moment + self.host.slept),
            (clock, "now", self.now),
            (os, "urandom", urandom),
            (random, "_urandom", urandom),
            (os, "getpid", self.getpid),
            (os, "kill", self.kill),
            (os, "open", self.open),
            (os, "dup", self.dup),
            (os, "close", self.close),
            (os, "write", self.write),
            (fcntl, "ioctl", self.ioctl),
            (fcntl, "flock", self.flock),
            (socket, "gethostname", lambda: self.host.name),
            (failpoints, "hit", lambda name: self.hit(name)),
            (clock, "_BOOT_ID", _BootId(self)),
        ]
        with replaced(places):
            yield


class _BootId:
    """Where the kernel would say which boot this is."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def read_text(self, **given: Any) -> str:
        return self.machine.host.boot


@contextmanager
def replaced(places: list[tuple[Any, str, Any]]) -> Iterator[None]:
    """Each (where, name, what) in its place, and afterwards what was there before."""
    kept = [(where, name, getattr(where, name)) for where, name, _ in places]
    for where, name, what in places:
        setattr(where, name, what)
    try:
        yield
    finally:
        for where, name, what in kept:
            setattr(where, name, what)
