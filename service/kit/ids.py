"""Names for things: opaque, readable over the telephone, and never a number that can be counted up."""

import re
import secrets
import time

from service.kit import base32


def new_id(prefix: str) -> str:
    """A public id that sorts by time of creation: prefix, underscore, 26 signs (48 bits of milliseconds, 80 of chance)."""
    octets = (time.time_ns() // 1_000_000).to_bytes(6) + secrets.token_bytes(10)
    return f"{prefix}_{base32.encode_sorting(octets)}"


def proposed(prefix: str, given: str) -> str:
    """The id a form proposed for what it makes, so that pressed twice it makes one thing; a new one where none was given, or one
    that we did not make."""
    return given if re.fullmatch(rf"{prefix}_[0-9a-v]{{26}}", given) else new_id(prefix)


def new_alias(octets: int) -> int:
    """A random positive integer of so many octets (at most 7 bits of the first are used, to fit a signed column)."""
    return int.from_bytes(secrets.token_bytes(octets)) >> 1 or 1


def person_id(alias: int) -> str:
    """The opaque name of a person, made from the 63-bit alias that also stands in that person's links."""
    return "p_" + base32.encode(alias.to_bytes(8))


def receipt(seq: int, digest: str) -> str:
    """A short slip number for people ("7qk-41"): four signs of an entry's hash and its place in the ledger."""
    return f"{digest[:4]}-{seq}"
