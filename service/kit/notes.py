"""Signed heads of the ledger's tree, as text anybody can keep: C2SP's tlog-checkpoint in a signed-note (docs/ledger.md). Pure.

Called by the ledger's checkpoints and by the witness; Ed25519 (RFC 8032) comes from `cryptography`.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ED25519 = b"\x01"  # the kind of key, in its written form and under its id
_NOTE = re.compile(
    r"(?P<text>(?P<origin>[^\s+]+)\n(?P<size>0|[1-9][0-9]{0,15})\n(?P<root>[A-Za-z0-9+/]{43}=)\nat (?P<at>0|[1-9][0-9]{0,15})\n)"
    r"\n(?P<signatures>(?:— [^\s+]+ [A-Za-z0-9+/=]+\n)+)"
)


class NoteRefused(Exception):
    """This is no head of ours, or none that a known key has signed."""


class KeyRefused(Exception):
    """This is no written-out public key."""


@dataclass(frozen=True)
class Head:
    """What a checkpoint says: the tree of `size` entries had this root (hex) at this moment (microseconds since 1970)."""

    origin: str
    size: int
    root: str
    at: int


def signed(head: Head, *keys: Ed25519PrivateKey) -> str:
    """The head as a note, signed with each of these keys under the name of its origin."""
    text = f"{head.origin}\n{head.size}\n{_base64(bytes.fromhex(head.root))}\nat {head.at}\n"
    marks = [key_id(head.origin, key.public_key()) + key.sign(text.encode()) for key in keys]
    return f"{text}\n" + "".join(f"— {head.origin} {_base64(mark)}\n" for mark in marks)


def opened(note: str, keys: Mapping[str, Ed25519PublicKey]) -> Head:
    """What a note says, when one of the keys (by their written names, `written`) has signed it. Raises `NoteRefused`."""
    found = _NOTE.fullmatch(note)
    if found is None or not any(
        _good(line, found["text"], keys) for line in found["signatures"].splitlines()
    ):
        raise NoteRefused
    return _head(found)


def _head(found: re.Match[str]) -> Head:
    try:
        root = base64.b64decode(found["root"], validate=True)
    except binascii.Error as odd:
        raise NoteRefused from odd
    if _base64(root) != found["root"]:  # one way to write it
        raise NoteRefused
    return Head(found["origin"], int(found["size"]), root.hex(), int(found["at"]))


def read_head(note: str) -> Head:
    """What a note of our own says, its signature aside. Raises `NoteRefused`."""
    found = _NOTE.fullmatch(note)
    if found is None:
        raise NoteRefused
    return _head(found)


def _good(line: str, text: str, keys: Mapping[str, Ed25519PublicKey]) -> bool:
    _, name, mark = line.split(" ")
    try:
        octets = base64.b64decode(mark, validate=True)
    except binascii.Error:
        return False
    for written_key, public in keys.items():
        if written_key.startswith(f"{name}+{octets[:4].hex()}+"):
            try:
                public.verify(octets[4:], text.encode())
            except InvalidSignature:
                continue
            return True
    return False


def key_id(name: str, public: Ed25519PublicKey) -> bytes:
    """Four octets that tell a key from others of the same name."""
    return hashlib.sha256(name.encode() + b"\n" + ED25519 + public.public_bytes_raw()).digest()[:4]


def written(name: str, public: Ed25519PublicKey) -> str:
    """The public key as people hand it on: name, id, key."""
    return f"{name}+{key_id(name, public).hex()}+{_base64(ED25519 + public.public_bytes_raw())}"


def read_key(text: str) -> tuple[str, Ed25519PublicKey]:
    """The name and the key of a written one. Raises `KeyRefused`."""
    name, _, rest = text.strip().partition("+")
    mark, _, key = rest.partition("+")
    try:
        octets = base64.b64decode(key, validate=True)
        public = Ed25519PublicKey.from_public_bytes(octets[1:])
    except (binascii.Error, ValueError) as odd:
        raise KeyRefused from odd
    if octets[:1] != ED25519 or text.strip() != written(name, public) or mark != key_id(name, public).hex():
        raise KeyRefused
    return name, public


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()
