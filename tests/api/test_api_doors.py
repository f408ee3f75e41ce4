"""What every route shares: keys and scopes, unknown parameters, repeats, the description, refusals."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any, get_args

import pytest
from fastapi.routing import iter_route_contexts
from sqlmodel import SQLModel, func, select
from starlette.testclient import TestClient

from service.api import door
from service.db.session import reading, transaction
from service.domain.announcements.tables import Announcement
from service.domain.api_keys import actions as api_keys
from service.domain.api_keys import queries as keys
from service.domain.api_keys.rules import SCOPES
from service.domain.senders import actions as senders
from service.kit import clock
from service.ops.house import House
from tests.api.shapes import ana, assert_problem, kettle, said_yes

ROUTES = [
    ("PUT", "people/1", "people:write"),
    ("POST", "people/bulk", "people:write"),
    ("GET", "people/1", "people:read"),
    ("DELETE", "people/1", "people:write"),
    ("GET", "people/1/preferences", "people:read"),
    ("PUT", "people/1/preferences", "preferences:write"),
    ("GET", "people/1/consents", "people:read"),
    ("GET", "people/1/receipts", "people:read"),
    ("GET", "topics", "topics:read"),
    ("GET", "announcements", "announcements:read"),
    ("POST", "announcements", "announcements:write"),
    ("GET", "announcements/a_1", "announcements:read"),
    ("PATCH", "announcements/a_1", "announcements:write"),
    ("POST", "announcements/a_1/submit", "announcements:write"),
    ("POST", "announcements/a_1/approve", "announcements:send"),
    ("POST", "announcements/a_1/schedule", "announcements:send"),
    ("POST", "announcements/a_1/pause", "announcements:send"),
    ("POST", "announcements/a_1/resume", "announcements:send"),
    ("POST", "announcements/a_1/cancel", "announcements:send"),
    ("GET", "announcements/a_1/report", "announcements:read"),
    ("GET", "announcements/a_1/deliveries", "announcements:read"),
    ("POST", "notices", "notices:write"),
    ("GET", "notices/n_1", "notices:write"),
    ("POST", "notices/n_1/publish", "notices:publish"),
    ("POST", "notices/n_1/resume", "notices:publish"),
    ("POST", "notices/n_1/cancel", "notices:publish"),
    ("GET", "notices/n_1/report", "notices:write"),
    ("GET", "notices/n_1/deliveries", "notices:write"),
    ("GET", "ledger", "ledger:read"),
    ("GET", "ledger/checkpoint", "ledger:read"),
]


@pytest.fixture
def description(api: TestClient) -> dict[str, Any]:
    read: dict[str, Any] = api.get("../openapi.json").json()
    return read


def test_the_list_of_routes_is_whole(description: dict[str, Any]) -> None:
    described = {(method.upper(), path) for path, item in description["paths"].items() for method in item}
    assert len(described) == len(ROUTES)


@pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
def test_every_route_wants_its_scope(
    client_of: Callable[[str | None], TestClient],
    make_key: Callable[..., str],
    method: str,
    path: str,
    scope: str,
) -> None:
    assert_problem(client_of(None).request(method, path), 401, "key_missing")
    assert client_of(None).request(method, path).headers["www-authenticate"] == "Bearer"
    assert_problem(client_of("bk_" + "x" * 40).request(method, path), 401, "key_not_recognised")
    others = [one for one in SCOPES if one != scope]
    assert_problem(client_of(make_key(*others)).request(method, path), 403, "scope_missing")
    assert client_of(make_key(scope)).request(method, path).status_code not in (401, 403)


def test_a_revoked_or_expired_key_is_not_known(
    client_of: Callable[[str], TestClient], make_key: Callable[..., str], house: House
) -> None:
    plain, now = make_key(), clock.now()
    assert client_of(plain).get("topics").status_code == 200
    with transaction(house.engine) as session:
        key = keys.everyone(session)[0]
        assert key.last_used_at is not None
        api_keys.revoke(session, key.public_id, now=now, by="cli")
        old = api_keys.create(
            session, name="o", source="o", scopes=["all"], expires_at=now - timedelta(1), now=now, by="cli"
        )
    assert_problem(client_of(plain).get("topics"), 401, "key_not_recognised")
    assert_problem(client_of(old.plaintext).get("topics"), 401, "key_not_recognised")


@pytest.mark.parametrize(
    "path", ["announcements", "ledger", "topics", "people/1/consents", "announcements/a_1/deliveries"]
)
@pytest.mark.parametrize("query", ["sort=password", "order=id;--", "filter=1", "created_at=1", "%27=1"])
def test_rel_h48_unknown_parameters(api: TestClient, path: str, query: str) -> None:
    assert_problem(api.get(f"{path}?{query}"), 422, "unknown_field")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("ledger?limit=0", "field_invalid"),
        ("ledger?limit=x", "field_invalid"),
        ("ledger?cursor=%00", "cursor_invalid"),
        ("ledger?cursor=AAAA", "cursor_invalid"),
        ("ledger?kind=%00", "field_invalid"),
        ("ledger?subject=';--", "field_invalid"),
        ("announcements?state=%00", "field_invalid"),
    ],
)
def test_rel_h48_parameters_of_the_wrong_kind(api: TestClient, path: str, code: str) -> None:
    assert_problem(api.get(path), 422, code)


@pytest.mark.parametrize("odd", ["-1", str(1 << 63), "%00", "a_" + "0" * 26, "A_1", "x" * 500])
@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("announcements/{}", "announcement_unknown"),
        ("announcements/{}/report", "announcement_unknown"),
        ("announcements/{}/deliveries", "announcement_unknown"),
        ("notices/{}", "notice_unknown"),
        ("notices/{}/report", "notice_unknown"),
    ],
)
def test_rel_h49_ids_that_are_not_ours(api: TestClient, path: str, code: str, odd: str) -> None:
    answer = api.get(path.format(odd))
    assert_problem(answer, 404, code)
    assert answer.content == api.get(path.format("absent")).content


def test_rel_h49_an_announcement_this_key_may_not_see(
    api: TestClient, client_of: Callable[[str], TestClient], make_key: Callable[..., str]
) -> None:
    made = api.post("announcements", json=kettle()).json()["id"]
    other = client_of(make_key("all", topics=["updates"]))
    for path in ("announcements/{}", "announcements/{}/report", "announcements/{}/deliveries"):
        assert other.get(path.format(made)).content == other.get(path.format("a_0")).content
    assert_problem(other.post(f"announcements/{made}/cancel"), 404, "announcement_unknown")
    assert other.get("announcements").json()["items"] == []
    assert_problem(other.post("announcements", json=kettle()), 422, "topic_unknown", "topic")
    assert_problem(other.get("ledger"), 403, "scope_missing")
    assert [one["topic"] for one in other.get("topics").json()["items"]] == ["updates"]


def test_rel_h51_a_repeat_is_answered_as_the_first_time(api: TestClient, house: House) -> None:
    headers = {"idempotency-key": "launch-1"}
    first = api.post("announcements", json=kettle(), headers=headers)
    again = api.post("announcements", json=kettle(), headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    other = api.post("announcements", json=kettle(template="letter"), headers=headers)
    assert_problem(other, 409, "idempotency_key_reused")
    elsewhere = api.post(f"announcements/{first.json()['id']}/submit", headers=headers)
    assert_problem(elsewhere, 409, "idempotency_key_reused")
    assert_problem(
        api.post("announcements", json=kettle(), headers={"idempotency-key": "x" * 201}),
        422,
        "idempotency_key_invalid",
    )


def test_rel_h51_twenty_at_once_make_one(api: TestClient, house: House) -> None:
    made: list[str] = []

    def post() -> None:
        made.append(
            api.post("announcements", json=kettle(), headers={"idempotency-key": "once"}).json()["id"]
        )

    posts = [threading.Thread(target=post) for _ in range(20)]
    for one in posts:
        one.start()
    for one in posts:
        one.join()
    assert (len(made), len(set(made))) == (20, 1)
    with reading(house.engine) as session:
        assert session.exec(select(func.count()).select_from(Announcement)).one() == 1


def test_a_refusal_is_not_kept(api: TestClient) -> None:
    headers = {"idempotency-key": "later"}
    made = api.post("announcements", json=kettle()).json()
    early = api.post(f"announcements/{made['id']}/schedule", json={"at": "now"}, headers=headers)
    assert_problem(early, 409, "not_approved")
    api.post(f"announcements/{made['id']}/submit")
    api.post(f"announcements/{made['id']}/approve", json={"content_hash": made["content_hash"]})
    assert (
        api.post(f"announcements/{made['id']}/schedule", json={"at": "now"}, headers=headers).status_code
        == 200
    )


def test_what_cannot_be_waited_for_is_answered_202_also_on_repeat(api: TestClient, house: House) -> None:
    """A sender that says nothing may still let a message go; a repeat must not say more than the first answer."""
    made = api.post("announcements", json=kettle()).json()
    with transaction(house.engine) as session:
        senders.begin(session, "silent", boot_id="b", seen_seq=0, now=clock.now())
    headers = {"idempotency-key": "stop-it"}
    for _ in range(2):
        answer = api.post(f"announcements/{made['id']}/cancel", headers=headers)
        assert (answer.status_code, answer.json()["state"]) == (202, "cancelled")
        assert "already on its way" in answer.json()["note"]
    with transaction(house.engine) as session:
        senders.end(session, "silent", now=clock.now())
    assert api.post(f"announcements/{made['id']}/cancel", headers=headers).status_code == 200


def test_the_description_is_open_and_holds_no_data(
    client_of: Callable[[None], TestClient], api: TestClient
) -> None:
    api.put("people/1", json=ana(consents=said_yes("updates")))
    answer = client_of(None).get("../openapi.json")
    assert answer.status_code == 200
    assert answer.json()["openapi"].startswith("3.1")
    assert all(path.startswith("/api/v1/") for path in answer.json()["paths"])
    assert "ana@" not in answer.text


def test_the_description_says_problem_json_and_every_reference_resolves(description: dict[str, Any]) -> None:
    schemas = description["components"]["schemas"]

    def check(value: Any) -> None:
        if isinstance(value, dict):
            if "$ref" in value:
                assert value["$ref"].removeprefix("#/components/schemas/") in schemas
            for inner in value.values():
                check(inner)
        elif isinstance(value, list):
            for inner in value:
                check(inner)

    check(description)
    for item in description["paths"].values():
        for operation in item.values():
            assert set(operation["responses"]["422"]["content"]) == {"application/problem+json"}
            assert operation["security"]
    put = description["paths"]["/api/v1/people/{external_id}"]["put"]
    assert put["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/PersonIn")
    repeat = [one["name"] for one in description["paths"]["/api/v1/announcements"]["post"]["parameters"]]
    assert "Idempotency-Key" in repeat


def test_a_table_class_is_never_a_response(house: House) -> None:
    def tables(annotation: Any) -> list[Any]:
        inner = [found for one in get_args(annotation) for found in tables(one)]
        fields = getattr(annotation, "model_fields", {})
        inner += [found for field in fields.values() for found in tables(field.annotation)]
        return inner + (
            [annotation] if isinstance(annotation, type) and issubclass(annotation, SQLModel) else []
        )

    for route in iter_route_contexts(door.build(house).routes):
        assert tables(getattr(route, "response_model", None)) == []


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "nowhere", 404, "not_found"),
        ("DELETE", "topics", 405, "method_not_allowed"),
        ("GET", "../v2/topics", 404, "not_found"),
    ],
)
def test_unknown_paths_are_problems_too(
    api: TestClient, method: str, path: str, status: int, code: str
) -> None:
    assert_problem(api.request(method, path), status, code)


def test_our_own_fault_says_nothing_of_it(
    api: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fault(*_args: object, **_said: object) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr("service.domain.topics.queries.active", fault)
    answer = api.get("topics")
    assert_problem(answer, 500, "internal")
    assert "secret" not in answer.text
