"""States of a mailing and names of its messages. Pure."""

import hmac
from typing import NamedTuple

from service.kit import base32, sealing
from service.kit.errors import Conflict

# Marketing is never sent twice; a legal notice is never lost (design.md P3).
UNKNOWN_RULE = {
    "marketing": "at_most_once",
    "notice": "at_most_once",
    "service": "at_least_once",
    "system": "at_least_once",
}
ASK_AGAIN = (
    "ask-again"  # purpose of the single mail that asks whom registering made agree; marketing by its class
)
ASK_ANEW = "ask-anew"  # purpose of the one that asks whose yes was to older words; it rests on that yes
RUNNING = ("freezing", "sending", "paused")
FINAL = ("sent", "cancelled", "expired")
ENDED = (*FINAL, "halted")  # nothing of it leaves by itself


def questions(topic: str, about: str) -> str:
    """What the mails of a round of questions about a topic are taken away by, all together."""
    return f"{topic}?{about}"


class WrongState(Conflict):
    """That cannot be done in its present state."""


class Domains(NamedTuple):
    """What the names of a mailing's messages end in: their ids, and the addresses that bounces come back to."""

    ids: str
    bounces: str


class TimeRanOut(Conflict):
    """Its time has run out: nothing of it may leave any more, and who has not got it gets nothing."""

    fix_hint = "It ends by itself; what is still worth saying is written anew."


def message_id(key: bytes, mailing: int, pos: int, domain: str) -> str:
    """The Message-ID of one member's mail: the same on every attempt, and says nothing about the person (RFC 5322 3.6.4)."""
    return f"<{_mark(key, f'id|{mailing}|{pos}')}@{domain}>"


def envelope_sender(key: bytes, mailing: int, pos: int, bounce_domain: str) -> str:
    """The address a bounce comes back to, with the member inside and a MAC (VERP): b+mailing.pos.mac@domain."""
    return f"b+{mailing}.{pos}.{_mark(key, f'verp|{mailing}|{pos}')[:16]}@{bounce_domain}"


def read_envelope_sender(key: bytes, address: str) -> tuple[int, int] | None:
    """Mailing and position of a bounce's recipient, or None when the MAC is not ours."""
    local = address.partition("@")[0].lower()
    parts = local.removeprefix("b+").split(".")
    if not local.startswith("b+") or len(parts) != 3 or not (parts[0].isdecimal() and parts[1].isdecimal()):
        return None
    mailing, pos = int(parts[0]), int(parts[1])
    expected = _mark(key, f"verp|{mailing}|{pos}")[:16]
    return (mailing, pos) if hmac.compare_digest(expected, parts[2]) else None


def _mark(key: bytes, text: str) -> str:
    return base32.encode(sealing.mac(key, text.encode())[:20])
