"""`bidden db restore` killed half way: what left since the copy does not leave again, even where nothing outside tells of it yet."""

from pathlib import Path
from typing import Any

import pytest

from scheduler import jobs
from service.db.session import reading, transaction
from service.domain.brands import actions as brands
from service.domain.brands import queries as settings
from service.kit import clock
from service.ops import backup, restored
from service.ops.house import House, open_house
from tests.ops.test_ops_backup import _postgres_tools  # noqa: F401


class Killed(BaseException):
    """The process is gone."""


def _kill(*_: Any, **__: Any) -> None:
    raise Killed


def _killed(house: House, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy takes the database's place, and nobody reads it in."""
    with monkeypatch.context() as killing:
        killing.setattr(restored, "begin_again", _kill)
        with pytest.raises(Killed):
            backup.restore(house.settings, copy, replace=True, now=clock.now())


def _sending_on(house: House) -> bool:
    with reading(house.engine) as session:
        return bool(settings.setting(session, "sending_on"))


@pytest.fixture
def copy(house: House, tmp_path: Path) -> Path:
    """A copy with every head that was signed; what was sent after it stands under none yet."""
    jobs.checkpoint(house, clock.now())
    file = tmp_path / "copies" / "database"
    backup.backup(house, file)
    with transaction(house.engine) as session:
        brands.set_setting(session, "weekly_cap", 2, now=clock.now(), by="cli")
    house.engine.dispose()
    return file


def test_a_restore_that_is_killed_leaves_sending_off(
    house: House, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _killed(house, copy, monkeypatch)
    back = open_house(house.settings)
    jobs.checkpoint(back, clock.now())
    assert not _sending_on(back)
    restored.merge(back, now=clock.now())
    with transaction(back.engine) as session:
        assert brands.set_setting(session, "sending_on", True, now=clock.now(), by="cli")
    jobs.checkpoint(back, clock.now())
    assert _sending_on(back), "it has been read in"
    with pytest.raises(restored.NothingToMerge):
        restored.merge(back, now=clock.now())
    back.engine.dispose()


def test_run_again_it_is_whole(house: House, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _killed(house, copy, monkeypatch)
    backup.restore(house.settings, copy, replace=True, now=clock.now())
    back = open_house(house.settings)
    assert restored.hold(back, now=clock.now()).reason is None
    back.engine.dispose()


def test_one_that_was_refused_changes_nothing(house: House, copy: Path) -> None:
    copy.write_bytes(copy.read_bytes()[:-5000])
    with pytest.raises((backup.CopyUnreadable, backup.ToolFailed)):
        backup.restore(house.settings, copy, replace=True, now=clock.now())
    assert restored.hold(house, now=clock.now()).reason is None
    assert _sending_on(house)


def test_nor_does_it_hide_one_that_was_killed_before(
    house: House, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _killed(house, copy, monkeypatch)
    copy.write_bytes(copy.read_bytes()[:-5000])
    with pytest.raises((backup.CopyUnreadable, backup.ToolFailed)):
        backup.restore(house.settings, copy, replace=True, now=clock.now())
    back = open_house(house.settings)
    assert restored.hold(back, now=clock.now()).reason == "behind"
    back.engine.dispose()
