"""Asking for a copy in the moment in which one is erased, or made one with another, is on record of nobody else, and hands nothing out."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlmodel import select
from starlette.testclient import TestClient

from service.db.session import reading, transaction
from service.domain.people.tables import Person
from service.domain.privacy import erasing
from service.domain.privacy.tables import RightsRequest
from service.kit import clock
from tests import builders as make
from tests.web.conftest import World
from tests.web.public.test_profile import OURS, signed_in, until_somebody_waits


@pytest.mark.parametrize("gone", ["erased", "merged"])
@pytest.mark.parametrize("path", ["/me/copy", "/me/portable.json"])
def test_std_h9_it_is_nobodys_request(client: TestClient, world: World, gone: str, path: str) -> None:
    ana = signed_in(client, world)
    world.person("ben@example.org", profile={"first_name": "Ben", "company": "Birnbaum"})
    if gone == "merged":
        client.post("/me", data={"email": "ben@example.org"}, headers=OURS)
    with ThreadPoolExecutor(1) as pool:
        with transaction(world.house.engine) as session:
            if gone == "erased":
                held = session.get_one(Person, ana.id)
                erasing.erase(session, world.house.ring, held, how="staff", now=clock.now(), by=make.STAFF)
            else:
                make.press(session, world.house.ring, make.buttons(session)[-1], now=clock.now())
            session.flush()
            waits = pool.submit(client.post, path, headers=OURS, follow_redirects=False)
            until_somebody_waits(world)
        answer = waits.result(20)
    with reading(world.house.engine) as session:
        assert session.exec(select(RightsRequest)).all() == []
    assert answer.status_code == 403
    assert "Birnbaum" not in answer.text
