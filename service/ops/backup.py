"""A copy of the database while everything runs, and bringing one back: sending off, every later no applied again.

Called by `bidden db backup|restore`, and by the ring's drill, which reads a copy. The key file is never part of one.
"""

import logging
import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import inspect
from sqlalchemy.engine import URL, make_url

from service.config import Settings
from service.db.engine import is_sqlite, make_engine
from service.db.session import reading
from service.domain.ledger import checkpoints, safe
from service.domain.preferences import restoring
from service.kit.clock import from_micros
from service.kit.errors import Conflict, DomainError, NotFound
from service.kit.signing import settle
from service.ops import restored
from service.ops.house import House, open_house, upgrade
from service.ops.restored import WithdrawalsMissing

log = logging.getLogger("bidden.backup")


class CopyThere(Conflict):
    """There is a file of that name already; nothing was written."""


class CopyMissing(NotFound):
    """There is no such file."""


class CopyUnreadable(DomainError):
    """That file is not a whole copy of a database of ours."""


class CopyNotWritten(DomainError):
    """The copy could not be written."""

    fix_hint = "Make room, or name another place; then run it again."


class CopyIsDatabase(Conflict):
    """That file is the database itself, and no copy of it."""

    fix_hint = "Name a copy, as bidden db backup makes one."


class CopyNotFolded(Conflict):
    """Beside that copy lies a write-ahead log, in which stands what was written last; it would be lost."""


class DatabaseThere(Conflict):
    """There is a database already."""

    fix_hint = "Make a backup of it first; then restore with --replace."


class ToolMissing(DomainError):
    """PostgreSQL is copied by its own tools, and they are not here."""

    fix_hint = (
        "Install the PostgreSQL client of the server's version: pg_dump and pg_restore must be on the PATH."
    )


class ToolFailed(DomainError):
    """PostgreSQL's own tool did not succeed."""


def beside_data(settings: Settings, file: Path) -> bool:
    """Whether a place lies with the data, or in the directory of a database's file that lies elsewhere. For the ring's backup."""
    url = make_url(settings.database)
    database = Path(url.database or "").resolve() if url.get_backend_name() == "sqlite" else None
    return file.is_relative_to(settings.data_dir.resolve()) or (
        database is not None and file.parent == database.parent
    )


def backup(house: House, file: Path) -> int:
    """Copy the database into a new file (0600); returns its octets. Raises `CopyThere`, `CopyNotWritten`, `ToolMissing` or
    `ToolFailed`."""
    if file.exists():
        raise CopyThere(field=str(file))
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        if is_sqlite(house.engine):
            _copy_sqlite(house, draft)
        else:
            _run_tool(
                "pg_dump",
                make_url(house.settings.database),
                ["--format=custom", "--no-owner", f"--file={draft}"],
            )
        with draft.open("rb") as whole:
            os.fsync(whole.fileno())
        _bring_up_to_date(house)
        draft.rename(file)
    finally:
        draft.unlink(missing_ok=True)
    return file.stat().st_size


def _bring_up_to_date(house: House) -> None:
    """A copy has no withdrawal and no signed head that the files outside have not, so `restore` can tell a missing line by the copy. A
    file is not begun here: on another machine it would pass for the one of the machine that answers people."""
    outside = house.settings.safe
    try:
        with reading(house.engine) as session:
            if (outside / safe.NAME).exists():
                restoring.keep(session, outside)
            known = checkpoints.standing(session, outside, house.ring)
            if known.known and not known.reason:
                checkpoints.write_out(session, outside)
    except (OSError, ValueError):
        log.exception("the files outside cannot be brought up to date; the copy is made all the same")


def _copy_sqlite(house: House, target: Path) -> None:
    """SQLite's online backup: a consistent copy beside running writers. Raises `CopyNotWritten`."""
    with house.engine.connect() as connection, closing(sqlite3.connect(target)) as copy:
        source = connection.connection.driver_connection
        assert isinstance(source, sqlite3.Connection)
        try:
            source.backup(copy, pages=1000, sleep=0.005)
        except sqlite3.OperationalError as odd:
            raise CopyNotWritten(f"The copy could not be written: {odd}.", field=str(target)) from odd


