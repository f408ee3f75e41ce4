"""The door to SMTP over real sockets: every reply, every way a connection can end, who is told what."""

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import pytest

from service.mail.replies import classify
from service.mail.transport import (
    BadSmtpUrl,
    ConnectFailed,
    Letter,
    Outcome,
    Server,
    Timeouts,
    Wire,
    deliver,
    parse_smtp_url,
)
from tests.faults.sink import Message, Settings, Sink
from tests.faults.stall import Stall
from tests.mail.wired import Post, Run, letter, open_wire, posted, scripted

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
