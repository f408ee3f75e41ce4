"""Copies of the key ring, apart from those of the database: made, and put back. Called by `bidden ring backup|restore`."""

from datetime import datetime
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from service.config import Settings
from service.db.engine import make_engine
from service.db.session import reading
from service.kit import keyfile, signing
from service.kit.errors import Conflict, NotFound
from service.kit.signing import Keyring
from service.ops import ring as keys
from service.ops.backup import CopyThere, beside_data
from service.ops.house import House
from service.ops.ring_fits import BACKED_UP, RingForeign, RingOlder, check_fits, standing


class BackupBesideDatabase(Conflict):
    """That place lies with the data: who takes the one has the other, and what loses the one loses both."""

    fix_hint = "Name a place on another disk, or a stick that is then put away."


class RingBackupMissing(NotFound):
    """There is no such backup of the ring."""


class RingThere(Conflict):
    """There is a key file already."""

    fix_hint = "Copy it first (bidden ring backup FILE); then restore with --replace."


def back_up(house: House, file: Path, *, now: datetime, by: str) -> None:
    """Copy the ring into a new file (0400), read it back, and note that there is such a copy. Raises `CopyThere`,
    `BackupBesideDatabase`, `RingForeign`, `RingOlder`."""
    if beside_data(house.settings, file.resolve()):
        raise BackupBesideDatabase(field=str(file))
    ring = signing.load(house.settings.key_file)  # and not what this process remembers beside
    with reading(house.engine) as session:
        check_fits(session, ring)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(0o400, exist_ok=False)  # the name is ours; a stick may know no hard links
    except FileExistsError as there:
        raise CopyThere(field=str(file)) from there
    try:
        keyfile.replace(file, ring)
    except keyfile.KeyFileNotReplaced:
        file.unlink()  # the empty one that held its name
        raise
    keys.note(house, signing.load(file), BACKED_UP, now=now, by=by)


def restore(settings: Settings, file: Path, *, replace: bool) -> Path:
    """Put a backup in the key file's place; where a database answers, only one that fits it. Returns that place.

    A backup from before some rotations of the present ring does not take its place: the masters it has, and the ring no more,
    are added to it, so that copies of the database from then can be read. Of what was ended since the backup only masters come back.
    Raises `RingBackupMissing`, `RingThere`, `RingForeign`, `RingOlder`, `KeyFileRefused`.
    """
    if not file.is_file():
        raise RingBackupMissing(field=str(file))
    ring, place = signing.load(file), settings.key_file
    if place.exists() and (present := _present(place)) is not None and keyfile.follows(present, ring):
        keyfile.replace(place, keyfile.with_masters_of(ring, present))
        return place
    if place.exists() and not replace:
        raise RingThere(field=str(place))
    found, ring = _held_to_database(settings, ring)
    if found is not None:
        raise RingForeign(field=str(file)) if found == "foreign" else RingOlder(field=str(file))
    keyfile.replace(place, ring)
    return place


def _present(place: Path) -> Keyring | None:
    try:
        return signing.load(place)
    except signing.KeyFileRefused:
        return None  # a damaged one is what a backup is for


def _held_to_database(settings: Settings, ring: Keyring) -> tuple[str | None, Keyring]:
    """As `ring_fits.standing`, and the ring without what was ended; where there is no database yet, or it does not answer, nothing
    speaks against it."""
    engine = make_engine(settings.database)
    try:
        with reading(engine) as session:
            return standing(session, ring), keys.without_ended(session, ring)
    except SQLAlchemyError:
        return None, ring
    finally:
        engine.dispose()
