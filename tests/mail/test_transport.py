"""The door to SMTP over real sockets: every reply, every way a connection can end, who is told what."""

import asyncio
import contextlib
import datetime
import errno
import functools
import hashlib
import json
import socket
import ssl
import subprocess
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop
from aiosmtpd.smtp import SMTP, AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from service.mail.replies import classify
from service.mail.transport import (
    BadSmtpUrl,
    ConnectFailed,
    Letter,
    Outcome,
    Server,
    Timeouts,
    Wire,
    connect,
    deliver,
    parse_smtp_url,
)
from tests.faults.sink import Message, Settings, Sink
from tests.faults.stall import Stall

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine on either loop, bounded."""
    runner = asyncio.run if request.param == "asyncio" else uvloop.run

    async def bounded(coro: Coroutine[Any, Any, Any]) -> Any:
        async with asyncio.timeout(30):
            return await coro

    return lambda coro: runner(bounded(coro))


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


# What everybody does


@pytest.mark.parametrize("pipelining", [True, False])
def test_std_d11_letters_arrive_in_order_each_once(run: Run, pipelining: bool) -> None:
    post = Post([letter(n) for n in range(50)])
    sink = run(posted(Settings(pipelining=pipelining), post))
    assert [message.rcpt for message in sink.kept] == [f"p{n}@example.org" for n in range(50)]
    assert [message.data for message in sink.kept] == [letter(n).data for n in range(50)]
    assert set(post.states().values()) == {"sent"}
    assert post.marks == list(range(50))
    assert sink.connections == 1
    assert sink.commands[-1] == b"QUIT"


def test_std_d11_one_write_carries_payload_dot_and_the_next_commands(run: Run) -> None:
    """A hand-made server shows what arrives between two of its replies."""
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hi\r\n")
        await reader.readline()
        writer.write(b"250-hi\r\n250 PIPELINING\r\n")
        seen.append(await reader.readuntil(b"DATA\r\n"))
        writer.write(b"250 ok\r\n250 ok\r\n354 go\r\n")
        seen.append(await reader.readuntil(b"DATA\r\n"))
        writer.write(b"250 taken\r\n250 ok\r\n250 ok\r\n354 go\r\n")
        seen.append(await reader.readuntil(b"\r\n.\r\n"))
        writer.write(b"250 taken\r\n")
        await reader.readline()
        writer.write(b"221 bye\r\n")
        writer.close()

    async def main() -> Post:
        post = Post([letter(0, data=b"a\r\n"), letter(1, data=b"b\r\n")])
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            await post.all(server.sockets[0].getsockname()[1])
        return post

    assert set(run(main()).states().values()) == {"sent"}
    assert seen == [
        b"MAIL FROM:<b+0@example.org>\r\nRCPT TO:<p0@example.org>\r\nDATA\r\n",
        b"a\r\n.\r\nMAIL FROM:<b+1@example.org>\r\nRCPT TO:<p1@example.org>\r\nDATA\r\n",
        b"b\r\n.\r\n",
    ]


def test_a_wire_is_used_again_after_it_rested(run: Run) -> None:
    async def main() -> Sink:
        async with Sink(Settings(keep=True)) as sink:
            wire = await open_wire(sink.port)
            for n in range(3):
                post = Post([letter(n)])
                await post.over(wire)
                assert post.states() == {n: "sent"}
            assert wire.carried == 3
            await wire.close()
            assert wire.closed
            await post.over(wire)
        return sink

    assert run(main()).connections == 1


# Every reply and every ending. Letter 1 of 0, 1, 2 meets it.

FAULTS = [
    # fault, state of letter 1, its phase, kept by the sink, connections needed
    ("mail:450", "deferred", "mail", False, 1),
    ("mail:550", "deferred", "mail", False, 1),
    ("mail:552", "bounced", "mail", False, 1),
    ("mail:699", "deferred", "mail", False, 1),
    ("rcpt:450", "deferred", "rcpt", False, 1),
    ("rcpt:452", "deferred", "rcpt", False, 1),
    ("rcpt:552", "deferred", "rcpt", False, 1),
    ("rcpt:550 5.1.1 unknown", "bounced", "rcpt", False, 1),
    ("rcpt:421", "deferred", "rcpt", False, 2),
    ("rcpt:699", "deferred", "rcpt", False, 1),
    ("rcpt+data:550 5.1.1 unknown", "bounced", "rcpt", False, 1),
    ("data:451", "deferred", "data", False, 1),
    ("data:554", "bounced", "data", False, 1),
    ("data:421", "deferred", "data", False, 2),
    ("data:699", "deferred", "data", False, 2),
    ("data:299", "deferred", "data", False, 2),
    ("dot:450", "deferred", "dot", False, 1),
    ("dot:451", "deferred", "dot", False, 1),
    ("dot:452", "deferred", "dot", False, 1),
    ("dot:550", "bounced", "dot", False, 1),
    ("dot:552", "bounced", "dot", False, 1),
    ("dot:554 5.7.1 policy", "bounced", "dot", False, 1),
    ("dot:421", "deferred", "dot", False, 2),
    ("dot:299", "unknown", "dot", True, 1),
    ("dot:699", "unknown", "dot", False, 1),
    ("bye:dot", "sent", "dot", True, 2),
    ("drop:payload", "unknown", "dot", False, 2),
    ("drop:dot", "unknown", "dot", False, 2),
    ("drop:kept", "unknown", "dot", True, 2),
    ("half:dot", "unknown", "dot", True, 2),
    ("garbage:dot", "unknown", "dot", True, 2),
    ("endless:dot", "unknown", "dot", True, 2),
]


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize(("fault", "state", "phase", "kept", "connections"), FAULTS)
def test_rel_f21_f22_each_fault_hurts_its_letter_only(
    run: Run, pipelining: bool, fault: str, state: str, phase: str, kept: bool, connections: int
) -> None:
    post = Post([letter(0), letter(1), letter(2)])
    sink = run(posted(Settings(pipelining=pipelining, fault=scripted(n1=fault)), post))
    assert post.states() == {0: "sent", 1: state, 2: "sent"}
    assert post.outcomes[1].phase == phase
    assert 1 not in post.again
    assert [message.rcpt for message in sink.kept if message.rcpt == "p1@example.org"] == (
        ["p1@example.org"] if kept else []
    )
    assert sorted(m.rcpt for m in sink.kept if m.rcpt != "p1@example.org") == [
        "p0@example.org",
        "p2@example.org",
    ]
    assert sink.connections == connections


def test_rel_f22_refusal_then_rset_then_the_next_letter(run: Run) -> None:
    post = Post([letter(0), letter(1)])
    sink = run(posted(Settings(fault=scripted(n0="rcpt:550")), post))
    assert [command[:4] for command in sink.commands[1:8]] == [
        b"MAIL", b"RCPT", b"DATA", b"RSET", b"MAIL", b"RCPT", b"DATA",
    ]  # fmt: skip


def test_std_d11_lone_dot_when_data_was_taken_without_recipient(run: Run) -> None:
    """RFC 2920 section 3.1."""
    post = Post([letter(0), letter(1)])
    sink = run(posted(Settings(fault=scripted(n0="rcpt+data:550")), post))
    assert post.states() == {0: "bounced", 1: "sent"}
    assert b"RSET" not in sink.commands
    assert post.marks == [1]
    assert sink.connections == 1


@pytest.mark.parametrize("pipelining", [True, False])
def test_std_d16_a_server_that_closes_after_seven_loses_nothing(run: Run, pipelining: bool) -> None:
    """The 421 answers the eighth MAIL: that letter and the rest go on new connections."""
    post = Post([letter(n) for n in range(20)])
    sink = run(posted(Settings(pipelining=pipelining, close_after=7), post))
    assert set(post.states().values()) == {"sent"}
    assert (post.again, sink.connections) == ([7, 15], 3)
    assert len(sink.kept) == len({message.rcpt for message in sink.kept}) == 20


def test_421_to_the_first_mail_of_a_connection_defers_the_letter(run: Run) -> None:
    """Otherwise a server that always says so would be asked for ever."""
    post = Post([letter(0), letter(1)])
    sink = run(posted(Settings(fault=scripted(n0="mail:421")), post))
    assert post.states() == {0: "deferred", 1: "sent"}
    assert sink.connections == 2


def test_server_gone_while_the_wire_rests(run: Run) -> None:
    async def main() -> Post:
        async with Sink(Settings(keep=True)) as sink:
            wire = await open_wire(sink.port)
            for session in sink.sessions:
                session.transport.abort()
            await wire.wait_closed()
            post = Post([letter(0)])
            await post.over(wire)
            assert len(post.queue) == 1
            assert post.outcomes == {}
        return post

    run(main())


@pytest.mark.parametrize(
    "greeting", ["421 4.3.2 not now", "554 5.7.1 no", "hello", "250 odd", "220"], ids=lambda g: g[:3]
)
def test_rel_f22_greetings(run: Run, greeting: str) -> None:
    async def main() -> None:
        async with Sink(Settings(greeting=lambda n: greeting)) as sink:
            with pytest.raises(ConnectFailed) as failed:
                await open_wire(sink.port)
            assert failed.value.reason in ("refused", "unreachable")
            if greeting.startswith(("421", "554")):
                assert failed.value.reply is not None
                assert classify(failed.value.reply, "connect").state == "deferred"

    if greeting != "220":
        run(main())


def test_nobody_listens(run: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectFailed, match="unreachable"):
            run(open_wire(taken.getsockname()[1]))


# The last moment


def test_withheld_before_its_commands_sends_nothing(run: Run) -> None:
    post = Post([letter(n) for n in range(4)], no=lambda letter: letter.pos in (0, 2))
    sink = run(posted(Settings(), post))
    assert post.states() == {0: "withheld", 1: "sent", 2: "withheld", 3: "sent"}
    assert not any(b"p0@" in command or b"p2@" in command for command in sink.commands)
    assert post.marks == [1, 3]
    assert sink.connections == 1


def test_withheld_after_data_drops_the_connection_and_delivers_nothing(run: Run) -> None:
    """The no comes when the DATA of letter 1 is taken, so only the connection can be given up."""
    asked: list[int] = []

    def no(letter: Letter) -> bool:
        asked.append(letter.pos)
        return letter.pos == 1 and asked.count(1) == 2

    post = Post([letter(n) for n in range(5)], no=no)
    sink = run(posted(Settings(), post))
    assert post.states() == {0: "sent", 1: "withheld", 2: "sent", 3: "sent", 4: "sent"}
    assert post.outcomes[1].phase == "data"
    assert post.again == [2]
    assert 1 not in post.marks
    assert b"p1@example.org" in b"".join(sink.commands)
    assert not any(message.rcpt == "p1@example.org" for message in sink.kept)
    assert sink.connections == 2


def test_withheld_step_by_step_before_data_keeps_the_connection(run: Run) -> None:
    asked: list[int] = []

    def no(letter: Letter) -> bool:
        asked.append(letter.pos)
        return letter.pos == 1 and asked.count(1) == 2

    post = Post([letter(n) for n in range(3)], no=no)
    sink = run(posted(Settings(pipelining=False), post))
    assert post.states() == {0: "sent", 1: "withheld", 2: "sent"}
    assert (sink.connections, sink.commands.count(b"RSET")) == (1, 1)


def test_check_and_mark_stand_directly_before_the_write(run: Run) -> None:
    """Nothing of the sender's comes between the yes, the mark and the dot."""
    calls: list[str] = []

    async def main() -> None:
        async with Sink() as sink:
            wire = await open_wire(sink.port)
            queue = deque([letter(0), letter(1)])
            real = wire._transport

            class Watched:
                def writelines(self, parts: list[bytes]) -> None:
                    data = b"".join(parts)
                    calls.append("dot" if data.endswith(b".\r\n") or b"\r\n.\r\n" in data else "commands")
                    real.writelines(parts)

                def __getattr__(self, name: str) -> Any:
                    return getattr(real, name)

            wire._transport = Watched()  # type: ignore[assignment]
            await deliver(
                wire,
                lambda: (calls.append("next"), queue.popleft() if queue else None)[1],
                may_depart=lambda letter: (calls.append(f"ask {letter.pos}"), True)[1],
                marked=lambda letter: calls.append(f"mark {letter.pos}"),
                done=lambda letter, outcome: calls.append(f"done {letter.pos}"),
            )

    run(main())
    for pos in (0, 1):
        at = calls.index(f"mark {pos}")
        assert calls[at - 1 : at + 2] == [f"ask {pos}", f"mark {pos}", "dot"]
        assert calls.index(f"done {pos}") > at


