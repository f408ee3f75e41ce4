"""The bytes of the ledger: canonical JSON, the link from entry to entry, and the Merkle tree above them. Pure.

Called by the ledger's rules; `verify_ledger.py` will be written from design.md 4, not from here.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import orjson

ZERO = "0" * 64
_ATOMS = (str, bool, type(None))
EXACT = (1 << 53) - 1  # the largest integer every JSON reader keeps


def canonical(value: Any) -> str:
    """The one way to write a value: keys sorted, no white space, UTF-8. Equals RFC 8785 for what we allow.

    Only strings, integers that every program reads exactly (RFC 8785 3.2.2.3), booleans, null, arrays and objects with string
    keys are allowed; anything else raises TypeError, because two programs may write one number in two ways.
    """
    plain = _check(value)
    if plain:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    return orjson.dumps(_ordered(value)).decode()


def _check(value: Any) -> bool:
    """Refuse what has more than one writing; False when a key is not ASCII and sorting needs more care."""
    kind = type(value)
    if kind is int:
        if abs(value) > EXACT:
            raise TypeError("a ledger entry holds integers up to 2^53 - 1; write a longer one as a string")
        return True
    if kind in _ATOMS:
        return True
    if kind is not list and kind is not dict:
        raise TypeError(f"a ledger entry cannot hold {kind.__name__}")
    plain = True
    for key in value if kind is dict else ():
        if type(key) is not str:
            raise TypeError("a ledger object has string keys only")
        plain &= key.isascii()
    for inner in value.values() if kind is dict else value:
        if type(inner) is not str:
            plain &= _check(inner)
    return plain


def _ordered(value: Any) -> Any:
    """Keys in the order of their UTF-16 code units (RFC 8785 3.2.3), which is Python's own for ASCII alone."""
    if isinstance(value, dict):
        return {key: _ordered(value[key]) for key in sorted(value, key=lambda key: key.encode("utf-16-be"))}
    return [_ordered(inner) for inner in value] if isinstance(value, list) else value


def leaf_hash(text: str) -> str:
    """SHA-256(0x00 ‖ bytes), lower-case hex: the chain link and the leaf hash of RFC 9162 section 2.1.1 at once."""
    return hashlib.sha256(b"\x00" + text.encode()).hexdigest()


def node_hash(left: str, right: str) -> str:
    """SHA-256(0x01 ‖ left ‖ right) of RFC 9162 section 2.1.1, over and into lower-case hex."""
    return hashlib.sha256(b"\x01" + bytes.fromhex(left) + bytes.fromhex(right)).hexdigest()


def _split(size: int) -> int:
    """The largest power of two below size (RFC 9162 section 2.1.1)."""
    return 1 << (size - 1).bit_length() - 1


def root(leaves: Sequence[str]) -> str:
    """The Merkle tree head over leaf hashes; of none, the hash of nothing (RFC 9162 section 2.1.1)."""
    if not leaves:
        return hashlib.sha256(b"").hexdigest()
    level = list(leaves)
    while len(level) > 1:
        paired = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = paired + ([level[-1]] if len(level) % 2 else [])
    return level[0]


def inclusion_path(leaves: Sequence[str], index: int) -> list[str]:
    """The hashes that lead from leaf `index` to the root, lowest first (RFC 9162 section 2.1.3.1)."""
    if not 0 <= index < len(leaves):
        raise IndexError(index)
    if len(leaves) == 1:
        return []
    k = _split(len(leaves))
    if index < k:
        return [*inclusion_path(leaves[:k], index), root(leaves[k:])]
    return [*inclusion_path(leaves[k:], index - k), root(leaves[:k])]
