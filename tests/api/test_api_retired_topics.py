"""A no is taken for a topic that is out of use, too: it may come into use again. A yes is not."""

import pytest
from starlette.testclient import TestClient

from service.db.session import transaction
from service.domain.topics import actions as topics
from service.kit import clock
from service.ops.house import House
from tests.api.shapes import assert_problem, said_yes


def _turn(house: House, *, retired: bool) -> None:
    act = topics.retire if retired else topics.restore
    with transaction(house.engine) as session:
        act(session, "new-products", now=clock.now(), by="staff:u_1")


@pytest.mark.parametrize("known", [True, False])
def test_p7_a_site_s_no_to_a_retired_topic_is_kept_until_it_is_in_use_again(
    api: TestClient, house: House, known: bool
) -> None:
    said = said_yes("new-products", "updates") if known else []
    api.put("people/7", json={"email": "ana@example.org", "consents": said})
    _turn(house, retired=True)
    noes = [{"topic": slug, "given": False} for slug in ("updates", "new-products")]
    answer = api.put("people/7", json={"email": "ana@example.org", "consents": noes})
    assert answer.status_code == 200, answer.text
    ended = "withdrawn" if known else "refused"
    assert {one["topic"]: one["state"] for one in answer.json()["consents"]} == {
        "updates": ended,
        "new-products": ended,
    }
    _turn(house, retired=False)
    states = {one["topic"]: one["state"] for one in api.get("people/7/preferences").json()["topics"]}
    assert (states["new-products"], states["updates"]) == (ended, ended)


def test_a_yes_to_a_retired_topic_is_refused(api: TestClient, house: House) -> None:
    _turn(house, retired=True)
    refused = api.put("people/7", json={"email": "ana@example.org", "consents": said_yes("new-products")})
    assert_problem(refused, 422, "topic_unknown")