@pytest.mark.parametrize("pipelining", [True, False])
def test_rel_f18_a_journal_that_fails_writes_no_dot(run: Run, pipelining: bool) -> None:
    class Full(Exception):
        pass

    async def main() -> None:
        async with Sink(Settings(keep=True, pipelining=pipelining)) as sink:
            wire = await open_wire(sink.port)
            post = Post([letter(n) for n in range(4)])

            def marked(letter: Letter) -> None:
                if letter.pos == 1:
                    raise Full
                post.marks.append(letter.pos)

            with pytest.raises(Full):
                await deliver(
                    wire, post.next_letter, may_depart=lambda _: True, marked=marked, done=post.done
                )
            await wire.wait_closed()
            assert post.states() == {0: "sent"}
            assert [message.rcpt for message in sink.kept] == ["p0@example.org"]
            assert sorted(letter.pos for letter in post.queue) == [1, 2, 3]
            assert 1 in post.again

    run(main())


def test_cancelling_reports_every_letter(run: Run) -> None:
    async def main() -> None:
        reached = asyncio.Event()
        settings = Settings(fault=scripted(n0="hang:dot"), on_dot=lambda _: reached.set())
        async with Sink(settings) as sink:
            wire = await open_wire(sink.port)
            post = Post([letter(0), letter(1), letter(2)])
            task = asyncio.ensure_future(post.over(wire))
            await reached.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert post.outcomes == {0: Outcome("unknown", None, "dot")}
            assert post.again == [1]
            assert wire.closed

    run(main())


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize("place", ["next_letter", "may_depart", "done"])
@pytest.mark.parametrize("when", [1, 2, 3, 4])
def test_an_abort_out_of_the_senders_own_functions_loses_no_letter(
    run: Run, pipelining: bool, place: str, when: int
) -> None:
    async def main() -> None:
        async with Sink(Settings(keep=True, pipelining=pipelining)) as sink:
            wire = await open_wire(sink.port)
            post = Post([letter(n) for n in range(4)])
            calls = 0

            def then_abort(name: str, result: Any) -> Any:
                nonlocal calls
                calls += name == place
                if name == place and calls == when:
                    wire.abort()
                return result

            await deliver(
                wire,
                lambda: then_abort("next_letter", post.next_letter()),
                may_depart=lambda _: then_abort("may_depart", True),
                marked=lambda letter: post.marks.append(letter.pos),
                done=lambda letter, outcome: then_abort("done", post.done(letter, outcome)),
            )
            await wire.wait_closed()
            told = [*post.outcomes, *(letter.pos for letter in post.queue)]
            assert sorted(told) == [0, 1, 2, 3]
            sent = {pos for pos, state in post.states().items() if state == "sent"}
            assert sent <= {int(m.rcpt[1:].split("@")[0]) for m in sink.kept}
            assert set(post.outcomes) <= set(post.marks)

    run(main())


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
from tests.mail.test_transport import Post, deliver, letter, open_wire

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


