"""A copy of the database while everything runs, and bringing one back: sending off, every later no applied again.

Called by `bidden db backup|restore`. The key file is never part of a copy.
"""

import os
import random
import shutil
import sqlite3
import subprocess
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import inspect
from sqlalchemy.engine import URL, make_url
from sqlmodel import Session, col, select

from service.config import Settings
from service.db.engine import is_sqlite, make_engine
from service.db.session import reading, transaction
from service.domain.announcements import actions as announcements
from service.domain.announcements.tables import Announcement
from service.domain.brands import actions as brands
from service.domain.deliveries import claims
from service.domain.deliveries.rules import Result
from service.domain.ledger import queries as ledger
from service.domain.ledger import safe
from service.domain.mailings.rules import WrongState
from service.domain.preferences import restoring
from service.domain.senders import actions as senders
from service.domain.senders import queries as leases
from service.kit.errors import Conflict, DomainError, NotFound
from service.ops.house import House, open_house, upgrade

BY = "cli"


class CopyThere(Conflict):
    """There is a file of that name already; nothing was written."""


class CopyMissing(NotFound):
    """There is no such file."""


class CopyUnreadable(DomainError):
    """That file is not a whole copy of a database of ours."""


class DatabaseThere(Conflict):
    """There is a database already."""

    fix_hint = "Make a backup of it first; then restore with --replace."


class StillRunning(Conflict):
    """Senders are running on this database."""

    fix_hint = "Stop them first (bidden up, bidden send), then restore."


class ToolMissing(DomainError):
    """PostgreSQL is copied by its own tools, and they are not here."""

    fix_hint = (
        "Install the PostgreSQL client of the server's version: pg_dump and pg_restore must be on the PATH."
    )


class ToolFailed(DomainError):
    """PostgreSQL's own tool did not succeed."""


@dataclass(frozen=True)
class Restored:
    """How many entries the ledger has now, how many later noes were applied again, and how many lines of the withdrawal file
    found nobody here."""

    entries: int
    reapplied: int
    left: int


def backup(house: House, file: Path) -> int:
    """Copy the database into a new file (0600); returns its octets. Raises `CopyThere`, `ToolMissing` or `ToolFailed`."""
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
        draft.rename(file)
    finally:
        draft.unlink(missing_ok=True)
    return file.stat().st_size


def _copy_sqlite(house: House, target: Path) -> None:
    """SQLite's online backup: a consistent copy beside running writers."""
    with house.engine.connect() as connection, closing(sqlite3.connect(target)) as copy:
        source = connection.connection.driver_connection
        assert isinstance(source, sqlite3.Connection)
        source.backup(copy, pages=1000, sleep=0.005)


def restore(settings: Settings, file: Path, *, replace: bool, now: datetime) -> Restored:
    """Put a copy in the place of the database. Afterwards sending is off, no sender has a lease, announcements that were
    under way are paused, and what was taken away since the copy was made (SAFE_DIR) is taken away again.

    Raises `CopyMissing`, `CopyUnreadable`, `DatabaseThere`, `StillRunning`, `ToolMissing` or `ToolFailed`.
    """
    if not file.is_file():
        raise CopyMissing(field=str(file))
    _check_place(settings, replace=replace, now=now)
    url = make_url(settings.database)
    if url.get_backend_name() == "sqlite":
        _put_sqlite(file, Path(str(url.database)))
    else:
        _run_tool(
            "pg_restore",
            url,
            ["--clean", "--if-exists", "--no-owner", "--exit-on-error", "--single-transaction", str(file)],
        )
    house = open_house(settings)
    try:
        upgrade(house)
        with transaction(house.engine) as session:
            reapplied = _make_safe(session, settings, now=now)
            _hold_what_was_under_way(session, house, now=now)
        _begin_safe_file(house, now)
        with reading(house.engine) as session:
            return Restored(ledger.tail(session)[0], reapplied.again, reapplied.left)
    finally:
        house.engine.dispose()


def _check_place(settings: Settings, *, replace: bool, now: datetime) -> None:
    engine = make_engine(settings.database)
    try:
        tables = inspect(engine).get_table_names()
        if tables and not replace:
            raise DatabaseThere
        if "sender" in tables:
            with reading(engine) as session:
                if {one.name for one in leases.live(session)} - {
                    one.name for one in leases.suspect(session, now=now)
                }:
                    raise StillRunning
    finally:
        engine.dispose()


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
        draft.replace(place)
    except sqlite3.DatabaseError as broken:
        raise CopyUnreadable(field=str(file)) from broken
    finally:
        draft.unlink(missing_ok=True)


def _make_safe(session: Session, settings: Settings, *, now: datetime) -> restoring.Reapplied:
    last = ledger.entry(session, ledger.tail(session)[0])
    made = last.at if last else datetime.fromtimestamp(0, UTC)
    brands.set_setting(session, "sending_on", False, now=now, by=BY)
    for lease in leases.live(session):
        senders.end(session, lease.name, now=now)
    return restoring.reapply(session, safe.lines(settings.safe, made=made), now=now)


def _hold_what_was_under_way(session: Session, house: House, *, now: datetime) -> None:
    """What was due or on its way when the copy was made has left since, for all we know: nobody gets it twice unasked (P3).

    What a sender had in hand is `unknown`; every announcement under way waits, paused(restored), for a person's decision.
    """

    def fate(mailing: int, pos: int, attempt: int) -> Result:
        return Result(pos, attempt, "unknown", "restored")

    for batch in claims.orphaned(session):
        claims.recover(
            session,
            house.ring,
            batch,
            fate,
            waits=house.waits,
            now=now,
            chance=random.SystemRandom(),
        )
    under_way = col(Announcement.state).in_(("scheduled", "freezing", "sending"))
    for public_id in session.exec(select(Announcement.public_id).where(under_way)).all():
        with suppress(WrongState):  # its mailing ended, and nobody had written it down yet
            announcements.pause(session, public_id, reason="restored", now=now, by=BY)


def _begin_safe_file(house: House, now: datetime) -> None:
    """The old file is set aside, a new one written."""
    safe.put_aside(house.settings.safe, now)
    with reading(house.engine) as session:
        restoring.keep(session, house.settings.safe)


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
