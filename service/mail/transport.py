"""The one door to SMTP: connect to the next hop, carry letters over a connection, say what became of each.

aiosmtplib connects, upgrades to TLS and logs in; then our own `Wire` takes its transport over, because
aiosmtplib cannot pipeline and hides the phase a failure belongs to. The sender calls `connect` and `deliver`;
its fence asks a wire for `in_flight` and `unsent_bytes`.
"""

import asyncio
import functools
import ipaddress
import re
import socket
import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, cast
from urllib.parse import parse_qsl, unquote, urlsplit

import aiosmtplib

from service.mail.envelope import Facts, Letter, Outcome
from service.mail.replies import Reply
from service.mail.wire import Errand, Timeouts, Wire

__all__ = [
    "BadSmtpUrl", "ConnectFailed", "Letter", "Outcome", "Reply", "Server", "Timeouts", "Wire",
    "connect", "deliver", "parse_smtp_url", "parse_smtp_urls",
]  # fmt: skip

Tls = Literal["auto", "always", "never", "implicit"]
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_ASKED = {
    "TCP_KEEPIDLE": 15,
    "TCP_KEEPINTVL": 5,
    "TCP_KEEPCNT": 6,
}  # whether it is still there: seconds, seconds, times


class BadSmtpUrl(ValueError):
    """The configured SMTP address cannot be used; the text says why and never holds the password."""


