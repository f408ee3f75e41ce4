"""The record of processing: whole by Art. 30(1), true to how things are set, and without anybody's data or secrets in it."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Engine

from service.config import Settings
from service.db.session import reading, transaction
from service.domain.api_keys import actions as keys
from service.domain.brands import actions as brands
from service.domain.privacy import disclosures
from service.domain.topics import queries as topics
from service.kit.signing import Keyring
from service.ops import processing
from service.ops.house import House
from tests import builders as make
from tests.domain.privacy.test_disclosures import BY, GIVEN, give


@pytest.fixture
def house(engine: Engine, ring: Keyring, tmp_path: Path) -> House:
    url = "smtp://sender:topsecret@mail.example.org:587?starttls=always"
    settings = Settings(
        data_dir=tmp_path,
        smtp_url=url,
        database_url="postgresql://bidden:alsosecret@db.example.org/bidden",
        public_url="https://mail.example.org",
    )
    return House(settings, engine, ring)


def made(house: House, now: datetime) -> dict[str, Any]:
    with reading(house.engine) as session:
        found = processing.record(session, house, now=now)
    read: dict[str, Any] = json.loads(json.dumps(found))
    return read


def enter(house: House, now: datetime, **given: str) -> None:
    with transaction(house.engine) as session:
        for name, value in given.items():
            brands.set_setting(session, name, value, now=now, by="cli")


def test_std_h17_it_has_what_article_30_asks_for(house: House, now: datetime) -> None:
    found = made(house, now)
    with reading(house.engine) as session:
        slugs = {one.slug for one in topics.everything(session)}
    assert {one["topic"] for one in found["activities"]} == {*slugs, None}
    for activity in found["activities"]:
        assert all(activity[part] for part in ("purpose", "ground", "people", "data"))
    assert {one["topic"]: one["ground"] for one in found["activities"]}["updates"].startswith("Consent")
    assert {one["who"] for one in found["recipients"]} >= {"mail.example.org"}
    assert found["places"][0]["where"] == "PostgreSQL at db.example.org"
    assert found["kept"]
    assert found["measures"]


def test_what_nobody_has_entered_is_named(house: House, now: datetime) -> None:
    first, second = made(house, now)["missing"]
    assert "the postal address of" in first
    assert "data protection officer" in second
    enter(house, now, data_protection_officer="Petra Okafor, dpo@example.org")
    with transaction(house.engine) as session:
        brands.set_fields(session, "default", {"postal_address": "Mill Lane 1"}, now=now, by="cli")
    found = made(house, now)
    assert found["missing"] == []
    assert found["data_protection_officer"] == "Petra Okafor, dpo@example.org"


def test_it_follows_how_things_are_set(house: House, now: datetime) -> None:
    assert "A second person need not approve an announcement." in made(house, now)["measures"]
    enter(
        house, now, two_person_approval="on", ip_evidence="none", transfers="Mail server in Ohio, under SCC"
    )
    enter(house, now, processors="Hostwerk GmbH: servers, Frankfurt\nAcme Mail: passes mails on")
    found = made(house, now)
    assert "A second person approves an announcement." in found["measures"]
    assert "The network address with a consent is not kept." in found["measures"]
    assert found["transfers"] == "Mail server in Ohio, under SCC"
    assert "Hostwerk GmbH: servers, Frankfurt" in {one["who"] for one in found["recipients"]}


def test_the_register_of_disclosures_is_in_it_but_for_what_is_secret(house: House, now: datetime) -> None:
    with transaction(house.engine) as session:
        give(session, [], now)
        secret = give(session, [], now, given=GIVEN | {"to": "Police"}, told="secret", why_not="Order")
    assert GIVEN["to"] in json.dumps(made(house, now))
    assert "Police" not in json.dumps(made(house, now))
    with transaction(house.engine) as session:
        disclosures.tell(session, secret, now=now, by=BY)
    assert "Police" in json.dumps(made(house, now))


def test_it_holds_nobodys_data_and_no_secret(house: House, ring: Keyring, now: datetime) -> None:
    with transaction(house.engine) as session:
        ana = make.a_person(session, ring, now=now, profile={"first_name": "Anabel"}).public_id
        keys.create(session, name="Shop", source="shop", scopes=["all"], now=now, by="cli")
    text = json.dumps(made(house, now))
    assert "site shop" in text
    for word in ("Anabel", "ana@", ana, "topsecret", "alsosecret", "sender:"):
        assert word not in text


def test_std_h17_every_period_in_it_is_one_that_ends_by_itself(
    house: House, ring: Keyring, now: datetime
) -> None:
    with transaction(house.engine) as session:
        make.a_person(session, ring, now=now, attributes={"plan": "gold"})
    enter(house, now, unconfirmed_days="14", requests_days="365")
    kept = made(house, now)["kept"]
    days = {one["what"]: one["days"] for one in kept}
    assert days["attribute plan"] == 1095
    assert days["sign-ups on our own form that nobody confirmed"] == 14
    assert days["closed requests under people's rights"] == 365
    assert days["address"] is None
    for one in kept:
        assert one["by_itself"] is (one["days"] is not None)
        assert bool(one["since"] and one["goes"] and one["stays"]) is one["by_itself"]
