"""The bytes of the ledger: canonical JSON, and the link from entry to entry. Pure.

Called by the ledger's rules; `verify_ledger.py` is written from docs/ledger.md, not from here.
"""

import hashlib
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
