"""The first hour in a real browser: first-run link, an announcement from a starter, its arrival, a stop, the report."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser import browser, watch
from tests.journeys.test_api_journey import yes
from tests.stack import Stack, stack, until

pytestmark = [pytest.mark.journey, pytest.mark.browser]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Stack]:
    """`bidden up` with its captured inbox: nothing leaves this machine."""
    with stack(tmp_path) as made:
        made.start("up")
        made.ready()
        with made.client() as client:
            for name in ("ana", "bo", "cy"):
                person = {
                    "email": f"{name}@example.org",
                    "profile": {"first_name": name.title()},
                    "consents": [yes("new-products")],
                }
                assert client.put(f"/people/{name}", json=person).status_code in (200, 201)
        yield made


def _first_run(page: Page, house: Stack) -> None:
    link = until("the first-run link", lambda: re.search(r"http\S+/staff/start/\S+", house.logs()))
    page.goto(link[0])
    for field, value in (
        ("name", "Jo Admin"),
        ("email", "jo@example.org"),
        ("password", "a long enough passphrase"),
    ):
        page.fill(f"#{field}", value)
    page.click("text=Save and start")
    expect(page).to_have_url(f"{house.base_url}/staff")


def _write_and_schedule(page: Page, house: Stack) -> str:
    page.goto(f"{house.base_url}/staff/announcements/new")
    page.select_option("#topic", "new-products")
    page.click("button[name=template][value=launch]")
    page.fill("#subject", "{{ first_name|default('there') }}, the planner is here")
    page.fill("#body", "## Hello {{ first_name|default('there') }}\n\nPlan a week in two minutes.")
    expect(page.locator("#preview-head")).to_contain_text("Ana, the planner is here")  # as it is typed
    expect(page.frame_locator(".frame iframe:visible").get_by_text("Hello Ana")).to_be_visible()
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("button", name=re.compile("^Review")).click()
    page.check("input[name=when][value=now]")
    page.click("text=Schedule for 3 people")
    return page.url.split("?")[0]


def test_write_send_read_stop_report(house: Stack) -> None:
    with browser() as opened:
        page = opened.new_context(viewport={"width": 1440, "height": 900}).new_page()
        complaints = watch(page)
        _first_run(page, house)
        report = _write_and_schedule(page, house)
        expect(page.locator(".sentence")).to_contain_text("Done: 3", timeout=30_000)  # nobody reloads it

        page.goto(f"{house.base_url}/inbox?q=ana@example.org")
        page.click("text=Ana, the planner is here")
        frame = page.frame_locator("iframe")
        expect(frame.get_by_text("Hello Ana")).to_be_visible()
        link = frame.get_by_role("link", name="Stop these").get_attribute("href")
        assert link
        assert link.startswith(f"{house.base_url}/u/")
        assert not complaints

        reader = opened.new_context(
            viewport={"width": 390, "height": 800}, java_script_enabled=False
        ).new_page()
        reader.goto(link)
        reader.click("text=Stop them")
        expect(reader.locator("h1")).to_contain_text("Done")

        page.goto(report)
        expect(page.get_by_text("1 person stopped New products through it.")).to_be_visible()
        assert not complaints
