"""A copy from an earlier day, put in the database's place by other means than `db restore`: nothing leaves before it has heard
what was taken away since (reliability 2.4)."""

import shutil
from pathlib import Path

import pytest
from sqlalchemy import delete

from scheduler import jobs
from service.db.engine import is_sqlite
from service.db.session import reading, transaction
from service.domain.brands import actions as brands
from service.domain.brands import queries as settings
from service.domain.brands.rules import DatabaseBehind
from service.domain.ledger import checkpoints, queries
from service.domain.ledger.tables import LedgerEntry
from service.domain.senders import actions as senders
from service.kit import clock
from service.ops import restored
from service.ops.house import House, open_house
from tests import checks
from tests.ops.test_ops_backup import register, states, stop


def _copied(house: House, tmp_path: Path) -> Path:
    copy = tmp_path / "by-hand"
    with house.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(str(house.engine.url.database), copy)
    return copy


def _put_back(house: House, copy: Path) -> House:
    house.engine.dispose()
    place = Path(str(house.engine.url.database))
    for extra in ("-wal", "-shm"):
        place.with_name(place.name + extra).unlink(missing_ok=True)
    shutil.copy(copy, place)
    return open_house(house.settings)


def test_a_file_copied_back_by_hand_sends_nothing_until_it_has_heard_the_noes(
    house: House, tmp_path: Path
) -> None:
    if not is_sqlite(house.engine):
        return  # its files are not copied by hand; the next test cuts it off
    person = register(house)
    copy = _copied(house, tmp_path)
    stop(house, person, "updates")
    jobs.checkpoint(house, clock.now())
    back = _put_back(house, copy)
    assert states(back, person) == ["given", "given"], "the no is forgotten"

    assert restored.hold(back, now=clock.now()).reason == "behind"
    with reading(back.engine) as session:
        assert settings.setting(session, "sending_on") is False
    with transaction(back.engine) as session, pytest.raises(DatabaseBehind):
        brands.set_setting(session, "sending_on", True, now=clock.now(), by="cli")

    done = restored.merge(back, now=clock.now())
    assert (done.reapplied, done.left) == (1, 0)
    assert states(back, person) == ["given", "withdrawn"]
    with transaction(back.engine) as session:
        assert brands.set_setting(session, "sending_on", True, now=clock.now(), by="cli")
    with pytest.raises(restored.NothingToMerge):
        restored.merge(back, now=clock.now())
    jobs.checkpoint(back, clock.now())
    with reading(back.engine) as session:
        assert checkpoints.verify(session, back.settings.safe, back.ring).holds
        kinds = [one.kind for one, _ in queries.stored(session)]
    assert kinds.count("database.restored") == 1
    back.engine.dispose()


def _cut_off(house: House, above: int) -> None:
    with transaction(house.engine) as session:
        checks.without_guards(session.connection())
        session.execute(delete(LedgerEntry).where(LedgerEntry.seq > above))


def _sized(house: House) -> int:
    with reading(house.engine) as session:
        return queries.tail(session)[0]


def test_the_clock_notices_signs_nothing_and_switches_sending_off(house: House) -> None:
    jobs.checkpoint(house, clock.now())
    before = _sized(house)
    with transaction(house.engine) as session:
        brands.set_setting(session, "weekly_cap", 2, now=clock.now(), by="cli")
    jobs.checkpoint(house, clock.now())
    file = house.settings.safe / checkpoints.NAME
    kept = file.read_bytes()
    _cut_off(house, before)
    jobs.checkpoint(house, clock.now())
    jobs.checkpoint(house, clock.now())
    assert file.read_bytes() == kept
    with reading(house.engine) as session:
        assert settings.setting(session, "sending_on") is False
        assert settings.noted_behind(session)["reason"] == "behind"
        said = [one.kind for one, _ in queries.stored(session)]
    assert said.count("settings.sending_off") == 1, "said once, not every minute"


def test_nobody_merges_while_a_sender_runs(house: House) -> None:
    jobs.checkpoint(house, clock.now())
    _cut_off(house, _sized(house) - 1)
    with transaction(house.engine) as session:
        senders.begin(session, "busy", boot_id=clock.boot_id(), seen_seq=0, now=clock.now())
    with pytest.raises(restored.StillRunning):
        restored.merge(house, now=clock.now())


def test_a_damaged_file_outside_keeps_from_sending_and_is_set_aside_by_a_merge(house: House) -> None:
    jobs.checkpoint(house, clock.now())
    file = house.settings.safe / checkpoints.NAME
    octets = bytearray(file.read_bytes())
    octets[len(octets) // 2] ^= 1
    file.write_bytes(octets)
    assert restored.hold(house, now=clock.now()).reason == "unreadable"
    restored.merge(house, now=clock.now())
    assert [one.name for one in house.settings.safe.glob("checkpoints.until-*.jsonl")]
    jobs.checkpoint(house, clock.now())
    with reading(house.engine) as session:
        assert checkpoints.standing(session, house.settings.safe, house.ring).reason is None
        assert checkpoints.verify(session, house.settings.safe, house.ring).holds


def test_a_new_installation_has_nothing_outside_and_may_send(house: House) -> None:
    assert restored.hold(house, now=clock.now()) == checkpoints.Standing(None, _sized(house), None)