# Hostile addresses, bodies and servers


@pytest.mark.parametrize(
    ("test", "address", "reason"),
    [
        ("h01", "a@b.example\r\nRCPT TO:<x@y.example>", "address_control_char"),
        ("h02", "u@x.example> AUTH=<z@x.example", "address_syntax"),
        ("h02", "u@x.example> AUTH=z", "address_syntax"),
        ("h02", "u u@x.example", "address_syntax"),
        ("h02", "<u@x.example>", "address_syntax"),
        ("h02", "u@x@y.example", "address_syntax"),
        ("h02", "no-at-sign", "address_syntax"),
        ("h02", "@x.example", "address_syntax"),
        ("h02", "", "address_syntax"),
        ("h02", "\ud800@x.example", "address_syntax"),
        ("h02", "a\u00a0b@x.example", "address_syntax"),
        ("h03", '"a\r\nb"@x.example', "address_control_char"),
        ("h03", '"a\nb"@x.example', "address_control_char"),
        ("h03", "a\x00@x.example", "address_control_char"),
        ("h03", "a\x7f@x.example", "address_control_char"),
        ("h03", "a\u0085@x.example", "address_control_char"),
        ("h03", "a\u2028@x.example", "address_control_char"),
        ("d8", "x" * 65 + "@x.example", "address_too_long"),
        ("d8", "a@" + "x" * 256, "address_too_long"),
        ("d8", "é" * 33 + "@x.example", "address_too_long"),
    ],
)
def test_rel_h01_h02_h03_std_d7_d8_no_byte_of_a_bad_address_is_written(
    run: Run, test: str, address: str, reason: str
) -> None:
    good = letter(1)
    post = Post([letter(0)._replace(rcpt=address), good, letter(2)._replace(mail_from=address or "@")])
    sink = run(posted(Settings(), post))
    assert post.outcomes[0].kind == "not_sent"
    assert post.outcomes[2].kind == "not_sent"
    verdict = classify(post.outcomes[0].reply, post.outcomes[0].phase)
    assert (verdict.state, verdict.reason) == ("skipped", reason)
    assert [message.rcpt for message in sink.kept] == ["p1@example.org"]
    assert [command[:4] for command in sink.commands] == [b"EHLO", b"MAIL", b"RCPT", b"DATA", b"QUIT"]


