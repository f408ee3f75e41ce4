"""The captured inbox: an SMTP server that takes every mail and passes none on (development and demo).

`bidden inbox` runs it; what it takes goes to `keep`, which stores it for the page under Staff.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from aiosmtpd.smtp import SMTP, Envelope, Session

_MOST_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True)
class Captured:
    """One mail as one recipient would have got it: the envelope and the bytes exactly as sent."""

    mail_from: str
    rcpt: str
    data: bytes
    at: datetime


async def serve(
    listen: str, keep: Callable[[Captured], None], *, ready: Callable[[str, int], None] | None = None
) -> None:
    """Take mail on `listen` (host:port, port 0 picks one) until cancelled.

    `keep` is called in a thread, once for each recipient; only when it returned is the mail acknowledged (an
    exception answers 451, so the sender tries again). `ready` is told host and port once connections are
    taken. Raises ValueError for a malformed `listen`, OSError when the port cannot be had.
    """
    host, port = _host_and_port(listen)
    loop = asyncio.get_running_loop()
    handler = _Handler(keep)
    server = await loop.create_server(lambda: _protocol(handler, loop), host, port)
    async with server:
        if ready is not None:
            name = server.sockets[0].getsockname()
            ready(name[0], name[1])
        await server.serve_forever()


class _Handler:
    """The aiosmtpd hooks we use."""

    def __init__(self, keep: Callable[[Captured], None]) -> None:
        self._keep = keep

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        data = envelope.content
        if not isinstance(data, bytes):
            return "554 5.6.0 no content"
        at = datetime.now(UTC)
        sender = "" if envelope.mail_from in (None, "<>") else envelope.mail_from
        mails = [Captured(sender, rcpt, data, at) for rcpt in envelope.rcpt_tos]
        await asyncio.to_thread(self._keep_all, mails)
        return "250 2.0.0 kept"

    def _keep_all(self, mails: list[Captured]) -> None:
        for mail in mails:
            self._keep(mail)

    async def handle_exception(self, error: Exception) -> str:
        return "451 4.3.0 not kept, try again"


def _protocol(handler: _Handler, loop: asyncio.AbstractEventLoop) -> SMTP:
    return SMTP(
        handler,
        data_size_limit=_MOST_BYTES,
        enable_SMTPUTF8=True,
        hostname="inbox.invalid",
        ident="Bidden captured inbox",
        loop=loop,
    )


def _host_and_port(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError("The inbox listens on HOST:PORT, for example 127.0.0.1:1025.")
    return host.strip("[]"), int(port)
