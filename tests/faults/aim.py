"""Catching a mail in the act, for a person who says no just then: both ends of it, through three files of one directory.

Two ways, in equal parts: the 354 is held back (nothing of the mail has left), or it is given and the sink then stops reading
through a small window (a dot lies in the sender's kernel, and cannot leave). The sink (`--hold DIR`) reads in `aimed` whom to
catch and how, once each, notes in `held` whom it has, and lets go whoever is named in `free`. The runs' driver writes the first
and the last and watches the second.
"""

import array
import asyncio
import fcntl
import socket
import termios
from pathlib import Path
from typing import Any

LOOK = 0.02  # seconds between two looks at who may go
HELD, UNREAD = "354", "window"  # the two ways
WINDOW = 2048  # octets of the sink's receive buffer


class Holder:
    """The sink's end: `hold` and `stop_reading` are its settings of those names."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        lines = (directory / "aimed").read_text().split("\n")
        self.aimed = dict(line.split(" ") for line in lines if line)
        self.waiting: dict[str, asyncio.Future[None]] = {}
        self.unread: dict[str, Any] = {}  # recipient → transport, until its mail has begun to arrive
        self.looking = False

    def hold(self, rcpt: str) -> "asyncio.Future[None] | None":
        """A future that is done when this recipient may go; None for everybody else."""
        if self.aimed.get(rcpt) != HELD:
            return None
        _append(self.directory / "held", rcpt)
        return self._wait(rcpt)

    def stop_reading(self, rcpt: str, transport: Any) -> "asyncio.Future[None] | None":
        """The same, for whose mail nothing is to be read from now on. Who has it is noted once the mail is there, unread."""
        if self.aimed.get(rcpt) != UNREAD:
            return None
        self.unread[rcpt] = transport
        return self._wait(rcpt)

    def _wait(self, rcpt: str) -> "asyncio.Future[None]":
        del self.aimed[rcpt]
        loop = asyncio.get_running_loop()
        if not self.looking:
            self.looking = True
            loop.call_later(LOOK, self._look)
        self.waiting[rcpt] = loop.create_future()
        return self.waiting[rcpt]

    def _look(self) -> None:
        for rcpt in [one for one, transport in self.unread.items() if _has_come(transport)]:
            del self.unread[rcpt]
            _append(self.directory / "held", rcpt)
        for rcpt in _whole_lines(self.directory / "free"):
            if held := self.waiting.pop(rcpt, None):
                held.set_result(None)
        self.looking = bool(self.waiting)
        if self.looking:
            asyncio.get_running_loop().call_later(LOOK, self._look)


def _has_come(transport: Any) -> int:
    """Octets that have arrived and were not read."""
    found = array.array("i", [0])
    fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.FIONREAD, found)
    return found[0]


def small_window(listener: Any) -> None:
    """Whoever connects to this listening socket from now on gets a small window."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW)


class Aim:
    """The driver's end: every second address is caught the other way."""

    def __init__(self, directory: Path, addresses: list[str], ways: tuple[str, ...] = (HELD, UNREAD)) -> None:
        directory.mkdir()
        self.ways = {address: ways[number % len(ways)] for number, address in enumerate(addresses)}
        (directory / "aimed").write_text("".join(f"{one} {way}\n" for one, way in self.ways.items()))
        self.directory = directory
        self.known = 0

    def held(self) -> list[str]:
        """Who is held since the last look."""
        found = _whole_lines(self.directory / "held")[self.known :]
        self.known += len(found)
        return found

    def free(self, address: str) -> None:
        """Let one go."""
        _append(self.directory / "free", address)


def _append(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(line + "\n")


def _whole_lines(path: Path) -> list[str]:
    return path.read_text().split("\n")[:-1] if path.exists() else []
