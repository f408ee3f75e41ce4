"""What the mail tests share: a brand, values for a person, a mail built from a starter, raw messages."""

import re
from datetime import date
from pathlib import Path

from service.mail.letters import BrandLook, CompiledMail, MailClass, build, load
from service.mail.message import Assembler, MailingFacts, Recipient
from service.mail.starters import in_language, starter, why_line

OWN_CORPUS = Path(__file__).parent.parent / "data" / "notices"
REAL_CORPUS = Path(__file__).parent.parent.parent.parent / "shared" / "data" / "release-notes"
TOKEN = "abcdefghijklmnopqrstuvwxyz234567abcdefghijk"
BRAND = BrandLook(
    name="Acme",
    postal_address="Acme GmbH, Musterstraße 1, 10115 Berlin",
    contact_url="https://mail.example.org/contact",
    privacy_url="https://mail.example.org/policies/privacy",
    base_url="https://mail.example.org",
)
CLASSES: tuple[MailClass, ...] = ("marketing", "notice", "service", "system", "digest")


def values(**more: object) -> dict[str, object]:
    """What one person's mail is rendered with."""
    return {
        "first_name": "Ana",
        "stop_url": f"https://mail.example.org/u/{TOKEN}",
        "manage_url": f"https://mail.example.org/p/{TOKEN}",
        "why_url": f"https://mail.example.org/why/{TOKEN}",
        "why_line": why_line(locale="en", topic_name="New products", basis="consent", on=date(2026, 3, 3)),
        **more,
    }


def built(
    slug: str = "launch", mail_class: MailClass = "marketing", locale: str = "en", **more: object
) -> CompiledMail:
    """A mail from a starter with its sample words, or with others."""
    begun = starter(slug)
    words: dict[str, object] = {
        "starter": slug,
        "mail_class": mail_class,
        "locale": locale,
        "subject": in_language(begun.subject, locale),
        "preheader": in_language(begun.preheader, locale),
        "body_markdown": in_language(begun.body, locale),
        "merge": True,
        "brand": BRAND,
        "topic_name": "New products",
    }
    return build(**{**words, **more})  # type: ignore[arg-type]


def facts(mail_class: MailClass = "marketing", **more: object) -> MailingFacts:
    """The facts of a mailing of that class."""
    given: dict[str, object] = {
        "mail_class": mail_class,
        "locale": "en",
        "from_name": "Acme",
        "from_address": "news@example.org",
        "reply_to": "hello@example.org",
        "topic": "" if mail_class == "system" else "new-products",
        "topic_name": "New products",
        "list_domain": "example.org",
        "campaign": "m-77ab",
        "help_url": "https://mail.example.org/contact",
    }
    return MailingFacts(**{**given, **more})  # type: ignore[arg-type]


def recipient(address: str = "ana@example.org", number: int = 1, **more: object) -> Recipient:
    """One person of a mailing."""
    given: dict[str, object] = {
        "address": address,
        "message_id": f"<{number:032x}@example.org>",
        "sent_at": 1_795_000_000,
        "values": values(),
        "unsubscribe_url": f"https://mail.example.org/u/{TOKEN}{number}",
    }
    return Recipient(**{**given, **more})  # type: ignore[arg-type]


def raw(mail: CompiledMail | None = None, mail_class: MailClass = "marketing", **more: object) -> bytes:
    """The bytes of one message."""
    return Assembler(facts(mail_class, **more), load(mail or built())).assemble(recipient()).data


def head_lines(message: bytes) -> list[tuple[str, str]]:
    """Header fields read from the bytes without any library: (name, value unfolded by RFC 5322 section
    2.2.3)."""
    head = message.split(b"\r\n\r\n", 1)[0].decode("utf-8")
    unfolded = re.sub(r"\r\n(?=[ \t])", "", head)
    return [(line.split(":", 1)[0], line.split(":", 1)[1].strip()) for line in unfolded.split("\r\n")]


def header(message: bytes, name: str) -> str | None:
    """The value of a header that stands at most once."""
    found = [value for given, value in head_lines(message) if given.lower() == name.lower()]
    assert len(found) <= 1, name
    return found[0] if found else None
