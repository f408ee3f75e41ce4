"""Signed heads of the ledger's Merkle tree: made every minute, kept outside the database too, held against it (P4).

Called by the clock, `bidden ledger`, the API, and by whoever is about to send: a database behind its own signed head is a copy
from an earlier day. Formats: docs/ledger.md.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import select
from sqlmodel import Session, col

from service.db.locks import insert_or_skip
from service.domain.ledger import queries, safe, tree
from service.domain.ledger.tables import Checkpoint
from service.kit import linefile, merkle, notes
from service.kit.clock import to_micros
from service.kit.errors import Conflict
from service.kit.signing import Keyring

NAME = "checkpoints.jsonl"

Keys = Mapping[str, Ed25519PublicKey]


class TreeDiffers(Conflict):
    """What is kept of the ledger's tree does not lead to the head that was signed last; nothing is signed."""

    fix_hint = "bidden ledger verify"


@dataclass(frozen=True)
class Standing:
    """Where the database stands against the last head outside: `reason` is None when it has it, else behind, differs or
    unreadable."""

    reason: str | None
    size: int
    known: int | None


def origin(ring: Keyring) -> str:
    """The name under which this installation signs."""
    return f"bidden/{ring.installation}"


def keys(ring: Keyring) -> Keys:
    """The public keys that heads may be signed with, by their written form, the one in use first."""
    return {notes.written(origin(ring), one): one for one in ring.checkpoint_public}


def sign(session: Session, ring: Keyring, *, now: datetime) -> notes.Head | None:
    """Sign the head as it is; None where that is done already. Raises `TreeDiffers`."""
    size, _ = queries.tail(session)
    last = latest(session, ring)
    if size == 0 or (last is not None and last.size >= size):
        return None
    if last is not None and _root(session, last.size) != last.root:
        raise TreeDiffers
    head = notes.Head(origin(ring), size, tree.Tree(session).node(0, size), to_micros(now))
    row = {
        "size": size,
        "at": head.at,
        "note": notes.signed(head, *ring.signers),
    }
    session.connection().execute(insert_or_skip(session, Checkpoint, ["size"]).values(row))
    return head


def latest(session: Session, ring: Keyring) -> notes.Head | None:
    """The last head that was signed. Raises `TreeDiffers` where it is none of ours any more."""
    found = latest_with_note(session, ring)
    return found[0] if found else None


def latest_with_note(session: Session, ring: Keyring) -> tuple[notes.Head, str] | None:
    """The same with its own words, of one look: between two another might be signed. Raises `TreeDiffers`."""
    row = _latest(session)
    if row is None:
        return None
    head = _opened(row.note, keys(ring))
    if head is None or head.size != row.size:
        raise TreeDiffers
    return head, row.note


def latest_note(session: Session) -> str | None:
    """The last signed head in its own words."""
    row = _latest(session)
    return row.note if row else None


def _latest(session: Session) -> Checkpoint | None:
    return session.scalars(select(Checkpoint).order_by(col(Checkpoint.size).desc()).limit(1)).first()


def write_out(session: Session, directory: Path) -> int:
    """Append to the file outside the heads it has not yet, durably; how many. Each says how far the withdrawal file beside it went
    (`taken`), or that would be cut short and leave no trace. One under another size than its own is none: after a larger one no head
    would be written out any more. Raises OSError or ValueError (file unreadable)."""

    def after(size: int) -> list[linefile.Line]:
        newer = select(Checkpoint).where(col(Checkpoint.size) > size).order_by(col(Checkpoint.size))
        told = safe.last(directory)
        taken = {"taken": told[0]} if told else {}
        return [
            {"size": one.size, "at": one.at, "note": one.note} | taken
            for one in session.scalars(newer)
            if _claims(one.note) == one.size
        ]

    return linefile.extend(directory / NAME, "size", after)


def put_aside(directory: Path, now: datetime) -> None:
    """A restored ledger goes on in another way: the heads of the old one are set aside."""
    linefile.put_aside(directory / NAME, now)


def kept_outside(directory: Path, made: datetime | None) -> set[str]:
    """The heads of the file, and of those that were put aside since `made`, the last entry of a copy of the database; in their own
    words."""
    aside = linefile.set_aside(directory / NAME, made) if made is not None else []
    return {_note(line) for line in linefile.read([*aside, directory / NAME])}