class ConnectFailed(Exception):
    """No usable connection.

    `reason`: unreachable, timeout, refused, tls_required, tls_failed or auth_failed.
    """

    def __init__(self, reason: str, reply: Reply | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.reply = reply


@dataclass(frozen=True)
class Server:
    """The next hop. `connections` is how many each sender may hold."""

    host: str
    port: int
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: Tls = "auto"
    connections: int = 20


def parse_smtp_url(url: str) -> Server:
    """`smtp://user:pw@host:port?starttls=auto|always|never&connections=20`, or `smtps://` (TLS from the first
    byte).

    Ports default to 25 and 465. Raises BadSmtpUrl.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise BadSmtpUrl("The SMTP address has a malformed host or port.") from None
    if parts.scheme not in ("smtp", "smtps"):
        raise BadSmtpUrl("The SMTP address begins with smtp:// or smtps://.")
    if not host or parts.path not in ("", "/") or parts.fragment:
        raise BadSmtpUrl("The SMTP address is smtp://user:password@host:port, options after a question mark.")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    tls = options.pop("starttls", "implicit" if parts.scheme == "smtps" else "auto")
    if tls not in (("implicit",) if parts.scheme == "smtps" else ("auto", "always", "never")):
        raise BadSmtpUrl("starttls is auto, always or never, and only with smtp://.")
    connections = options.pop("connections", "20")
    if not (connections.isascii() and connections.isdigit() and 1 <= int(connections) <= 1000):
        raise BadSmtpUrl("connections is a number from 1 to 1000.")
    if options:
        raise BadSmtpUrl(
            f"The SMTP address knows no option {sorted(options)[0]!r}, only starttls and connections."
        )
    if parts.password is not None and not parts.username:
        raise BadSmtpUrl("The SMTP address holds a password without a user.")
    return Server(
        host,
        port or (465 if parts.scheme == "smtps" else 25),
        unquote(parts.username) if parts.username else None,
        unquote(parts.password) if parts.password is not None else None,
        cast(Tls, tls),
        int(connections),
    )


def parse_smtp_urls(urls: str) -> list[Server]:
    """One such address, or several by comma: the first is used while it answers, then the next. Raises BadSmtpUrl."""
    return [parse_smtp_url(url.strip()) for url in re.split(r",(?=\s*smtps?://)", urls)]


async def connect(
    server: Server,
    *,
    ehlo_name: str,
    timeouts: Timeouts = Timeouts(),
    tls_context: ssl.SSLContext | None = None,
) -> Wire:
    """A connection ready for letters: greeted, encrypted as `server.tls` says, logged in.

    Certificates are verified, except by `auto` to a loopback address. A login never goes over a plain
    connection that leaves the machine. `tls_context` replaces the system's trusted roots. Raises
    ConnectFailed. RFC 3207, RFC 4954, RFC 8314.
    """
    verified = server.tls != "auto" or not _is_loopback(server.host)
    client = aiosmtplib.SMTP(
        hostname=server.host,
        port=server.port,
        local_hostname=ehlo_name,
        timeout=timeouts.greeting,
        use_tls=server.tls == "implicit",
        start_tls=False,
        tls_context=None if server.tls == "never" else tls_context or _tls_context(verified),
    )
    try:
        await client.connect()
        await _greet_and_encrypt(client, server)
        if server.user is not None:
            await _log_in(client, server)
        return _take_over(client, timeouts)
    except (aiosmtplib.SMTPException, OSError, ValueError) as error:
        raise _connect_failed(error) from error
    finally:
        client.close()  # nothing is left to close once the wire has taken the transport over


async def deliver(
    wire: Wire,
    next_letter: Callable[[], Letter | None],
    *,
    may_depart: Callable[[Letter], bool],
    marked: Callable[[Letter], None],
    done: Callable[[Letter, Outcome], None],
) -> None:
    """Carry letters over `wire` until `next_letter` answers None and all are answered, or the wire closes.

    None of the four may block or await. `next_letter` hands over the next letter, None for none now.
    `may_depart` is the last-moment check: asked before a letter is announced, and again with `marked` (the
    journal's line) in the event-loop step of the one write that holds its dot, directly before it. `done` is
    called exactly once for each letter handed over. An exception out of any of them resets the connection,
    reports the letters it held, and is raised here; so does cancelling this call.
    """
    await wire.carry(Errand(next_letter, may_depart, marked, done))


async def _greet_and_encrypt(client: aiosmtplib.SMTP, server: Server) -> None:
    try:
        await client.ehlo()
    except aiosmtplib.SMTPHeloError:
        await client.helo()
    if server.tls in ("auto", "always"):
        if client.supports_extension("starttls"):
            try:
                await client.starttls()
            except aiosmtplib.SMTPResponseException as error:
                raise ConnectFailed("tls_required", Reply.of(error.code, error.message)) from error
            await client.ehlo()
        elif server.tls == "always":
            raise ConnectFailed("tls_required")


async def _log_in(client: aiosmtplib.SMTP, server: Server) -> None:
    if client.get_transport_info("sslcontext") is None and not _is_loopback(server.host):
        raise ConnectFailed("tls_required")
    try:
        await client.login(server.user or "", server.password or "")
    except aiosmtplib.SMTPResponseException as error:
        raise ConnectFailed("auth_failed", Reply.of(error.code, error.message)) from error
    except aiosmtplib.SMTPException as error:
        raise ConnectFailed("auth_failed") from error


def _take_over(client: aiosmtplib.SMTP, timeouts: Timeouts) -> Wire:
    size = client.esmtp_extensions.get("size")
    facts = Facts(
        pipelining=client.supports_extension("pipelining"),
        eightbit=client.supports_extension("8bitmime"),
        smtputf8=client.supports_extension("smtputf8"),
        size=None if size is None else int(size) if size.isdigit() else 0,
    )
    transport = cast(asyncio.Transport, client.transport)
    if transport is None or transport.is_closing():
        raise ConnectFailed("unreachable")
    client.transport = client.protocol = None
    _prepare(transport.get_extra_info("socket"))
    wire = Wire(transport, facts, timeouts)
    transport.set_protocol(wire)
    return wire


def _connect_failed(error: Exception) -> ConnectFailed:
    if isinstance(error, ssl.SSLError):
        return ConnectFailed("tls_failed")
    if isinstance(error.__cause__, ssl.SSLError):
        return ConnectFailed("tls_failed")
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return ConnectFailed("refused", Reply.of(error.code, error.message))
    return ConnectFailed("timeout" if isinstance(error, TimeoutError) else "unreachable")


@functools.cache
def _tls_context(verified: bool) -> ssl.SSLContext:
    """Reading the system's roots takes 20 ms, so it is done once."""
    context = ssl.create_default_context()
    if not verified:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _prepare(sock: socket.socket) -> None:
    """However it ends, by our own death too, what lies in the kernel then is thrown away and never departs. And a server that
    is gone without a word, or that some box on the way has forgotten, is missed within a minute: waiting for the answer to a
    dot nothing is sent that could fail, and that wait has ten."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _ASKED.items():
        if option := getattr(socket, name, None):  # not every system's TCP has them
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
