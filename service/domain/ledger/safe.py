"""The withdrawal file: what was taken away, once more, on a second path outside the database (opaque ids only).

`fence` brings it up to date before a door answers, the clock every minute; `db restore` reads it back.
"""

import fcntl
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from sqlmodel import Session

from service.domain.ledger import queries

NAME = "withdrawals.jsonl"
_STAMP = "%Y%m%dT%H%M%S"


Mailboxes = Callable[[Session, list[str]], dict[str, str]]
"""The keyed hashes of persons' addresses by opaque id: this feature stands below people and is handed the question."""


def bring_up_to_date(session: Session, directory: Path, mailboxes: Mailboxes) -> int:
    """Append what the file has not yet, durably; returns how many lines were added. Safe from many processes."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(directory / NAME, "a+b", buffering=0, opener=_private) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        taken = queries.taken_since(session, _last_seq(file.fileno()))
        known = mailboxes(session, sorted({one.subject for one in taken if one.subject})) if taken else {}
        lines = b"".join(_line(one, known.get(one.subject or "")) for one in taken)
        if lines:
            _append(file.fileno(), lines)
        return len(taken)


def _line(one: queries.Taken, mailbox: str | None) -> bytes:
    line: dict[str, object] = {
        "seq": one.seq,
        "at": one.at,
        "kind": one.kind,
        "subject": one.subject,
        "body": _opaque(one.body),
        "hash": one.hash,
    }
    if mailbox:
        line["mailbox"] = mailbox
    return json.dumps(line, sort_keys=True).encode() + b"\n"


def _append(descriptor: int, lines: bytes) -> None:
    """Durably, or not at all: what may not be on the disk would else be taken for written by the next call."""
    before = os.fstat(descriptor).st_size
    try:
        while lines:
            lines = lines[os.write(descriptor, lines) :]
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, before)
        raise


def _private(path: str, flags: int) -> int:
    """Nobody else's to read, like the database beside it."""
    return os.open(path, flags, 0o600)


def put_aside(directory: Path, now: datetime) -> None:
    """A restored ledger gives out anew the numbers the file speaks of: the next line begins a new one."""
    old = directory / NAME
    if old.exists():
        old.rename(old.with_name(f"{old.stem}.until-{now.astimezone(UTC):{_STAMP}}{old.suffix}"))


def lines(directory: Path, *, made: datetime | None = None) -> list[dict[str, object]]:
    """What the file holds; for a copy of the database, its last entry written at `made`, before that what restores have put
    aside since then. Whole lines only."""
    found = [directory / NAME]
    if made is not None:
        stem, _, suffix = NAME.partition(".")
        since = f"{stem}.until-{made.astimezone(UTC):{_STAMP}}.{suffix}"
        aside = sorted(path for path in directory.glob(f"{stem}.until-*.{suffix}") if path.name >= since)
        found = [*aside, *found]
    octets = b"".join(path.read_bytes() for path in found if path.exists())
    return [json.loads(line) for line in octets.splitlines(keepends=True) if line.endswith(b"\n")]


def _opaque(body: dict[str, object]) -> dict[str, object]:
    """Ids only; sealed parts stay in the ledger."""
    return {
        key: value
        for key, value in body.items()
        if isinstance(value, str | int) and key in ("topic", "scope", "until", "address_hash", "cause")
    }


def _last_seq(descriptor: int) -> int:
    """The number on the last whole line; a torn one (a crash while writing) is cut off first."""
    size = os.fstat(descriptor).st_size
    tail = os.pread(descriptor, min(size, 8192), max(0, size - 8192))
    whole = tail[: tail.rfind(b"\n") + 1]
    if len(whole) < len(tail):
        os.ftruncate(descriptor, size - (len(tail) - len(whole)))
    last = whole.rstrip(b"\n").rpartition(b"\n")[2]
    return int(json.loads(last)["seq"]) if last else 0
