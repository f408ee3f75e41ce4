"""A policy's page says whether people were told of its newest version, begins the notice that tells them, and who would still be
covered without a text."""

import re
from collections.abc import Callable

from starlette.testclient import TestClient

from service.kit import clock
from tests.web.staff.conftest import Office

Browser = Callable[..., TestClient]
HERE = "/staff/policies/privacy"
TEXT = {"title:en": "Privacy policy", "body:en": "We hold a little more now.", "then": "publish"}


def test_the_officer_begins_it_and_the_product_team_sends_it(browser: Browser, office: Office) -> None:
    officer, product = browser("privacy_officer"), browser("product")
    assert "Telling people" not in officer.get(HERE).text
    assert officer.post(HERE, data=TEXT).status_code == 303
    page = officer.get(HERE).text
    assert "Nobody has been told of it yet." in page
    assert "Privacy_Officer Person" in page.partition('id="vs"')[2], "who published it"
    assert "Write the notice" not in product.get(HERE).text
    begun = officer.post(f"{HERE}/tell")
    assert (begun.status_code, begun.headers["location"]) == (303, HERE)
    page = officer.get(HERE).text
    assert "Its notice is a draft." in page
    assert "Write the notice" not in page
    path = product.get(HERE).text.partition('href="/staff/notices/n_')[2].partition('"')[0]
    editor = product.get(f"/staff/notices/n_{path}").text
    assert "“Privacy policy” has changed" in editor
    assert "/policies/privacy?version=2" in editor
    assert product.post(f"{HERE}/tell").status_code == 403


def test_a_first_version_changes_nothing(browser: Browser, office: Office) -> None:
    admin = browser("admin")
    assert admin.post(f"{HERE}/tell").status_code == 409
    assert admin.post("/staff/policies/nothing/tell").status_code == 404
    admin.post(HERE, data=TEXT)
    assert admin.post(f"{HERE}/tell").headers["location"].startswith("/staff/notices/n_")


def test_who_would_still_be_covered_if_a_text_fell(browser: Browser, office: Office) -> None:
    """Two agreed to the first words, one of them under the second policy; one agreed to newer words; one has stopped."""
    officer, world = browser("privacy_officer"), office.world
    world.person("ana@example.org")
    stopped = world.person("cem@example.org")
    officer.post(world.stop_link(stopped, "updates"), data={"List-Unsubscribe": "One-Click"})
    assert world.states(stopped)["updates"] == "withdrawn"
    assert officer.post(HERE, data=TEXT).status_code == 303
    world.person("ben@example.org", at=clock.now())
    newer = {"name": "Updates", "often": "Weekly", "locale": "en", "text": "Tell me more."}
    assert officer.post("/staff/topics/updates/wordings", data=newer).status_code == 303
    world.person("dora@example.org", at=clock.now())
    page = officer.get("/staff/topics/updates?fell=1-en").text
    assert "1 person would still be covered" in _plain(page)
    assert "2 people would have to be asked anew" in _plain(page)
    page = officer.get(f"{HERE}?fell=1").text
    assert "Updates: 2 people would still be covered, 1 person would have to be asked anew." in _plain(page)
    assert "Important notices" not in page.partition('id="fell"')[2], "they rest on no consent"
    assert "would still be covered" not in officer.get(f"{HERE}?fell=9").text


def _plain(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page))
