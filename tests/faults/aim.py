"""Holding back the 354 of a person who says no just then: both ends of it, through three files of one directory.

The sink (`--hold DIR`) reads in `aimed` whose mail to hold, once each, notes in `held` whom it holds, and lets go whoever is
named in `free`. The long run's driver writes the first and the last and watches the second.
"""

import asyncio
from pathlib import Path

LOOK = 0.02  # seconds between two looks at who may go


class Holder:
    """The sink's end: `hold` is its setting of that name."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.aimed = set((directory / "aimed").read_text().split())
        self.waiting: dict[str, asyncio.Future[None]] = {}

    def hold(self, rcpt: str) -> "asyncio.Future[None] | None":
        """A future that is done when this recipient may go; None for everybody else."""
        if rcpt not in self.aimed:
            return None
        self.aimed.discard(rcpt)
        loop = asyncio.get_running_loop()
        if not self.waiting:
            loop.call_later(LOOK, self._look)
        self.waiting[rcpt] = loop.create_future()
        _append(self.directory / "held", rcpt)
        return self.waiting[rcpt]

    def _look(self) -> None:
        for rcpt in _whole_lines(self.directory / "free"):
            if held := self.waiting.pop(rcpt, None):
                held.set_result(None)
        if self.waiting:
            asyncio.get_running_loop().call_later(LOOK, self._look)


class Aim:
    """The driver's end."""

    def __init__(self, directory: Path, addresses: list[str]) -> None:
        directory.mkdir()
        (directory / "aimed").write_text("\n".join(addresses))
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
