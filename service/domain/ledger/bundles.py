"""What leaves the house for whoever checks the ledger without us: the bundle, and proofs of single entries (docs/ledger.md).

Called by `bidden ledger export|prove`; read by `verify_ledger.py`, which shares no code with it.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlmodel import Session

from service.domain.ledger import checkpoints, queries, tree
from service.kit import merkle, notes
from service.kit.errors import NotFound
from service.kit.signing import Keyring


class EntryUnknown(NotFound):
    """The ledger has no entry of that number."""


class NotSignedYet(NotFound):
    """No signed head covers that entry yet; one is made every minute."""

    fix_hint = "bidden ledger checkpoint"


def lines(session: Session, directory: Path, ring: Keyring) -> Iterator[str]:
    """The bundle, line by line: all entries as they lie there, in bounded memory, and every signed head that is known. The heads are
    looked up before the entries, which others may add to meanwhile; the session is a `snapshot`."""
    heads = checkpoints.notes_known(session, directory)
    size, _ = queries.tail(session)
    head = {"format": "bidden-ledger", "version": 1, "origin": checkpoints.origin(ring), "size": size}
    yield _line({"bundle": head})
    for one, takes in queries.stored(session, start=-(1 << 62)):
        entry = {"seq": one.seq, "at": one.at, "kind": one.kind, "subject": one.subject}
        yield _line({"entry": {**entry, "takes": takes, "hash": one.hash, "text": one.text}})
    for note in heads:
        yield _line({"checkpoint": note})


def _line(value: dict[str, Any]) -> str:
    """Octets in the place of a text, which SQLite would keep, become an array: no checker takes that for what was there."""
    return json.dumps(value, ensure_ascii=False, default=list) + "\n"


def proof(session: Session, seqs: Sequence[int], ring: Keyring) -> dict[str, Any]:
    """That these entries stand under the last signed head. Raises `EntryUnknown`, `NotSignedYet`, `TreeDiffers`."""
    texts = [_text(session, seq) for seq in seqs]
    found = checkpoints.latest_with_note(session, ring)
    if found is None or found[0].size < max(seqs):
        raise NotSignedYet(field=str(max(seqs)))
    head, note = found
    node = tree.Tree(session).node
    entries = [
        {"text": text, "path": merkle.inclusion_path(seq - 1, head.size, node)}
        for seq, text in zip(seqs, texts, strict=True)
    ]
    return {"format": "bidden-proof", "version": 1, "checkpoint": note, "entries": entries}


def _text(session: Session, seq: int) -> str:
    found = queries.entry(session, seq) if 0 < seq <= queries.tail(session)[0] else None
    if found is None:
        raise EntryUnknown(field=str(seq))
    return found.entry


def growth(session: Session, since: int, ring: Keyring) -> tuple[notes.Head, str, list[str]] | None:
    """The last signed head, its note, and the proof that the tree of `since` entries is its beginning; None before the first
    head. The proof is empty where there is nothing to prove (0), or nothing that could be (`since` is larger)."""
    found = checkpoints.latest_with_note(session, ring)
    if found is None:
        return None
    head, note = found
    provable = 0 < since <= head.size
    path = merkle.consistency_path(since, head.size, tree.Tree(session).node) if provable else []
    return head, note, path
