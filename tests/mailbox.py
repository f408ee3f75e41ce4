"""A real SMTP server that keeps what it is sent, read by the standard library's parser: the reader's end of a journey."""

import email
import email.policy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session


class Mailbox:
    """Mails in the order they came."""

    def __init__(self) -> None:
        self.raw: list[tuple[str, bytes]] = []
        self.refuse: dict[str, str] = {}  # recipient → reply to RCPT

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        self.raw.append((envelope.rcpt_tos[0], content))
        return "250 2.0.0 kept"

    def to(self, address: str, subject: str = "") -> list[EmailMessage]:
        """The mails to one address whose subject holds a word."""
        found = [read(raw) for rcpt, raw in self.raw if rcpt == address]
        return [mail for mail in found if subject in str(mail["Subject"])]


def read(raw: bytes) -> EmailMessage:
    """A message as a mail program reads it."""
    return email.message_from_bytes(raw, policy=email.policy.default)  # type: ignore[return-value]


def html(mail: EmailMessage) -> str:
    """The HTML part in clear."""
    part: Any = mail.get_body(("html",))
    return str(part.get_content())


def link(mail: EmailMessage, path: str) -> str:
    """The first link of a mail whose path begins so ("/u/", "/confirm/")."""
    found = re.search(rf'href="(https?://[^"]*{re.escape(path)}[^"]*)"', html(mail))
    assert found, f"no {path} link in {mail['Subject']}"
    return found[1].replace("&amp;", "&")


@contextmanager
def mailbox(port: int) -> Iterator[Mailbox]:
    """A server on loopback."""
    box = Mailbox()
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield box
    finally:
        controller.stop()
