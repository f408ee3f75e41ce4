"""The same way by commands alone: people by API as a site would, the announcement by `bidden announce`, a no by mail."""

from pathlib import Path

import httpx2
import pytest

from tests.journeys.conftest import Town
from tests.journeys.test_api_journey import yes
from tests.stack import until

pytestmark = pytest.mark.journey

ANNOUNCEMENT = """---
topic: new-products
template: launch
subject: The planner is here
preheader: Plan a week in two minutes, with the people you work with.
audience:
  attributes:
    plan: pro
---
## Hello {{ first_name|default('there') }}

Plan a week in two minutes.

[See it](https://acme.example.org/planner "button")
"""


def test_announce_by_commands(town: Town, tmp_path: Path) -> None:
    house = town.house
    with house.client() as client:
        for number, plan in enumerate(("pro", "pro", "free")):
            person = {
                "email": f"reader{number}@example.org",
                "attributes": {"plan": plan},
                "consents": [yes("new-products")],
            }
            client.put(f"/people/u{number}", json=person)
    file = tmp_path / "planner.md"
    file.write_text(ANNOUNCEMENT)
    made = house.json("announce", "create", str(file))
    for step in ("submit", "approve", "schedule"):
        extra = ["--at", "now"] if step == "schedule" else []
        house.run("announce", step, made["id"], *extra)
    report = until(
        "sent", lambda: (r := house.json("announce", "report", made["id"]))["state"] == "sent" and r
    )
    assert report["planned"] == report["outcomes"]["sent"] == 2
    assert report["excluded"] == {"not_in_audience": 1}
    [mail] = town.box.to("reader0@example.org")
    assert (
        httpx2.post(
            str(mail["List-Unsubscribe"]).strip("<>"), data={"List-Unsubscribe": "One-Click"}
        ).status_code
        == 200
    )
    again = house.json("announce", "create", str(file))
    for step in ("submit", "approve", "schedule"):
        house.run("announce", step, again["id"], *(["--at", "now"] if step == "schedule" else []))
    report = until(
        "sent", lambda: (r := house.json("announce", "report", again["id"]))["state"] == "sent" and r
    )
    assert report["planned"] == 1
    assert report["excluded"] == {"withdrawn": 1, "not_in_audience": 1}
    assert house.json("ledger", "verify")["holds"]


def test_a_wrong_word_says_what_to_do(town: Town) -> None:
    said = town.house.run("announce", "schedule", "a_nobody", "--at", "now", refused=True)
    assert "Traceback" not in said
    assert said.strip()
