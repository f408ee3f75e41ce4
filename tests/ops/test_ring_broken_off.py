"""A rotation that broke off between the file and its entry: the ring goes on, and what is said of it afterwards is true."""

from pathlib import Path

import pytest
from sqlalchemy.engine import Engine

from scheduler import jobs
from service.db.session import reading
from service.kit import clock, keyfile
from service.ops import ring, ring_fits
from tests.ops.test_ring import BY, Place, head, installed


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