def test_std_d8_the_longest_legal_address_passes(run: Run) -> None:
    longest = "a" * 64 + "@" + "b" * 255
    post = Post([letter(0, rcpt=longest), Letter(1, "", "p@example.org", b"null sender\r\n")])
    sink = run(posted(Settings(), post))
    assert [message.rcpt for message in sink.kept] == [longest, "p@example.org"]
    assert sink.kept[1].mail_from == ""


def test_rel_h12_an_address_that_looks_like_a_command_is_literal(run: Run) -> None:
    names = ["-oQ/tmp@example.org", "`id`@example.org", "|sh@example.org"]
    sink = run(posted(Settings(), Post([letter(n, rcpt=name) for n, name in enumerate(names)])))
    assert [message.rcpt for message in sink.kept] == names


def test_rel_h09_utf8_local_part_needs_smtputf8(run: Run) -> None:
    letters = [letter(0, rcpt="жуков@example.org"), letter(1), letter(2, smtputf8=True)]
    post = Post(letters)
    sink = run(posted(Settings(smtputf8=False), post))
    assert post.states() == {0: "skipped", 1: "sent", 2: "skipped"}
    reply = post.outcomes[0].reply
    assert reply is not None
    assert (reply.enhanced, reply.text) == ("5.6.7", "server_lacks_smtputf8")
    assert [message.rcpt for message in sink.kept] == ["p1@example.org"]

    post = Post(letters)
    sink = run(posted(Settings(smtputf8=True), post))
    assert set(post.states().values()) == {"sent"}
    assert sink.kept[0].rcpt == "жуков@example.org"
    assert ["SMTPUTF8" in message.options for message in sink.kept] == [True, False, True]


def test_std_a8_eight_bit_only_where_it_is_offered(run: Run) -> None:
    letters = [letter(0, data="Subject: s\r\n\r\nGrüße\r\n".encode()), letter(1)]
    post = Post(letters)
    run(posted(Settings(eightbit=False), post))
    assert post.states() == {0: "skipped", 1: "sent"}
    sink = run(posted(Settings(), Post(letters)))
    assert ["BODY=8BITMIME" in message.options for message in sink.kept] == [True, False]
    assert sink.kept[0].data == letters[0].data


