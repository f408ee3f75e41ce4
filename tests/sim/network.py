"""TCP as the engine sees it: a transport, a kernel that holds bytes back, segments that take time, and a server's end.

Whatever lies in the kernel goes on by itself when its process is frozen or dies, as with a real one; a process that dies closes
its sockets as it set them (SO_LINGER 0: reset). Each segment tells the server when its bytes departed. Made by `world`.
"""

import asyncio
import random
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.sim.loop import Killed, Loop, Process, current

FIRST_NUMBER = 1_000_000  # of sockets: no file of ours has such a one


@dataclass
class Road:
    """How a connection behaves. Sizes in octets, times in seconds."""

    latency: float = 0.002
    spread: float = 0.002
    kernel: int = 1 << 20  # what the sender's kernel takes before `write` keeps the rest
    window: int = 1 << 20  # what the server takes before it has read
    reading: float = 0.0  # how long the server takes to read that
    pieces: float = 0.0  # share of segments that arrive in two
    stalls: tuple[float, float] = (0.0, 0.0)  # from when on, and how long, some servers' window stays shut


class Socket:
    """What `get_extra_info("socket")` gives: a number for `ioctl`, and whether closing resets."""

    def __init__(self, number: int) -> None:
        self.number, self.linger_none = number, False

    def fileno(self) -> int:
        return self.number

    def setsockopt(self, level: int, option: int, value: Any) -> None:
        if (level, option) == (socket.SOL_SOCKET, socket.SO_LINGER):
            self.linger_none = struct.unpack("ii", value) == (1, 0)


class Network:
    """Every connection there is, by the number of its socket."""

    def __init__(self, loop: Loop, chance: random.Random) -> None:
        self.loop, self.chance = loop, chance
        self.counted = FIRST_NUMBER
        self.lines: dict[int, Line] = {}
        self.cuts = 0  # lines that were ended in mid-talk, and not by the server's script

    def dial(self, factory: Callable[[], Any], server: Callable[[], Any], road: Road) -> "Line":
        """A connection from the current process to a server."""
        self.counted += 1
        line = Line(self, self.counted, current.get(), factory(), server(), road)
        self.lines[line.socket.number] = line
        line.begin()
        return line

    def ioctl(self, number: int) -> bytes:
        """Octets the kernel has not put on the network yet."""
        return len(self.lines[number].kernel).to_bytes(4, "little")

    def standing(self) -> list["Line"]:
        """Those that nobody has ended yet."""
        return [line for line in self.lines.values() if not line.cut_off and not line.far.over]

    def cut(self, chosen: Callable[["Line"], bool]) -> None:
        """End connections from outside; neither side is asked."""
        for line in self.standing():
            if chosen(line):
                line.broken_off()


