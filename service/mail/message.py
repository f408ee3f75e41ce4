"""The bytes of one message. What is the same for a whole mailing is made once, in `Assembler`; each person
costs little more than rendering.

Called by deliveries when a batch is composed, and by previews and test mails, so that they show what will
be sent. The header set of each class is table (a) of the project's standards; after every assembly the
header names are read back and compared with it.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from service.mail import headers
from service.mail.headers import HeaderInjection
from service.mail.letters import STOPPABLE, MailClass
from service.mail.loaded import LoadedMail
from service.mail.parts import Encoder, Part

_FIELD_NAME = re.compile(rb"^([!-9;-~]+):", re.MULTILINE)
_FIRST = [b"Date", b"Message-ID", b"To", b"Subject"]
_BULK = frozenset({"marketing", "notice", "digest"})
_AUTO = frozenset({"service", "system", "digest"})


@dataclass(frozen=True, slots=True)
class MailingFacts:
    """What all messages of one mailing share.

    `topic` is the slug, empty for a system mail; `campaign` the mailing's public id and `sender_id` the
    installation's stable word, both for Feedback-ID. `stoppable`: whether its reader may stop it (default:
    by class). `triggered`: a notice that a program caused. `loopback`: the public URL is this machine, so
    http links are let through.
    """

    mail_class: MailClass
    locale: str
    from_name: str
    from_address: str
    reply_to: str
    topic: str = ""
    topic_name: str = ""
    list_domain: str = ""
    campaign: str = ""
    sender_id: str = "bidden"
    help_url: str = ""
    owner_address: str = ""
    stoppable: bool | None = None
    triggered: bool = False
    loopback: bool = False


@dataclass(frozen=True, slots=True)
class Recipient:
    """What is one person's own. `message_id` with its angle brackets; `sent_at` in seconds since 1970;
    `mailto_unsubscribe` only where an inbound mailbox is configured; `values` for the templates."""

    address: str
    message_id: str
    sent_at: int
    values: Mapping[str, object] = field(default_factory=dict)
    unsubscribe_url: str | None = None
    mailto_unsubscribe: str | None = None


class Assembled(NamedTuple):
    """One message ready for the wire: CRLF line ends, dots not yet doubled. `dotted`: a line of it begins with one."""

    data: bytes
    dotted: bool


class Assembler:
    """Makes the messages of one mailing. Raises, when made, for facts that cannot stand in a header."""

    def __init__(
        self, facts: MailingFacts, mail: LoadedMail, *, sign: Callable[[bytes], bytes] | None = None
    ) -> None:
        self.facts = facts
        self.mail = mail
        self.sign = sign
        self._text, self._html = (
            Encoder(mail.text.constants, html=False),
            Encoder(mail.html.constants, html=True),
        )
        self.stoppable = facts.mail_class in STOPPABLE if facts.stoppable is None else facts.stoppable
        fixed = _fixed_headers(facts, stoppable=self.stoppable)
        self._fixed = "\r\n".join(fixed).encode("utf-8")
        _verify(self._fixed + b"\r\n", [line.partition(":")[0].encode("ascii") for line in fixed])
        self._last = [b"List-Unsubscribe", b"Content-Type"] if self.stoppable else [b"Content-Type"]

    def assemble(self, recipient: Recipient) -> Assembled:
        """One complete message: rendered, encoded, verified, signed.

        Raises RenderError or HeaderInjection for this person alone; the others of the batch are not
        concerned.
        """
        pieces = self.mail.pieces(recipient.values)
        text, html = self._text.encode(pieces.text), self._html.encode(pieces.html)
        message = self._joined(recipient, pieces.subject, text, html)
        return Assembled(self.sign(message) if self.sign else message, text.dotted or html.dotted)

    def _joined(self, recipient: Recipient, subject: str, text: Part, html: Part) -> bytes:
        """Header and parts with a boundary that stands nowhere else in them (RFC 2046 section 5.1.1)."""
        attempt = 0
        while True:
            boundary = _boundary(recipient.message_id, attempt)
            head, delimiter = self._head(recipient, subject, boundary), b"\r\n--" + boundary
            message = b"".join(
                (
                    head,
                    b"\r\n",
                    delimiter,
                    b"\r\n",
                    *text.pieces,
                    delimiter,
                    b"\r\n",
                    *html.pieces,
                    delimiter,
                    b"--\r\n",
                )
            )
            if message.count(boundary) == 4:
                return message
            attempt += 1

    def _head(self, recipient: Recipient, subject: str, boundary: bytes) -> bytes:
        """The header fields, each line ended, without the empty line after them. What is the reader's own stands before and
        after the fixed ones and is verified each time."""
        first = [
            headers.date(recipient.sent_at),
            headers.message_id(recipient.message_id),
            f"To: {headers.wire_address(recipient.address)}",
            headers.unstructured("Subject", subject),
            "",
        ]
        last = [f'Content-Type: multipart/alternative;\r\n boundary="{boundary.decode("ascii")}"', ""]
        if self.stoppable:
            last.insert(0, self._list_unsubscribe(recipient))
        before, after = "\r\n".join(first).encode("utf-8"), "\r\n".join(last).encode("ascii")
        _verify(before, _FIRST)
        _verify(after, self._last)
        return b"".join((before, self._fixed, b"\r\n", after))

    def _list_unsubscribe(self, recipient: Recipient) -> str:
        if recipient.unsubscribe_url is None:
            raise headers.UnsubscribeUrl("This mail needs an address for stopping.", field="unsubscribe_url")
        return headers.list_unsubscribe(
            recipient.unsubscribe_url, recipient.mailto_unsubscribe, loopback=self.facts.loopback
        )


def _verify(lines: bytes, names: list[bytes]) -> None:
    """What was written holds exactly the header fields that were meant, each once, every other line continues one, and nothing
    ends the header before its end."""
    if _FIELD_NAME.findall(lines) != names:
        raise HeaderInjection("The headers of this message are not the ones that were meant.")
    ends = lines.count(b"\r\n")
    if lines.count(b"\n") != ends or lines.count(b"\r") != ends or b"\0" in lines:
        raise HeaderInjection("A header of this message holds a bare line break.")
    if ends != len(names) + lines.count(b"\r\n ") or not lines.endswith(b"\r\n"):
        raise HeaderInjection("A header of this message ends before its end.")


def _fixed_headers(facts: MailingFacts, *, stoppable: bool) -> list[str]:
    """The header lines that are the same for every recipient, in their order: table (a)."""
    mail_class = facts.mail_class
    lines = [
        headers.mailbox("From", facts.from_name, facts.from_address),
        headers.mailbox("Reply-To", "", facts.reply_to),
        "MIME-Version: 1.0",
        f"Content-Language: {headers.guard(facts.locale.replace('_', '-'), 'locale')}",
    ]
    if mail_class != "system":
        domain = facts.list_domain or facts.from_address.rpartition("@")[2]
        campaign = facts.campaign or "mailing"
        lines.append(
            headers.feedback_id(campaign, f"t-{facts.topic}", f"class-{mail_class}", facts.sender_id)
        )
        if stoppable:
            lines.append(headers.list_id(facts.topic_name, facts.topic, domain))
            lines.append("List-Unsubscribe-Post: List-Unsubscribe=One-Click")
        if facts.help_url:
            lines.append(f"List-Help: <{headers.list_url(facts.help_url, loopback=facts.loopback)}>")
    if mail_class in _BULK:
        owner = headers.wire_address(facts.owner_address or facts.reply_to)
        lines += [f"List-Owner: <mailto:{owner}>", "List-Post: NO", "Precedence: bulk"]
    if mail_class in _AUTO or facts.triggered:
        lines.append("Auto-Submitted: auto-generated")
    lines.append("X-Auto-Response-Suppress: OOF, AutoReply")
    return lines


def _boundary(message_id: str, attempt: int) -> bytes:
    """A boundary of 34 characters that follows from the Message-ID."""
    seed = f"{message_id}/{attempt}".encode("utf-8", "surrogatepass")
    return b"=_" + hashlib.sha256(seed).hexdigest()[:32].encode("ascii")
