"""The clock's own run over what is past its time: cut off, twice at once, behind the time; and the ledger says how much went."""

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlmodel import Session, select

import verify_ledger
from scheduler import clock as alarm
from scheduler import jobs
from scheduler.wall import Wall
from service.db.session import reading, transaction
from service.domain.brands import actions as brands
from service.domain.ledger import bundles, checkpoints
from service.domain.ledger import queries as ledger
from service.domain.ledger.tables import LedgerEntry
from service.domain.privacy import periods, retention
from service.domain.privacy.tables import Retention
from service.kit import clock
from service.ops import erasure, health
from service.ops import retention as ops
from service.ops.house import House
from tests import builders as make
from tests.ops.retained import DAY, START, depart, due, purged, said_no, sign_up, state
from tests.ops.test_ops_backup import _postgres_tools  # noqa: F401 - its fixture

# --- the run itself ---


class Killed(BaseException):
    """The process ends here."""


def killed_between(patch: pytest.MonkeyPatch) -> int:
    """After a transaction; how many are gone by then."""

    def killed(_: House) -> None:
        raise Killed

    patch.setattr(jobs, "_let_others", killed)
    return retention.MOST_PEOPLE


def killed_within(patch: pytest.MonkeyPatch) -> int:
    """In the middle of the first transaction."""
    forget, done = erasure.forget, []

    def killed(*given: Any, **named: Any) -> None:
        if len(done) == 3:
            raise Killed
        forget(*given, **named)
        done.append(1)

    patch.setattr(erasure, "forget", killed)
    return 0


def visitors(house: House, many: int) -> None:
    for number in range(many):
        sign_up(house, f"v{number}@example.org", mailed=False)
    depart(house, at=START)


def forgotten(house: House) -> list[str | None]:
    with reading(house.engine) as session:
        said = select(LedgerEntry.subject).where(LedgerEntry.kind == "person.erased")
        return list(session.exec(said))


@pytest.mark.parametrize("cut", [killed_between, killed_within])
def test_a_run_that_is_cut_off_goes_on_and_writes_one_entry(
    house: House, monkeypatch: pytest.MonkeyPatch, cut: Callable[[pytest.MonkeyPatch], int]
) -> None:
    many = 2 * retention.MOST_PEOPLE + 1
    visitors(house, many)
    end = START + 30 * DAY
    with monkeypatch.context() as patch:
        gone = cut(patch)
        with pytest.raises(Killed):
            jobs.forget(house, end)
    assert purged(house) == []
    assert due(house, end) == {"unconfirmed": many - gone}
    jobs.forget(house, end)
    assert purged(house) == [{"class": "unconfirmed", "gone": many, "days": 30}]
    assert len(set(forgotten(house))) == len(forgotten(house)) == many
    with reading(house.engine) as session:
        assert {row.gone for row in session.exec(select(Retention))} == {0}


def test_two_clocks_forget_everybody_once(house: House) -> None:
    many = 2 * retention.MOST_PEOPLE + 1
    visitors(house, many)
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(jobs.forget, house, START + 30 * DAY) for _ in range(2)]:
            done.result()
    assert len(set(forgotten(house))) == len(forgotten(house)) == many
    assert sum(one["gone"] for one in purged(house)) == many
    with reading(house.engine) as session:
        assert ledger.verify(session).holds


def test_whoever_confirms_between_the_look_and_the_purge_stays(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = sign_up(house)
    end = START + 30 * DAY
    take = ops.take

    def later(session: Session, house: House, name: str, numbers: Any, *, now: datetime) -> int:
        if name == periods.UNCONFIRMED:
            said_no(session, house, make.the_person(session, person), end)
        return take(session, house, name, numbers, now=now)

    monkeypatch.setattr(ops, "take", later)
    jobs.forget(house, end)
    assert state(house, person) == "active"


def test_one_class_that_fails_keeps_no_other_from_going(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = sign_up(house)

    def fails(*_: Any) -> Any:
        raise ValueError

    monkeypatch.setitem(retention._PAST, periods.REQUESTS, fails)
    monkeypatch.setattr(ops, "NAMES", (periods.REQUESTS, periods.UNCONFIRMED))
    jobs.forget(house, START + 30 * DAY)
    assert state(house, person) == "erased"


def test_a_wall_clock_that_jumped_forgets_nobody(house: House) -> None:
    person, shown = sign_up(house), [START]
    watch = Wall(lambda: shown[0], lambda: 1_000.0, "boot")
    shown[0] += 400 * DAY
    [job] = [one for one in jobs.TIMETABLE if one.name == "forget"]
    alarm.tick(house, job, watch)
    assert state(house, person) == "active"
    alarm.tick(house, job, Wall(lambda: shown[0], lambda: 1_000.0, "boot"))
    assert state(house, person) == "erased", "another process that began with that time"


def test_a_database_that_is_behind_forgets_nothing(house: House) -> None:
    person = sign_up(house)
    with transaction(house.engine) as session:
        brands.note_behind(session, {"reason": "behind", "size": 1, "known": 2}, now=START)
    jobs.forget(house, START + 90 * DAY)
    assert state(house, person) == "active"


def test_health_says_when_nothing_was_forgotten_for_a_day(house: House) -> None:
    now = clock.now()

    def fact(at: datetime) -> health.Fact:
        return next(one for one in health.readiness(house, now=at).facts if one.name == "old data")

    assert fact(now).ok, "nothing has run yet"
    jobs.forget(house, now)
    assert fact(now + timedelta(hours=23)).ok
    late = fact(now + timedelta(hours=25))
    assert not late.ok
    assert late.value == len(periods.CLASSES)
    assert "bidden clock" in late.fix


def test_the_independent_checker_takes_the_entries_and_they_name_nobody(house: House) -> None:
    sign_up(house)
    jobs.forget(house, START + 30 * DAY)
    jobs.checkpoint(house, clock.now())
    with reading(house.engine) as session:
        bundle = "".join(bundles.lines(session, house.settings.safe, house.ring))
    assert retention.PURGED in bundle
    assert "zoe@" not in bundle
    checked = verify_ledger.check(
        io.BytesIO(bundle.encode()), verify_ledger.read_keys(list(checkpoints.keys(house.ring)))
    )
    assert checked.holds, checked.fault
