"""A whole network address in the evidence of a consent goes at its day, for whoever holds person's key and database; the rest stays."""

import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, select

from scheduler import jobs
from service.db.session import reading, transaction
from service.domain.brands import actions as brands
from service.domain.consent import evidence, queries
from service.domain.consent.tables import EvidenceKey
from service.domain.ledger.rules import open_part
from service.domain.people import queries as people
from service.domain.privacy import periods
from service.kit.errors import Invalid
from service.ops.house import House
from tests import builders as make
from tests import checks
from tests.ops.retained import purged

DAY = timedelta(days=1)
START = datetime.fromisoformat("2026-03-02T23:59:00+00:00")
IP = "203.0.113.77"


def agreed(
    house: House, policy: str = "full", *, at: datetime = START, email: str = "ana@example.org"
) -> str:
    """Somebody's yes with its evidence; their opaque id."""

    def act(session: Session) -> str:
        brands.set_setting(session, "ip_evidence", policy, now=at, by="cli")
        said = make.an_answer(at=at - timedelta(minutes=5), confirmed=True)
        said["evidence"]["ip"] = IP
        return make.register(session, house.ring, email, [said], now=at).person_id

    made: str = make.act(house, act)
    return made


def shown(house: House, person: str) -> dict[str, Any]:
    """The evidence as whoever may see it sees it."""
    with reading(house.engine) as session:
        one = make.the_person(session, person)
        [event] = queries.events(session, person)
        key = people.person_key(house.ring, one)
        opener = evidence.Opener(session, house.ring)
        return opener.open(key, event.body["evidence"], subject=person, kind=event.kind)


def sealed(house: House, person: str) -> dict[str, Any]:
    """What the person's key alone opens."""
    with reading(house.engine) as session:
        [event] = queries.events(session, person)
        key = people.person_key(house.ring, make.the_person(session, person))
        return open_part(key, event.body["evidence"], subject=person, kind=event.kind)


def test_std_h19_a_whole_address_goes_when_its_days_are_over(house: House) -> None:
    person = agreed(house)
    assert shown(house, person)["ip"] == IP
    assert IP not in str(sealed(house, person)), "the person's key alone does not open it"
    make.act(house, lambda session: brands.set_setting(session, "ip_days", 30, now=START, by="cli"))
    jobs.forget(house, START + 30 * DAY)
    assert shown(house, person)["ip"] == IP, "what came in the day's last minute has its whole time"
    jobs.forget(house, START + 31 * DAY)
    after = shown(house, person)
    assert after["ip"] is None
    assert after["at"], "when it was said stays"
    assert purged(house)[-1] == {"class": periods.NETWORKS, "gone": 1, "days": 30}
    assert checks.chain(house.engine) == []


def test_nothing_of_the_days_key_is_left_in_the_file(house: House, tmp_path: Path) -> None:
    """On SQLite, where what is deleted is overwritten."""
    if house.engine.dialect.name != "sqlite":
        return
    agreed(house)
    with reading(house.engine) as session:
        [row] = session.exec(select(EvidenceKey)).all()
    name = house.engine.url.database or ""
    files = [Path(name), Path(f"{name}-wal")]
    assert any(row.sealed in one.read_bytes() for one in files if one.exists())
    jobs.forget(house, START + 400 * DAY)
    with house.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    assert not any(row.sealed in one.read_bytes() for one in files if one.exists())


@pytest.mark.parametrize(("policy", "kept"), [("none", None), ("truncated", "203.0.113.0/24")])
def test_other_policies_keep_no_whole_address_and_need_no_key(
    house: House, policy: str, kept: str | None
) -> None:
    person = agreed(house, policy)
    assert sealed(house, person).get("ip") == kept
    with reading(house.engine) as session:
        assert session.exec(select(EvidenceKey)).all() == []


def test_two_who_need_the_first_key_of_a_day_at_once_get_one(house: House) -> None:
    make.act(house, lambda session: brands.set_setting(session, "ip_evidence", "full", now=START, by="cli"))
    ready, wrong = threading.Barrier(4), list[BaseException]()

    def act(number: int) -> None:
        try:
            with transaction(house.engine) as session:
                ready.wait(10)
                said = make.an_answer(at=START - timedelta(minutes=5), confirmed=True)
                said["evidence"]["ip"] = IP
                make.register(session, house.ring, f"u{number}@example.org", [said], now=START)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=act, args=(number,)) for number in range(4)]
    if house.engine.dialect.name == "sqlite":
        ready = threading.Barrier(1)  # one writes at a time there
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert wrong == []
    with reading(house.engine) as session:
        assert len(session.exec(select(EvidenceKey)).all()) == 1


def test_how_long_is_a_setting_with_bounds(house: House) -> None:
    with pytest.raises(Invalid):
        make.act(house, lambda session: brands.set_setting(session, "ip_days", 5, now=START, by="cli"))
