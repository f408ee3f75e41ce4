"""An SMTP sink that takes mail fast, misbehaves by script, and logs what really happened.

Stand-alone: it knows nothing of the product, so its log is evidence about it. Tests start `Sink` in their own
loop; benches and fault runs start `python -m tests.faults.sink --port 0 --log FILE`, whose first line is the
port.

A fault is one word for one message (the n-th MAIL, from 0): `PHASE:CODE [text]` answers that phase (mail,
rcpt, data, dot) with that code, `rcpt+data:CODE` refuses RCPT yet takes DATA; `drop:mail`, `drop:rcpt`,
`drop:data` close instead of an answer there; `drop:payload` closes inside the payload, `drop:dot` after the
dot (not kept), `drop:kept` after keeping it, without a reply; `half:dot` keeps it and sends half a reply
line; `garbage:dot` a line that is no reply; `stray:dot` an extra "250 ok" before the reply; `endless:dot` a
reply without an end; `hang:dot` never answers; `bye:dot` keeps it, answers 250 and then 421. `unread:dot`
(by `stop_reading`, not by script) was never read. `greet:CODE` as `greeting` refuses connections.
"""

import argparse
import asyncio
import hashlib
import json
import os
import random
import re
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from tests.faults.aim import UNREAD, Holder, small_window

_PATH = re.compile(rb"(?i)(?:MAIL FROM|RCPT TO):\s*<([^>]*)>(.*)")
_MESSAGE_ID = re.compile(rb"(?im)^message-id:[ \t]*(?:\r\n[ \t]+)?([^\r\n]*)")
_SIZE = re.compile(rb"(?i)\bSIZE=([0-9]+)")


@dataclass
class Settings:
    """How it behaves. `fault` gives the n-th message's fault, `greeting` the n-th connection's line."""

    pipelining: bool = True
    smtputf8: bool = True
    eightbit: bool = True
    size: int | None = 50_000_000
    delay: float = 0.0
    close_after: int = 0
    fsync: bool = False
    keep: bool = False
    fault: Callable[[int], str | None] = lambda n: None
    greeting: Callable[[int], str] = lambda n: "220 sink.example.org ESMTP"
    on_dot: Callable[["Message"], None] | None = None
    """Called when a dot has arrived, before anything else happens."""
    hold: "Callable[[Message], asyncio.Future[None] | None]" = lambda message: None
    """A message's 354 is held back until this future is done."""
    stop_reading: "Callable[[Message, Any], asyncio.Future[None] | None]" = lambda message, transport: None
    """After a message's 354 nothing is read until this future is done."""
    small_window: bool = False


@dataclass
class Message:
    """One message as the sink saw it; times are CLOCK_MONOTONIC seconds."""

    conn: int
    number: int
    t_mail: float
    mail_from: str = ""
    options: str = ""
    rcpt: str = ""
    t_open: float = 0.0
    t_first_byte: float = 0.0
    t_dot: float = 0.0
    t_reply: float = 0.0
    message_id: str = ""
    body_sha256: str = ""
    size: int = 0
    fault: str | None = None
    committed: bool = False
    data: bytes = field(default=b"", repr=False)

    def line(self) -> bytes:
        row = {k: v for k, v in self.__dict__.items() if k != "data"}
        return json.dumps(row).encode() + b"\n"


class Sink:
    """A running sink: `async with Sink(Settings(...)) as sink`, then `sink.port`, `sink.messages`."""

    def __init__(self, settings: Settings | None = None, *, log: str | None = None) -> None:
        self.settings = settings or Settings()
        self.port = 0
        self.connections = 0
        self.began = 0
        self.committed = 0
        self.messages: list[Message] = []
        self.commands: list[bytes] = []
        self.sessions: set[_Session] = set()
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if log else -1

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Session(self), host, port, backlog=512)
        if self.settings.small_window:
            small_window(self._server.sockets[0])
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        for session in list(self.sessions):
            session.transport.abort()
        await self._server.wait_closed()
        if self._log >= 0:
            os.close(self._log)
            self._log = -1  # whoever is cut off by this end has nothing to say any more

    async def __aenter__(self) -> "Sink":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def record(self, message: Message) -> None:
        self.committed += message.committed
        if self.settings.keep:
            self.messages.append(message)
        if self._log >= 0:
            os.write(self._log, message.line())
            if self.settings.fsync and message.committed:
                os.fdatasync(self._log)

    @property
    def kept(self) -> list[Message]:
        """The messages this sink has answered for (needs `keep`)."""
        return [message for message in self.messages if message.committed]


