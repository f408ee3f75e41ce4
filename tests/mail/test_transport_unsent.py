"""What lies unsent when a no comes or a process dies, and how long each step is waited for."""

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from service.mail.transport import (
    Outcome,
    deliver,
)
from tests.faults.sink import Settings, Sink
from tests.mail.wired import Post, Run, letter, open_wire, scripted

# What the fence asks


def test_in_flight_and_unsent_bytes(run: Run) -> None:
    async def main() -> None:
        reached = asyncio.Event()
        async with Sink(Settings(fault=scripted(n0="hang:dot"), on_dot=lambda _: reached.set())) as sink:
            wire = await open_wire(sink.port)
            assert wire.in_flight() == []
            post = Post([letter(0)])
            task = asyncio.ensure_future(post.over(wire))
            await reached.wait()
            assert [letter.pos for letter in wire.in_flight()] == [0]
            assert wire.unsent_bytes() == 0
            wire.abort()
            await task
            assert wire.in_flight() == []
            assert post.states() == {0: "unknown"}

    run(main())


def test_rel_f23_a_peer_that_takes_nothing_is_reset_and_gets_no_dot(run: Run) -> None:
    """Zero window: the payload stays in the kernel, the fence sees it, abort throws it away."""

    async def main() -> tuple[Post, bytes]:
        loop = asyncio.get_running_loop()
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            listener.setblocking(False)
            opening = asyncio.ensure_future(open_wire(listener.getsockname()[1]))
            peer, _ = await loop.sock_accept(listener)
            with peer:
                await loop.sock_sendall(peer, b"220 hi\r\n")
                await loop.sock_recv(peer, 1000)
                await loop.sock_sendall(peer, b"250-hi\r\n250 PIPELINING\r\n")
                wire = await opening
                left = asyncio.Event()
                post = Post([letter(0, data=b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * 200_000)])
                task = asyncio.ensure_future(
                    deliver(
                        wire,
                        post.next_letter,
                        may_depart=lambda _: True,
                        marked=lambda _: left.set(),
                        done=post.done,
                    )
                )
                await loop.sock_recv(peer, 1000)
                await loop.sock_sendall(peer, b"250 ok\r\n250 ok\r\n354 go\r\n")
                await left.wait()
                assert [letter.pos for letter in wire.in_flight()] == [0]
                assert wire.unsent_bytes() > 0
                wire.abort()
                await wire.wait_closed()
                await task
                got = b""
                try:
                    while more := await loop.sock_recv(peer, 1 << 20):
                        got += more
                except ConnectionResetError:
                    pass
                else:
                    raise AssertionError("closed in order, not reset")
                return post, got

    post, got = run(main())
    assert post.states() == {0: "unknown"}
    assert b"\r\n.\r\n" not in got


def test_unsent_bytes_counts_what_only_the_kernel_holds(run: Run) -> None:
    """A transport may report nothing buffered while the kernel still has it all."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            listener.setblocking(False)
            opening = asyncio.ensure_future(open_wire(listener.getsockname()[1]))
            peer, _ = await loop.sock_accept(listener)
            with peer:
                await loop.sock_sendall(peer, b"220 hi\r\n")
                await loop.sock_recv(peer, 1000)
                await loop.sock_sendall(peer, b"250 hi\r\n")
                wire = await opening
                sock = wire._transport.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
                wire._transport.write(b"z" * 200_000)
                assert wire._transport.get_write_buffer_size() == 0
                assert wire.unsent_bytes() > 0
                wire.abort()
                await wire.wait_closed()

    run(main())


_DIES = """
import asyncio, os, signal, sys
from service.mail.transport import deliver
from tests.mail.wired import Post, letter, open_wire

async def main():
    wire = await open_wire(int(sys.argv[1]))
    post = Post([letter(0, data=b"x" * 70 + b"\\r\\n" + (b"y" * 70 + b"\\r\\n") * 400)])
    def marked(_):
        asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGKILL)
    await deliver(wire, post.next_letter, may_depart=lambda _: True, marked=marked, done=post.done)

