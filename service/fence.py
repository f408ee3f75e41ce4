"""What a door waits for after something was taken away: until every live sender has seen it (design.md 5, step 6).

Every door that writes closes its transaction through `perform` (pages, API) or `perform_now` (the command line). It holds
neither a thread nor a database connection while it waits; without a live sender it does not wait at all.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy.engine import Engine
from sqlmodel import Session

from service.config import Settings
from service.db.session import reading, transaction
from service.domain.preferences import restoring
from service.domain.senders import queries as senders
from service.kit import failpoints
from service.kit.errors import DomainError

log = logging.getLogger("bidden.fence")
Value = TypeVar("Value")
PATIENCE = 2.0  # seconds; then the answer is an honest 202
POLL = 0.01  # seconds between two looks


class NotWrittenTwice(DomainError):
    """That is recorded, but not yet written down a second time as every stop is. Please send it again in a moment."""

    status = 503


class Installation(Protocol):
    """What the fence needs of the assembled house."""

    @property
    def settings(self) -> Settings: ...

    @property
    def engine(self) -> Engine: ...


@dataclass(frozen=True)
class Fenced(Generic[Value]):
    """What the action returned, and whether no message in the scope of what it took away can depart any more."""

    value: Value
    settled: bool


async def perform(house: Installation, action: Callable[[Session], Value]) -> Fenced[Value]:
    """Run the action in one transaction; if it took something away, wait until every sender knows."""
    loop = asyncio.get_running_loop()
    asked = time.monotonic()
    value, seq = await loop.run_in_executor(None, _commit, house.engine, house.settings.safe, action, asked)
    return Fenced(value, seq is None or await _seen(house.engine, seq))


def perform_now(house: Installation, action: Callable[[Session], Value]) -> Fenced[Value]:
    """The same for a caller without an event loop, who gets one only if there is something to wait for."""
    value, seq = _commit(house.engine, house.settings.safe, action, time.monotonic())
    return Fenced(value, seq is None or asyncio.run(_seen(house.engine, seq)))


async def _seen(engine: Engine, seq: int) -> bool:
    """Whether every live sender has seen the entry `seq` before our patience is over."""
    deadline = time.monotonic() + PATIENCE
    lookout = _lookout(asyncio.get_running_loop(), engine)
    while (seen := await lookout.look()) is not None and seen < seq:
        if time.monotonic() >= deadline:
            return False
    failpoints.hit("withdrawal.before_answer")
    return True


def _commit(
    engine: Engine, safe_dir: Path, action: Callable[[Session], Value], asked: float
) -> tuple[Value, int | None]:
    """Commit, and write what was taken away a second time before anybody is told, also where it was said before."""
    with transaction(engine, since=asked) as session:
        value = action(session)
        seq: int | None = session.info.get("fence_seq")
        taken = session.info.get("taken", False)
        if taken:
            failpoints.hit("withdrawal.before_commit")
    if taken:
        failpoints.hit("withdrawal.after_commit")
    if (
        seq is not None or taken or engine in _behind
    ):  # a no said again may be the one that was not written yet
        _keep(engine, safe_dir)
    return value, seq


def _keep(engine: Engine, safe_dir: Path) -> None:
    """Until it works again every later answer tries, too: who asks a second time takes nothing away any more."""
    try:
        with reading(engine) as session:
            restoring.keep(session, safe_dir)
    except OSError as error:
        _behind.add(engine)
        log.error("the withdrawal file cannot be written", extra={"facts": {"error": error.strerror or ""}})
        raise NotWrittenTwice from error
    _behind.discard(engine)


class _Lookout:
    """Looks how far the senders have seen, once for all doors of a process that wait: each for itself, they were busier with
    looking than with answering."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.last = 0.0
        self.next: asyncio.Task[int | None] | None = None

    async def look(self) -> int | None:
        """The entry up to which every live sender has seen, None where there is none, by a look that begins after this call."""
        if self.next is None:
            self.next = asyncio.create_task(self._look())
        return await asyncio.shield(self.next)

    async def _look(self) -> int | None:
        await asyncio.sleep(self.last + POLL - time.monotonic())
        self.next, self.last = None, time.monotonic()  # whoever comes from now on waits for another look
        return await asyncio.get_running_loop().run_in_executor(None, _seen_by_all, self.engine)


def _lookout(loop: asyncio.AbstractEventLoop, engine: Engine) -> _Lookout:
    """The one of this loop and database."""
    mine = _lookouts.setdefault(loop, {})
    if engine not in mine:
        mine[engine] = _Lookout(engine)
    return mine[engine]


def _seen_by_all(engine: Engine) -> int | None:
    with reading(engine) as session:
        return senders.seen_by_all(session)


_behind: WeakSet[Engine] = WeakSet()
_lookouts: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Engine, _Lookout]] = WeakKeyDictionary()
