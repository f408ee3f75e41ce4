"""Announcements and notices over the API: the steps, their refusals, the report and the deliveries."""

import hashlib
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import select
from starlette.testclient import TestClient

from scheduler import jobs
from service.db.session import transaction
from service.domain.deliveries import freeze, rules
from service.domain.mailings.tables import Mailing
from service.kit import clock
from service.ops.house import House
from tests.api.shapes import ana, assert_problem, kettle, said_yes

TERMS = {"en": {"title": "Terms change", "body": "Words"}}


@pytest.fixture
def draft(api: TestClient) -> dict[str, Any]:
    made: dict[str, Any] = api.post("announcements", json=kettle()).json()
    return made


def approved(api: TestClient, **more: Any) -> str:
    made = api.post("announcements", json=kettle(**more)).json()
    path = f"announcements/{made['id']}"
    assert api.post(f"{path}/submit").status_code == 200
    assert api.post(f"{path}/approve", json={"content_hash": made["content_hash"]}).json()["approved"] is True
    return path


def frozen(api: TestClient, house: House, *, people: int) -> str:
    """An announcement whose audience is frozen, and nothing sent."""
    lines = [
        {"external_id": str(n), "email": f"r{n}@example.org", "consents": said_yes("new-products")}
        for n in range(people)
    ]
    content = "".join(json.dumps(one) + "\n" for one in lines)
    api.post("people/bulk", content=content, headers={"content-type": "application/x-ndjson"})
    path = approved(api)
    api.post(f"{path}/schedule", json={"at": clock.now().isoformat()})
    now = clock.now() + timedelta(seconds=1)
    jobs.start_due(house, now)
    jobs.freeze(house, now)
    return path


def test_every_step_is_there_by_its_name(api: TestClient) -> None:
    path = approved(api)
    scheduled = api.post(f"{path}/schedule", json={"at": "now"}).json()
    assert (scheduled["state"], scheduled["hold_until"] is not None) == ("scheduled", True)
    assert api.post(f"{path}/pause").json()["state"] == "paused"
    assert api.post(f"{path}/resume").json()["state"] == "scheduled"
    assert api.post(f"{path}/cancel").json()["state"] == "cancelled"
    assert_problem(api.post(f"{path}/cancel"), 409, "wrong_state")


def test_list_pages_by_key(api: TestClient) -> None:
    made = [api.post("announcements", json=kettle()).json()["id"] for _ in range(5)]
    found: list[str] = []
    cursor = ""
    while True:
        page = api.get(f"announcements?limit=2{cursor}").json()
        found += [one["id"] for one in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert found == made[::-1]
    assert api.get("announcements?state=sent").json() == {"items": [], "next": None}


def test_edit_voids_the_approval(api: TestClient) -> None:
    path = approved(api)
    edited = api.patch(path, json={"content": {"en": {"subject": "Another", "body": "Words"}}}).json()
    assert (edited["state"], edited["approved"]) == ("draft", False)
    assert_problem(api.post(f"{path}/schedule", json={"at": "now"}), 409, "not_approved")


def test_rel_h70_approve_what_was_read_only(api: TestClient, draft: dict[str, Any]) -> None:
    path = f"announcements/{draft['id']}"
    api.patch(path, json={"audience": {"attributes": {"plan": "pro"}}})
    api.post(f"{path}/submit")
    refused = api.post(f"{path}/approve", json={"content_hash": draft["content_hash"]})
    assert_problem(refused, 409, "stale_version", "content_hash")
    late = api.patch(path, json={"template": "letter", "based_on": draft["content_hash"]})
    assert_problem(late, 409, "stale_version")


@pytest.mark.parametrize(
    ("when", "code", "choices"),
    [
        ({"at": "2027-03-28T02:30", "zone": "Europe/Berlin"}, "time_does_not_exist", 2),
        ({"at": "2027-10-31T02:30", "zone": "Europe/Berlin"}, "time_is_ambiguous", 2),
        ({"at": "2020-01-01T00:00:00Z"}, "time_in_past", 0),
        ({"at": "9999-01-01T00:00:00Z"}, "time_too_far", 0),
        ({"at": "2027-02-30T09:00:00Z"}, "time_invalid", 0),
        ({"at": "2027-02-03T09:00", "zone": "Mars/Olympus"}, "zone_unknown", 0),
        ({"at": "2027-02-03T09:00"}, "zone_missing", 0),
    ],
)
def test_rel_h68_h69_times_that_are_none(
    api: TestClient, when: dict[str, str], code: str, choices: int
) -> None:
    refused = api.post(f"{approved(api)}/schedule", json=when)
    assert_problem(refused, 422, code)
    assert len(refused.json().get("choices", [])) == choices


def test_rel_h69_a_time_that_is_none_is_said_before_the_state(api: TestClient, draft: dict[str, Any]) -> None:
    path = f"announcements/{draft['id']}/schedule"
    assert_problem(api.post(path, json={"at": "2027-02-30T09:00:00Z"}), 422, "time_invalid", "at")
    assert_problem(api.post(path, json={"at": "now"}), 409, "not_approved")


@pytest.mark.parametrize("sign", ["\x00", "\x1b", "\x85", "\u2028"])
def test_rel_h04_unseen_signs_in_a_subject(api: TestClient, sign: str) -> None:
    said = kettle(content={"en": {"subject": f"The{sign} kettle", "body": "Words"}})
    assert_problem(api.post("announcements", json=said), 422, "header_control_char", "content.en.subject")


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"topic": "nothing"}, "topic_unknown"),
        ({"template": "nothing"}, "unknown_template"),
        ({"content": {}}, "content_missing"),
        ({"content": {"en": {"subject": "Hello"}}}, "body_missing"),
        ({"content": {"en": {"subject": "Hello", "body": "x", "colour": "red"}}}, "unknown_field"),
        ({"audience": {"attributes": {"plan": {"$gt": 1}}}}, "filter_invalid"),
        ({"audience": {"sql": "1=1"}}, "filter_invalid"),
        ({"topic": "important-notices"}, "topic_not_for_announcements"),
    ],
)
def test_refusals_of_a_draft(api: TestClient, more: dict[str, Any], code: str) -> None:
    assert_problem(api.post("announcements", json=kettle(**more)), 422, code)


