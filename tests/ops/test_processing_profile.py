"""What is done with people's data is put down in versions, and each consent shows the one it was given under."""

import hashlib
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Engine
from sqlmodel import col, delete, select

from scheduler import jobs
from service.db.locks import lock_ledger_tail
from service.db.session import reading, transaction
from service.domain.api_keys import actions as keys
from service.domain.brands import actions as brands
from service.domain.ledger import checkpoints
from service.domain.ledger import queries as ledger
from service.domain.people.tables import Person
from service.domain.policies.tables import ProcessingProfile
from service.domain.preferences import actions as preferences
from service.domain.reports import evidence, receipts
from service.kit.chain import canonical
from service.kit.signing import Keyring
from service.ops import profile
from service.ops.house import House
from tests import builders as make
from tests.domain.preferences.test_stop_beside_erasure import Colleague
from tests.domain.privacy.schemas import faults, published


@pytest.fixture
def house(engine: Engine, ring: Keyring, tmp_path: Path) -> House:
    return make.a_house(engine, ring, tmp_path)


def versions(house: House) -> list[ProcessingProfile]:
    with reading(house.engine) as session:
        return list(session.exec(select(ProcessingProfile).order_by(col(ProcessingProfile.version))))


def enter(house: House, now: datetime, **given: str) -> None:
    with transaction(house.engine) as session:
        for name, value in given.items():
            brands.set_setting(session, name, value, now=now, by="cli")


def register(house: House, now: datetime, **more: Any) -> Person:
    with transaction(house.engine) as session:
        return make.a_person(session, house.ring, "ana@example.org", now=now, **more)


def stop(house: House, person: Person, now: datetime) -> None:
    with transaction(house.engine) as session:
        link = make.a_link(session, person, "updates")
        preferences.stop(session, house.ring, link, how="link", evidence={}, now=now)


def receipt(house: House, person: Person, now: datetime) -> dict[str, Any]:
    with transaction(house.engine) as session:
        checkpoints.sign(session, house.ring, now=now)
    with transaction(house.engine) as session:
        found = receipts.of_person(session, house.ring, person, now=now)
    for one in found:
        assert faults(published("receipt"), one) == []
    return next(one for one in found if one["purpose"] == "updates")


def test_std_j1_the_clock_puts_it_down_once_and_anew_where_it_changed(house: House, now: datetime) -> None:
    jobs.keep_profile(house, now)
    [first] = versions(house)  # of the first start
    enter(house, now, places="Germany, Hostwerk GmbH", authority="Datenschutz Berlin", ip_evidence="none")
    jobs.keep_profile(house, now + timedelta(minutes=2))
    _, second = versions(house)
    told = json.loads(second.body)
    assert (told["locations"], told["authority"]) == (["Germany, Hostwerk GmbH"], "Datenschutz Berlin")
    assert second.body == canonical(told)
    with reading(house.engine) as session:
        entries = [ledger.entry(session, one.entry_seq) for one in (first, second)]
    assert [(one.kind, one.body["version"], one.body["sha256"]) for one in entries if one] == [
        ("processing.published", one.version, hashlib.sha256(one.body.encode()).hexdigest())
        for one in (first, second)
    ]


def test_a_second_clock_that_waited_does_not_put_down_what_was_replaced_meanwhile(
    house: House, now: datetime
) -> None:
    other = Colleague(lambda: jobs.keep_profile(house, now))
    enter(house, now, transfers="None")
    with transaction(house.engine) as session:
        lock_ledger_tail(session)
        if house.engine.dialect.name == "sqlite":
            other.thread.start()
        else:
            other.begins(session)
        brands.set_setting(session, "transfers", "To Switzerland", now=now, by="cli")
        profile.keep(session, now=now)
    assert other.ends() == []
    assert [json.loads(one.body)["transfers"] for one in versions(house)] == ["", "To Switzerland"]


def test_std_j2_it_names_parties_data_and_everybody_who_gets_to_see_it(house: House, now: datetime) -> None:
    enter(
        house,
        now,
        processors="Acme Mail: passes mails on",
        data_protection_officer="Petra Okafor, dpo@example.org",
    )
    with transaction(house.engine) as session:
        keys.create(session, name="Shop", source="shop", scopes=["people:write"], now=now, by="cli")
    with reading(house.engine) as session:
        told = profile.profile(session)
    assert [one["role"] for one in told["parties"]] == ["controller", "data protection officer", "processor"]
    assert {"site shop", "Acme Mail: passes mails on"} <= {one["who"] for one in told["recipients"]}
    optional = {one["what"]: one["optional"] for one in told["personal_data"]}
    assert [optional[one] for one in ("e-mail address", "telephone")] == [False, True]
    assert optional["plan: To tell those whose plan a change concerns"]
    assert {"what": "attribute plan", "days": 1095} in told["retention"]


def test_a_receipt_shows_what_was_done_when_something_was_said_last(house: House, now: datetime) -> None:
    ana = register(house, now)
    enter(house, now, places="Germany")
    jobs.keep_profile(house, now)
    one = receipt(house, ana, now)
    assert (one["processing"]["version"], one["processing"]["profile"]["locations"]) == (1, [])
    assert len(one["proof"]["entries"]) == len(one["events"]) + 1
    stop(house, ana, now)
    assert receipt(house, ana, now)["processing"]["profile"]["locations"] == ["Germany"]


def test_what_was_said_before_it_was_put_down_shows_none(house: House, now: datetime) -> None:
    """In an installation that is older than profiles."""
    with transaction(house.engine) as session:
        session.exec(delete(ProcessingProfile))
    ana = register(house, now)
    jobs.keep_profile(house, now)
    assert receipt(house, ana, now)["processing"] is None
    stop(house, ana, now)
    assert receipt(house, ana, now)["processing"]["version"] == 1


def test_an_evidence_file_has_every_version_something_was_said_under(house: House, now: datetime) -> None:
    ana = register(house, now)
    for place in ("Germany", "France"):
        enter(house, now, places=place)
        jobs.keep_profile(house, now)
    stop(house, ana, now)
    with transaction(house.engine) as session:
        checkpoints.sign(session, house.ring, now=now)
    with reading(house.engine) as session:
        file = evidence.of_person(session, house.ring, ana, on=now, now=now)
    assert [one["version"] for one in file["processing"]] == [1, 3], "nothing was said under the second"


def test_a_receipt_says_whose_law_is_heeded(house: House, now: datetime) -> None:
    ana = register(house, now, attributes={"country": "de"})
    assert receipt(house, ana, now)["jurisdiction"] == ["European Union and EEA"]
