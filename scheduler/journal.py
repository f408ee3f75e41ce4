"""The sender's local memory of what left: one line before a message's dot, one after its reply.

Locked files under JOURNAL_DIR, plainly written (the page cache survives kill -9) and never synced: after a power cut
another boot id says that a missing line proves nothing. A sender writes a batch's lines into one file, takes a further file
when that is full, and removes one whose batches are all closed: what a recovery has to read does not grow with the mailing.
When it starts it recovers the journals that nobody holds any more.

A record is one line, `kind field… crc32.`: the CRC covers all before it, the point and line feed end it.
"""

import contextlib
import fcntl
import os
import re
import uuid
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Self

from service.kit import failpoints
from service.kit.clock import boot_id as boot_id  # for whoever asks what a journal of this boot says
from service.kit.errors import Conflict, DomainError

_WORD = re.compile(r"[A-Za-z0-9_.:-]{1,80}")
_NONE = "-"
ROOM = 1 << 20  # octets of a file after which the next batch gets a further one; some ten thousand letters

Key = tuple[int, int, int]
"""Mailing, position, attempt."""


class JournalFailed(DomainError):
    """The journal cannot be written, so nothing may be sent."""

    status = 500
    fix_hint = "See that BIDDEN_JOURNAL_DIR has room and can be written; then start the sender again."


class NameTaken(Conflict):
    """Another sender with this name is running on this journal directory."""

    fix_hint = "Give this one another name: bidden send --name NAME."


class Answer(NamedTuple):
    """A reply as the journal keeps it: codes only, never its text."""

    code: int
    enhanced: str | None


class Record(NamedTuple):
    """One journal line. `word` is the token of an S; `answer` belongs to an R."""

    kind: Literal["S", "R"]
    key: Key
    word: str
    answer: Answer | None


@dataclass(frozen=True)
class JournalContents:
    """What can be read of a journal, up to the first record that is not whole.

    `intact` is false when anything but a cut last line stopped the reading: then a missing line proves
    nothing.
    """

    boot_id: str
    name: str
    records: list[Record]
    intact: bool
    incarnation: str = (
        ""  # whose claims it speaks of; of an older journal nobody knows: of all under that name
    )


