"""Secrets at rest: AES-256-GCM with the place of a value bound to it, and the keyed digests used for exact look-up.

Called by `people` (address, profile), the ledger (personal parts) and `db.types`.
"""

import hashlib
import os
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION = b"\x01"
SHORTEST = 1 + 12 + 16  # version, nonce, tag
BLOCK = 64  # octets SHA-256 takes in at once


class Unsealable(Exception):
    """The stored bytes do not open with this key at this place: another key, another row, or somebody's hand."""


def new_key() -> bytes:
    """A fresh 256-bit key."""
    return AESGCM.generate_key(256)


def seal(key: bytes, plain: bytes, place: str) -> bytes:
    """Encrypt; `place` (table, column, row) is authenticated with it, so a value moved elsewhere does not open.

    Layout: version octet, 96-bit nonce, ciphertext with its 128-bit tag (NIST SP 800-38D).
    """
    nonce = os.urandom(12)
    return VERSION + nonce + AESGCM(key).encrypt(nonce, plain, place.encode())


def unseal(key: bytes, sealed: bytes, place: str) -> bytes:
    """The plain bytes again, or `Unsealable`."""
    if sealed[:1] != VERSION or len(sealed) < SHORTEST:
        raise Unsealable(place)
    try:
        return AESGCM(key).decrypt(sealed[1:13], sealed[13:], place.encode())
    except InvalidTag as wrong:
        raise Unsealable(place) from wrong


def mac(key: bytes, octets: bytes) -> bytes:
    """HMAC-SHA-256 (RFC 2104) for the keys of this process, a third of what `hmac.digest` costs for a few octets: every mail
    needs five, and that one fetches its algorithm and pads the key anew each time."""
    inner, outer = _padded(key)
    return hashlib.sha256(outer + hashlib.sha256(inner + octets).digest()).digest()


@lru_cache(maxsize=64)
def _padded(key: bytes) -> tuple[bytes, bytes]:
    block = (key if len(key) <= BLOCK else hashlib.sha256(key).digest()).ljust(BLOCK, b"\0")
    return bytes(octet ^ 0x36 for octet in block), bytes(octet ^ 0x5C for octet in block)


def keyed_digest(key: bytes, text: str) -> str:
    """HMAC-SHA-256 in hex: equal for equal text, and says nothing without the key."""
    return mac(key, text.encode()).hex()
