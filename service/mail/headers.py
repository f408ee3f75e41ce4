"""Header fields of a mail, written by us: encoding, folding, and refusing what could become a second
header.

The standard library is not used for this: it turns a long List-Unsubscribe into encoded words and decodes
an encoded word that hides a line break back into one. Called by `message.py`; `clean_header` and
`clean_subject` also by whatever saves a subject or a sender's name.
"""

import base64
import ipaddress
import re
from email.utils import formatdate
from functools import lru_cache
from urllib.parse import urlsplit

import idna

from service.kit.errors import Invalid

# C0 and C1 controls, DEL, the two Unicode line separators, lone surrogates.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_ENCODED_WORD = re.compile(r"=\?[^?]*\?[^?]*\?.*\?=|=\?[\w.*-]+\?[bqBQ]\?")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+\Z")
_URL = re.compile(r"https?://[A-Za-z0-9.\[\]:-]+(?:[/?#][!#-+\--;=?-~]*)?\Z")
_ORIGIN = re.compile(r"[^/?#]*(?://[^/?#]*)?")
_MAILTO = re.compile(r"mailto:[!#-+\--;=?-~]+@[A-Za-z0-9.-]+(?:\?[!#-+\--;=?-~]*)?\Z")
_MESSAGE_ID = re.compile(r"<[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+@[A-Za-z0-9.-]+>\Z")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\Z")
_FEEDBACK_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_LOCAL_PART = re.compile(r"[^\s@<>()\[\],;:\\\"\x00-\x20\x7f-\x9f]+\Z")

CHUNK = 39  # octets of UTF-8 per encoded word: a word of 64 characters, so that `Subject:` fits before it


class HeaderInjection(Invalid):
    """A value for a header holds characters that could begin another header."""


class HeaderControlChar(Invalid):
    """This text holds an invisible control character."""

    fix_hint = "Type the text again instead of pasting it."


class BidiControl(Invalid):
    """The subject holds an invisible character that turns the reading direction."""

    fix_hint = "Take out the direction marks; right-to-left text needs none."


class UnsubscribeUrl(Invalid):
    """The address for stopping must be an https address without spaces, commas or quotes."""


class BadAddress(Invalid):
    """This mail address cannot stand in a header."""


class BadIdentifier(Invalid):
    """A name used inside a header may hold only letters, digits, dot, dash and underscore."""


def clean_header(value: str, *, field: str) -> str:
    """The value, if a person may save it as the text of a header; checked when saving.

    Raises HeaderControlChar for control characters and line separators, and HeaderInjection for `=?...?=`.
    """
    if CONTROL.search(value):
        raise HeaderControlChar(field=field)
    if "=?" in value and _ENCODED_WORD.search(value):
        raise HeaderInjection(field=field, fix="Take out “=?”: it is how mail encodes hidden characters.")
    return value


def clean_subject(value: str, *, field: str = "subject") -> str:
    """`clean_header`, and no bidi control either (BidiControl): U+202E makes a subject read other than it
    is."""
    if BIDI.search(value):
        raise BidiControl(field=field)
    return clean_header(value, field=field)


def guard(value: str, field: str) -> str:
    """The value, if it is safe inside a header at the moment of sending; raises HeaderInjection.

    The refusal is the same for every interpreter, whatever its own library lets through (RFC 5322 section
    2.2).
    """
    if not value.isprintable() and CONTROL.search(value):
        raise HeaderInjection("A header value holds a line break or a control character.", field=field)
    if "=?" in value and _ENCODED_WORD.search(value):
        raise HeaderInjection("A header value holds an encoded word.", field=field)
    return value


def encoded_words(text: str) -> list[str]:
    """The text as encoded words of RFC 2047 section 2: each at most 75 long, no character split between
    two."""
    words: list[str] = []
    chunk = b""
    for character in text:
        octets = character.encode("utf-8")
        if len(chunk) + len(octets) > CHUNK:
            words.append(_word(chunk))
            chunk = b""
        chunk += octets
    words.append(_word(chunk))
    return words


def _word(chunk: bytes) -> str:
    return f"=?utf-8?b?{base64.b64encode(chunk).decode('ascii')}?="


def _fold(name: str, words: list[str]) -> str:
    """`Name: words`, a new line before a word that would pass column 76 (RFC 5322 section 2.1.1, RFC 2047
    section 2)."""
    lines = [f"{name}:"]
    for word in words:
        if len(lines[-1]) + 1 + len(word) > 76 and lines[-1].strip() and len(lines[-1]) > len(name) + 1:
            lines.append("")
        lines[-1] += f" {word}"
    return "\r\n".join(lines)


@lru_cache(maxsize=256)
def unstructured(name: str, value: str) -> str:
    """One header line of free text, such as Subject: plain when ASCII and foldable, else encoded words."""
    words = guard(value, name.lower()).split(" ")
    if value.isascii() and "" not in words and max(map(len, words)) <= 74 - len(name):
        return _fold(name, words)
    return _fold(name, encoded_words(value))


