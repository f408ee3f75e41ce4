"""The withdrawal file: what was taken away, once more, on a second path outside the database (opaque ids only).

`fence` brings it up to date before a door answers, the clock every minute; `db restore` reads it back.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from sqlmodel import Session

from service.domain.ledger import queries
from service.kit import linefile
from service.kit.clock import from_micros
from service.kit.errors import Conflict

NAME = "withdrawals.jsonl"
FORGOTTEN = "retention"  # of `person.erased`: time took them away, they said nothing, and of their mailbox nothing is kept here


class WithdrawalsUnreadable(Conflict):
    """A line of the withdrawal file cannot be read; it may have been somebody's no, so nothing is brought back without it."""

    fix_hint = (
        "Look at that line: mend it, or take it out where it holds nothing of ours, and run this again."
    )


Mailboxes = Callable[[Session, list[str]], dict[str, str]]
"""The keyed hashes of persons' addresses by opaque id: this feature stands below people and is handed the question."""


def bring_up_to_date(session: Session, directory: Path, mailboxes: Mailboxes) -> int:
    """Append what the file has not yet, durably; returns how many lines were added. Safe from many processes."""

    def after(seq: int) -> list[linefile.Line]:
        taken = queries.taken_since(session, seq)
        known = mailboxes(session, sorted({one.subject for one in taken if one.subject})) if taken else {}
        # Each line names the one before, or one that is gone would leave no trace.
        numbers = [seq, *(one.seq for one in taken)]
        return [
            _line(one, known.get(one.subject or "")) | {"after": before}
            for before, one in zip(numbers, taken, strict=False)
        ]

    return linefile.extend(directory / NAME, "seq", after)


def _line(one: queries.Taken, mailbox: str | None) -> linefile.Line:
    line: linefile.Line = {
        "seq": one.seq,
        "at": one.at,
        "kind": one.kind,
        "subject": one.subject,
        "body": _opaque(one.body),
        "hash": one.hash,
    }
    return line | ({"mailbox": mailbox} if mailbox and one.body.get("how") != FORGOTTEN else {})


def put_aside(directory: Path, now: datetime) -> None:
    """A restored ledger gives out anew the numbers the file speaks of: the next line begins a new one."""
    linefile.put_aside(directory / NAME, now)


def lines(directory: Path, *, made: datetime | None = None) -> list[linefile.Line]:
    """What the file holds; for a copy of the database, its last entry written at `made`, before that what restores have put
    aside since then. Half a line at an end is not among them (`half_lines`). Raises `WithdrawalsUnreadable`."""
    return [line for file in _files(directory, made) for line in of_file(file)]


def of_file(file: Path) -> list[linefile.Line]:
    """The lines of one such file; none where there is no file. Raises `WithdrawalsUnreadable`."""
    numbered = list(enumerate(linefile.read([file]), 1))
    found = [_understood(file, *line) for line in numbered]
    with suppress(WithdrawalsUnreadable):  # whole, but for its line feed
        found.append(_understood(file, len(numbered) + 1, linefile.unended(file)))
    return found


def gaps(directory: Path, *, made: datetime | None) -> int:
    """In how many places lines are missing before one that is there; what older versions wrote tells of none."""
    found = 0
    for file in _files(directory, made):
        before = 0
        for line in of_file(file):
            found += line.get("after", before) != before
            before = line["seq"]
    return found


def half_lines(directory: Path, *, made: datetime) -> list[str]:
    """The files among them that end in half a line: a crash while writing left it, or not all of the file was brought here."""
    found = []
    for file in _files(directory, made):
        rest = linefile.unended(file)
        try:
            _understood(file, 0, rest or b"0")
        except WithdrawalsUnreadable:
            found += [str(file)] if rest else []
    return found


def last(directory: Path) -> tuple[int, str] | None:
    """Number and hash of the entry that the last whole line tells of; None where there is none, or it cannot be read."""
    try:
        line = linefile.last(directory / NAME) or {}
    except (OSError, ValueError):
        return None
    seq, digest = line.get("seq"), line.get("hash")
    return (seq, digest) if type(seq) is int and isinstance(digest, str) else None


def _files(directory: Path, made: datetime | None) -> list[Path]:
    aside = linefile.set_aside(directory / NAME, made) if made is not None else []
    return [*aside, directory / NAME]


def _understood(file: Path, number: int, octets: bytes) -> linefile.Line:
    try:
        line = json.loads(octets)
        sound = isinstance(line, dict) and _sound(line)
    except (ValueError, RecursionError, OverflowError):
        sound = False
    if not sound:
        raise WithdrawalsUnreadable(field=f"{file} line {number}")
    return dict(line)


def _sound(line: linefile.Line) -> bool:
    """Whether it says all that a restore goes by. Raises ValueError or OverflowError where an instant is none."""
    wanted = {"kind": str, "seq": int, "at": int}
    if any(type(line.get(name)) is not kind for name, kind in wanted.items()):
        return False
    if any(type(line.get(name) or "") is not str for name in ("subject", "mailbox", "hash")):
        return False
    from_micros(line["at"])
    body = line.get("body") or {}
    if type(body) is not dict:
        return False
    if line["kind"] == "preference.break_set":
        return datetime.fromisoformat(str(body.get("until"))).tzinfo is not None
    return line["kind"] != "suppression.added" or type(body.get("address_hash")) is str


def _opaque(body: dict[str, object]) -> dict[str, object]:
    """Ids only; sealed parts stay in the ledger."""
    return {
        key: value
        for key, value in body.items()
        if isinstance(value, str | int)
        and key in ("topic", "scope", "until", "address_hash", "cause", "into", "how", "asked")
    }
