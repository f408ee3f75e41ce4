"""A restore with half of what lies outside: files cut short, of an older day, of another restore, or no files at all."""

import json
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete

from scheduler import jobs
from service.db.engine import is_sqlite
from service.db.session import reading, transaction
from service.domain.brands import actions as brands
from service.domain.brands import queries as settings
from service.domain.ledger import safe
from service.domain.policies.tables import ProcessingProfile
from service.kit import clock, linefile
from service.ops import backup, health, restored
from service.ops.house import House, open_house
from tests.ops.test_ops_backup import _postgres_tools, register, states, stop  # noqa: F401
from tests.ops.test_restored import _copied, _put_back


def test_p7_a_last_line_without_its_line_feed_is_a_no_like_any_other(house: House, tmp_path: Path) -> None:
    """An editor that was to mend the file leaves it out."""
    person = register(house)
    copy = tmp_path / "copy"
    backup.backup(house, copy)
    stop(house, person, "updates")
    path = house.settings.safe / safe.NAME
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    house.engine.dispose()
    done = backup.restore(house.settings, copy, replace=True, now=clock.now())
    back = open_house(house.settings)
    assert states(back, person) == ["given", "withdrawn"]
    assert (done.reapplied, done.lines) == (1, 1)
    back.engine.dispose()


def test_p7_files_older_than_the_copy_are_refused_though_nobody_said_no_in_between(
    house: House, tmp_path: Path
) -> None:
    person = register(house)
    jobs.checkpoint(house, clock.now())
    older, copy = tmp_path / "older", tmp_path / "copy"
    shutil.copytree(house.settings.safe, older)
    stop(house, person, "updates")
    shutil.rmtree(older)
    shutil.copytree(house.settings.safe, older)
    register(house)
    jobs.checkpoint(house, clock.now())
    backup.backup(house, copy)
    stop(house, person, "new-products")
    shutil.rmtree(house.settings.safe)
    older.rename(house.settings.safe)
    house.engine.dispose()
    with pytest.raises(backup.WithdrawalsMissing) as refused:
        backup.restore(house.settings, copy, replace=True, now=clock.now())
    assert "signed head" in refused.value.detail
    house.engine.dispose()


def test_p7_a_copy_put_back_by_hand_hears_what_an_earlier_restore_put_aside(
    house: House, tmp_path: Path
) -> None:
    if not is_sqlite(house.engine):
        return
    person = register(house)
    oldest = _copied(house, tmp_path)
    newer = tmp_path / "newer"
    stop(house, person, "updates")
    backup.backup(house, newer)
    house.engine.dispose()
    made = clock.now()
    backup.restore(house.settings, newer, replace=True, now=made)
    jobs.checkpoint(house, clock.now())
    house.engine.dispose()
    aside = next(house.settings.safe.glob("withdrawals.until-*.jsonl"))
    assert aside.read_bytes()
    (house.settings.safe / safe.NAME).write_bytes(b"")  # only what was put aside has it
    back = _put_back(house, oldest)
    assert restored.hold(back, now=made + timedelta(seconds=5)).reason == "behind"
    restored.merge(back, now=made + timedelta(seconds=5), without_withdrawals=True)
    assert states(back, person) == ["given", "withdrawn"]
    back.engine.dispose()


def test_p7_a_copy_that_an_upgrade_adds_to_hears_what_was_put_aside(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy is of the version before: bringing it up writes an entry of today."""
    person = register(house)
    with transaction(house.engine) as session:
        session.execute(delete(ProcessingProfile))
    oldest, newer = tmp_path / "oldest", tmp_path / "newer"
    backup.backup(house, oldest)
    stop(house, person, "updates")
    backup.backup(house, newer)
    house.engine.dispose()
    made = clock.now()
    backup.restore(house.settings, newer, replace=True, now=made)
    (house.settings.safe / safe.NAME).write_bytes(b"")
    monkeypatch.setattr(clock, "now", lambda: made + timedelta(seconds=5))
    done = backup.restore(house.settings, oldest, replace=True, now=clock.now(), without_withdrawals=True)
    assert done.reapplied >= 1
    back = open_house(house.settings)
    assert states(back, person) == ["given", "withdrawn"]
    back.engine.dispose()


def test_p7_a_restore_killed_half_way_sends_nothing_before_it_is_run_again(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the minute before the next head is signed, the withdrawal file alone tells that a no is missing."""
    person = register(house)
    jobs.checkpoint(house, clock.now())
    copy = tmp_path / "copy"
    backup.backup(house, copy)
    stop(house, person, "updates")
    house.engine.dispose()

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as half:
        half.setattr(restored, "begin_again", killed)
        with pytest.raises(KeyboardInterrupt):
            backup.restore(house.settings, copy, replace=True, now=clock.now())
    back = open_house(house.settings)
    assert states(back, person) == ["given", "given"], "the no is forgotten"
    assert restored.hold(back, now=clock.now()).reason == "behind"
    [seen] = [one for one in health.readiness(back, now=clock.now()).facts if one.name == "signed head"]
    assert not seen.ok, "and the doctor says why"
    back.engine.dispose()
    assert backup.restore(house.settings, copy, replace=True, now=clock.now()).reapplied == 1
    back = open_house(house.settings)
    assert states(back, person) == ["given", "withdrawn"]
    back.engine.dispose()


def test_p7_lines_that_are_gone_from_within_the_withdrawal_file_are_missed(
    house: House, tmp_path: Path
) -> None:
    person = register(house)
    copy = tmp_path / "copy"
    backup.backup(house, copy)
    for topic in ("updates", "new-products"):
        stop(house, person, topic)
    with transaction(house.engine) as session:
        brands.set_setting(session, "sending_on", False, now=clock.now(), by="cli")
    jobs.keep_safe(house, clock.now())
    path = house.settings.safe / safe.NAME
    whole = path.read_bytes().splitlines(keepends=True)
    assert len(whole) == 3
    house.engine.dispose()
    for gone in ([1], [0], [0, 1]):
        path.write_bytes(b"".join(line for n, line in enumerate(whole) if n not in gone))
        with pytest.raises(backup.WithdrawalsMissing) as refused:
            backup.restore(house.settings, copy, replace=True, now=clock.now())
        assert "Lines are missing in 1 places" in refused.value.detail
    path.write_bytes(b"".join(whole))
    assert backup.restore(house.settings, copy, replace=True, now=clock.now()).reapplied == 2
    back = open_house(house.settings)
    jobs.keep_safe(back, clock.now())
    assert safe.gaps(house.settings.safe, made=None) == 0
    back.engine.dispose()


ODD: dict[str, dict[str, object]] = {
    "a body that is a word": {"body": "x"},
    "a body that is a list": {"body": ["x"]},
    "a subject that is a list": {"subject": ["p"]},
    "a mailbox that is a number": {"mailbox": 5},
    "a hash that is a number": {"hash": 5},
    "a moment beyond all calendars": {"at": 2**62},
    "a bar of nothing": {"kind": "suppression.added", "body": {"scope": "all", "cause": "legal"}},
    "a break without end": {"kind": "preference.break_set", "body": {}},
    "a break until a word": {"kind": "preference.break_set", "body": {"until": "soon"}},
    "a break until no zone's day": {"kind": "preference.break_set", "body": {"until": "2027-01-01"}},
}


@pytest.mark.parametrize("what", ODD)
def test_an_edited_line_is_said_before_anything_is_replaced(house: House, tmp_path: Path, what: str) -> None:
    person = register(house)
    copy = tmp_path / "copy"
    backup.backup(house, copy)
    stop(house, person, "updates")
    path = house.settings.safe / safe.NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | ODD[what]) + "\n")
    house.engine.dispose()
    with pytest.raises(safe.WithdrawalsUnreadable) as refused:
        backup.restore(house.settings, copy, replace=True, now=clock.now(), without_withdrawals=True)
    assert str(refused.value.field).endswith("line 1")
    assert states(house, person) == ["given", "withdrawn"], "nothing was replaced"