EMPTY_AUDIENCES: list[Any] = [
    *([], "", 0, False),
    *({"attributes": empty} for empty in ([], "", 0, False)),
]


@pytest.mark.parametrize("audience", EMPTY_AUDIENCES, ids=str)
def test_rel_h67_an_empty_audience_of_a_wrong_type_is_not_everybody(api: TestClient, audience: Any) -> None:
    path = f"announcements/{api.post('announcements', json=kettle()).json()['id']}"
    notice = {"topic": "updates", "content": {"en": {"title": "New", "body": "Words"}}, "audience": audience}
    assert_problem(api.post("announcements", json=kettle(audience=audience)), 422, "filter_invalid")
    assert_problem(api.patch(path, json={"audience": audience}), 422, "filter_invalid")
    assert_problem(api.post("notices", json=notice), 422, "filter_invalid")


@pytest.mark.parametrize("audience", [None, {}, {"attributes": None}, {"attributes": {}}], ids=str)
def test_an_audience_nobody_named_is_everybody(api: TestClient, audience: Any) -> None:
    made = api.post("announcements", json=kettle(audience=audience))
    assert (made.status_code, made.json()["audience"]) == (201, {"attributes": {}})


def test_report_and_deliveries(api: TestClient, house: House) -> None:
    api.put("people/off", json=ana())
    path = frozen(api, house, people=7)
    report = api.get(f"{path}/report").json()
    assert (report["state"], report["planned"], report["waiting"]) == ("sending", 7, 7)
    assert report["excluded"] == {"no_consent": 1}
    first = api.get(f"{path}/deliveries?limit=3").json()
    assert [one["pos"] for one in first["items"]] == [1, 2, 3]
    assert first["items"][0]["external_ids"] == [{"source": "shop", "id": "0"}]
    assert set(first["items"][0]) == {
        "pos",
        "external_ids",
        "state",
        "reason",
        "message_id",
        "warrant",
        "attempts",
    }
    rest = api.get(f"{path}/deliveries?limit=200&cursor={first['next']}").json()
    assert ([one["pos"] for one in rest["items"]], rest["next"]) == ([4, 5, 6, 7], None)


def test_all_deliveries_as_lines(api: TestClient, house: House) -> None:
    path = frozen(api, house, people=450)
    with api.stream("GET", f"{path}/deliveries", headers={"accept": "application/x-ndjson"}) as answer:
        assert answer.headers["content-type"].startswith("application/x-ndjson")
        lines: Iterator[dict[str, Any]] = (json.loads(line) for line in answer.iter_lines())
        assert [one["pos"] for one in lines] == list(range(1, 451))


def test_notice_from_draft_to_page_and_mail(api: TestClient) -> None:
    said = {"topic": "updates", "mail": True, "content": {"en": {"title": "Version 2", "body": "* faster\n"}}}
    made = api.post("notices", json=said)
    assert (made.status_code, made.json()["state"], made.json()["url"]) == (201, "draft", None)
    path = f"notices/{made.json()['id']}"
    assert api.get(path).json()["mail"] is True
    done = api.post(f"{path}/publish").json()
    assert (done["state"], done["url"].endswith("/changelog/version-2")) == ("published", True)
    assert done["mailing_state"] is not None
    assert api.get(f"{path}/report").json()["outcomes"]["sent"] == 0
    assert api.get(f"{path}/deliveries").json() == {"items": [], "next": None}
    assert_problem(api.post(f"{path}/publish"), 409, "already_mailed")


