"""The embedded database is its owner's alone (P6)."""

import stat
from pathlib import Path

import pytest
from sqlalchemy import text

from service.db.engine import make_engine


@pytest.mark.parametrize("before", [None, 0o644])
def test_p6_the_database_and_what_lies_beside_it_are_private(tmp_path: Path, before: int | None) -> None:
    place = tmp_path / "data" / "bidden.db"
    if before is not None:
        place.parent.mkdir()
        place.touch(before)
    engine = make_engine(f"sqlite:///{place}")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE a (b INTEGER)"))
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in place.parent.iterdir()}
    engine.dispose()
    assert set(modes.values()) == {0o600}
    assert len(modes) == 3
    if before is None:
        assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