class Line(asyncio.Transport):
    """One connection; as a transport it is the client's end."""

    def __init__(
        self,
        network: Network,
        number: int,
        process: Process | None,
        protocol: Any,
        server: Any,
        road: Road,
    ) -> None:
        super().__init__()
        self.network, self.loop, self.road = network, network.loop, road
        self.process, self.protocol, self.server = process, protocol, server
        self.socket = Socket(number)
        self.held = bytearray()  # in user space
        self.kernel = bytearray()
        self.room = road.window
        self.finishing = self.closing = self.shut = self.cut_off = self.counted = self.waiting = False
        self.arrives = self.answers = 0.0
        self.opened = self.loop.moment
        self.stalls = network.chance.random() < 0.3
        self.far = FarEnd(self)

    def begin(self) -> None:
        self.protocol.connection_made(self)
        self.loop.soon(self.server.connection_made, self.far)
        if self.process is not None:
            self.process.at_death.append(self._owner_died)

    # The client's transport

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.socket if name == "socket" else default

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_protocol(self) -> Any:
        return self.protocol

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return len(self.held)

    def write(self, data: Any) -> None:
        if self.process is not None and not self.process.alive:
            raise Killed
        if not self.closing and not self.finishing:
            self.held += data
            self._pump()

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            if not self.held:
                self._lose(None)

    def abort(self) -> None:
        self.held.clear()
        self._count()
        if not self.closing or not self.shut:
            self.closing = True
            self._lose(None)

    def _lose(self, error: Exception | None) -> None:
        """In the owner's next step: its protocol hears of it, then the socket is closed."""
        if not self.shut and not self.finishing:
            self.finishing = True
            context = self.process.context.copy() if self.process else None
            self.loop.call_soon(self._lost, error, context=context)

    def _lost(self, error: Exception | None) -> None:
        try:
            self.protocol.connection_lost(error)
        finally:
            self._close_socket()

    # The client's kernel

    def _pump(self) -> None:
        """What fits goes from user space to the kernel, and from there onto the network as far as the server takes it."""
        moved = max(0, self.road.kernel - len(self.kernel))
        self.kernel += self.held[:moved]
        del self.held[:moved]
        self._transmit()
        if self.held and len(self.kernel) < self.road.kernel:
            self._pump()

    def _transmit(self) -> None:
        start, length = self.road.stalls if self.stalls else (0.0, 0.0)
        stalled = self.opened + start + length - self.loop.moment
        if length and 0 < stalled < length:
            if not self.waiting:
                self.waiting = True
                self.loop.later(stalled, self._again)
            return
        while self.kernel and self.room > 0 and not self.cut_off:
            size = min(len(self.kernel), self.room)
            if size > 1 and self.network.chance.random() < self.road.pieces:
                size = self.network.chance.randrange(1, size)
            data = bytes(self.kernel[:size])
            del self.kernel[:size]
            self.room -= size
            self.arrives = self._after(self.arrives)
            self.loop.call_at(self.arrives, self._arrive, data, self.loop.moment, context=self.loop.outside)
        if self.shut and not self.kernel and not self.cut_off:
            self._fin()

    def _again(self) -> None:
        """The server's window is open again."""
        self.waiting = False
        if not self.cut_off:
            self._transmit() if self.shut else self._pump_and_close()

    def _pump_and_close(self) -> None:
        self._pump()
        if self.closing and not self.held:
            self._lose(None)

    def _after(self, last: float) -> float:
        road = self.road
        return max(last, self.loop.moment + road.latency + self.network.chance.random() * road.spread) + 1e-9

    def _close_socket(self) -> None:
        """As the kernel does it: a reset throws away what has not departed, otherwise it is sent first."""
        if self.shut:
            return
        self.shut, self.closing, self.socket.number = True, True, -1
        if self.socket.linger_none or self.cut_off:
            self.kernel.clear()
            self._rst()
        elif not self.kernel:
            self._fin()

    def _owner_died(self) -> None:
        self.held.clear()
        self.closing = True
        if self.process is not None and self.process.host.dark:  # the power is gone: nobody says a word
            self.kernel.clear()
            self.shut = self.cut_off = True
            self.loop.later(60.0, self.far.gone, None)
            return
        self._close_socket()

    def _fin(self) -> None:
        self.cut_off = True
        self.loop.call_at(self._after(self.arrives), self.far.gone, None, context=self.loop.outside)

    def _rst(self) -> None:
        self.cut_off = True
        error = ConnectionResetError()
        self.loop.call_at(self._after(self.arrives), self.far.gone, error, context=self.loop.outside)

    # On the way

    def _arrive(self, data: bytes, departed: float) -> None:
        if self.far.over:
            self._peer_gone(ConnectionResetError())
            return
        self.server.receive(data, departed)
        if self.road.reading:
            self.loop.later(self.road.reading, self._read, len(data))
        else:
            self._read(len(data))

    def _read(self, size: int) -> None:
        self.room += size
        self._again()

    def _count(self) -> None:
        if not self.counted:
            self.counted = True
            self.network.cuts += not self.server.spoiled

    def broken_off(self) -> None:
        """The connection is cut between the two: both sides find it reset."""
        self._count()
        self.kernel.clear()
        self.cut_off = True
        self.loop.soon(self.far.gone, ConnectionResetError())
        self._peer_gone(ConnectionResetError())

    def hear(self, data: bytes) -> None:
        """What the server said arrives."""
        if self.shut or self.finishing or self.closing:
            return
        try:
            self.protocol.data_received(data)
        except Killed:
            raise
        except BaseException as error:  # as asyncio's own transports do
            self.closing = True
            self._lose(error if isinstance(error, Exception) else None)

    def hear_end(self) -> None:
        """The server has closed."""
        if not self.shut and not self.closing and not self.protocol.eof_received():
            self.close()

    def hear_reset(self, error: Exception) -> None:
        if not self.shut:
            self.held.clear()
            self.kernel.clear()
            self.cut_off = self.closing = True
            self._lose(error)

    def say(self, what: Callable[..., None], *given: Any) -> None:
        """Something that comes from the server, in its order, as a step of the client's process."""
        self.answers = self._after(self.answers)
        context = self.process.context.copy() if self.process else self.loop.outside
        self.loop.call_at(self.answers, what, *given, context=context)

    def _peer_gone(self, error: Exception) -> None:
        self.say(self.hear_reset, error)


class FarEnd(asyncio.Transport):
    """The server's end of a line."""

    def __init__(self, line: Line) -> None:
        super().__init__()
        self.line = line
        self.over = self.told = False

    def write(self, data: Any) -> None:
        if self.over:
            return
        data, road = bytes(data), self.line.road
        if len(data) > 1 and self.line.network.chance.random() < road.pieces:
            at = self.line.network.chance.randrange(1, len(data))
            self.line.say(self.line.hear, data[:at])
            data = data[at:]
        self.line.say(self.line.hear, data)

    def is_closing(self) -> bool:
        return self.over

    def close(self) -> None:
        if not self.over:
            self.over = True
            self.line.say(self.line.hear_end)
            self.gone(None)

    def abort(self) -> None:
        if not self.over:
            self.line._count()
            self.over = True
            self.line._peer_gone(ConnectionResetError())
            self.gone(None)

    def gone(self, error: Exception | None) -> None:
        """The other side has closed, or the connection is no more."""
        self.over = True
        if not self.told:
            self.told = True
            self.line.server.connection_lost(error)