def test_std_g7_an_offer_in_an_important_notice_is_answered_for(api: TestClient) -> None:
    words = {"en": {"title": "Keys expire", "body": "Jetzt kaufen: 10 % Rabatt"}}
    said = {"topic": "important-notices", "mail": True, "content": words}
    path = f"notices/{api.post('notices', json=said).json()['id']}/publish"
    assert_problem(api.post(path, json={}), 422, "advertising_suspected")
    assert api.post(path, json={"not_advertising": True}).json()["mailing_state"] == "freezing"


def test_a_halted_notice_is_resumed_or_cancelled(api: TestClient, house: House) -> None:
    api.put("people/1", json={"email": "bea@example.org"})
    said = {"topic": "important-notices", "mail": True, "content": TERMS}
    path = f"notices/{api.post('notices', json=said).json()['id']}"
    assert_problem(api.post(f"{path}/resume"), 409, "wrong_state")
    api.post(f"{path}/publish")
    assert_problem(api.post(f"{path}/resume"), 409, "wrong_state")
    jobs.freeze(house, clock.now())
    with transaction(house.engine) as session:
        freeze.halt(session, session.scalars(select(Mailing)).one(), "render_errors", now=clock.now())
    assert api.get(f"{path}/report").json()["reason"] == "render_errors"
    assert api.post(f"{path}/resume").json()["mailing_state"] == "sending"
    ended = api.post(f"{path}/cancel").json()
    assert (ended["state"], ended["mailing_state"]) == ("published", "cancelled")
    kinds = [one["kind"] for one in api.get("ledger?limit=200").json()["items"]]
    assert [kind for kind in kinds if kind.startswith("notice.")][-3:] == [
        "notice.halted",
        "notice.resumed",
        "notice.cancelled",
    ]


def test_notice_without_mail(api: TestClient) -> None:
    said = {"topic": "updates", "mail": True, "content": {"en": {"title": "Version 3", "body": "Words"}}}
    made = api.post("notices", json=said).json()["id"]
    assert api.post(f"notices/{made}/publish", json={"mail": False}).json()["mailing_state"] is None


def test_rel_h10_an_important_notice_reaches_one_mailbox_once(api: TestClient, house: House) -> None:
    for n, email in enumerate(["bea@example.org", "Bea@example.org", "BEA@example.org ", "ben@example.org"]):
        consents = said_yes("updates", confirmed=True) if n == 1 else []
        api.put(f"people/{n}", json={"email": email, "consents": consents})
    said = {"topic": "important-notices", "mail": True, "content": TERMS}
    path = f"notices/{api.post('notices', json=said).json()['id']}"
    api.post(f"{path}/publish")
    jobs.freeze(house, clock.now())
    items = api.get(f"{path}/deliveries").json()["items"]
    # the confirmed one of three, and Ben
    assert [one["external_ids"][0]["id"] for one in items] == ["1", "3"]
    report = api.get(f"{path}/report").json()
    assert (report["planned"], report["excluded"]) == (2, {"same_mailbox": 2})


def test_rel_h10_one_mailbox_once_over_chunks_too(
    api: TestClient, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "CHUNK", 2)
    for n, name in enumerate(["bea", "ben", "BEA", "Ben", "cid", "Bea", "CID", "dan"]):
        api.put(f"people/{n}", json={"email": f"{name}@example.org"})
    said = {"topic": "important-notices", "mail": True, "content": TERMS}
    path = f"notices/{api.post('notices', json=said).json()['id']}"
    api.post(f"{path}/publish")
    jobs.freeze(house, clock.now())
    items = api.get(f"{path}/deliveries").json()["items"]
    assert [one["external_ids"][0]["id"] for one in items] == ["0", "1", "4", "7"]
    assert [one["pos"] for one in items] == [1, 2, 3, 4]


def test_ledger_entries_are_served_to_the_byte(api: TestClient) -> None:
    """Whoever reads the API can compute the chain anew: SHA-256 over 0x00 and the text, link by link."""
    api.put("people/1", json=ana(consents=said_yes("updates")))
    link = "0" * 64
    for one in api.get("ledger?limit=200").json()["items"]:
        assert hashlib.sha256(b"\x00" + one["entry"].encode()).hexdigest() == one["hash"]
        fields = json.loads(one["entry"])
        assert (fields["seq"], fields["prev_hash"], fields["body"]) == (one["seq"], link, one["body"])
        link = one["hash"]


def test_ledger_pages_and_filters(api: TestClient) -> None:
    person = api.put("people/1", json=ana(consents=said_yes("updates"))).json()["person"]
    first = api.get("ledger?limit=5").json()
    second = api.get(f"ledger?limit=5&cursor={first['next']}").json()
    assert [one["seq"] for one in first["items"] + second["items"]] == list(range(1, 11))
    assert second["items"][0]["prev_hash"] == first["items"][-1]["hash"]
    theirs = api.get(f"ledger?subject={person}").json()["items"]
    assert {one["kind"] for one in theirs} >= {"person.registered", "consent.given"}
    assert "ana@" not in json.dumps(theirs)
    given = api.get("ledger?kind=consent.given").json()["items"]
    assert [one["body"]["topic"] for one in given] == ["updates"]
