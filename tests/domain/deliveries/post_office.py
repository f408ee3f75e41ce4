"""A sink, senders and a clock's hand in one event loop: what the tests of sending share."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import uvloop
from sqlmodel import Session

from scheduler.sender import Sender
from service.domain.deliveries import actions as deliveries
from service.ops.house import House
from tests import builders as make
from tests.faults import sink as sinks


class Holding(sinks._Session):
    """A server that does not answer DATA of one message before it is told to."""

    hold: int = -1  # the number of the message
    held: "asyncio.Future[str]"
    release: asyncio.Event

    def data(self) -> bool:
        message = self.message
        if message is None or message.number != self.hold:
            return super().data()
        self.waiting = True
        self.held.set_result(message.rcpt)
        self.keeper = asyncio.get_running_loop().create_task(self._later())
        return False

    async def _later(self) -> None:
        await self.release.wait()
        self.waiting = False
        self.say("354 go on")
        self.receiving, self.searched = True, 0
        self.run()


@contextlib.contextmanager
def holding(monkeypatch: pytest.MonkeyPatch, number: int) -> Iterator[type[Holding]]:
    """A sink that holds the 354 of the message with this number."""
    made = type("Holding", (Holding,), {"hold": number, "held": asyncio.get_running_loop().create_future(), "release": asyncio.Event()})
    monkeypatch.setattr(sinks, "_Session", made)
    yield made


@dataclass
class Office:
    """Senders at work against a sink."""

    house: House
    sink: sinks.Sink
    senders: list[Sender] = field(default_factory=list)
    tasks: "list[asyncio.Task[None]]" = field(default_factory=list)
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, holds: Callable[[Session], bool], seconds: float = 30) -> None:
        """Wait for something to be so in the database; a sender that fell over fails the test at once."""
        deadline = time.monotonic() + seconds
        while not await asyncio.to_thread(make.look, self.house, holds):
            for task in self.tasks:
                if task.done():
                    task.result()
            assert time.monotonic() < deadline, "it did not come to that in time"
            await asyncio.sleep(0.05)

    async def all_sent(self, sending: make.Sending, seconds: float = 30) -> None:
        """Wait until nothing is left to do, and do what the clock does then."""
        await self.until(lambda session: not _open(session, sending), seconds)
        await asyncio.to_thread(make.act, self.house, lambda session: deliveries.finish(session, now=make.real_now()))

    async def arrived(self, number: int, seconds: float = 30) -> None:
        """Wait until so many messages have reached the sink."""
        deadline = time.monotonic() + seconds
        while self.sink.committed < number:
            assert time.monotonic() < deadline, "too few messages arrived"
            await asyncio.sleep(0.005)

    @property
    def readers(self) -> list[str]:
        """The recipients of what arrived, in order of arrival."""
        return [message.rcpt for message in self.sink.kept]


def _open(session: Session, sending: make.Sending) -> int:
    from service.domain.mailings.queries import open_batches

    return open_batches(session, sending.id)


@contextlib.asynccontextmanager
async def open_office(
    house: House, settings: sinks.Settings | None = None, *, names: tuple[str, ...] = ("one",), connections: int = 2
) -> AsyncIterator[Office]:
    """Senders by name, sending to a sink of their own until the block ends."""
    settings = settings or sinks.Settings()
    settings.keep = True
    async with sinks.Sink(settings) as sink:
        url = f"smtp://127.0.0.1:{sink.port}?starttls=never&connections={connections}"
        office = Office(replace(house, settings=house.settings.model_copy(update={"smtp_url": url})), sink)
        office.senders = [Sender(office.house, name) for name in names]
        office.tasks = [asyncio.create_task(sender.run(office.stop)) for sender in office.senders]
        try:
            yield office
        finally:
            office.stop.set()
            await asyncio.wait_for(asyncio.gather(*office.tasks), 40)


def run(story: Coroutine[Any, Any, Any], loop: str = "asyncio") -> Any:
    """Run a story on an event loop of one kind."""
    if loop == "uvloop":
        return uvloop.run(story)
    return asyncio.run(story)
