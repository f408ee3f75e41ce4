"""Files that only grow, a JSON object to a line, outside the database: each line durable or not there. No feature's own.

Called by the ledger for what it keeps on a second path: withdrawals, and signed heads.
"""

import fcntl
import json
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

Line = dict[str, Any]
_STAMP = "%Y%m%dT%H%M%S"
_LONGEST = 8192  # octets that a last line is looked for in


def extend(file: Path, number: str, after: Callable[[int], Sequence[Line]]) -> int:
    """Append the lines that `after` gives for the `number` of the last one there (0: none); how many. Safe from many processes.

    Raises OSError, and ValueError where the last line cannot be read.
    """
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(file, "a+b", buffering=0, opener=_private) as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        descriptor = opened.fileno()
        _cut_torn(descriptor)
        last = _last(descriptor)
        lines = after(_number(last, number) if last else 0)
        if lines:
            _append(descriptor, b"".join(json.dumps(one, sort_keys=True).encode() + b"\n" for one in lines))
        return len(lines)


def last(file: Path) -> Line | None:
    """The last whole line; None of a file that is empty or not there. Raises ValueError where it cannot be read."""
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        return _last(descriptor)
    finally:
        os.close(descriptor)


def read(files: Sequence[Path]) -> list[bytes]:
    """The whole lines of these files, one after the other, as they lie there; of a file that is not there, none."""
    octets = b"".join(path.read_bytes() for path in files if path.exists())
    return [line for line in octets.splitlines(keepends=True) if line.endswith(b"\n")]


def unended(file: Path) -> bytes:
    """What stands after the last line feed: nothing, half a line, or a last line that somebody's editor left without it."""
    return file.read_bytes().rpartition(b"\n")[2] if file.exists() else b""


def put_aside(file: Path, now: datetime) -> None:
    """Set the file aside under the moment until which it was kept, or the next second whose name is free; the next line begins a new
    one."""
    until = now.astimezone(UTC)
    while (place := _aside(file, until)).exists():
        until += timedelta(seconds=1)
    if file.exists():
        file.rename(place)


def set_aside(file: Path, since: datetime) -> list[Path]:
    """What has been put aside since a moment, oldest first."""
    first = _aside(file, since.astimezone(UTC)).name
    return sorted(one for one in file.parent.glob(f"{file.stem}.until-*{file.suffix}") if one.name >= first)


def _aside(file: Path, until: datetime) -> Path:
    return file.with_name(f"{file.stem}.until-{until:{_STAMP}}{file.suffix}")


def _private(path: str, flags: int) -> int:
    """Nobody else's to read, like the database beside it."""
    return os.open(path, flags, 0o600)


def _cut_torn(descriptor: int) -> None:
    """A crash while writing left half a line, or a stretch in which nothing was ever written: it never counted."""
    if (end := _end(descriptor)) < os.fstat(descriptor).st_size:
        os.ftruncate(descriptor, end)


def _end(descriptor: int) -> int:
    """Where the last whole line ends."""
    before = os.fstat(descriptor).st_size
    while before > 0:
        start = max(0, before - _LONGEST)
        found = os.pread(descriptor, before - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        before = start
    return 0


def _last(descriptor: int) -> Line | None:
    end, whole = _end(descriptor), b""
    while end > 0 and not whole:  # empty lines at the end hide nothing
        start = max(0, end - _LONGEST)
        whole = os.pread(descriptor, end - start, start).rstrip(b"\n")
        end = start + len(whole)
    if not whole:
        return None
    start = max(0, end - _LONGEST)
    whole = os.pread(descriptor, end - start, start).rpartition(b"\n")[2]
    try:
        line = json.loads(whole)
    except RecursionError as deep:
        raise ValueError("nested too deep") from deep
    if not isinstance(line, dict):
        raise ValueError("not an object")
    return line


def _number(line: Line, name: str) -> int:
    if type(line.get(name)) is not int:
        raise ValueError(f"a line without its {name}")
    return int(line[name])


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
