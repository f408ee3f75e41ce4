"""What GDPR 15(1) asks for beside the data: what for, who else, to which countries, how long, which rights, where to complain."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlmodel import Session, col, delete, select

from service.db.session import reading, transaction
from service.domain.brands import actions as brands
from service.domain.mailings.tables import Audience, Outcome
from service.domain.policies.tables import ProcessingProfile
from service.domain.privacy import copies
from service.kit.signing import Keyring
from service.ops import profile
from service.ops.house import House
from tests import builders as make
from tests.domain.privacy.schemas import faults, published

REFUSED = "5.1.1 <> no such user here"


@pytest.fixture
def house(engine: Engine, ring: Keyring, tmp_path: Path) -> House:
    return make.a_house(engine, ring, tmp_path)


def registered(house: House, now: datetime) -> str:
    with transaction(house.engine) as session:
        return make.a_person(session, house.ring, now=now).public_id


def a_copy(house: House, person: str, now: datetime, kind: str = "access") -> dict[str, Any]:
    make_it = copies.access_copy if kind == "access" else copies.portable_copy
    with reading(house.engine) as session:
        made = make_it(session, house.ring, make.the_person(session, person), now=now)
    found: dict[str, Any] = json.loads(json.dumps(made))
    assert faults(published(f"{kind}-copy"), found) == []
    return found


def test_std_h9_what_is_done_with_the_data_is_in_the_copy_as_it_stands(house: House, now: datetime) -> None:
    person = registered(house, now)
    first = a_copy(house, person, now)["processing"]
    given = {"transfers": "Canada: adequacy decision", "authority": "The commissioner of Berlin"}
    with transaction(house.engine) as session:
        for name, value in given.items():
            brands.set_setting(session, name, value, now=now, by="cli")
    with transaction(house.engine) as session:
        profile.keep(session, now=now)
    second = a_copy(house, person, now)["processing"]
    assert (first["version"], second["version"]) == (1, 2)
    assert {name: second["profile"][name] for name in given} == given
    assert second["profile"]["recipients"]
    assert second["profile"]["retention"]
    assert any("complaint" in one for one in second["profile"]["rights"])


def test_where_nothing_was_put_down_yet_the_copy_says_so(house: House, now: datetime) -> None:
    person = registered(house, now)
    with transaction(house.engine) as session:
        session.connection().execute(delete(ProcessingProfile))
    assert a_copy(house, person, now)["processing"] is None


@pytest.mark.parametrize("kind", ["access", "portable"])
def test_each_choice_says_what_the_mails_are_for(house: House, now: datetime, kind: str) -> None:
    """One that rests on a contract, whose words nobody was asked by, too."""
    found = a_copy(house, registered(house, now), now, kind)
    titles = {one["topic"]: one["title"] for one in found["consents"]}
    assert titles["new-products"] == "New products"
    assert set(titles) >= {"important-notices"}
    assert all(one["purpose"] for one in found["consents"])


def refused(session: Session, now: datetime) -> None:
    """A mail server took none of the mails that wait."""
    for one in session.exec(select(Audience).order_by(col(Audience.mailing_id))):
        session.add(
            Outcome(
                mailing_id=one.mailing_id,
                pos=one.pos,
                attempt=1,
                state="bounced",
                code=550,
                reply=REFUSED,
                warrant_seq=one.warrant_seq,
                at=now,
                final=True,
            )
        )


def test_what_the_mail_server_answered_stands_beside_each_mail(house: House, now: datetime) -> None:
    person = registered(house, now)
    sending = make.a_started_mailing(house, now=now)
    make.freeze(house, sending, now=now)
    assert [one["reply"] for one in a_copy(house, person, now)["mails"]] == [None]
    with transaction(house.engine) as session:
        refused(session, now)
    [mail] = a_copy(house, person, now)["mails"]
    assert (mail["state"], mail["code"], mail["reply"]) == ("bounced", 550, REFUSED)
