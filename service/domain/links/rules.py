"""The link token, in its final format. Pure; called by compose when a mail is made and by every public page.

Layout (41 octets): version 1, key id 1, purpose 1, person 8, topic 4, mailing 6, position 4, then a 128-bit MAC
(HMAC-SHA-256 cut to 16 octets) over all before it. Written in base32 (RFC 4648 section 6) without padding, lower case:
66 signs, read in either case. The last sign carries two unused bits that must be zero, so a token is written one way only.
Person, topic and mailing are random aliases, not row numbers: a link from before a restored backup can never mean
somebody who came later.
"""

import base64
import binascii
import hmac
import re
import struct
from collections.abc import Mapping
from typing import NamedTuple

from service.kit import base32, sealing
from service.kit.errors import Conflict, NotFound
from service.kit.ids import person_id

VERSION = 1
STOP, PREFERENCES, WHY, CONFIRM, SIGN_IN, VIEW = 1, 2, 3, 4, 5, 6
LENGTH = 66
_HEAD = struct.Struct(">BBBQI6sI")

# What mail programs add to the end of a link, or put into it (H29).
_TAIL = re.compile(r"(?:[\s.,;:>)\]'\"]|%20|%3e|&amp;|&gt;)+$", re.IGNORECASE)
_BROKEN = re.compile(r"(?:=3d|%3d|=\r?\n|%0d|%0a|%09|\s|=)+", re.IGNORECASE)


class LinkNotRecognised(NotFound):
    """We cannot read this link; mail programs sometimes cut it. Paste it whole, or ask for a new one."""


class LinkExpired(Conflict):
    """This link is too old, or was used already; please ask for a new one."""


class Link(NamedTuple):
    """What a token says. The numbers are aliases; 0 means none."""

    purpose: int
    person: int
    topic: int = 0
    mailing: int = 0
    position: int = 0

    @property
    def subject(self) -> str:
        """The person's opaque id in the ledger, known even when the row is gone."""
        return person_id(self.person)


def write(link: Link, keys: Mapping[int, bytes]) -> str:
    """The token, signed with the first of the keys."""
    kid = next(iter(keys))
    head = _HEAD.pack(
        VERSION, kid, link.purpose, link.person, link.topic, link.mailing.to_bytes(6), link.position
    )
    return base32.encode(head + sealing.mac(keys[kid], head)[:16])


def read(token: str, keys: Mapping[int, bytes], *, purpose: int) -> Link:
    """What a token says, if any key of the ring signed it for this purpose. Raises `LinkNotRecognised` and never why.

    Case and what mail programs add at the end are forgiven; nothing else is.
    """
    octets = _octets(token)
    version, kid, said, person, topic, mailing, position = _HEAD.unpack(octets[: _HEAD.size])
    key = keys.get(kid, b"\x00" * 32)
    expected = sealing.mac(key, octets[: _HEAD.size])[:16]
    if (
        not hmac.compare_digest(expected, octets[_HEAD.size :])
        or kid not in keys
        or version != VERSION
        or said != purpose
    ):
        raise LinkNotRecognised
    return Link(said, person, topic, int.from_bytes(mailing), position)


def _octets(token: str) -> bytes:
    """The 41 octets of a token; of anything else, 41 that no key can have signed (so that refusing takes as long)."""
    cleaned = _BROKEN.sub("", _TAIL.sub("", token.strip()))
    try:
        octets = base64.b32decode(cleaned.upper() + "=" * (-len(cleaned) % 8)) if cleaned.isascii() else b""
    except binascii.Error:
        octets = b""
    if len(cleaned) != LENGTH or len(octets) != 41 or base32.encode(octets) != cleaned.lower():
        return b"\x00" * 41
    return octets
