"""A letter made ready for the wire: its commands and its payload, or the reason why it cannot be transmitted; and what came of it.

Pure; the transport calls it just before it announces a letter. Whatever is wrong with an address, a size or
the server's abilities is found here, before a byte is written.
"""

import re
from typing import Literal, NamedTuple

from service.mail.replies import Phase, Reply

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_PATH = re.compile(r"[^\s<>@]+@[^\s<>@]+")
_PLAIN_PATH = re.compile(r"[!-;=?A-~]{1,64}@[!-;=?A-~]{1,255}")
_BARE = re.compile(rb"\r\n|\r|\n")
_DOT_LINE = re.compile(rb"\n\.")
# RFC 5321 sections 4.5.3.1.1 and 4.5.3.1.2, in octets.
_LONGEST_LOCAL, _LONGEST_DOMAIN = 64, 255


class Letter(NamedTuple):
    """One message for one recipient: its position in the mailing, its envelope, its bytes (CRLF lines).

    `smtputf8`: its headers hold UTF-8, so the server must offer SMTPUTF8 (RFC 6531 section 3.4). `dotted`: whether a line
    begins with a dot, said by who made the data and vouches that all its lines end in CRLF and no CR or LF stands alone;
    None: nobody knows, so line ends are mended and dots looked for.
    """

    pos: int
    mail_from: str
    rcpt: str
    data: bytes
    smtputf8: bool = False
    dotted: bool | None = None


class Outcome(NamedTuple):
    """What the wire knows of a letter.

    replied: `reply` belongs to this letter's `phase`. withheld: held back by `may_depart`, nothing delivered.
    unknown: the dot may have left, no reply is certain. not_sent: no dot left; with phase `local` the reply says why the
    letter was refused here, without a reply it may simply be offered again.
    """

    kind: Literal["replied", "withheld", "not_sent", "unknown"]
    reply: Reply | None
    phase: Phase


class Facts(NamedTuple):
    """What the server said it can do (EHLO). `size` 0: no limit declared; None: SIZE is not offered."""

    pipelining: bool = False
    eightbit: bool = False
    smtputf8: bool = False
    size: int | None = None


class Prepared(NamedTuple):
    """A letter with its MAIL and RCPT commands and its payload with the final dot, in wire form."""

    letter: Letter
    mail: bytes
    rcpt: bytes
    payload: tuple[bytes, bytes]  # the content, and the final dot


def prepare(letter: Letter, facts: Facts) -> Prepared | Reply:
    """The letter in wire form, or the local reply that refuses it; that reply's text is the stable reason.

    Reasons: address_control_char, address_syntax, address_too_long, server_lacks_smtputf8,
    server_lacks_8bitmime, message_too_large. RFC 5321 sections 4.1.2 and 4.5.3.1, RFC 1870, RFC 6152, RFC
    6531.
    """
    problem = _address_problem(letter.rcpt) or (
        _address_problem(letter.mail_from) if letter.mail_from else None
    )
    if problem:
        return problem
    options = ""
    utf8 = letter.smtputf8 or not (letter.rcpt.isascii() and letter.mail_from.isascii())
    if utf8:
        if not facts.smtputf8:
            return Reply(553, "5.6.7", "server_lacks_smtputf8")
        options = " SMTPUTF8"
    content = _lines(letter.data) if letter.dotted is None else letter.data
    if not content.isascii():
        if not facts.eightbit:
            return Reply(554, "5.6.3", "server_lacks_8bitmime")
        options += " BODY=8BITMIME"
    if facts.size is not None:
        if 0 < facts.size < len(content):
            return Reply(552, "5.3.4", "message_too_large")
        options += f" SIZE={len(content)}"
    return Prepared(
        letter,
        f"MAIL FROM:<{letter.mail_from}>{options}\r\n".encode(),
        f"RCPT TO:<{letter.rcpt}>\r\n".encode(),
        (content if letter.dotted is False else _stuffed(content), b".\r\n"),
    )


def _address_problem(address: str) -> Reply | None:
    """What keeps an address out of a command line. It was validated long before; this is the last lock."""
    if _PLAIN_PATH.fullmatch(address):
        return None
    if _CONTROL.search(address):
        return Reply(553, "5.1.3", "address_control_char")
    try:
        local, _, domain = address.encode().rpartition(b"@")
    except UnicodeEncodeError:  # a lone surrogate
        return Reply(553, "5.1.3", "address_syntax")
    if not _PATH.fullmatch(address):
        return Reply(553, "5.1.3", "address_syntax")
    if len(local) > _LONGEST_LOCAL or len(domain) > _LONGEST_DOMAIN:
        return Reply(553, "5.1.3", "address_too_long")
    return None


def _lines(data: bytes) -> bytes:
    """The data with CRLF at every line end and at its own end (RFC 5321 section 2.3.8)."""
    pairs = data.count(b"\r\n")
    if data.count(b"\n") != pairs or data.count(b"\r") != pairs:
        data = _BARE.sub(b"\r\n", data)
    return data if data.endswith(b"\r\n") else data + b"\r\n"


def _stuffed(content: bytes) -> bytes:
    """Transparency (RFC 5321 section 4.5.2)."""
    if _DOT_LINE.search(content):  # three times as fast as `in` over some hundred lines
        content = content.replace(b"\n.", b"\n..")
    if content.startswith(b"."):
        content = b"." + content
    return content
