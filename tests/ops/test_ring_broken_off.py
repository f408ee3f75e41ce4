"""A rotation that broke off between the file and its entry: the ring goes on, and what is said of it afterwards is true."""

from pathlib import Path

import pytest
from sqlalchemy.engine import Engine

from scheduler import jobs
from service.db import migrate
from service.db.engine import make_engine
from service.db.session import reading
from service.domain.ledger import queries as ledger
from service.kit import clock, keyfile, signing
from service.ops import ring, ring_copies, ring_fits
from service.ops.house import House
from tests.ops.test_ring import BY, Place, head, installed, masters, sign_up, sign_up_one


@pytest.fixture
def place(engine: Engine, database_url: str, tmp_path: Path) -> Place:
    return installed(engine, database_url, tmp_path)


def broken_off(place: Place, monkeypatch: pytest.MonkeyPatch, act: str, kind: str, *number: int) -> None:
    """The act writes the file, and its entry is never committed: the disk of the database was full, or the process was killed."""
    done = keyfile.replace

    def breaks(path: Path, to: object) -> None:
        done(path, to)  # type: ignore[arg-type]
        raise OSError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(keyfile, "replace", breaks)
        with pytest.raises(OSError, match="full"):
            getattr(ring, act)(place.house, kind, *number, now=clock.now(), by=BY)


def standing(place: Place) -> str | None:
    with reading(place.house.engine) as session:
        return ring_fits.standing(session, place.file)


def test_a_signing_key_that_never_signed_is_ended_though_its_entry_was_lost(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was ever signed with it, so the ring lacks nothing: no process may refuse to start for it."""
    head(place.house)
    ring.new(place.house, "signing", now=clock.now(), by=BY)
    broken_off(place, monkeypatch, "retire", "signing", 2)
    assert list(place.file.of("signing")) == [1]
    assert standing(place) is None
    ring_fits.refuse_unfit(place.house)
    jobs.tend_ring(place.house, clock.now())
    with reading(place.house.engine) as session:
        last = ring_fits.last_said(session)
    assert last is not None
    assert last.body["holds"] == place.file.marks()
    assert place.rotate("signing") == 3, "its number never comes back"


def test_a_ring_from_before_a_key_that_signs_is_older_still(place: Place) -> None:
    older = place.file
    place.rotate("signing")
    keyfile.replace(place.house.settings.key_file, older)
    assert standing(place) == "older"


def test_a_number_never_comes_back_though_only_its_end_was_written_down(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_off(place, monkeypatch, "new", "session")
    place.retire("session", 2)
    assert ring.new(place.house, "session", now=clock.now(), by=BY).id == 3


def test_which_copies_need_a_former_master_is_said_by_its_own_rewrapping(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second master was taken into use and its entry was lost; copies from between the two rewrappings need the first one's
    follower, and deleting those from before the first rewrapping alone would leave them unreadable."""
    sign_up(place)
    place.rotate("master")
    ring.rewrap(place.house, now=clock.now(), by=BY)
    place.retire("master", 1, copies_gone=True)
    ring.new(place.house, "master", now=clock.now(), by=BY)
    place.back_up("third")
    broken_off(place, monkeypatch, "use", "master")
    jobs.tend_ring(place.house, clock.now())
    assert list(masters(place.house)) == [3]
    with reading(place.house.engine) as session:
        done = ledger.of_kinds(session, (f"ring.{ring_fits.REWRAPPED}",))
    assert [one.body["in_use"]["master"] for one in done] == [2, 3]


def test_whoever_came_late_by_a_former_master_dates_the_copies_anew(place: Place) -> None:
    """A copy made between the rewrapping and theirs holds a key that the former master alone opens."""
    sign_up(place)
    late = House(place.house.settings, place.house.engine, place.house.ring)  # has not read it again
    place.rotate("master")
    ring.rewrap(place.house, now=clock.now(), by=BY)
    sign_up_one(Place(late, place.away))
    assert masters(place.house) == {1: 1, 2: 3}
    ring.rewrap(place.house, now=clock.now(), by=BY)
    ring.rewrap(place.house, now=clock.now(), by=BY)
    with reading(place.house.engine) as session:
        assert len(ledger.of_kinds(session, (f"ring.{ring_fits.REWRAPPED}",))) == 2


# --- a backup from before a key was ended ---


def test_what_was_ended_does_not_come_back_with_an_older_backup(place: Place) -> None:
    """Whoever has a key that was ended, perhaps because they had it, could sign readers in again, or heads, without a word."""
    sign_up(place)
    for kind in ("session", "signing", "master"):
        place.rotate(kind)
    head(place.house)
    ring.rewrap(place.house, now=clock.now(), by=BY)
    older = place.back_up("older")
    place.retire("session", 1)
    place.retire("signing", 1, handed_on=True)
    place.retire("master", 1, copies_gone=True)
    told = place.file.marks()
    place.house.settings.key_file.unlink()
    ring_copies.restore(place.house.settings, older, replace=False)
    assert [key.id for key in place.file.of("session").values()] == [2]
    assert list(place.file.checkpoint_keys) == [2], "it signs no more"
    assert place.file.marks()["signing"] == told["signing"], "and verifies what it signed"
    assert sorted(place.file.wrap_keys) == [1, 2], "a master may be wanted for an old copy of the database"
    assert standing(place) is None
    assert len(signing.load(older).checkpoint_keys) == 2, "the backup is as it was"


def test_a_backup_beside_a_database_that_lies_elsewhere_is_refused(tmp_path: Path) -> None:
    """`BIDDEN_DATABASE_URL` may name a file outside `DATA_DIR`; what loses the one loses the other there as well."""
    file = tmp_path / "disk" / "bidden.db"
    file.parent.mkdir()
    engine = make_engine(f"sqlite:///{file}")
    migrate.upgrade(engine)
    there = installed(engine, f"sqlite:///{file}", tmp_path)
    for place in (file.parent / "ring", file.parent / "copies" / ".." / "ring"):
        with pytest.raises(ring_copies.BackupBesideDatabase):
            ring_copies.back_up(there.house, place, now=clock.now(), by=BY)
    assert [one.name for one in file.parent.glob("ring*")] == []
    assert there.back_up("kept").exists()
    engine.dispose()