def test_p7_a_merge_misses_lines_that_are_gone(house: House, tmp_path: Path) -> None:
    if not is_sqlite(house.engine):
        return
    person = register(house)
    copy = _copied(house, tmp_path)
    for topic in ("updates", "new-products"):
        stop(house, person, topic)
    jobs.checkpoint(house, clock.now())
    path = house.settings.safe / safe.NAME
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[1])
    back = _put_back(house, copy)
    with pytest.raises(backup.WithdrawalsMissing):
        restored.merge(back, now=clock.now())
    with reading(back.engine) as session:
        assert settings.noted_behind(session), "nothing leaves meanwhile"
    done = restored.merge(back, now=clock.now(), without_withdrawals=True)
    assert (done.without, done.reapplied) == (True, 1)
    back.engine.dispose()


@pytest.mark.parametrize("left", [0, 1, "half"])
def test_p7_a_withdrawal_file_that_ends_before_what_the_heads_beside_it_say_is_refused(
    house: House, tmp_path: Path, left: int | str
) -> None:
    """Not all of it was brought here: whole lines of it, or one and a half."""
    person = register(house)
    copy = tmp_path / "copy"
    backup.backup(house, copy)
    for topic in ("updates", "new-products"):
        stop(house, person, topic)
    jobs.checkpoint(house, clock.now())
    path = house.settings.safe / safe.NAME
    whole = path.read_bytes()
    end = len(whole) - 10 if left == "half" else sum(map(len, whole.splitlines(keepends=True)[: int(left)]))
    path.write_bytes(whole[:end])
    house.engine.dispose()
    with pytest.raises(backup.WithdrawalsMissing) as refused:
        backup.restore(house.settings, copy, replace=True, now=clock.now())
    assert "as the signed heads beside it say" in refused.value.detail
    path.unlink()
    with pytest.raises(backup.WithdrawalsMissing):
        backup.restore(house.settings, copy, replace=True, now=clock.now())
    path.write_bytes(whole)
    assert backup.restore(house.settings, copy, replace=True, now=clock.now()).reapplied == 2
    back = open_house(house.settings)
    jobs.checkpoint(back, clock.now())
    assert restored.gaps(house.settings, None) is None, "the files begin anew"
    back.engine.dispose()


def test_a_restore_killed_between_the_two_files_is_run_again(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is put aside then, the other lies where it lay: nothing is missing."""
    person = register(house)
    copy = tmp_path / "copy"
    backup.backup(house, copy)
    stop(house, person, "updates")
    jobs.checkpoint(house, clock.now())
    house.engine.dispose()
    made, aside, done = clock.now(), linefile.put_aside, list[Path]()

    def killed(file: Path, now: datetime) -> None:
        if done:
            raise KeyboardInterrupt
        done.append(file)
        aside(file, now)

    with monkeypatch.context() as half:
        half.setattr(linefile, "put_aside", killed)
        with pytest.raises(KeyboardInterrupt):
            backup.restore(house.settings, copy, replace=True, now=made)
    back = open_house(house.settings)
    assert restored.hold(back, now=made + timedelta(seconds=5)).reason in ("behind", "differs")
    assert restored.gaps(house.settings, made) is None
    back.engine.dispose()
    assert backup.restore(house.settings, copy, replace=True, now=made + timedelta(seconds=5)).reapplied == 1
    back = open_house(house.settings)
    assert states(back, person) == ["given", "withdrawn"]
    back.engine.dispose()
