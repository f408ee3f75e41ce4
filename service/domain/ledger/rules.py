"""What an entry is made of, and which kinds take away. Pure; called by the pen and by the verifier."""

import base64
import hmac
import json
from operator import itemgetter
from typing import Any, NamedTuple

import orjson

from service.kit import sealing
from service.kit.chain import ZERO, canonical, leaf_hash, leaf_of, octets

VERSION = 1

# Whatever may stop a mail: a door that wrote one of these waits for the fence before it answers (design.md 3, 5.6).
TAKING_AWAY = frozenset(
    {
        "consent.withdrawn",
        "consent.refused",
        "consent.expired",
        "consent.invalidated",
        "preference.break_set",
        "suppression.added",
        "address.changed",
        "person.restricted",
        "person.erased",
        "person.merged",
        "announcement.paused",
        "announcement.cancelled",
        "announcement.halted",
        "asking.cancelled",  # not `asking.stopped`: there are older entries of that kind, which took nothing away
        "notice.cancelled",
        "notice.halted",
        "notice.paused",
        "topic.retired",
        "contact.erased",
        "settings.sending_off",
    }
)


_FIELDS: dict[str, type] = {
    "seq": int,
    "kind": str,
    "at": int,
    "prev_hash": str,
    "version": int,
    "actor": str,
    "body": dict,
    "subject": str,
}
_values = itemgetter(*_FIELDS)
_TYPES = tuple(_FIELDS.values())
_SHAPES = (_TYPES, (*_TYPES[:-1], type(None)))  # with and without a subject


class Entry(NamedTuple):
    """One entry as written: its number, exact text and hash, and the parts repeated in columns."""

    seq: int
    text: str
    hash: str
    kind: str
    subject: str | None
    at: int

    @property
    def takes(self) -> bool:
        """Whether this entry can stop a mail."""
        return self.kind in TAKING_AWAY


def make(
    *, seq: int, at: int, kind: str, actor: str, subject: str | None, body: dict[str, Any], prev_hash: str
) -> Entry:
    """The entry in its final bytes (design.md 4). `at` is microseconds since 1970."""
    fields = {
        "version": VERSION,
        "seq": seq,
        "at": at,
        "kind": kind,
        "actor": actor,
        "subject": subject,
        "body": body,
        "prev_hash": prev_hash,
    }
    text = canonical(fields)
    return Entry(seq, text, leaf_hash(text), kind, subject, at)


def fault(entry: Entry, *, seq: int, prev_hash: str, takes: bool | None) -> str | None:
    """What is wrong with a stored entry that should be number `seq` after `prev_hash`, or None; the words of docs/ledger.md.

    `takes` is what the database says of it, None for neither yes nor no; the entry itself goes by its kind.
    """
    if entry.seq != seq:
        return "missing" if entry.seq > seq else "out_of_order"
    if type(entry.text) is not str:  # SQLite keeps octets in any column
        return "not_json"
    written = entry.text.encode()
    if leaf_of(written) != entry.hash:
        return "hash_differs"
    try:
        fields = orjson.loads(written)
        values = _values(fields)
    except (ValueError, KeyError, TypeError):  # no JSON, one of the eight is not there, no object at all
        return "not_json"
    if len(fields) != len(_FIELDS) or tuple(map(type, values)) not in _SHAPES:
        return "not_json"
    if not _as_written(fields, written):
        return "not_canonical"
    number, kind, at, previous, version, *_, subject = values
    if version != VERSION:
        return "not_json"
    if previous != prev_hash:
        return "chain_broken"
    told = (number, kind, subject, at, kind in TAKING_AWAY)
    return None if told == (entry.seq, entry.kind, entry.subject, entry.at, takes) else "columns_differ"


def _as_written(fields: dict[str, Any], written: bytes) -> bool:
    """Whether this is the one way to write them; a text of ASCII with a key that is none has its key in another way already."""
    try:
        return octets(fields, ascii_keys=written.isascii()) == written
    except (TypeError, RecursionError):  # what nobody could write is nested deeper than anybody reads
        return False


def first_link() -> str:
    """What stands in the first entry's prev_hash."""
    return ZERO


def sealed_part(person_key: bytes, value: dict[str, Any], *, subject: str, kind: str) -> dict[str, str]:
    """Personal matter for an entry's body: ciphertext under the person's own key, and a keyed commitment to it.

    Destroying the key leaves the chain whole and the matter gone; without the key nothing can be guessed (standards K5).
    """
    plain = canonical(value)
    cipher = sealing.seal(person_key, plain.encode(), f"ledger|{subject}|{kind}")
    return {
        "sealed": base64.b64encode(cipher).decode(),
        "commitment": _commitment(person_key, subject, kind, plain),
    }


def open_part(person_key: bytes, part: dict[str, str], *, subject: str, kind: str) -> dict[str, Any]:
    """What `sealed_part` closed. Raises `Unsealable` when the key or the place is another, or the commitment lies."""
    plain = sealing.unseal(person_key, base64.b64decode(part["sealed"]), f"ledger|{subject}|{kind}").decode()
    if _commitment(person_key, subject, kind, plain) != part["commitment"]:
        raise sealing.Unsealable(subject)
    value: dict[str, Any] = json.loads(plain)
    return value


def _commitment(person_key: bytes, subject: str, kind: str, plain: str) -> str:
    """A person's key is used once: `sealing.mac` would pad it for nothing, and forget the keys of the process over it."""
    return hmac.digest(person_key, f"ledger|{subject}|{kind}|{plain}".encode(), "sha256").hex()
