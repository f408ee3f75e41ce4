"""Sign-up, confirmation, announcement, arrival, stop, report: by API and mail alone."""

from typing import Any

import httpx2
import pytest

from tests.journeys.conftest import Town
from tests.mailbox import link
from tests.stack import until

pytestmark = pytest.mark.journey

WORDS = {
    "en": {
        "subject": "{{ first_name|default('there') }}, the planner is here",
        "preheader": "Plan a week in two minutes, with the people you work with.",
        "body": "## Hello {{ first_name|default('there') }}\n\nPlan a week.\n\n[See it](https://acme.example.org/planner \"button\")",
    }
}
EVIDENCE = {
    "source": "sign-up form",
    "evidence": {"at": "2026-01-05T10:00:00Z", "url": "https://acme.example.org/join"},
}


def yes(topic: str, *, confirmed: bool = True) -> dict[str, Any]:
    """A consent item as a site sends it."""
    said: dict[str, Any] = {"topic": topic, "given": True, **EVIDENCE}
    return said | ({"confirmed": {"at": "2026-01-05T10:01:00Z", "method": "own mail"}} if confirmed else {})


def send_announcement(client: httpx2.Client, **more: Any) -> str:
    """Create, submit, approve, schedule now; the announcement's id."""
    made = client.post(
        "/announcements", json={"topic": "new-products", "template": "launch", "content": WORDS, **more}
    )
    assert made.status_code == 201, made.text
    path = f"/announcements/{made.json()['id']}"
    assert client.post(f"{path}/submit").status_code == 200
    assert (
        client.post(f"{path}/approve", json={"content_hash": made.json()["content_hash"]}).status_code == 200
    )
    assert client.post(f"{path}/schedule", json={"at": "now"}).status_code in (200, 202)
    return str(made.json()["id"])


def sent(client: httpx2.Client, announcement: str) -> dict[str, Any]:
    """The report once everything has left."""
    path = f"/announcements/{announcement}/report"
    found: dict[str, Any] = until("sent", lambda: (r := client.get(path).json())["state"] == "sent" and r)
    return found


def test_schedule_to_report(town: Town) -> None:
    with town.house.client() as client:
        ana = {
            "email": "ana@example.org",
            "locale": "de",
            "profile": {"first_name": "Ana"},
            "consents": [yes("new-products")],
        }
        assert client.put("/people/u1", json=ana).status_code in (200, 201)
        assert (
            client.put(
                "/people/u2", json={"email": "bo@example.org", "consents": [yes("new-products")]}
            ).json()["mail"]
            is None
        )
        asked = client.put(
            "/people/u3", json={"email": "cy@example.org", "consents": [yes("new-products", confirmed=False)]}
        ).json()
        assert asked["mail"] == "confirmation_sent"
        report = sent(client, send_announcement(client))
        assert report["planned"] == 2
        assert report["outcomes"]["sent"] == 2
        assert report["excluded"] == {"requested": 1}
        [mail] = town.box.to("ana@example.org")
        assert str(mail["Subject"]) == "Ana, the planner is here"

        # The one-click POST of the mail program (RFC 8058) and the button of the page do the same.
        one_click = str(mail["List-Unsubscribe"]).strip("<>")
        assert httpx2.post(one_click, data={"List-Unsubscribe": "One-Click"}).status_code == 200
        states = {row["topic"]: row["state"] for row in client.get("/people/u1/preferences").json()["topics"]}
        assert states["new-products"] == "withdrawn"

        # The one who was asked presses the button; the next announcement goes to those who want it.
        [asking] = until("the confirmation mail", lambda: town.box.to("cy@example.org"))
        page = httpx2.get(link(asking, "/confirm/"))
        assert page.status_code == 200
        assert httpx2.post(link(asking, "/confirm/"), data={"confirm": "yes"}).status_code == 200
        again = sent(client, send_announcement(client))
        assert again["planned"] == 2
        assert again["excluded"] == {"withdrawn": 1}
        assert {rcpt for rcpt, _ in town.box.raw[-2:]} == {"bo@example.org", "cy@example.org"}


def test_a_withdrawn_yes_is_not_given_back_by_the_site(town: Town) -> None:
    """P7: the same sign-up sent again, with attestation, leaves the no as it is."""
    with town.house.client() as client:
        body = {"email": "ana@example.org", "consents": [yes("new-products")]}
        client.put("/people/u1", json=body)
        client.put(
            "/people/u1",
            json={"email": "ana@example.org", "consents": [{"topic": "new-products", "given": False}]},
        )
        answer = client.put("/people/u1", json=body).json()
        assert answer["consents"] == [{"topic": "new-products", "state": "withdrawn", "result": "kept_no"}]
        assert sent(client, send_announcement(client))["planned"] == 0
        assert town.box.raw == []


def test_every_mail_names_its_warrant(town: Town) -> None:
    """P2: each delivery names a ledger entry that gave the consent."""
    with town.house.client() as client:
        client.put("/people/u1", json={"email": "ana@example.org", "consents": [yes("new-products")]})
        announcement = send_announcement(client)
        sent(client, announcement)
        [row] = client.get(f"/announcements/{announcement}/deliveries").json()["items"]
        entries = {
            entry["seq"]: entry for entry in client.get("/ledger", params={"limit": 200}).json()["items"]
        }
        grant = entries[row["warrant"]]
        assert grant["kind"] == "consent.given"
        assert grant["body"]["topic"] == "new-products"
        assert row["external_ids"] == [{"source": "site", "id": "u1"}]
        assert "ana" not in str(entries)
    assert (
        "holds" in town.house.run("ledger", "verify").lower() or town.house.json("ledger", "verify")["holds"]
    )
