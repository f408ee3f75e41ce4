"""Somebody who remembers: the last signed head seen, and that every later one goes on from it (RFC 9162 section 2.1.4).

Called by `bidden ledger witness`, best on another machine and under another person: who owns database, key file and SAFE_DIR
can sign another past, but not to somebody who remembers this one.
"""

import json
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
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

TIMEOUT = 30  # seconds for one answer, the whole of it: one that drips would keep the witness from ever saying anything
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


class SeenMeanwhile(Conflict):
    """What this witness remembers was changed while it looked, by another look perhaps; what this one has seen is not put over it."""

    fix_hint = "Run it again."


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
    """Look once. What holds is remembered in `state`; what does not is refused and nothing is changed there. What was seen before may
    bear a signature that was trusted then, and is no more.

    Raises what it is refused for, or `SourceAway`, `NothingSigned`, `StateUnreadable`, `KeyMissing`, `SeenMeanwhile`.
    """
    state = state.resolve()
    octets = _octets(state)
    kept = _kept(state, octets)
    keys = dict.fromkeys(trusted or kept.get("keys", []))
    if not keys:
        raise KeyMissing
    known = {text: _key(text) for text in keys}
    trusted_then = known | {text: _key(text) for text in kept.get("keys", [])}
    before = _opened(kept["note"], trusted_then) if "note" in kept else None
    note, path = source(before.size if before else 0)
    head = _opened(note, known)
    if before is not None:
        _check(before, head, path)
    _remember(state, octets, note, list(keys))
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


def _octets(state: Path) -> bytes | None:
    return state.read_bytes() if state.exists() else None


def _kept(state: Path, octets: bytes | None) -> dict[str, Any]:
    if octets is None:
        return {}
    try:
        kept = json.loads(octets)
    except (ValueError, RecursionError) as odd:
        raise StateUnreadable(field=str(state)) from odd
    if not isinstance(kept, dict) or not isinstance(kept.get("note"), str) or not _texts(kept.get("keys")):
        raise StateUnreadable(field=str(state))
    return kept


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _remember(state: Path, before: bytes | None, note: str, keys: list[str]) -> None:
    """Whole and durably, or not at all: half a file would be no memory."""
    draft = state.with_name(f".{state.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    try:
        with open(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(json.dumps({"note": note, "keys": keys}, indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        if _octets(state) != before:  # else one held up with an older head would put the memory back to it
            raise SeenMeanwhile(field=str(state))
        draft.replace(state)
    finally:
        draft.unlink(missing_ok=True)


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


class _HereAlone(urllib.request.HTTPRedirectHandler):
    """The key was meant for this place, and might go on from it in the clear."""

    def redirect_request(self, *about: object) -> None:
        """Nowhere: the redirect is the answer, and none that a witness can use."""


def from_url(url: str, api_key: str) -> Source:
    """The API of an installation elsewhere; the key needs the scope `ledger:read`."""

    def ask(since: int) -> tuple[str, list[str]]:
        address = f"{url.rstrip('/')}/api/v1/ledger/checkpoint?since={since}"
        try:
            asked = urllib.request.Request(address, headers={"Authorization": f"Bearer {api_key}"})  # noqa: S310
            said = _within(TIMEOUT, partial(_fetch, asked))
            return str(said["note"]), [str(one) for one in said["consistency"]]
        except urllib.error.HTTPError as odd:
            odd.close()
            raise SourceAway(
                f"The installation answered with status {odd.code}, and not with a signed head.", field=url
            ) from odd
        except _NO_ANSWER as odd:
            raise SourceAway(field=url) from odd

    if not _safe(url):
        raise SourceAway("A witness asks over https.", field=url)
    return ask


_NO_ANSWER = (OSError, HTTPException, ValueError, KeyError, TypeError, RecursionError)


def _fetch(asked: urllib.request.Request) -> Any:
    with urllib.request.build_opener(_HereAlone).open(asked, timeout=TIMEOUT) as answer:
        return json.loads(answer.read(MOST))


def _within(seconds: float, ask: Callable[[], Any]) -> Any:
    """What is answered within so many seconds. Raises TimeoutError, and what asking raises."""
    answer: Future[Any] = Future()

    def run() -> None:
        try:
            answer.set_result(ask())
        except Exception as odd:
            answer.set_exception(odd)

    threading.Thread(target=run, name="witness", daemon=True).start()
    return answer.result(seconds)


def _safe(url: str) -> bool:
    """Whether the API key may be sent there: over https, or to this machine itself."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)))
