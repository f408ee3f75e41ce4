"""A long line: two TUN devices and what passes between them, late, out of order or not at all; `python -m tests.faults.line`.

Started by roads.py, since the kernel's own way to do so is not built into every kernel. Prints `up` when both devices are there;
ends on SIGTERM, and its devices with it. With `--log` it notes the moment at which the near side's kernel first sent each
dot, by the Message-ID before it: on such a line that is long before anybody receives it.
"""

import argparse
import asyncio
import fcntl
import json
import os
import random
import re
import signal
import struct
import subprocess
import time
from contextlib import suppress
from pathlib import Path

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
MESSAGE_ID = re.compile(rb"(?im)^message-id:[ \t]*(?:\r\n[ \t]+)?([^\r\n]*)\r\n")
DOT = b"\r\n.\r\n"


def device(name: str) -> int:
    """A TUN device by that name."""
    made = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(made, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
    return made


class Departures:
    """What the near side's kernel has sent, flow by flow, each octet once: when the dot of which message first went out."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.flows: dict[
            int, tuple[int, bytes, str]
        ] = {}  # port → next sequence number, unread tail, Message-ID

    def note(self, packet: bytes) -> None:
        """One packet as it left."""
        head = (packet[0] & 15) * 4
        if packet[9] != 6:
            return
        tcp = packet[head:]
        port, number = struct.unpack("!H2xI", tcp[:8])
        payload = tcp[(tcp[12] >> 4) * 4 :]
        if tcp[13] & 2:
            self.flows[port] = ((number + 1) & 0xFFFFFFFF, b"", "")
        if not payload or port not in self.flows:
            return
        due, tail, name = self.flows[port]
        fresh = payload[(due - number) & 0xFFFFFFFF :] if number != due else payload
        if (due - number) & 0xFFFFFFFF > 1 << 20 or not fresh:  # from beyond, or sent before
            return
        self.flows[port] = ((due + len(fresh)) & 0xFFFFFFFF, *self._read(tail + fresh, name))

    def _read(self, text: bytes, name: str) -> tuple[bytes, str]:
        while True:
            if not name and (found := MESSAGE_ID.search(text)):
                name = found[1].decode()
            end = text.find(DOT)
            if end < 0:
                return text[-2_000:], name
            if name:
                with self.path.open("a") as log:
                    log.write(json.dumps({"message_id": name, "t": time.monotonic()}) + "\n")
            text, name = text[end + len(DOT) :], ""


async def carry(args: argparse.Namespace) -> None:
    """Hand on what comes, in either direction, until told to stop."""
    loop, chance = asyncio.get_running_loop(), random.Random(args.seed)
    near, far = device(args.name), device(args.name + "f")
    subprocess.run(["ip", "link", "set", args.name + "f", "netns", args.space, "name", args.name], check=True)
    departures = Departures(Path(args.log)) if args.log else None

    def put(other: int, packet: bytes) -> None:
        with suppress(OSError):  # no room, or the device is down: as lost as by a bad line
            os.write(other, packet)

    def come(one: int, other: int) -> None:
        try:
            packet = os.read(one, 65_536)
        except BlockingIOError:
            return
        if packet[0] >> 4 != 4:
            return
        if departures and one == near:
            departures.note(packet)
        if chance.random() * 100 < args.loss:
            return
        late = args.delay + chance.uniform(-args.spread, args.spread)
        loop.call_later(max(0.0, late), put, other, packet)

    loop.add_reader(near, come, near, far)
    loop.add_reader(far, come, far, near)
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    loop.call_later(args.max_seconds, ended.set)
    print("up", flush=True)
    await ended.wait()


def main() -> None:
    """Run one line."""
    parser = argparse.ArgumentParser(description="A line that is long and bad.")
    parser.add_argument("name")
    parser.add_argument("space", help="the network namespace of its far end")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds, either way")
    parser.add_argument(
        "--spread", type=float, default=0.0, help="seconds more or less: packets overtake each other"
    )
    parser.add_argument("--loss", type=float, default=0.0, help="of a hundred packets")
    parser.add_argument("--log", help="note here when each dot departed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-seconds", type=float, default=600.0)
    asyncio.run(carry(parser.parse_args()))


if __name__ == "__main__":
    main()
