"""The wire under the clock: over a distance beside a client that waits for each reply, and C's own tools beside us."""

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib

from service.mail import transport
from tests.bench import runs
from tests.stack import free_port, until

DATA = b"Subject: x\r\nFrom: a@example.org\r\n\r\n" + b"Plan a week in two minutes.\r\n" * 500
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])


def far(round_trip: float, messages: int = 200) -> tuple[float, float]:
    """Messages per second over one connection at that distance: our wire, and a client that waits."""
    with (
        tempfile.TemporaryDirectory(prefix="bidden-bench-") as directory,
        runs.sink(Path(directory) / "far.jsonl") as port,
    ):
        return asyncio.run(_far(port, round_trip, messages))


async def _far(port: int, round_trip: float, messages: int) -> tuple[float, float]:
    async with _distance(port, round_trip / 2) as far_port:
        return await _ours(far_port, messages), await _waiting(far_port, messages // 4)


@asynccontextmanager
async def _distance(port: int, one_way: float) -> AsyncIterator[int]:
    """A port that is that port, so many seconds away; as wide as loopback."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while octets := await reader.read(65_536):
            loop.call_later(one_way, writer.write, octets)
        loop.call_later(one_way, writer.close)

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(carry(reader, back), carry(there, writer))

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def _ours(port: int, messages: int) -> float:
    """Without connecting, which costs both the same."""
    letters: Iterator[transport.Letter] = iter(
        [transport.Letter(n, "b@example.org", f"u{n}@example.org", DATA) for n in range(messages)]
    )
    server = transport.parse_smtp_url(f"smtp://127.0.0.1:{port}?starttls=never")
    wire = await transport.connect(server, ehlo_name="bench.example.org")
    answered: list[transport.Outcome] = []
    began = time.perf_counter()
    await transport.deliver(
        wire,
        lambda: next(letters, None),
        may_depart=lambda letter: True,
        marked=lambda letter: None,
        done=lambda letter, outcome: answered.append(outcome),
    )
    spent = time.perf_counter() - began
    await wire.close()
    assert [one.reply.code for one in answered if one.reply] == [250] * messages
    return messages / spent


async def _waiting(port: int, messages: int) -> float:
    message = EmailMessage()
    message["From"], message["Subject"] = "a@example.org", "x"
    message.set_content("Plan a week in two minutes.\n" * 500)
    client = aiosmtplib.SMTP(hostname="127.0.0.1", port=port, use_tls=False, start_tls=False)
    await client.connect()
    began = time.perf_counter()
    for number in range(messages):
        await client.send_message(message, sender="b@example.org", recipients=[f"u{number}@example.org"])
    spent = time.perf_counter() - began
    await client.quit()
    return messages / spent


def in_c(octets: int, messages: int = 20_000) -> float | None:
    """Messages per second from Postfix's smtp-source to its smtp-sink, each so long; None where they are not installed."""
    source, sink = shutil.which("smtp-source", path=PATH), shutil.which("smtp-sink", path=PATH)
    if source is None or sink is None:
        return None
    port = free_port()
    rights = ["-u", "postfix"] if os.getuid() == 0 else []
    server = subprocess.Popen([sink, *rights, f"127.0.0.1:{port}", "100"], stderr=subprocess.DEVNULL)
    try:
        once = [
            source,
            "-s",
            "1",
            "-m",
            "1",
            "-f",
            "b@example.org",
            "-t",
            "u@example.org",
            f"127.0.0.1:{port}",
        ]
        until("smtp-sink", lambda: subprocess.run(once, check=False, capture_output=True).returncode == 0, 10)
        many = [source, "-s", "8", "-m", str(messages), "-l", str(octets), *once[5:]]
        began = time.perf_counter()
        subprocess.run(many, check=True, capture_output=True)
        return messages / (time.perf_counter() - began)
    finally:
        server.terminate()
        server.wait()