def restore(
    settings: Settings, file: Path, *, replace: bool, now: datetime, without_withdrawals: bool = False
) -> restored.Merged:
    """Put a copy in the place of the database. Afterwards sending is off, no sender has a lease, announcements that were
    under way are paused, and what was taken away since the copy was made (SAFE_DIR) is taken away again.

    Raises `CopyMissing`, `CopyIsDatabase`, `CopyNotFolded`, `CopyUnreadable`, `DatabaseThere`, `StillRunning`,
    `WithdrawalsUnreadable`, `WithdrawalsMissing`
    (not `without_withdrawals`: what is there is applied nevertheless), `ToolMissing` or `ToolFailed`.
    """
    _check_copy(settings, file)
    _check_place(settings, replace=replace, now=now)
    # Before anything is replaced: each line has to be read afterwards.
    lacking, made = _lacking(settings, file)
    if lacking and not without_withdrawals:
        raise WithdrawalsMissing(lacking)
    _put(settings, file)
    house = open_house(settings)
    try:
        upgrade(house)  # may add entries of today
        return restored.begin_again(house, now=now, without=bool(lacking), made=made)
    finally:
        house.engine.dispose()


def _put(settings: Settings, file: Path) -> None:
    """Put the copy in the database's place, whole or not at all."""
    url, fresh = make_url(settings.database), restored.begin(settings)
    try:
        if url.get_backend_name() == "sqlite":
            _put_sqlite(file, Path(str(url.database)))
        else:
            _run_tool(
                "pg_restore",
                url,
                [
                    "--clean",
                    "--if-exists",
                    "--no-owner",
                    "--exit-on-error",
                    "--single-transaction",
                    str(file),
                ],
            )
    except Exception:  # refused, and the database is as it was
        if fresh:
            restored.end(settings)
        raise


def _check_copy(settings: Settings, file: Path) -> None:
    """Whether that file is all of a copy: one of SQLite's made by hand has what came last in a log of its own."""
    if not file.is_file():
        raise CopyMissing(field=str(file))
    url = make_url(settings.database)
    place = Path(url.database or "") if url.get_backend_name() == "sqlite" else None
    if place is not None and place.exists() and file.samefile(place):
        raise CopyIsDatabase(field=str(file))
    log_beside = file.with_name(f"{file.name}-wal")
    if log_beside.is_file() and log_beside.stat().st_size:
        fix = f'Fold it in, then run this again: sqlite3 {file} "PRAGMA wal_checkpoint(TRUNCATE)"'
        raise CopyNotFolded(field=str(file), fix=fix)


def _check_place(settings: Settings, *, replace: bool, now: datetime) -> None:
    engine = make_engine(settings.database)
    try:
        tables = inspect(engine).get_table_names()
        if tables and not replace:
            raise DatabaseThere
        if "sender" in tables:
            with reading(engine) as session:
                restored.check_idle(session, now=now)
    finally:
        engine.dispose()


def _lacking(settings: Settings, file: Path) -> tuple[str | None, datetime | None]:
    """What a copy tells of and the files outside do not have, in words; None where they have all of it. They only grow, so they then
    have what came later, too. Beside it, when the copy's last entry was written. Raises `WithdrawalsUnreadable`, and what reading
    a copy raises."""
    last, made, taken = 0, None, set()
    for seq, at, digest, takes in rows(file, "ledger_entry", "seq at", "hash takes"):
        if seq > last:
            last, made = seq, from_micros(at)
        if takes in (1, "t"):
            taken.add(digest)
    held = {line.get("hash") for line in safe.lines(settings.safe, made=made)}
    words: str | None = None
    if found := len(taken - held):
        words = (
            f"This copy tells of {len(taken):,} withdrawals and erasures, and {found:,} of them are not in the withdrawal file "
            f"under {settings.safe}: every one since the copy would be lost, too."
        )
    else:
        words = restored.gaps(settings, made)
    size, note = max(rows(file, "checkpoint", "size", "note"), default=(0, None))
    if words is None and note and note not in checkpoints.kept_outside(settings.safe, made):
        words = (
            f"This copy tells of a signed head of {size:,} entries, which is not under {settings.safe}: what lies there is older, or of "
            "another installation, and the withdrawals and erasures since would be lost."
        )
    return words, made


