"""The bytes of the ledger: canonical JSON, and the link from entry to entry. Pure.

Called by the ledger's rules; `verify_ledger.py` is written from docs/ledger.md, not from here.
"""

import hashlib
from typing import Any

import orjson

ZERO = "0" * 64
_ATOMS, _KEYS = frozenset({str, bool, type(None)}), frozenset({str})
EXACT = (1 << 53) - 1  # the largest integer every JSON reader keeps


def canonical(value: Any) -> str:
    """The one way to write a value: keys sorted, no white space, UTF-8. Equals RFC 8785 for what we allow.

    Only strings, integers that every program reads exactly (RFC 8785 3.2.2.3), booleans, null, arrays and objects with string
    keys are allowed; anything else raises TypeError, because two programs may write one number in two ways.
    """
    return octets(value).decode()


def octets(value: Any, *, ascii_keys: bool = False) -> bytes:
    """The same as the octets that are hashed. `ascii_keys`: the caller knows that all keys are strings of ASCII."""
    plain = _check(value, ascii_keys=ascii_keys)
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS) if plain else orjson.dumps(_ordered(value))


def _check(value: Any, *, ascii_keys: bool) -> bool:
    """Refuse what has more than one writing; False when a key is not ASCII and sorting needs more care.

    Whoever verifies a ledger is here for each entry: a call is made for what has parts alone.
    """
    kind, plain = type(value), True
    if kind is dict:
        if not ascii_keys:
            if not _KEYS.issuperset(map(type, value)):
                raise TypeError("a ledger object has string keys only")
            plain = "".join(value).isascii()
        value = value.values()
    elif kind is not list:
        value = (value,)
    for inner in value:
        kind = type(inner)
        if kind is str:  # most are
            continue
        if kind is int:
            if not -EXACT <= inner <= EXACT:
                raise TypeError(
                    "a ledger entry holds integers up to 2^53 - 1; write a longer one as a string"
                )
        elif kind is dict or kind is list:
            plain = _check(inner, ascii_keys=ascii_keys) and plain
        elif kind not in _ATOMS:
            raise TypeError(f"a ledger entry cannot hold {kind.__name__}")
    return plain


def _ordered(value: Any) -> Any:
    """Keys in the order of their UTF-16 code units (RFC 8785 3.2.3), which is Python's own for ASCII alone."""
    if isinstance(value, dict):
        return {key: _ordered(value[key]) for key in sorted(value, key=lambda key: key.encode("utf-16-be"))}
    return [_ordered(inner) for inner in value] if isinstance(value, list) else value


def leaf_hash(text: str) -> str:
    """SHA-256(0x00 ‖ bytes), lower-case hex: the chain link and the leaf hash of RFC 9162 section 2.1.1 at once."""
    return leaf_of(text.encode())


def leaf_of(written: bytes) -> str:
    """The same of a text that is octets already."""
    return hashlib.sha256(b"\x00" + written).hexdigest()
