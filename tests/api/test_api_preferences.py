"""GET and PUT /people/{id}/preferences, and the consents of a day."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from service.kit import clock
from tests.api.shapes import ana, assert_problem, said_yes


def states(api: TestClient) -> dict[str, str]:
    return {one["topic"]: one["state"] for one in api.get("people/1/preferences").json()["topics"]}


@pytest.fixture
def known(api: TestClient) -> TestClient:
    api.put("people/1", json=ana(consents=said_yes("new-products", "updates")))
    return api


def put(api: TestClient, *topics: dict[str, Any], **more: Any) -> Any:
    return api.put("people/1/preferences", json={"topics": list(topics), **more})


def test_reading_and_writing_back_changes_nothing(known: TestClient) -> None:
    before = known.get("people/1/preferences").json()
    entries = len(known.get("ledger?limit=200").json()["items"])
    assert known.put("people/1/preferences", json=before).json() == before
    assert len(known.get("ledger?limit=200").json()["items"]) == entries


def test_withdraw_and_cap(known: TestClient) -> None:
    answer = put(known, {"topic": "new-products", "state": "withdrawn"}, max_per_week=2)
    assert answer.status_code == 200
    assert states(known) == {"new-products": "withdrawn", "updates": "given", "important-notices": "given"}
    assert answer.json()["max_per_week"] == 2


def test_rel_h39_a_no_said_again_goes_before_the_button_that_came_between(known: TestClient) -> None:
    def noes() -> int:
        entries = known.get("ledger?limit=200").json()["items"]
        return [one["kind"] for one in entries].count("consent.withdrawn")

    no = {"topic": "new-products", "state": "withdrawn"}
    put(known, no)
    put(known, no)
    assert noes() == 1, "nothing could make a yes, so nothing is written again"
    later = (clock.now() + timedelta(minutes=1)).isoformat()
    answer = known.put("people/1", json=ana(consents=said_yes("new-products", at=later)))
    assert answer.json()["mail"] is not None, "the person is mailed a button"
    put(known, no)
    assert noes() == 2


@pytest.mark.parametrize("first", ["withdrawn", None])
def test_a_yes_is_never_made_here(api: TestClient, first: str | None) -> None:
    api.put("people/1", json=ana(consents=said_yes("new-products") if first else []))
    if first:
        put(api, {"topic": "new-products", "state": first})
    before = states(api)
    for word in ("given", "renewed"):
        refused = put(api, {"topic": "new-products", "state": word})
        assert_problem(refused, 409, "consent_needs_evidence", "topics[0].state")
    assert states(api) == before


def test_a_break_for_everything(known: TestClient) -> None:
    until = (clock.now() + timedelta(days=9)).date().isoformat()
    answer = put(
        known, *({"topic": slug, "break_until": until} for slug in ("new-products", "updates"))
    ).json()
    assert {one["break_until"] for one in answer["topics"] if one["topic"] != "important-notices"} == {until}
    ended = put(known, *({"topic": slug, "break_until": None} for slug in ("new-products", "updates"))).json()
    assert {one["break_until"] for one in ended["topics"]} == {None}


@pytest.mark.parametrize(
    ("topic", "status", "code", "field"),
    [
        ({"topic": "nothing", "state": "withdrawn"}, 422, "topic_unknown", "topics[0].topic"),
        ({"topic": "updates", "state": "perhaps"}, 422, "field_invalid", "topics[0].state"),
        ({"topic": "updates", "cadence": "hourly"}, 422, "cadence_not_offered", "topics[0].cadence"),
        ({"topic": "updates", "break_until": "2026-02-30"}, 422, "break_invalid", "topics[0].break_until"),
        ({"topic": "updates", "break_until": "2020-01-01"}, 422, "break_invalid", None),
        ({"topic": "important-notices", "state": "withdrawn"}, 409, "not_refusable", "topics[0].state"),
        ({"topic": "updates", "colour": "red"}, 422, "unknown_field", "topics[0].colour"),
    ],
)
def test_refusals(
    known: TestClient, topic: dict[str, Any], status: int, code: str, field: str | None
) -> None:
    assert_problem(put(known, topic), status, code, field)
    assert states(known)["updates"] == "given"


def test_what_was_never_agreed_to_has_no_other_frequency_either(api: TestClient) -> None:
    api.put("people/1", json=ana())
    assert_problem(
        put(api, {"topic": "new-products", "cadence": "daily"}),
        422,
        "cadence_not_offered",
        "topics[0].cadence",
    )


@pytest.mark.parametrize("most", [-1, 0, 51])
def test_a_weekly_limit_is_refused_in_its_own_words(known: TestClient, most: int) -> None:
    assert_problem(put(known, max_per_week=most), 422, "weekly_cap_invalid", "max_per_week")


def test_rel_h52_a_key_bound_to_topics_touches_no_other(
    known: TestClient, client_of: Callable[[str], TestClient], make_key: Callable[..., str]
) -> None:
    bound = client_of(make_key("all", topics=["updates"]))
    seen = bound.get("people/1/preferences").json()
    assert [one["topic"] for one in seen["topics"]] == ["updates"]
    assert bound.put("people/1/preferences", json=seen).status_code == 200
    assert put(bound, {"topic": "updates", "state": "withdrawn"}).status_code == 200
    assert states(known) == {"new-products": "given", "updates": "withdrawn", "important-notices": "given"}
    assert_problem(put(bound, {"topic": "new-products", "state": "withdrawn"}), 422, "topic_unknown")
    until = (clock.now() + timedelta(days=9)).date().isoformat()
    assert_problem(put(bound, {"topic": "updates", "break_until": until}), 403, "scope_missing")
    assert_problem(put(bound, max_per_week=1), 403, "scope_missing")
    no = {"topic": "new-products", "given": False}
    assert_problem(bound.put("people/1", json=ana(consents=[no])), 422, "topic_unknown", "consents[0].topic")
    assert states(known)["new-products"] == "given"
    assert [one["topic"] for one in bound.get("people/1/consents").json()["consents"]] == ["updates"]


def test_the_consents_of_a_day(known: TestClient) -> None:
    put(known, {"topic": "new-products", "state": "withdrawn"})
    now = {one["topic"]: one for one in known.get("people/1/consents").json()["consents"]}
    assert (now["new-products"]["state"], now["updates"]["state"]) == ("withdrawn", "given")
    assert now["updates"]["wording"] == "updates-v1-en"
    assert known.get("people/1/consents?on=2026-01-01").json()["consents"] == []
    today = clock.now().date().isoformat()
    assert len(known.get(f"people/1/consents?on={today}").json()["consents"]) == 2


@pytest.mark.parametrize(
    "on", ["yesterday", "2026-02-30", "2026-01-01T00:00", "0001-01-01T00:00:00%2B14:00", "%00"]
)
def test_a_day_that_is_none(known: TestClient, on: str) -> None:
    assert_problem(known.get(f"people/1/consents?on={on}"), 422, "field_invalid", "on")


def test_a_break_one_topic_keeps_is_not_ended_by_another(known: TestClient) -> None:
    until = (clock.now() + timedelta(days=9)).date().isoformat()
    put(known, {"topic": "updates", "break_until": until})
    contrary = put(
        known,
        {"topic": "updates", "break_until": None},
        {"topic": "new-products", "break_until": until},
    )
    assert_problem(contrary, 422, "break_invalid", "topics")
    ends = {one["topic"]: one["break_until"] for one in known.get("people/1/preferences").json()["topics"]}
    assert (ends["updates"], ends["new-products"]) == (until, until)
