"""The next hop of a simulated run: the fault runs' own sink, which here also greylists, throttles by domain and knows nobody.

It keeps the truth: every message with what it committed and the virtual instant at which its dot departed. Made by `world`.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.faults.checker import AMBIGUOUS, PERHAPS
from tests.faults.sink import Message, Settings, Sink, _Session


@dataclass
class Manners:
    """How this server treats recipients. Addresses and domains are given in full."""

    greylist: frozenset[str] = frozenset()  # refused for now at the first try
    nobody: frozenset[str] = frozenset()  # 5.1.1, for ever
    full: frozenset[str] = frozenset()  # refused for now, for ever
    busy: str = ""  # a domain that takes only so many letters a second
    rate: int = 3


class Server(Sink):
    """A sink whose sessions stand on simulated connections."""

    def __init__(self, settings: Settings, manners: Manners, clock: Callable[[], float]) -> None:
        super().__init__(settings)
        self.clock, self.manners = clock, manners
        self.spoiled: set[int] = set()
        self.rows: list[dict[str, Any]] = []
        self.asked: Counter[str] = Counter()
        self.taken: Counter[int] = Counter()
        self.heard: Callable[[Message], None] = lambda message: None
        self.down = False

    def session(self) -> "Session":
        """What answers one connection."""
        return Session(self)

    def record(self, message: Message) -> None:
        """Keep it as the sink's log would have it."""
        row = {name: value for name, value in message.__dict__.items() if name != "data"}
        self.rows.append(row)
        if message.fault in AMBIGUOUS or message.fault in PERHAPS:
            self.spoiled.add(message.conn)
        else:
            self.spoiled.discard(message.conn)
        self.committed += message.committed
        self.heard(message)

    def word_on(self, rcpt: str) -> str:
        """What stands against this recipient just now; nothing: "" ."""
        manners = self.manners
        self.asked[rcpt] += 1
        if rcpt in manners.nobody:
            return "550 5.1.1 no such user here"
        if rcpt in manners.full:
            return "452 4.2.2 mailbox full"
        if rcpt in manners.greylist and self.asked[rcpt] == 1:
            return "450 4.2.0 greylisted, come again"
        if manners.busy and rcpt.endswith("@" + manners.busy):
            second = int(self.clock())
            self.taken[second] += 1
            if self.taken[second] > manners.rate:
                return "421 4.7.0 too many messages, slow down"
        return ""

    def crash(self) -> None:
        """All its connections are gone at once, and nobody can connect until `down` is false again."""
        self.down = True
        for session in list(self.sessions):
            session.transport.abort()


class Session(_Session):
    """One connection of it: knows when the bytes it reads departed."""

    sink: Server

    @property
    def spoiled(self) -> bool:
        """Whether the script did something here after which nobody can tell."""
        return self.conn in self.sink.spoiled

    def receive(self, data: bytes, departed: float) -> None:
        """Bytes arrive that the sender's kernel transmitted at `departed`."""
        self.now = departed
        self.buffer += data
        self.run()

    def mail(self, line: bytes) -> bool:
        """As the sink does; what was before is over."""
        self.sink.spoiled.discard(self.conn)
        return super().mail(line)

    def rcpt(self, line: bytes) -> bool:
        """As the sink does, with a word on this recipient first."""
        if self.message is not None and self.message.fault is None:
            rcpt = line.partition(b"<")[2].partition(b">")[0].decode()
            word = self.sink.word_on(rcpt)
            if word:
                self.message.fault = f"rcpt:{word}"
        return super().rcpt(line)