asyncio.run(main())
"""


def test_rel_f02_what_a_killed_sender_left_in_the_kernel_never_departs() -> None:
    """Its lease ends with it and every no is answered from then on: the kernel must not go on sending for it."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        command = [sys.executable, "-c", _DIES, str(listener.getsockname()[1])]
        with subprocess.Popen(command, cwd=Path(__file__).parents[2]) as sender:
            peer, _ = listener.accept()
            with peer:
                peer.settimeout(20)
                for said in (
                    b"220 hi\r\n",
                    b"250-hi\r\n250 PIPELINING\r\n",
                    b"250 ok\r\n250 ok\r\n354 go\r\n",
                ):
                    peer.sendall(said)
                    if not said.endswith(b"go\r\n"):
                        peer.recv(1000)
                assert sender.wait(20) == -9
                got = b""
                with contextlib.suppress(ConnectionResetError):
                    while more := peer.recv(1 << 16):
                        got += more
    assert b"\r\n.\r\n" not in got


# Time


class Clock(asyncio.SelectorEventLoop):
    """A loop whose clock a test can move on; sockets stay real."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


def _under_clock(coro_of: Callable[[Clock], Awaitable[Any]]) -> Any:
    loop = Clock()
    try:
        return loop.run_until_complete(coro_of(loop))
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


async def _hold_reply(clock: Clock, seconds: float) -> Post:
    """The sink waits `seconds` of the moved clock after the dot, then answers 250."""
    reached = asyncio.Event()
    async with Sink(Settings(delay=seconds, on_dot=lambda _: reached.set())) as sink:
        wire = await open_wire(sink.port)
        post = Post([letter(0)])
        task = asyncio.ensure_future(post.over(wire))
        await reached.wait()
        clock.ahead += seconds
        await task
        return post


def test_std_d1_nine_minutes_after_the_dot_is_one_delivery() -> None:
    post = _under_clock(lambda clock: _hold_reply(clock, 540))
    assert post.states() == {0: "sent"}
    assert post.marks == [0]


def test_std_d1_ten_minutes_after_the_dot_is_unknown() -> None:
    async def main(clock: Clock) -> Post:
        reached = asyncio.Event()
        async with Sink(Settings(fault=scripted(n0="hang:dot"), on_dot=lambda _: reached.set())) as sink:
            post = Post([letter(0), letter(1)])
            task = asyncio.ensure_future(post.over(await open_wire(sink.port)))
            await reached.wait()
            clock.ahead += 601
            await task
            return post

    post = _under_clock(main)
    assert post.outcomes == {0: Outcome("unknown", None, "dot")}
    assert post.again == [1]


@pytest.mark.parametrize(
    ("said", "seconds"),
    [(b"", 300), (b"250 ok\r\n", 300), (b"250 ok\r\n250 ok\r\n", 120)],
    ids=["mail", "rcpt", "data"],
)
def test_std_d1_each_phase_has_its_own_patience(said: bytes, seconds: int) -> None:
    """A server that falls silent at MAIL, RCPT or DATA: not given up just before, given up just after."""

    async def main(clock: Clock) -> None:
        fallen_silent = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 hi\r\n")
            await reader.readline()
            writer.write(b"250-hi\r\n250 PIPELINING\r\n")
            await reader.readuntil(b"DATA\r\n")
            writer.write(said)
            await writer.drain()
            fallen_silent.set()
            await reader.read()
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            wire = await open_wire(server.sockets[0].getsockname()[1])
            post = Post([letter(0)])
            task = asyncio.ensure_future(post.over(wire))
            await fallen_silent.wait()
            while len(wire._answers) < said.count(b"\n"):
                await asyncio.sleep(0)
            clock.ahead += seconds - 5
            for _ in range(20):
                await asyncio.sleep(0)
            assert not wire.closed
            clock.ahead += 6
            await task
            assert post.again == [0]

    _under_clock(main)
