"""The day of a person's page is chosen by date or by slider, whichever was changed; and how far the signed heads reach."""

import re
import socket
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from sqlalchemy import update
from sqlmodel import Session
from starlette.testclient import TestClient

from service.config import Settings
from service.domain.ledger import checkpoints
from service.domain.ledger.tables import Checkpoint
from service.kit import clock
from service.ops.house import House
from tests.browser import browser as chromium
from tests.browser import watch
from tests.web.conftest import listening
from tests.web.staff.conftest import Office

Browser = Callable[..., TestClient]
DAYS = timedelta(days=100)


class Ana(NamedTuple):
    """Somebody's page, and the day of their first entry, a hundred days ago."""

    base: str
    first: date


@pytest.fixture
def ana(office: Office, later: Callable[[timedelta], datetime]) -> Ana:
    made = Ana(f"/staff/people/{office.world.person('ana@example.org').public_id}", clock.now().date())
    later(DAYS)
    return made


def slider(page: str) -> dict[str, str]:
    found = re.search(r'<input[^>]*type="range"[^>]*>', page)
    assert found, "there is a slider"
    return dict(re.findall(r'([\w-]+)="([^"]*)"', found[0]))


def test_the_slider_is_part_of_the_form_and_says_which_day_it_means(
    browser: Browser, office: Office, ana: Ana
) -> None:
    base, on = ana.base, ana.first + timedelta(days=30)
    page = browser("marketing").get(f"{base}?on={on}").text
    has = slider(page)
    assert (has["min"], has["max"], has["value"], has["name"]) == ("0", "100", "30", "days")
    assert has["aria-valuetext"] == f"{on.day} {on:%b %Y}"
    assert re.search(
        rf'<form[^>]*id="{has["form"]}"[^>]*method="get"|method="get"[^>]*id="{has["form"]}"', page
    )
    assert f'<label class="off-screen" for="{has["id"]}">' in page
    assert f"{ana.first.day} {ana.first:%b %Y}, first entry" in page
    assert f'<input type="hidden" name="was" value="{on}">' in page
    assert slider(browser("marketing").get(base).text)["value"] == "100", "today is its end"
    early = browser("marketing").get(f"{base}?on={ana.first - timedelta(days=9)}").text
    assert slider(early)["value"] == "0"


def test_of_two_answers_the_one_that_was_changed_counts(browser: Browser, office: Office, ana: Ana) -> None:
    base, client = ana.base, browser("marketing")
    today, was = clock.now().date(), ana.first + timedelta(days=30)

    def leads(**query: Any) -> str:
        answer = client.get(base, params={"was": was, "on": was, "days": 30, **query})
        assert answer.status_code == 303
        return str(answer.headers["location"])

    assert leads(days=40) == f"{base}?on={ana.first + timedelta(days=40)}"
    other = ana.first + timedelta(days=7)
    assert leads(on=other) == f"{base}?on={other}"
    assert leads(on=other, days=40) == f"{base}?on={other}", "a date is the more exact word"
    assert leads() == f"{base}?on={was}"
    assert leads(days=100) == base, "today has no date, so that it stays today"
    assert leads(on="") == base
    early = ana.first - timedelta(days=9)
    assert leads(was=early, on=early, days=0) == f"{base}?on={early}", "nothing was changed"
    for odd in ("", "x", "-5", "101", "9" * 30, "30.5"):
        assert leads(days=odd) == f"{base}?on={was}", odd
    assert leads(show="mail", days=40) == f"{base}?on={ana.first + timedelta(days=40)}&show=mail"
    assert leads(was="x", on=was) == f"{base}?on={was}"
    assert today == ana.first + DAYS


def test_to_turn_the_slider_is_one_look_at_the_page(browser: Browser, office: Office, ana: Ana) -> None:
    base, client = ana.base, browser("marketing")
    answer = client.get(base, params={"was": clock.now().date(), "on": clock.now().date(), "days": 40})
    client.get(answer.headers["location"])
    assert office.world.entries("person.viewed") == 1
    assert browser("marketing").get("/staff/people/nobody?days=4").status_code == 404


def test_whoever_came_today_needs_no_slider(browser: Browser, office: Office) -> None:
    ana = office.world.person("ana@example.org")
    assert 'type="range"' not in browser("marketing").get(f"/staff/people/{ana.public_id}").text


def test_how_far_the_signed_heads_reach(browser: Browser, office: Office) -> None:
    ana = office.world.person("ana@example.org")
    base = f"/staff/people/{ana.public_id}"
    officer = browser("privacy_officer")
    assert "Signed through entry" not in officer.get(base).text, "no head is signed yet"
    head = office.world.change(lambda session: checkpoints.sign(session, office.house.ring, now=clock.now()))
    page = officer.get(base).text
    assert f"Signed through entry {head.size:,}" in page
    assert '<a href="/staff/ledger">Verify the chain</a>' in page
    marketing = browser("marketing").get(base).text
    assert f"Signed through entry {head.size:,}" in marketing
    assert "Verify the chain" not in marketing, "they cannot"


def test_a_head_that_is_none_of_ours_is_said_aloud(browser: Browser, office: Office) -> None:
    ana = office.world.person("ana@example.org")

    def forge(session: Session) -> None:
        checkpoints.sign(session, office.house.ring, now=clock.now())
        session.connection().execute(update(Checkpoint).values(note="bidden/other\n1\nx\n"))

    office.world.change(forge)
    page = browser("privacy_officer").get(f"/staff/people/{ana.public_id}").text
    assert "The last signed head is none of ours" in page
    assert "Signed through entry" not in page


@pytest.mark.browser
@pytest.mark.parametrize("script", [True, False], ids=["with script", "without"])
def test_the_slider_turns_the_day_in_a_browser(office: Office, ana: Ana, script: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as line:
        url = f"http://127.0.0.1:{line.getsockname()[1]}"
        told = Settings(**(office.house.settings.model_dump() | {"public_url": url}))
        named = House(told, office.house.engine, office.house.ring)
        with listening(named, line), chromium() as opened:
            context = opened.new_context(java_script_enabled=script)
            context.add_cookies([{"name": "bidden-staff", "value": office.token("marketing"), "url": url}])
            page = context.new_page()
            said = watch(page)
            page.goto(f"{url}{ana.base}")
            page.locator("#days").press("ArrowLeft")
            day = ana.first + DAYS - timedelta(days=1)
            if script:
                assert page.input_value("#on") == day.isoformat()
                assert page.get_attribute("#days", "aria-valuetext") != f"{clock.now().date():%-d %b %Y}"
                page.fill("#on", (ana.first + timedelta(days=7)).isoformat())
                assert page.input_value("#days") == "7"
                day = ana.first + timedelta(days=7)
            page.get_by_role("button", name="Show this day").click()
            assert page.url == f"{url}{ana.base}?on={day}"
            assert page.locator("h2#then").inner_text() == f"As it was on {day.day} {day:%b %Y}"
            assert said == []