class _Session(asyncio.Protocol):
    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.settings = sink.settings
        self.buffer = bytearray()
        self.searched = 0
        self.message: Message | None = None
        self.receiving = False
        self.waiting = False
        self.carried = 0
        self.out: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by class
        self.conn = self.sink.connections
        self.t_open = time.monotonic()
        self.sink.connections += 1
        self.sink.sessions.add(self)
        greeting = self.settings.greeting(self.conn)
        self.transport.write(greeting.encode() + b"\r\n")
        if not greeting.startswith("220"):
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.sink.sessions.discard(self)
        if self.message is not None and self.message.fault == "unread:dot" and self.receiving:
            self.sink.record(self.message)

    def data_received(self, data: bytes) -> None:
        self.now = time.monotonic()
        self.buffer += data
        self.run()

    def run(self) -> None:
        while not self.waiting and not self.transport.is_closing():
            if not (self.payload() if self.receiving else self.command()):
                break
        if self.out and not self.transport.is_closing():
            self.transport.write(b"".join(self.out))
        self.out = []

    def say(self, line: bytes | str) -> None:
        self.out.append((line.encode() if isinstance(line, str) else line) + b"\r\n")

    def end(self, last: bytes = b"") -> bool:
        """Send what is due and `last`, then close; nothing further is read."""
        self.transport.write(b"".join(self.out) + last)
        self.out = []
        self.transport.close()
        return False

    # Commands

    def command(self) -> bool:
        end = self.buffer.find(b"\r\n")
        if end < 0:
            return False
        line = bytes(self.buffer[:end])
        del self.buffer[: end + 2]
        if self.settings.keep:
            self.sink.commands.append(line)
        verb = line[:4].upper()
        if verb == b"MAIL":
            return self.mail(line)
        if verb == b"RCPT":
            return self.rcpt(line)
        if verb == b"DATA":
            return self.data()
        if verb == b"QUIT":
            return self.end(b"221 2.0.0 bye\r\n")
        if verb == b"EHLO":
            self.ehlo()
        elif verb == b"RSET":
            self.message = None
            self.say(b"250 2.0.0 reset")
        else:
            self.say(b"250 2.0.0 ok" if verb in (b"HELO", b"NOOP") else b"500 5.5.2 what?")
        return True

    def ehlo(self) -> None:
        words = ["sink.example.org"]
        words += ["PIPELINING"] if self.settings.pipelining else []
        words += ["8BITMIME"] if self.settings.eightbit else []
        words += ["SMTPUTF8"] if self.settings.smtputf8 else []
        words += [f"SIZE {self.settings.size}"] if self.settings.size is not None else []
        words += ["ENHANCEDSTATUSCODES"]
        for word in words[:-1]:
            self.say(f"250-{word}")
        self.say(f"250 {words[-1]}")

    def faulty(self, phase: str) -> bool:
        """Answer with this phase's scripted refusal, if there is one."""
        message = self.message
        if message is None or message.fault is None or not message.fault.startswith(phase + ":"):
            return False
        answer = message.fault[len(phase) + 1 :]
        self.say(answer if " " in answer else f"{answer} scripted")
        if phase != "dot":
            message.t_reply = self.now
            self.sink.record(message)
        return True

    def dropped(self, phase: str) -> bool:
        """Close the connection here instead of answering, if the script says so."""
        message = self.message
        if message is None or message.fault != f"drop:{phase}":
            return False
        self.sink.record(message)
        self.end()
        return True

    def after_refusal(self) -> bool:
        """A scripted 421 closes the connection, as a server that says it does."""
        return self.end() if self.out[-1].startswith(b"421") else True

    def mail(self, line: bytes) -> bool:
        if self.settings.close_after and self.carried >= self.settings.close_after:
            return self.end(b"421 4.7.0 enough for one connection\r\n")
        if self.message is not None:
            self.say(b"503 5.5.1 nested MAIL")
            return True
        found = _PATH.fullmatch(line)
        if not found:
            self.say(b"501 5.5.4 syntax")
            return True
        number = self.sink.began
        self.sink.began += 1
        self.message = Message(
            self.conn,
            number,
            self.now,
            found[1].decode(),
            found[2].decode().strip(),
            t_open=self.t_open,
            fault=self.settings.fault(number),
        )
        if self.dropped("mail"):
            return False
        if self.faulty("mail"):
            self.message = None
            return self.after_refusal()
        size = _SIZE.search(line)
        if size and self.settings.size and int(size[1]) > self.settings.size:
            self.message = None
            self.say(b"552 5.3.4 too big")
            return True
        self.say(b"250 2.1.0 ok")
        return True

    def rcpt(self, line: bytes) -> bool:
        found = _PATH.fullmatch(line)
        if self.message is None or not found:
            self.say(b"503 5.5.1 MAIL first" if found else b"501 5.5.4 syntax")
            return True
        rcpt = found[1].decode()
        self.message.rcpt = rcpt
        if self.dropped("rcpt"):
            return False
        if self.faulty("rcpt") or self.faulty("rcpt+data"):
            self.message.rcpt = ""
            return self.after_refusal()
        self.say(b"250 2.1.5 ok")
        return True

    def data(self) -> bool:
        message = self.message
        careless = message is not None and (message.fault or "").startswith("rcpt+data:")
        if message is None or not (message.rcpt or careless):
            self.say(b"503 5.5.1 no recipient")
            return True
        if self.dropped("data"):
            return False
        if self.faulty("data"):
            return self.after_refusal()
        held = self.settings.hold(message)
        if held is not None and not held.done():
            self.waiting = True
            held.add_done_callback(self.let_go)
            return False
        self.say(b"354 go on")
        self.receiving = True
        self.searched = 0
        unread = self.settings.stop_reading(message, self.transport)
        if unread is not None:
            message.fault = "unread:dot"
            self.transport.pause_reading()
            unread.add_done_callback(self.read_on)
        return True

    def read_on(self, _: object) -> None:
        """What was left unread, if it is still to come."""
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def let_go(self, _: object) -> None:
        """The held 354 at last."""
        self.waiting, self.receiving, self.searched = False, True, 0
        self.say(b"354 go on")
        self.now = time.monotonic()
        self.run()

    # Payload

    def payload(self) -> bool:
        message = self.message
        assert message is not None
        buffer = self.buffer
        if buffer and not message.t_first_byte:
            message.t_first_byte = self.now
        if buffer and message.fault == "drop:payload":
            self.sink.record(message)
            return self.end()
        if buffer.startswith(b".\r\n"):
            end, skip = 0, 3
        else:
            found = buffer.find(b"\r\n.\r\n", max(0, self.searched - 4))
            end, skip = (found + 2, found + 5) if found >= 0 else (-1, 0)
        if end < 0:
            self.searched = len(buffer)
            return False
        content = bytes(buffer[:end])
        del buffer[:skip]
        self.receiving = False
        message.t_dot = self.now
        self.take_in(message, content)
        if self.settings.on_dot is not None:
            self.settings.on_dot(message)
        if self.settings.delay:
            self.waiting = True
            asyncio.get_running_loop().call_later(self.settings.delay, self.resume)
            return False
        return self.answer()

    def take_in(self, message: Message, content: bytes) -> None:
        if content.startswith(b"."):
            content = content[1:]
        if b"\r\n." in content:
            content = content.replace(b"\r\n.", b"\r\n")
        head, _, body = content.partition(b"\r\n\r\n")
        found = _MESSAGE_ID.search(head)
        message.message_id = found[1].decode("utf-8", "replace") if found else ""
        message.body_sha256 = hashlib.sha256(body).hexdigest()
        message.size = len(content)
        if self.settings.keep:
            message.data = content

    def resume(self) -> None:
        self.waiting = False
        if not self.transport.is_closing():
            self.now = time.monotonic()
            self.answer()
            self.run()

    def answer(self) -> bool:
        """Decide about the message whose dot just came, log it, reply."""
        message = self.message
        assert message is not None
        self.message = None
        self.carried += 1
        fault = message.fault or ""
        if not message.rcpt:
            self.say(b"554 5.5.1 no valid recipients")
            return True
        kind, _, where = fault.partition(":")
        refused = kind == "dot" and not where.startswith("2")
        message.committed = not refused and fault != "drop:dot"
        message.t_reply = time.monotonic()
        self.sink.record(message)
        if where in ("dot", "kept") and fault != "unread:dot":
            return self.misbehave(fault)
        if kind == "dot":
            self.message = message
            self.faulty("dot")
            self.message = None
            return self.after_refusal()
        self.say(b"250 2.0.0 taken %d" % message.number)
        return True

    def misbehave(self, fault: str) -> bool:
        if fault in ("drop:dot", "drop:kept"):
            return self.end()
        if fault == "half:dot":
            return self.end(b"250 2.0.0 ta")
        if fault == "bye:dot":
            return self.end(b"250 2.0.0 taken\r\n421 4.3.2 going down\r\n")
        if fault == "endless:dot":
            self.out.append(b"250-" + b"x" * 1_000_000)
            self.waiting = True
        elif fault == "garbage:dot":
            self.say(b"hello there")
        elif fault == "stray:dot":
            self.say(b"250 ok\r\n250 2.0.0 taken")
        elif fault == "hang:dot":
            self.waiting = True
        return True


