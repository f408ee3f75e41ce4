"""A mail server that stalls: it says nothing at all, or greets well and then reads one octet a second through a small window.

Stand-alone like the sink; it never takes a message. `python -m tests.faults.stall --way drip --port N --log FILE` appends one
line for each connection on which it begins to stall, and one for each letter that lies before it unread, with its recipient.
Tests of the sender start `Stall` in a thread.
"""

import argparse
import json
import os
import re
import selectors
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

WINDOW = 4096  # octets of receive buffer: what is not read stays in the sender's kernel
WAYS = ("mute", "drip")
RCPT = re.compile(rb"RCPT TO:<([^>]+)>")
OFFERS = b"250-stall.example.org\r\n250-PIPELINING\r\n250 SIZE 50000000\r\n"


@dataclass
class _Peer:
    sock: socket.socket
    lines: bytes = b""
    stalled: bool = False
    rcpt: str = ""
    due: float = 0.0


@dataclass
class Stall:
    """One such server, in a thread of its own. `met` counts connections on which it has begun to stall."""

    way: str = "drip"
    every: float = 1.0  # seconds between two octets
    port: int = 0
    log: str = ""
    met: int = 0
    peers: dict[int, _Peer] = field(default_factory=dict)

    def __enter__(self) -> "Stall":
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW)  # before it listens: inherited
        self.listener.bind(("127.0.0.1", self.port))
        self.listener.listen(128)
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self.thread.join(10)
        for peer in self.peers.values():
            peer.sock.close()
        self.listener.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as chooser:
            chooser.register(self.listener, selectors.EVENT_READ)
            while not self.over.is_set():
                for key, _ in chooser.select(0.02):
                    if key.fileobj is self.listener:
                        self._accept(chooser)
                    else:
                        self._greet(chooser, self.peers[key.fd])
                for peer in [one for one in self.peers.values() if one.stalled]:
                    self._drip(peer)

    def _accept(self, chooser: selectors.BaseSelector) -> None:
        sock, _ = self.listener.accept()
        sock.setblocking(False)
        peer = self.peers[sock.fileno()] = _Peer(sock)
        if self.way == "mute":
            self._begin_to_stall(peer)
        else:
            sock.send(b"220 stall.example.org ESMTP\r\n")
            chooser.register(sock, selectors.EVENT_READ)

    def _greet(self, chooser: selectors.BaseSelector, peer: _Peer) -> None:
        """Up to EHLO all is well."""
        data = self._read(peer, 1024)
        if data is None:
            chooser.unregister(peer.sock)
            return self._end(peer)
        peer.lines += data
        if peer.lines.upper().startswith(b"EHLO") and peer.lines.endswith(b"\r\n"):
            chooser.unregister(peer.sock)
            peer.sock.send(OFFERS)
            self._begin_to_stall(peer)

    def _begin_to_stall(self, peer: _Peer) -> None:
        peer.stalled, self.met = True, self.met + 1
        self._note()

    def _note(self, **more: Any) -> None:
        if self.log:
            with open(self.log, "a", encoding="utf-8") as file:
                file.write(json.dumps({"t": time.monotonic(), **more}) + "\n")

    def _drip(self, peer: _Peer) -> None:
        if self.way == "drip" and not peer.rcpt:
            self._look(peer)
        if time.monotonic() < peer.due:
            return
        peer.due = time.monotonic() + self.every
        if self._read(peer, 1) is None:
            self._end(peer)

    def _look(self, peer: _Peer) -> None:
        """Whose letter lies there, seen without reading it."""
        with suppress(OSError):  # nothing has come, or it has ended: then it is read
            if found := RCPT.search(peer.sock.recv(WINDOW, socket.MSG_PEEK)):
                peer.rcpt = found[1].decode()
                self._note(rcpt=peer.rcpt)

    def _read(self, peer: _Peer, most: int) -> bytes | None:
        """What has come; None at the end."""
        try:
            data = peer.sock.recv(most)
        except BlockingIOError:
            return b""
        except OSError:
            return None
        return data or None

    def _end(self, peer: _Peer) -> None:
        self.peers.pop(peer.sock.fileno(), None)
        peer.sock.close()


def main() -> None:
    """Stall until SIGTERM or `--max-seconds`."""
    parser = argparse.ArgumentParser(description="A mail server that stalls.")
    parser.add_argument("--way", choices=WAYS, default="drip")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", default="")
    parser.add_argument("--max-seconds", type=float, default=600.0)
    given = parser.parse_args()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    with Stall(given.way, port=given.port, log=given.log) as stall, suppress(KeyboardInterrupt):
        sys.stdout.write(f"{stall.port} {os.getpid()}\n")
        sys.stdout.flush()
        ended.wait(given.max_seconds)


if __name__ == "__main__":
    main()