def _put_sqlite(file: Path, place: Path) -> None:
    """Through a copy beside it, checked whole before it takes the place."""
    draft = place.with_name(f".{place.name}.restored")
    shutil.copyfile(file, draft)
    try:
        with closing(sqlite3.connect(draft)) as copy:
            sound = copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            ours = copy.execute(
                "SELECT count(*) FROM sqlite_master WHERE name = 'ledger_entry'"
            ).fetchone() == (1,)
        if not (sound and ours):
            raise CopyUnreadable(field=str(file))
        for extra in ("-wal", "-shm"):
            place.with_name(place.name + extra).unlink(missing_ok=True)
        os.chmod(draft, 0o600)
        with draft.open("rb+") as whole:  # on the disk before it takes the place
            os.fsync(whole.fileno())
        draft.replace(place)
        settle(place.parent)
    except sqlite3.DatabaseError as broken:
        raise CopyUnreadable(field=str(file)) from broken
    finally:
        draft.unlink(missing_ok=True)


def _run_tool(name: str, url: URL, arguments: Sequence[str]) -> None:
    """Run one of PostgreSQL's tools; the password goes by environment, never by argument."""
    tool = shutil.which(name)
    if tool is None:
        raise ToolMissing
    plain = url.set(drivername="postgresql", password=None).render_as_string()
    environment = {**os.environ, **({"PGPASSWORD": str(url.password)} if url.password else {})}
    command = [tool, f"--dbname={plain}", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    if done.returncode:
        raise ToolFailed(f"{name} said: {' '.join(done.stderr.split())[:300] or done.returncode}")


def rows(path: Path, table: str, numbers: str, texts: str, octets: str = "") -> Iterator[tuple]:  # type: ignore[type-arg]
    """Rows of a table as they stand in a copy, which stays as it is: first its columns of numbers, then those of text, then those of
    octets. SQLite's copy is opened where it lies; PostgreSQL's is written out by `pg_restore`, which needs no server.

    Raises `CopyUnreadable`, `ToolMissing`, `ToolFailed`.
    """
    columns = [*numbers.split(), *texts.split(), *octets.split()]
    with path.open("rb") as file:
        head = file.read(16)
    if head == b"SQLite format 3\0":
        return _of_sqlite(path, table, columns)
    if head.startswith(b"PGDMP"):
        return _of_postgres(path, table, columns, len(numbers.split()), len(octets.split()))
    raise CopyUnreadable(field=str(path))


def _of_sqlite(path: Path, table: str, columns: Sequence[str]) -> Iterator[tuple]:  # type: ignore[type-arg]
    place = f"file:{quote(str(path.resolve()))}?mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(place, uri=True)) as copy:
            yield from copy.execute(f"SELECT {', '.join(columns)} FROM {table}")  # noqa: S608 - our own words
    except sqlite3.DatabaseError as broken:
        raise CopyUnreadable(field=str(path)) from broken


_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "b": "\b", "f": "\f", "v": "\v"}


def _of_postgres(
    path: Path, table: str, columns: Sequence[str], numbers: int, octets: int
) -> Iterator[tuple]:  # type: ignore[type-arg]
    tool = shutil.which("pg_restore")
    if tool is None:
        raise ToolMissing
    command = [tool, "--data-only", f"--table={table}", "--file=-", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:  # noqa: S603
        assert running.stdout is not None
        assert running.stderr is not None
        for values in _copied(running.stdout, table, columns):
            ends = len(values) - octets
            yield (
                *(None if one is None else int(one) for one in values[:numbers]),
                *values[numbers:ends],
                *(None if one is None else bytes.fromhex(one.removeprefix("\\x")) for one in values[ends:]),
            )
        said = running.stderr.read()
    if running.returncode:
        raise ToolFailed(f"pg_restore said: {' '.join(said.split())[:300] or running.returncode}")


def _copied(lines: Iterator[str], table: str, columns: Sequence[str]) -> Iterator[list[str | None]]:
    """The rows of a COPY block, in the text format of PostgreSQL's COPY."""
    places: list[int] = []
    for line in lines:
        if not places:
            found = re.fullmatch(rf"COPY \S*\b{table} \((.*)\) FROM stdin;\n", line)
            if found:
                names = [name.strip('" ') for name in found[1].split(",")]
                places = [names.index(column) for column in columns]
        elif line == "\\.\n":
            places = []
        else:
            cells = line.rstrip("\n").split("\t")
            yield [_cell(cells[place]) for place in places]


def _cell(text: str) -> str | None:
    if text == "\\N":
        return None
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), text)
