"""Somebody who remembers: the last signed head seen, and that every later one goes on from it (RFC 9162 section 2.1.4).

Called by `bidden ledger witness`, best on another machine and under another person: who owns database, key file and SAFE_DIR
can sign another past, but not to somebody who remembers this one.
"""

import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlmodel import Session

from service.config import is_loopback
from service.db.session import reading
from service.domain.ledger import bundles
from service.kit import merkle, notes
from service.kit.errors import Conflict, DomainError, Invalid
from service.ops.house import House

TIMEOUT = 30  # seconds for one answer
MOST = 1 << 20  # octets of an answer: a proof has at most 64 hashes


class NothingSigned(Conflict):
    """No head has been signed there yet."""

    fix_hint = "bidden ledger checkpoint"


class HeadBadlySigned(DomainError):
    """That head was signed by none of the keys this witness trusts."""


class HeadSmaller(DomainError):
    """That head speaks of fewer entries than one seen before: the ledger was cut off, or put back to an earlier day."""


class HeadInconsistent(DomainError):
    """That head does not go on from the one seen before: entries this witness has vouched for were changed."""


class SourceAway(DomainError):
    """The installation did not answer with a signed head."""


class StateUnreadable(Invalid):
    """That file is not what a witness keeps."""


class KeyMissing(Invalid):
    """A witness trusts a key it was given, not one that comes with the head."""

    fix_hint = "Give it with --key; the installation prints it: bidden ledger checkpoint --key"


@dataclass(frozen=True)
class Seen:
    """What was looked at: the head, and how many entries came since the last time (None at the first)."""

    head: notes.Head
    came: int | None


Source = Callable[[int], tuple[str, list[str]]]
"""Asked for a head that goes on from a tree of so many entries: the note, and the proof."""


def watch(state: Path, source: Source, trusted: list[str]) -> Seen:
    """Look once. What holds is remembered in `state`; what does not is refused and nothing is changed there.

    Raises what it is refused for, or `SourceAway`, `NothingSigned`, `StateUnreadable`, `KeyMissing`.
    """
    kept = _kept(state)
    keys = dict.fromkeys(trusted or kept.get("keys", []))
    if not keys:
        raise KeyMissing
    known = {text: _key(text) for text in keys}
    before = _opened(kept["note"], known) if "note" in kept else None
    note, path = source(before.size if before else 0)
    head = _opened(note, known)
    if before is not None:
        _check(before, head, path)
    _remember(state, note, list(keys))
    return Seen(head, head.size - before.size if before else None)


def _check(before: notes.Head, head: notes.Head, path: list[str]) -> None:
    if head.size < before.size:
        raise HeadSmaller(field=str(head.size))
    if head.origin != before.origin:
        raise HeadInconsistent(field=head.origin)
    if not merkle.consistent(before.size, head.size, before.root, head.root, path):
        raise HeadInconsistent(field=str(head.size))


def _key(text: str) -> Ed25519PublicKey:
    try:
        return notes.read_key(text)[1]
    except notes.KeyRefused as odd:
        raise KeyMissing(field="--key") from odd


def _opened(note: str, keys: dict[str, Ed25519PublicKey]) -> notes.Head:
    try:
        return notes.opened(note, keys)
    except notes.NoteRefused as odd:
        raise HeadBadlySigned from odd


def _kept(state: Path) -> dict[str, Any]:
    try:
        kept = json.loads(state.read_text())
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as odd:
        raise StateUnreadable(field=str(state)) from odd
    if not isinstance(kept, dict) or not isinstance(kept.get("note"), str) or not _texts(kept.get("keys")):
        raise StateUnreadable(field=str(state))
    return kept


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _remember(state: Path, note: str, keys: list[str]) -> None:
    """Whole or not at all: half a file would be no memory."""
    draft = state.with_name(f".{state.name}.{os.getpid()}")
    draft.write_text(json.dumps({"note": note, "keys": keys}, indent=1) + "\n")
    draft.replace(state)


def from_house(house: House) -> Source:
    """The database of this installation itself."""

    def ask(since: int) -> tuple[str, list[str]]:
        def question(session: Session) -> tuple[str, list[str]]:
            found = bundles.growth(session, since, house.ring)
            if found is None:
                raise NothingSigned
            return found[1], found[2]

        with reading(house.engine) as session:
            return question(session)

    return ask


def from_url(url: str, api_key: str) -> Source:
    """The API of an installation elsewhere; the key needs the scope `ledger:read`."""

    def ask(since: int) -> tuple[str, list[str]]:
        address = f"{url.rstrip('/')}/api/v1/ledger/checkpoint?since={since}"
        asked = urllib.request.Request(address, headers={"Authorization": f"Bearer {api_key}"})  # noqa: S310
        try:
            with urllib.request.urlopen(asked, timeout=TIMEOUT) as answer:  # noqa: S310 - the scheme was looked at
                said = json.loads(answer.read(MOST))
            return str(said["note"]), [str(one) for one in said["consistency"]]
        except (OSError, ValueError, KeyError, TypeError, urllib.error.URLError) as odd:
            raise SourceAway(field=url) from odd

    if not _safe(url):
        raise SourceAway("A witness asks over https.", field=url)
    return ask


def _safe(url: str) -> bool:
    """Whether the API key may be sent there: over https, or to this machine itself."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)))