def seeded(seed: int, shares: list[tuple[str, float]]) -> Callable[[int], str | None]:
    """The n-th message's fault, drawn from `shares` (fault, probability); fixed by seed and n."""

    def fault(number: int) -> str | None:
        draw = random.Random(f"{seed}:{number}").random()
        for name, share in shares:
            draw -= share
            if draw < 0:
                return name
        return None

    return fault


def _settings(args: argparse.Namespace) -> Settings:
    shares = [(name, float(share)) for name, _, share in (spec.rpartition("=") for spec in args.fault)]
    fault = seeded(args.seed, shares) if shares else (lambda n: None)
    if args.script:
        with open(args.script, encoding="utf-8") as source:
            script = json.load(source)
        fault = lambda n: script.get(str(n))  # noqa: E731
    greetings = args.greeting
    others: dict[str, Any] = {}
    if args.hold:
        holder = Holder(Path(args.hold))
        others["hold"] = lambda message: holder.hold(message.rcpt)
        others["stop_reading"] = lambda message, transport: holder.stop_reading(message.rcpt, transport)
        others["small_window"] = UNREAD in holder.aimed.values()
    if args.keep:
        others |= {"keep": True, "on_dot": lambda message: _keep(Path(args.keep), message)}
    return Settings(
        pipelining=not args.no_pipelining,
        smtputf8=not args.no_smtputf8,
        eightbit=not args.no_8bitmime,
        size=args.size,
        delay=args.delay,
        close_after=args.close_after,
        fsync=args.fsync,
        fault=fault,
        greeting=lambda n: greetings[n] if n < len(greetings) else "220 sink.example.org ESMTP",
        **others,
    )