class Journal:
    """An open file of a sender's journal, locked until it is closed or its process ends."""

    def __init__(self, path: Path, fd: int, name_lock: int, incarnation: str, header: int) -> None:
        self.path = path
        self.size = header  # octets
        self._fd = fd
        self._name_lock = name_lock
        self._incarnation = incarnation
        self._header = header
        self._broken = False

    @classmethod
    def open(cls, directory: Path, name: str, incarnation: str = "") -> Self:
        """Begin the journal of a new incarnation of sender `name`; its claims' tokens begin with `incarnation`.

        Raises NameTaken while another holds that name here, JournalFailed when the file cannot be made,
        ValueError for a name that is not letters, digits and `_.:-`.
        """
        _check_word(name)
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            name_lock = os.open(directory / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise JournalFailed(_why(error)) from error
        if not _lock(name_lock):
            os.close(name_lock)
            raise NameTaken(f"A sender named {name} is already running on {directory}.")
        try:
            return cls._begin(directory, name, name_lock, incarnation)
        except OSError as error:
            os.close(name_lock)
            raise JournalFailed(_why(error)) from error

    @classmethod
    def _begin(cls, directory: Path, name: str, name_lock: int, incarnation: str) -> Self:
        """Lock and head the file under another name first: nobody ever finds it unlocked or empty."""
        path = directory / f"{name}.{uuid.uuid4().hex}.journal"
        fresh = path.with_suffix(".new")
        fd = os.open(fresh, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            header = _line(f"J 2 {boot_id()} {name} {incarnation or _NONE}")
            if not _lock(fd) or os.write(fd, header) != len(header):
                raise OSError("the header was not written")
            fresh.rename(path)
        except OSError:
            os.close(fd)
            fresh.unlink(missing_ok=True)
            raise
        return cls(path, fd, name_lock, incarnation, len(header))

    def further(self) -> Self:
        """A new file of the same incarnation beside this one; the name is held as long as one of them is open. Raises
        JournalFailed."""
        try:
            name_lock = os.dup(self._name_lock)
        except OSError as error:
            raise JournalFailed(_why(error)) from error
        try:
            return self._begin(self.path.parent, owner(self.path), name_lock, self._incarnation)
        except OSError as error:
            os.close(name_lock)
            raise JournalFailed(_why(error)) from error

    def sent_mark(self, mailing: int, pos: int, attempt: int, batch_token: str) -> None:
        """S: the dot of this position follows at once. Raises JournalFailed: then it must not be written."""
        failpoints.hit("mark.before")
        self._write(f"S {mailing} {pos} {attempt} {batch_token}")
        failpoints.hit("mark.after")

    def reply(self, mailing: int, pos: int, attempt: int, code: int, enhanced: str | None) -> None:
        """R: the server's reply to this position is known. Raises JournalFailed."""
        failpoints.hit("reply.before")
        self._write(f"R {mailing} {pos} {attempt} {code} {enhanced or _NONE}")
        failpoints.hit("reply.after")

    def _write(self, payload: str) -> None:
        if self._broken:
            raise JournalFailed("The journal failed earlier and takes no more lines.")
        line = _line(payload)
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            self._broken = True
            raise JournalFailed(_why(error)) from error
        if written != len(line):
            self._broken = True
            raise JournalFailed("The journal took only part of a line; is the disk full?")
        self.size += written

    def settle(self) -> None:
        """Forget all lines: every batch they speak of is closed in the database. Raises JournalFailed."""
        try:
            os.ftruncate(self._fd, self._header)
            self.size = self._header
        except OSError as error:
            self._broken = True
            raise JournalFailed(_why(error)) from error

    def close(self, *, remove: bool = False) -> None:
        """Give up the lock; `remove` the file too when all its batches are closed."""
        if remove:
            self.path.unlink(missing_ok=True)
        os.close(self._fd)
        os.close(self._name_lock)


class Files:
    """The open files of one incarnation, of which the last takes the lines of whatever is claimed next.

    All lines of a batch stand in the file that was the last when it was claimed, so that its dots and replies are read together.
    """

    def __init__(self, first: Journal) -> None:
        self._open = [first]

    def last(self) -> Journal:
        """Where a batch claimed now writes its lines. Raises JournalFailed when a further file is due and cannot be made."""
        if self._open[-1].size >= ROOM:
            self._open.append(self._open[-1].further())
        return self._open[-1]

    def settle(self, used: Collection[Journal]) -> None:
        """Forget the lines of every file that no open batch writes to. Raises JournalFailed."""
        for one in [one for one in self._open[:-1] if one not in used]:
            self._open.remove(one)
            one.close(remove=True)
        if self._open[-1] not in used:
            self._open[-1].settle()

    def close(self, *, remove: bool) -> None:
        """Give them all up; `remove` them too when all their batches are closed."""
        for one in self._open:
            one.close(remove=remove)


def read(path: Path) -> JournalContents:
    """The whole records of a journal. Raises JournalFailed when the file cannot be read or is of another version.

    A file that does not begin whole is what a power cut leaves of one that was never synced: of no known boot, proving nothing.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise JournalFailed(_why(error)) from error
    head = _fields(lines[0])
    if head is None:
        return JournalContents("", owner(path), [], intact=False)
    match head:
        case ["J", "1", boot, name]:
            whose = ""
        case ["J", "2", boot, name, whose]:
            whose = "" if whose == _NONE else whose
        case _:
            raise JournalFailed(f"{path.name} does not begin as a journal.")
    records: list[Record] = []
    tail = lines.pop()
    for line in lines[1:]:
        record = _record(line)
        if record is None:
            return JournalContents(boot, name, records, intact=False, incarnation=whose)
        records.append(record)
    # A line cut short is a write that failed, after which no dot was written; zeros are a file system's
    # repair, and a line that lacks but its end was written to the end: something has changed it since.
    intact = b"\0" not in tail and _fields(tail[:-1]) is None
    return JournalContents(boot, name, records, intact=intact, incarnation=whose)


def unlocked(directory: Path) -> list[Path]:
    """The journals that no living process holds. (Those of one at work come and go meanwhile.)"""
    found = []
    for path in sorted(directory.glob("*.journal")):
        with claim(path) as mine:
            if mine:
                found.append(path)
    return found


@contextlib.contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Hold an abandoned journal while recovering it; false when another process holds it or it is gone."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        # Whoever held it before may have removed it: a lock on a file without a name is worth nothing.
        yield _lock(fd) and os.fstat(fd).st_nlink > 0
    finally:
        os.close(fd)


def owner(path: Path) -> str:
    """The name of the sender whose journal this is."""
    return path.name.rsplit(".", 2)[0]


@contextlib.contextmanager
def claim_all(directory: Path, name: str) -> Iterator[list[Path]]:
    """Hold every abandoned journal of one sender while recovering it; none while somebody else does.

    All of them at once and by one alone: what one journal does not name another may, and nobody can tell which of them is the
    older, for a clock may have been set back between two deaths.
    """
    with contextlib.ExitStack() as held:
        alone = os.open(directory / f"{name}.recovery", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        held.callback(os.close, alone)
        theirs = [path for path in sorted(directory.glob("*.journal")) if owner(path) == name]
        yield [path for path in theirs if held.enter_context(claim(path))] if _lock(alone) else []


def fates(contents: JournalContents) -> dict[Key, Answer | Literal["unknown", "withheld"]]:
    """What the journal knows of each position it names: its reply, `unknown` (dot, no reply), or `withheld` (no dot).

    A reply without a dot before it was one to MAIL, RCPT or DATA: nothing left, and the next try will hear it again, with what it
    answers. For every position that is not named ask `unnamed`.
    """
    known: dict[Key, Answer | Literal["unknown", "withheld"]] = {}
    for record in contents.records:
        if record.answer is not None:
            known[record.key] = record.answer if record.key in known else "withheld"
        else:
            known[record.key] = "unknown"
    return known


def unnamed(contents: JournalContents, boot: str) -> Literal["planned", "unknown"]:
    """What to think of a position of an open batch that the journal does not name.

    Under the same boot id an intact journal misses nothing: no dot was written. Otherwise nobody can tell.
    """
    return "planned" if contents.intact and contents.boot_id == boot else "unknown"


def merged(
    journals: list[JournalContents], boot: str
) -> tuple[dict[Key, Answer | Literal["unknown", "withheld"]], Literal["planned", "unknown"]]:
    """The same of all journals of one sender together: a reply in any of them counts, and if one proves nothing, none does."""
    known: dict[Key, Answer | Literal["unknown", "withheld"]] = {}
    for contents in journals:
        for key, fate in fates(contents).items():
            if isinstance(fate, Answer) or known.get(key, "withheld") == "withheld":
                known[key] = fate
    proves = all(unnamed(contents, boot) == "planned" for contents in journals)
    return known, "planned" if proves else "unknown"


def _line(payload: str) -> bytes:
    data = payload.encode("ascii")
    return b"%b %08x.\n" % (data, zlib.crc32(data))


def _fields(line: bytes) -> list[str] | None:
    """The fields of a line whose CRC and end mark hold, else None."""
    payload, _, mark = line.rpartition(b" ")
    if not payload or mark != b"%08x." % zlib.crc32(payload):
        return None
    return payload.decode("ascii", "replace").split(" ")


def _record(line: bytes) -> Record | None:
    match _fields(line):
        case ["S", mailing, pos, attempt, word]:
            return Record("S", (int(mailing), int(pos), int(attempt)), word, None)
        case ["R", mailing, pos, attempt, code, enhanced]:
            answer = Answer(int(code), None if enhanced == _NONE else enhanced)
            return Record("R", (int(mailing), int(pos), int(attempt)), "", answer)
        case _:
            return None


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _check_word(word: str) -> None:
    if not _WORD.fullmatch(word):
        raise ValueError("A journal word is 1 to 80 letters, digits and _.:- only.")


def _why(error: OSError) -> str:
    return f"The journal cannot be used: {error.strerror or error}."
