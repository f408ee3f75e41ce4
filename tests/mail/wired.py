"""A batch handed to the door, and who is told what of it: what the tests of the SMTP door share."""

from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from service.mail.replies import classify
from service.mail.transport import (
    Letter,
    Outcome,
    Wire,
    connect,
    deliver,
    parse_smtp_url,
)
from tests.faults.sink import Settings, Sink

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def letter(pos: int, rcpt: str | None = None, data: bytes | None = None, **more: Any) -> Letter:
    text = b"Message-ID: <%d@example.org>\r\nSubject: s\r\n\r\nHello %d\r\n" % (pos, pos)
    return Letter(pos, f"b+{pos}@example.org", rcpt or f"p{pos}@example.org", data or text, **more)


class Post:
    """What a sender is: a queue, a journal, outcomes; offers again what was not sent and not refused."""

    def __init__(self, letters: list[Letter], *, no: Callable[[Letter], bool] = lambda _: False) -> None:
        self.queue = deque(letters)
        self.no = no
        self.marks: list[int] = []
        self.outcomes: dict[int, Outcome] = {}
        self.again: list[int] = []
        self.wires = 0

    def done(self, letter: Letter, outcome: Outcome) -> None:
        assert letter.pos not in self.outcomes
        if outcome.kind == "not_sent" and outcome.reply is None:
            self.again.append(letter.pos)
            self.queue.append(letter)
        else:
            self.outcomes[letter.pos] = outcome

    def next_letter(self) -> Letter | None:
        return self.queue.popleft() if self.queue else None

    async def over(self, wire: Wire) -> None:
        await deliver(
            wire,
            self.next_letter,
            may_depart=lambda letter: not self.no(letter),
            marked=lambda letter: self.marks.append(letter.pos),
            done=self.done,
        )

    async def all(self, port: int, **how: Any) -> None:
        """Until the queue is empty, on as many connections as it takes."""
        while self.queue:
            self.wires += 1
            assert self.wires < 20
            wire = await open_wire(port, **how)
            await self.over(wire)
            await wire.close()

    def states(self) -> dict[int, str]:
        return {
            pos: outcome.kind if outcome.kind == "withheld" else classify(outcome.reply, outcome.phase).state
            for pos, outcome in self.outcomes.items()
        }


async def open_wire(port: int, url: str = "smtp://127.0.0.1:{}?starttls=never", **how: Any) -> Wire:
    return await connect(parse_smtp_url(url.format(port)), ehlo_name="sender.example.org", **how)


def scripted(**faults: str) -> Callable[[int], str | None]:
    """n1="mail:550" is the fault of the second MAIL the sink sees."""
    return lambda number: faults.get(f"n{number}")


async def posted(settings: Settings, post: Post, **how: Any) -> Sink:
    settings.keep = True
    async with Sink(settings) as sink:
        await post.all(sink.port, **how)
    return sink