BODIES = [
    b".",
    b"..",
    b".\r\n",
    b"..\r\n",
    b".a\r\n",
    b"a\r\n.\r\nb\r\n",
    b"a\r\n..\r\nb\r\n",
    b"a\n.\nb\n",
    b"a\r.\rb\r",
    b"a\r\n.\rb\r\n",
    b"a\n.\r\nb",
    b"\n.\n",
    b"\r.\r\n",
    b"\r\n.\r\nMAIL FROM:<x@y.example>\r\nRCPT TO:<z@y.example>\r\nDATA\r\nspam\r\n.\r\n",
    b"a\n.\r\nMAIL FROM:<x@y.example>\r\n",
    b"x" * 5000,
    b"",
    b"\r",
    b"\n",
    b"\r\r\n\n\r",
]


def _expected(data: bytes) -> bytes:
    """An own, plain reading of the rule: every line end is CRLF, and there is one at the end."""
    out, at = bytearray(), 0
    while at < len(data):
        if data[at : at + 2] == b"\r\n":
            out += b"\r\n"
            at += 2
        else:
            out += b"\r\n" if data[at] in b"\r\n" else data[at : at + 1]
            at += 1
    return bytes(out) if out.endswith(b"\r\n") else bytes(out) + b"\r\n"


@pytest.mark.parametrize("pipelining", [True, False])
def test_rel_h13_h14_std_d6_every_body_arrives_as_one_equal_message(run: Run, pipelining: bool) -> None:
    head = b"Message-ID: <x@example.org>\r\n\r\n"
    letters = [letter(n, data=head + body) for n, body in enumerate(BODIES)]
    letters += [Letter(100 + n, "b@example.org", "q@example.org", body) for n, body in enumerate(BODIES)]
    post = Post(letters)
    sink = run(posted(Settings(pipelining=pipelining), post))
    assert set(post.states().values()) == {"sent"}
    assert [message.data for message in sink.kept] == [_expected(letter.data) for letter in letters]
    assert [message.body_sha256 for message in sink.kept[: len(BODIES)]] == [
        hashlib.sha256(_expected(head + body)[len(head) :]).hexdigest() for body in BODIES
    ]
    assert sink.began == len(letters)


def test_std_d10_a_letter_over_the_declared_size_is_not_transmitted(run: Run) -> None:
    post = Post([letter(0, data=b"x" * 20_000), letter(1, data=b"x" * 9_998), letter(2, data=b"x" * 9_999)])
    sink = run(posted(Settings(size=10_000), post))
    assert post.states() == {0: "skipped", 1: "sent", 2: "skipped"}
    reply = post.outcomes[0].reply
    assert reply is not None
    assert (reply.code, reply.enhanced, reply.text) == (552, "5.3.4", "message_too_large")
    assert [message.options for message in sink.kept] == ["SIZE=10000"]
    sink = run(posted(Settings(size=None), Post([letter(0)])))
    assert sink.kept[0].options == ""


def test_rel_h73_an_endless_reply_is_cut_and_the_letter_unknown(run: Run) -> None:
    """Continuation lines without end, at the dot and at MAIL."""
    for when, state in ((b"\r\n.\r\n", "unknown"), (b"MAIL", "again")):

        async def serve(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, when: bytes = when
        ) -> None:
            writer.write(b"220 hi\r\n")
            await reader.readline()
            writer.write(b"250-hi\r\n250 PIPELINING\r\n")
            await reader.readuntil(b"DATA\r\n")
            if when != b"MAIL":
                writer.write(b"250 ok\r\n250 ok\r\n354 go\r\n")
                await reader.readuntil(when)
            try:
                while True:
                    writer.write(b"250-more and more\r\n" * 100)
                    await writer.drain()
            except ConnectionError:
                writer.close()

        async def main(serve: Any = serve) -> Post:
            post = Post([letter(0)])
            async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
                await post.over(await open_wire(server.sockets[0].getsockname()[1]))
            return post

        post = run(main())
        assert (post.again == [0]) if state == "again" else (post.states() == {0: "unknown"})


def test_rel_h74_unsolicited_lines_accept_nobody(run: Run) -> None:
    """An extra 250 before the real reply (a refusal of letter 1, say) shifts all that follow."""
    for at in range(4):
        post = Post([letter(n) for n in range(4)])
        sink = run(posted(Settings(fault=scripted(**{f"n{at}": "stray:dot"})), post))
        states = post.states()
        kept = {message.rcpt for message in sink.kept}
        assert all(f"p{pos}@example.org" in kept for pos, state in states.items() if state == "sent")
        if at < 3:
            assert states[at] == "unknown"
            assert sink.connections == 2


def test_rel_h74_a_line_nobody_asked_for_drops_the_resting_connection(run: Run) -> None:
    async def main() -> None:
        async with Sink(Settings(keep=True)) as sink:
            wire = await open_wire(sink.port)
            for session in sink.sessions:
                session.transport.write(b"250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n")
            await wire.wait_closed()
            post = Post([letter(0)])
            await post.over(wire)
            assert post.outcomes == {}
            assert sink.committed == 0

    run(main())