def cut_short(directory: Path, made: datetime | None) -> tuple[int, int] | None:
    """Where a withdrawal file ends, and the later entry that it once told of by the heads beside it; None where each goes as far as
    those say. Read for a copy of the database whose last entry was written at `made`, as in `kept_outside`."""
    aside = linefile.set_aside(directory / NAME, made) if made is not None else []
    for file in [*aside, directory / NAME]:
        beside = file.with_name(file.name.replace(Path(NAME).stem, Path(safe.NAME).stem, 1))
        told = max((_taken(line) for line in linefile.read([file])), default=0)
        held = {line["seq"] for line in safe.of_file(beside)}
        if not held:  # a restore that was killed has not put it aside, too
            held = {line["seq"] for line in safe.of_file(directory / safe.NAME)} & {told}
        if told > (ends := max(held, default=0)):
            return ends, told
    return None


def standing(
    session: Session, directory: Path, ring: Keyring, told: tuple[int, str] | None = None
) -> Standing:
    """Whether the database has what was signed last outside, and the entry that the last line of the withdrawal file beside it tells
    of, which may be younger (`told`: `safe.last`, read before the session began to look, for a line is written once its entry is
    there). Reads one line and a few hundred hashes."""
    size, _ = queries.tail(session)
    try:
        line = linefile.last(directory / NAME)
        head = None if line is None else notes.opened(str(line["note"]), keys(ring))
        odd = head is not None and line is not None and head.size != line["size"]
    except (ValueError, KeyError, TypeError, notes.NoteRefused):
        odd = True
    if odd:
        return Standing("unreadable", size, None)
    if head is not None and head.size > size:
        return Standing("behind", size, head.size)
    if head is not None and _root(session, head.size) != head.root:
        return Standing("differs", size, head.size)
    lacks = _lacks(session, size, *told) if told else None
    if told and lacks:
        return Standing(lacks, size, told[0])
    return Standing(None, size, head.size if head else None)


def _lacks(session: Session, size: int, seq: int, digest: str) -> str | None:
    """Why the ledger, of so many entries, has not the one of that number and hash; None where it has."""
    entry = queries.entry(session, seq) if seq <= size else None
    if entry is None:
        return "behind" if seq > size else "differs"
    return None if entry.hash == digest else "differs"


def _root(session: Session, size: int) -> str | None:
    """The head of the first so many entries; None where one of them is not there."""
    try:
        return tree.Tree(session).node(0, size)
    except IndexError:
        return None


def verify(session: Session, directory: Path, ring: Keyring) -> queries.Verdict:
    """Read the whole ledger, and hold it against every signed head of the database and of the file outside. The file comes first, or
    it might have a head of what this transaction does not see (`snapshot`)."""
    outside = list(_heads_outside(directory, ring))
    heads = [*_stored_heads(session, ring), *outside]
    grown = merkle.Growing(tree.WIDTH)
    verdict = queries.verify(session, heads, grown)
    wrong = tree.wrong(session, grown.tiles) if verdict.holds else None
    return verdict if wrong is None else replace(verdict, fault="node_differs", position=wrong)


def _stored_heads(session: Session, ring: Keyring) -> Iterator[queries.Signed]:
    """Those of the database; one whose note does not say what stands beside it is none."""
    known = keys(ring)
    for row in session.scalars(select(Checkpoint).order_by(col(Checkpoint.size))):
        head = _opened(row.note, known)
        fits = head is not None and (head.size, head.at) == (row.size, row.at)
        yield queries.Signed(row.size, head.root if head and fits else None)


def _heads_outside(directory: Path, ring: Keyring) -> Iterator[queries.Signed]:
    known = keys(ring)
    for line in linefile.read([directory / NAME]):
        head = _opened(_note(line), known)
        fits = head is not None and json.loads(line).get("size") == head.size
        yield queries.Signed(head.size if head else 0, head.root if head and fits else None)


def _opened(note: str, known: Keys) -> notes.Head | None:
    try:
        return notes.opened(note, known)
    except notes.NoteRefused:
        return None


def _claims(note: str) -> int | None:
    """The size a note speaks of, its signature aside."""
    try:
        return notes.read_head(note).size
    except notes.NoteRefused:
        return None


def _taken(line: bytes) -> int:
    try:
        taken = json.loads(line).get("taken", 0)
    except (ValueError, AttributeError, RecursionError):
        return 0
    return taken if type(taken) is int else 0


def _note(line: bytes) -> str:
    try:
        return str(json.loads(line)["note"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def notes_known(session: Session, directory: Path) -> list[str]:
    """Every signed head in its own words, those of the database and those outside, oldest first, each once; the file is read first, as
    in `verify`."""
    outside = [_note(line) for line in linefile.read([directory / NAME])]
    stored = [one.note for one in session.scalars(select(Checkpoint).order_by(col(Checkpoint.size)))]
    return list(dict.fromkeys([*stored, *outside]))
