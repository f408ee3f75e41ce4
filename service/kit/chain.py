"""The bytes of the ledger: canonical JSON, and the link from entry to entry. Pure.

Called by the ledger's rules; `verify_ledger.py` is written from docs/ledger.md, not from here.
"""

import hashlib
from typing import Any

import orjson

ZERO = "0" * 64
_ATOMS, _KEYS = frozenset((str, bool, type(None))), frozenset((str,))
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
    kind, plain = type(value), True
    if kind is dict:
        if not _KEYS.issuperset(map(type, value)):
            raise TypeError("a ledger object has string keys only")
        plain, inner = "".join(value).isascii(), value.values()
    else:
        inner = value if kind is list else (value,)
    if _ATOMS.issuperset(map(type, inner)):
        return plain
    for one in inner:
        kind = type(one)
        if kind is int:
            if abs(one) > EXACT:
                raise TypeError(
                    "a ledger entry holds integers up to 2^53 - 1; write a longer one as a string"
                )
        elif kind is dict or kind is list:
            plain &= _check(one)
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
    return hashlib.sha256(b"\x00" + text.encode()).hexdigest()
