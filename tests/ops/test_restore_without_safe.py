"""A restore on a machine that lacks the withdrawal file, or has an older one: it is refused, for every later no would be lost."""

import shutil
from pathlib import Path

import pytest

from scheduler import jobs
from service.db.session import reading
from service.domain.ledger import checkpoints, safe
from service.domain.ledger import queries as ledger
from service.kit import clock
from service.ops import backup
from service.ops.house import House, open_house
from tests.ops.test_ops_backup import _postgres_tools, register, states, stop  # noqa: F401


def _facts(house: House) -> dict[str, object]:
    with reading(house.engine) as session:
        return ledger.of_kinds(session, ("database.restored",))[-1].body


def _copied(house: House, tmp_path: Path) -> tuple[str, Path]:
    """Somebody who said one no before the copy, and one after it."""
    person = register(house)
    stop(house, person, "updates")
    copy = tmp_path / "copy"
    backup.backup(house, copy)
    return person, copy


def test_p7_without_the_withdrawal_file_a_restore_is_refused(house: House, tmp_path: Path) -> None:
    person, copy = _copied(house, tmp_path)
    stop(house, person, "new-products")
    shutil.rmtree(house.settings.safe)
    house.engine.dispose()
    with pytest.raises(backup.WithdrawalsMissing) as refused:
        backup.restore(house.settings, copy, replace=True, now=clock.now())
    assert refused.value.code == "withdrawals_missing"
    assert "1 withdrawals and erasures" in refused.value.detail
    assert str(house.settings.safe) in refused.value.detail
    assert "SAFE_DIR" in str(refused.value.fix)
    assert states(house, person) == ["withdrawn", "withdrawn"], "nothing was replaced"
    house.engine.dispose()

    done = backup.restore(house.settings, copy, replace=True, now=clock.now(), without_withdrawals=True)
    assert (done.lines, done.without) == (0, True)
    back = open_house(house.settings)
    assert states(back, person) == ["given", "withdrawn"], "the later no is lost, as was said"
    assert _facts(back)["without_withdrawals"] is True
    back.engine.dispose()


def test_p7_a_shorter_withdrawal_file_is_refused_and_what_it_has_still_counts(
    house: House, tmp_path: Path
) -> None:
    person = register(house)
    stop(house, person, "updates")
    older = tmp_path / "older"
    shutil.copytree(house.settings.safe, older)
    stop(house, person, "new-products")
    copy = tmp_path / "copy"
    backup.backup(house, copy)
    whole = tmp_path / "whole"
    house.settings.safe.rename(whole)
    shutil.copytree(older, house.settings.safe)
    house.engine.dispose()
    with pytest.raises(backup.WithdrawalsMissing):
        backup.restore(house.settings, copy, replace=True, now=clock.now())
    shutil.rmtree(house.settings.safe)
    whole.rename(house.settings.safe)
    done = backup.restore(house.settings, copy, replace=True, now=clock.now(), without_withdrawals=True)
    assert not done.without, "nothing was lacking"
    back = open_house(house.settings)
    assert "without_withdrawals" not in _facts(back)
    back.engine.dispose()


def test_a_copy_has_no_line_that_the_file_has_not(house: House, tmp_path: Path) -> None:
    """What senders take away comes into the file with the clock's next minute; a copy made before brings it up to date."""
    person = register(house)
    stop(house, person, "updates")
    path = house.settings.safe / safe.NAME
    with_two = path.read_bytes()
    path.write_bytes(b"")
    backup.backup(house, tmp_path / "copy")
    assert path.read_bytes() == with_two


def test_signed_heads_that_are_not_there_are_a_sign_as_well(house: House, tmp_path: Path) -> None:
    register(house)
    jobs.checkpoint(house, clock.now())
    copy = tmp_path / "copy"
    backup.backup(house, copy)
    (house.settings.safe / checkpoints.NAME).unlink()
    house.engine.dispose()
    with pytest.raises(backup.WithdrawalsMissing):
        backup.restore(house.settings, copy, replace=True, now=clock.now())
    assert backup.restore(
        house.settings, copy, replace=True, now=clock.now(), without_withdrawals=True
    ).without


def test_where_nothing_was_ever_written_there_it_goes_on(house: House, tmp_path: Path) -> None:
    register(house)
    copy = tmp_path / "copy"
    backup.backup(house, copy)
    assert not (house.settings.safe / safe.NAME).exists()
    house.engine.dispose()
    done = backup.restore(house.settings, copy, replace=True, now=clock.now())
    assert (done.lines, done.without) == (0, False)
