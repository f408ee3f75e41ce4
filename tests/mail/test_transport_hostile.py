"""Hostile addresses, bodies and servers at the door to SMTP: nobody else hears of it, and nobody is believed sent who was not."""

import asyncio
import contextlib
import errno
import hashlib
from typing import Any

import pytest

from service.mail.replies import classify
from service.mail.transport import (
    Letter,
    Outcome,
)
from tests.faults.sink import Settings, Sink
from tests.mail.wired import Post, Run, letter, open_wire, posted, scripted

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