def test_rel_h74_a_reply_to_a_dot_not_yet_sent_is_believed_by_nobody(run: Run) -> None:
    """All the yeses a server could ever say, in one breath, before it was asked."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hi\r\n")
        await reader.readline()
        writer.write(b"250-hi\r\n250 PIPELINING\r\n")
        await reader.readuntil(b"DATA\r\n")
        writer.write(b"250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n")
        await reader.read()
        writer.close()

    async def main() -> Post:
        post = Post([letter(0)])
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            await post.over(await open_wire(server.sockets[0].getsockname()[1]))
        return post

    post = run(main())
    assert post.outcomes == {}
    assert post.again == [0]
    assert post.marks == []


async def _improvised(
    turns: list[tuple[bytes, bytes]],
    letters: list[Letter],
    *,
    slow: bool = False,
    half_closed: bool = False,
    post: Post | None = None,
) -> Post:
    """A server that reads up to each turn's first bytes and answers its second; then it waits for the end."""
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hi\r\n")
        await reader.readline()
        writer.write(b"250-hi\r\n250 PIPELINING\r\n")
        for until, answer in turns:
            await reader.readuntil(until)
            writer.write(answer)
        if half_closed:
            writer.write_eof()
        if not slow:
            with contextlib.suppress(ConnectionError):
                await reader.read()
        await ended.wait()
        writer.close()

    post = post or Post(letters)
    async with await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 16) as server:
        try:
            await post.over(await open_wire(server.sockets[0].getsockname()[1]))
        finally:
            ended.set()
    return post


_OPEN = (b"DATA\r\n", b"250 ok\r\n250 ok\r\n354 go\r\n")


@pytest.mark.parametrize(
    "answer",
    [
        b"250 stray\r\n250 taken\r\n250 ok\r\n250 ok\r\n",
        b"250 stray\r\n550 refused\r\n250 ok\r\n250 ok\r\n",
        b"354 stray\r\n250 taken\r\n250 ok\r\n250 ok\r\n",
        b"250 taken\r\n250 ok\r\n250 ok\r\n354 go\r\n25",
        b"250 taken\r\n250 ok\r\n250 ok\r\n354 go\r\n250-",
        b"250 taken\r\n250 ok\r\n250-ok\r\n251 ok\r\n354 go\r\n",
        b"250 taken\r\nhello\r\n",
        b"250 taken\r\n25\r\n",
        b"250 taken\r\n\xb2\xb5\xb0 ok\r\n",
        b"250_taken\r\n",
        b"\r\n",
    ],
)
def test_rel_h74_replies_out_of_step_accept_nobody(run: Run, answer: bytes) -> None:
    """The stray line comes alone first: only the odd place of the others shows it."""
    post = run(_improvised([_OPEN, (b"DATA\r\n", answer)], [letter(0), letter(1)]))
    assert post.outcomes == {0: Outcome("unknown", None, "dot")}
    assert post.again == [1]


@pytest.mark.parametrize(
    "answer",
    [b"250 taken\r\n250 st", b"250 taken\r\n250-more\r\n", b"250 taken\r\n250 ok\r\n", b"354 go\r\n"],
)
def test_rel_h74_something_else_after_the_last_dot_accepts_nobody(run: Run, answer: bytes) -> None:
    post = run(_improvised([_OPEN, (b"\r\n.\r\n", answer)], [letter(0)]))
    assert post.outcomes == {0: Outcome("unknown", None, "dot")}


def test_rel_h74_a_dot_answered_before_it_was_sent_is_unknown(run: Run) -> None:
    """The payload still waits in our transport when the server says that it took it."""
    big = letter(0, data=b"first\r\n" + (b"y" * 70 + b"\r\n") * 200_000)
    answer = b"250 taken\r\n250 ok\r\n250 ok\r\n354 go\r\n"
    post = run(_improvised([_OPEN, (b"first\r\n", answer)], [big, letter(1)], slow=True))
    assert post.outcomes == {0: Outcome("unknown", None, "dot")}
    assert post.again == [1]
    assert post.marks == [0]


def test_each_letter_of_a_connection_is_told_of_though_telling_of_one_fails(run: Run) -> None:
    """The disk is full when the first letter's answer is to be written down; the second is reported all the same."""

    class Full(Post):
        def done(self, letter: Letter, outcome: Outcome) -> None:
            super().done(letter, outcome)
            if outcome.kind == "replied":
                raise OSError(errno.ENOSPC, "no space left")

    post = Full([letter(0), letter(1)])

    async def story() -> None:
        with pytest.raises(OSError, match="no space left"):
            await _improvised([_OPEN, (b"DATA\r\n", b"421 bye\r\n")], [], post=post)

    run(story())
    assert {pos: one.reply and one.reply.code for pos, one in post.outcomes.items()} == {0: 421}
    assert post.again == [1]


def test_a_server_that_half_closes_and_reads_no_more_is_left(run: Run) -> None:
    """Closing would wait for it to take what it never takes."""
    big = letter(0, data=b"first\r\n" + (b"y" * 70 + b"\r\n") * 200_000)
    post = run(_improvised([_OPEN, (b"first\r\n", b"")], [big], slow=True, half_closed=True))
    assert post.outcomes == {0: Outcome("unknown", None, "dot")}


# TLS and login


@functools.cache
def _certificate(name: str) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _server_context(tmp_path: Path, name: str) -> ssl.SSLContext:
    certificate, key = _certificate(name)
    (tmp_path / "c.pem").write_bytes(certificate)
    (tmp_path / "k.pem").write_bytes(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "c.pem", tmp_path / "k.pem")
    return context


