"""Base32 in lower case, without padding: as our links and Message-IDs carry it (RFC 4648 section 6), and in signs that sort as the
octets do (section 7), as public ids do.

Every mail holds five such words, and the standard library's encoder was what making one of them mostly cost. Here all groups
of an input are spread at once in one long integer: each of three steps halves every field and moves the upper half up.
"""

import struct
from collections.abc import Callable
from functools import lru_cache

_SIGNS = bytes(b"abcdefghijklmnopqrstuvwxyz234567"[value & 31] for value in range(256))
_SORTING = bytes(b"0123456789abcdefghijklmnopqrstuv"[value & 31] for value in range(256))


def encode(octets: bytes) -> str:
    """The word of these octets, eight signs for every five of them."""
    return _encoder(len(octets), _SIGNS)(octets)


def encode_sorting(octets: bytes) -> str:
    """The same in signs of which words of one length stand in the order of their octets."""
    return _encoder(len(octets), _SORTING)(octets)


@lru_cache(maxsize=64)
def _encoder(length: int, alphabet: bytes) -> Callable[[bytes], str]:
    """For inputs of one length: groups of 40 bits in fields of 64, then 20 in 32, 10 in 16, and 5 in one octet each."""
    groups = -(-length // 5)
    padding, signs = bytes(groups * 5 - length), -(-length * 8 // 5)
    cut, spread = struct.Struct(">" + "5s" * groups), struct.Struct(">" + "3x5s" * groups)
    halves = [(_fields(groups, bits) << bits, _fields(groups, bits)) for bits in (20, 10, 5)]
    (high20, low20), (high10, low10), (high5, low5) = halves

    def encoded(octets: bytes) -> str:
        number = int.from_bytes(spread.pack(*cut.unpack(octets + padding)))
        number = (number & high20) << 12 | number & low20
        number = (number & high10) << 6 | number & low10
        number = (number & high5) << 3 | number & low5
        return number.to_bytes(groups * 8).translate(alphabet)[:signs].decode()

    return encoded


def _fields(groups: int, bits: int) -> int:
    """The mask of `bits` low ones in each field, so many groups of 64 long; a field is as long as two such halves spread."""
    apart = {20: 64, 10: 32, 5: 16}[bits]
    return sum(((1 << bits) - 1) << place for place in range(0, groups * 64, apart))
