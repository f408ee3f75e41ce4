"""A mail server that is gone without a word: no end and no reset comes, as when its machine or a box on the way forgets everything."""

import asyncio
import fcntl
import os
import socket

import pytest

from service.mail import transport
from service.mail.transport import Wire
from tests.mail.wired import Post, Run, letter, open_wire

SIOCOUTQ = 0x5411  # Linux
TCP_REPAIR = 19  # Linux: a socket that is closed in this mode says nothing to the other side


def unconfirmed(wire: Wire) -> int:
    """Octets that our kernel would send again."""
    sock = wire._transport.get_extra_info("socket")
    return int.from_bytes(fcntl.ioctl(sock.fileno(), SIOCOUTQ, bytes(4)), "little")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_ASKED", {"TCP_KEEPIDLE": 1, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 2})


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may forget a connection"
)
def test_rel_f25_a_server_that_forgot_the_connection_is_missed_soon(run: Run, impatient: None) -> None:
    """The dot was taken and its answer never comes: unknown in seconds, though the wait for it may last ten minutes."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            listener.setblocking(False)
            opening = asyncio.ensure_future(open_wire(listener.getsockname()[1]))
            peer, _ = await loop.sock_accept(listener)
            for said in (b"220 hi\r\n", b"250-hi\r\n250 PIPELINING\r\n"):
                await loop.sock_sendall(peer, said)
                if said.startswith(b"220"):
                    await loop.sock_recv(peer, 1000)
            post = Post([letter(0)])
            wire = await opening
            going = asyncio.ensure_future(post.over(wire))
            await loop.sock_recv(peer, 1000)
            await loop.sock_sendall(peer, b"250 ok\r\n250 ok\r\n354 go\r\n")
            got = b""
            while not got.endswith(b"\r\n.\r\n"):
                got += await loop.sock_recv(peer, 1 << 16)
            while unconfirmed(wire):
                await asyncio.sleep(0.01)
            peer.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
            peer.close()
            gone = loop.time()
            async with asyncio.timeout(8):
                await going
            assert loop.time() - gone > 0.9, "it was told"
            assert post.outcomes[0].kind == "unknown"

    run(main())