def _trusting(name: str) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=_certificate(name)[0].decode())


class Aiosmtpd:
    """An independent server: no PIPELINING, STARTTLS and AUTH by the library's own rules."""

    def __init__(self, **how: Any) -> None:
        self.how = how
        self.taken: list[tuple[str, bytes]] = []
        self.tried: list[tuple[bytes, bytes]] = []
        self.heard = b""

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.taken.append((envelope.rcpt_tos[0], envelope.content))
        return "250 2.0.0 ok"

    def authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        self.tried.append((data.login, data.password))
        return AuthResult(success=data.password == b"right", handled=False)

    async def __aenter__(self) -> int:
        loop = asyncio.get_running_loop()
        implicit = self.how.pop("implicit", None)
        outer = self

        class Heard(SMTP):
            def data_received(self, data: bytes) -> None:
                outer.heard += data
                super().data_received(data)

        self.server = await loop.create_server(
            lambda: Heard(self, loop=loop, authenticator=self.authenticate, enable_SMTPUTF8=True, **self.how),
            "127.0.0.1",
            0,
            ssl=implicit,
        )
        return int(self.server.sockets[0].getsockname()[1])

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        await self.server.wait_closed()


async def _through(server: Aiosmtpd, url: str, **how: Any) -> Post:
    async with server as port:
        post = Post([letter(n) for n in range(3)])
        await post.all(port, url=url, **how)
        return post


def test_std_d12_starttls_with_a_trusted_certificate_and_login(run: Run, tmp_path: Path) -> None:
    context = _server_context(tmp_path, "localhost")
    server = Aiosmtpd(tls_context=context, require_starttls=True, auth_require_tls=True)
    post = run(
        _through(
            server, "smtp://us%40er:right@localhost:{}?starttls=always", tls_context=_trusting("localhost")
        )
    )
    assert set(post.states().values()) == {"sent"}
    assert [data for _, data in server.taken] == [letter(n).data for n in range(3)]
    assert server.tried == [(b"us@er", b"right")]
    assert b"MAIL" not in server.heard.split(b"STARTTLS")[0]


def test_std_d12_implicit_tls(run: Run, tmp_path: Path) -> None:
    server = Aiosmtpd(implicit=_server_context(tmp_path, "localhost"))
    post = run(_through(server, "smtps://localhost:{}", tls_context=_trusting("localhost")))
    assert set(post.states().values()) == {"sent"}


def test_wire_knows_its_tls_and_its_unsent_bytes(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with Aiosmtpd(tls_context=_server_context(tmp_path, "localhost")) as port:
            wire = await open_wire(port, "smtp://127.0.0.1:{}?starttls=auto")
            assert wire.tls_version == "TLSv1.3"
            post = Post([letter(0)])
            await post.over(wire)
            assert post.states() == {0: "sent"}
            assert wire.unsent_bytes() == 0
            wire.abort()
            await wire.wait_closed()

    run(main())


def test_under_tls_a_letter_that_waits_for_its_reply_may_not_have_left(run: Run, tmp_path: Path) -> None:
    """The layer between may hold a part of it that the kernel never saw, and nobody can ask it: the fence has to reset."""

    async def main() -> None:
        async with Aiosmtpd(tls_context=_server_context(tmp_path, "localhost")) as port:
            wire = await open_wire(port, "smtp://127.0.0.1:{}?starttls=auto")
            post, seen = Post([letter(0)]), []

            async def look() -> None:
                while not post.states():
                    if wire.in_flight():
                        seen.append(wire.unsent_bytes())
                    await asyncio.sleep(0)

            looking = asyncio.create_task(look())
            await post.over(wire)
            await looking
            assert seen
            assert min(seen) > 0
            assert wire.unsent_bytes() == 0, "its reply is here"
            wire.abort()
            await wire.wait_closed()

    run(main())


@pytest.mark.parametrize(
    ("case", "url", "name", "trusts", "reason"),
    [
        ("self-signed", "smtp://user:secret@localhost:{}?starttls=always", "localhost", None, "tls_failed"),
        (
            "wrong name",
            "smtp://user:secret@localhost:{}?starttls=always",
            "evil.example",
            "evil.example",
            "tls_failed",
        ),
        ("no STARTTLS", "smtp://user:secret@localhost:{}?starttls=always", None, None, "tls_required"),
        ("stripped, not loopback", "smtp://user:secret@0.0.0.0:{}", None, None, "tls_required"),
        ("never, not loopback", "smtp://user:secret@0.0.0.0:{}?starttls=never", None, None, "tls_required"),
    ],
)
def test_std_d12_rel_h76_nothing_is_sent_and_no_password_revealed(
    run: Run, tmp_path: Path, case: str, url: str, name: str | None, trusts: str | None, reason: str
) -> None:
    server = Aiosmtpd(
        tls_context=_server_context(tmp_path, name) if name else None,
        auth_require_tls=False,
    )

    async def main() -> None:
        async with server as port:
            with pytest.raises(ConnectFailed) as failed:
                await open_wire(port, url, tls_context=_trusting(trusts) if trusts else None)
            assert failed.value.reason == reason

    run(main())
    assert server.tried == []
    assert server.taken == []
    for word in (b"AUTH", b"MAIL", b"secret", b"c2VjcmV0"):
        assert word not in server.heard


def test_std_d12_implicit_tls_with_an_unknown_certificate(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with Aiosmtpd(implicit=_server_context(tmp_path, "localhost")) as port:
            with pytest.raises(ConnectFailed, match="tls_failed"):
                await open_wire(port, "smtps://localhost:{}")

    run(main())


def test_rel_h77_a_wrong_password_is_auth_failed(run: Run) -> None:
    server = Aiosmtpd(auth_require_tls=False)

    async def main() -> None:
        async with server as port:
            with pytest.raises(ConnectFailed) as failed:
                await open_wire(port, "smtp://user:wrong@127.0.0.1:{}?starttls=never")
            assert failed.value.reason == "auth_failed"
            assert failed.value.reply is not None
            assert failed.value.reply.code == 535
            assert "wrong" not in str(failed.value)

    run(main())
    assert server.taken == []


# The address in the configuration


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail.example.org", Server("mail.example.org", 25)),
        ("smtps://mail.example.org", Server("mail.example.org", 465, tls="implicit")),
        (
            "smtp://u%40x:p%3Aw%2F@mail.example.org:587?starttls=always&connections=8",
            Server("mail.example.org", 587, "u@x", "p:w/", "always", 8),
        ),
        ("smtp://[::1]:2525/?starttls=never", Server("::1", 2525, tls="never")),
    ],
)
def test_smtp_url(url: str, server: Server) -> None:
    assert parse_smtp_url(url) == server


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mail.example.org",
        "http://mail.example.org",
        "smtp://",
        "smtp://:secret@mail.example.org",
        "smtp://mail.example.org:99999",
        "smtp://mail.example.org:x",
        "smtp://mail.example.org/path",
        "smtp://mail.example.org#x",
        "smtp://u:secret@mail.example.org?starttls=maybe",
        "smtps://u:secret@mail.example.org?starttls=always",
        "smtp://u:secret@mail.example.org?connections=0",
        "smtp://u:secret@mail.example.org?connections=x",
        "smtp://u:secret@mail.example.org?tls=1",
    ],
)
def test_smtp_url_that_cannot_be_used(url: str) -> None:
    with pytest.raises(BadSmtpUrl) as refused:
        parse_smtp_url(url)
    assert "secret" not in str(refused.value)