def phrase(text: str) -> list[str]:
    """A display name before `<`: atoms, a quoted string, or encoded words (RFC 5322 section 3.2.5, RFC 2047
    section 5)."""
    guard(text, "name")
    if not text.isascii() or len(text) > 60:
        return encoded_words(text)
    if _ATOMS.match(text):
        return text.split()
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return [f'"{escaped}"']


@lru_cache(maxsize=4096)
def wire_domain(domain: str) -> str:
    """The domain as it goes over the wire: lower case, IDN as A-labels (RFC 5890). Raises BadAddress."""
    try:
        wire = domain.lower() if domain.isascii() else idna.encode(domain, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise BadAddress(field="address") from error
    if len(wire) > 255 or not all(_LABEL.match(label) for label in wire.split(".")):
        raise BadAddress(field="address")
    return wire


def wire_address(address: str) -> str:
    """The address for envelope and header alike: local part untouched, domain as A-labels. Raises
    BadAddress.

    A result that is not ASCII has a non-ASCII local part and needs SMTPUTF8 from every server (RFC 6531
    section 3).
    """
    local, at, domain = address.rpartition("@")
    if not at or not _LOCAL_PART.match(local):
        raise BadAddress(field="address")
    return f"{local}@{wire_domain(domain)}"


def mailbox(name: str, display: str, address: str) -> str:
    """A header such as From: exactly one address, its display name before it when there is one."""
    return _fold(name, [*(phrase(display) if display else []), f"<{wire_address(address)}>"])


def message_id(value: str) -> str:
    """The Message-ID header; the value comes with its angle brackets and is never folded (RFC 5322 section
    3.6.4)."""
    if not _MESSAGE_ID.match(value) or len(value) > 240:
        raise HeaderInjection("This Message-ID is not of the form <left@domain>.", field="message_id")
    return f"Message-ID: {value}"


@lru_cache(maxsize=64)
def date(seconds: int) -> str:
    """The Date header of an instant in whole seconds since 1970, in UTC (RFC 5322 section 3.3)."""
    return f"Date: {formatdate(seconds)[:-5]}+0000"  # -0000 would say that the zone is not known


def is_loopback(url: str) -> bool:
    """Whether the URL's host is this machine itself: localhost, 127.0.0.0/8 or ::1."""
    origin = _ORIGIN.match(url)
    return origin is not None and _is_loopback_origin(origin[0])


@lru_cache(maxsize=256)
def _is_loopback_origin(origin: str) -> bool:
    try:
        host = urlsplit(origin).hostname or ""
    except ValueError:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def list_url(url: str, *, loopback: bool) -> str:
    """The URL, if it may stand in a list header. Plain http only towards this machine itself, and only if
    `loopback`.

    RFC 2369 section 2: no spaces, no line breaks, no angle brackets; RFC 8058 section 3.1: https.
    """
    if not _URL.match(url) or len(url) > 900:
        raise UnsubscribeUrl(field="unsubscribe_url")
    if not url.startswith("https://") and not (loopback and is_loopback(url)):
        raise UnsubscribeUrl(field="unsubscribe_url")
    return url


def list_unsubscribe(url: str, mailto: str | None, *, loopback: bool) -> str:
    """List-Unsubscribe: the https URI first, the mailto after it where inbound mail is read. Folded only
    between the two, never inside one, never encoded (RFC 2369 section 2, RFC 8058 section 3.1)."""
    line = f"List-Unsubscribe: <{list_url(url, loopback=loopback)}>"
    if mailto is None:
        return line
    if not _MAILTO.match(mailto) or len(mailto) > 900:
        raise UnsubscribeUrl(field="unsubscribe_mailto")
    return f"{line},\r\n <{mailto}>"


def list_id(human: str, topic: str, domain: str) -> str:
    """List-Id of a topic: `Human name <topic.lists.domain>`, at most 255 octets (RFC 2919 sections 2 and
    3)."""
    if not _LABEL.match(topic):
        raise BadIdentifier(field="topic")
    identifier = f"{topic}.lists.{wire_domain(domain)}"
    words = phrase(human) if human else []
    while words and len(" ".join(words)) + len(identifier) > 240:
        words.pop()
    return _fold("List-Id", [*words, f"<{identifier}>"])


def feedback_id(campaign: str, topic: str, mail_class: str, sender: str) -> str:
    """Gmail's Feedback-ID: four parts, the sender's (5 to 15 characters) last, none said twice, none per
    person."""
    parts = (campaign, topic, mail_class, sender)
    if not all(_FEEDBACK_PART.match(part) for part in parts) or len(set(parts)) != 4:
        raise BadIdentifier(
            "The parts of Feedback-ID must be plain words, each different.", field="feedback_id"
        )
    if not 5 <= len(sender) <= 15:
        raise BadIdentifier("The sender id of Feedback-ID has 5 to 15 characters.", field="feedback_id")
    return f"Feedback-ID: {':'.join(parts)}"