def _keep(directory: Path, message: Message) -> None:
    (directory / f"{message.rcpt}.eml").write_bytes(message.data)


async def _main(args: argparse.Namespace) -> None:
    sink = Sink(_settings(args), log=args.log)
    await sink.start(args.host, args.port)
    sys.stdout.write(f"{sink.port}\n")
    sys.stdout.flush()
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    if args.max_seconds:
        loop.call_later(args.max_seconds, ended.set)
    await ended.wait()
    await sink.stop()


def main(argv: list[str] | None = None) -> None:
    """Run a sink until SIGTERM or `--max-seconds`."""
    parser = argparse.ArgumentParser(description="An SMTP sink that misbehaves by script.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", help="append one JSON line per message here")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fault", action="append", default=[], metavar="FAULT=SHARE")
    parser.add_argument("--script", help='JSON file: {"number of the message": "fault"}')
    parser.add_argument("--greeting", action="append", default=[], help="the n-th connection's greeting line")
    parser.add_argument("--no-pipelining", action="store_true")
    parser.add_argument("--no-smtputf8", action="store_true")
    parser.add_argument("--no-8bitmime", action="store_true")
    parser.add_argument("--size", type=int, default=50_000_000)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds between dot and reply")
    parser.add_argument(
        "--close-after", type=int, default=0, help="421 after so many messages on a connection"
    )
    parser.add_argument("--fsync", action="store_true", help="fdatasync the log before each 250")
    parser.add_argument("--keep", metavar="DIR", help="each message as DIR/RECIPIENT.eml")
    parser.add_argument("--hold", metavar="DIR", help="hold the 354 of those in DIR/aimed (see aim.py)")
    parser.add_argument("--max-seconds", type=float, default=0.0)
    args = parser.parse_args(argv)
    try:
        import uvloop

        uvloop.run(_main(args))
    except ImportError:
        asyncio.run(_main(args))


if __name__ == "__main__":
    main(sys.argv[1:])