def test_a_server_never_prints_its_password() -> None:
    assert "pw" not in repr(parse_smtp_url("smtp://user:pw@mail.example.org"))


# The sink itself


def test_the_sink_runs_alone_and_logs_one_line_per_message(tmp_path: Path) -> None:
    log = tmp_path / "sink.jsonl"
    command = [sys.executable, "-m", "tests.faults.sink", "--log", str(log), "--fsync", "--max-seconds", "60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        post = Post([letter(n) for n in range(10)])
        before = time.monotonic()
        asyncio.run(post.all(port))
        after = time.monotonic()
        process.terminate()
        assert process.wait(timeout=20) == 0
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert [row["message_id"] for row in rows] == [f"<{n}@example.org>" for n in range(10)]
    assert set(rows[0]) == set(Message.__dataclass_fields__) - {"data"}
    for row in rows:
        assert before <= row["t_mail"] <= row["t_first_byte"] <= row["t_dot"] <= row["t_reply"] <= after
        assert row["committed"]


def test_a_timeouts_setting_reaches_the_wire(run: Run) -> None:
    async def main() -> tuple[Post, Wire]:
        async with Sink(Settings(fault=scripted(n0="hang:dot"))) as sink:
            post, wire = Post([letter(0)]), await open_wire(sink.port, timeouts=Timeouts(dot=0.05))
            await post.over(wire)
            return post, wire

    post, wire = run(main())
    assert post.outcomes == {0: Outcome("unknown", None, "dot")}
    assert not wire.stalled, "the letter may be what took so long"


def test_rel_f23_a_wire_says_that_it_stalled_before_the_dot(run: Run) -> None:
    async def main() -> tuple[Post, Wire]:
        with Stall() as stall:
            post, wire = Post([letter(0)]), await open_wire(stall.port, timeouts=Timeouts(mail=0.05))
            await post.over(wire)
            return post, wire

    post, wire = run(main())
    assert (post.again, post.outcomes) == ([0], {})
    assert wire.closed
    assert wire.stalled


@pytest.mark.parametrize("steps", range(8))
def test_whoever_is_called_off_while_a_connection_closes_hears_of_it(run: Run, steps: int) -> None:
    """A sender that is asked to end calls off its connections, wherever they are: one that has just gone, too."""

    async def story() -> None:
        async with Sink(Settings()) as sink:
            wire = await open_wire(sink.port)
            closing = asyncio.create_task(wire.close())
            await asyncio.sleep(0)
            wire.abort()
            await wire.wait_closed()
            for _ in range(steps):
                await asyncio.sleep(0)
            if closing.cancel():
                with pytest.raises(asyncio.CancelledError):
                    await closing

    run(story())
