"""Readers' pages in a real browser: nothing foreign, nothing blocked, nothing axe minds; narrow and small."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest
from playwright.sync_api import Browser, sync_playwright

from service.config import Settings
from service.domain.links import rules as links
from service.kit.places import PACKAGE
from service.ops.house import House
from tests.web.conftest import World, listening
from tests.web.public.test_pages_for_everybody import publish
from tests.web.public.test_why import mailed

AXE = next(Path(axe_playwright_python.__file__).parent.rglob("axe.min.js")).read_text()
RULES = "axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})"
LIMIT = 25_000
CSS = PACKAGE / "web" / "static" / "public.css"

pytestmark = pytest.mark.browser


@pytest.fixture
def site(house: House) -> Iterator[tuple[str, World]]:
    """The application under its own name, and what is in it."""
    with socket.create_server(("127.0.0.1", 0)) as line:
        url = f"http://127.0.0.1:{line.getsockname()[1]}"
        told = Settings(**(house.settings.model_dump() | {"public_url": url}))
        named = House(told, house.engine, house.ring)
        with listening(named, line):
            yield url, World(named)


@pytest.fixture
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield browser
        browser.close()


def paths(world: World) -> list[str]:
    """Every page that a GET shows."""
    slug = publish(world)
    person = world.person(zone="Europe/Berlin")
    mailing = mailed(world, person)

    def token(purpose: int) -> str:
        return world.link(purpose, person, mailing=mailing.alias, pos=1)

    behind = [
        "/u/" + token(links.STOP),
        "/p/" + token(links.PREFERENCES),
        "/why/" + token(links.WHY),
        "/u/cut",
    ]
    enter = "/me/enter/" + world.link(links.SIGN_IN, person)
    open_to_all = [
        "/",
        "/join",
        "/lost-link",
        "/me",
        "/contact",
        "/policies",
        "/policies/privacy",
        "/changelog",
        f"/changelog/{slug}",
        "/nothing",
    ]
    return [*behind, enter, *open_to_all]


@pytest.mark.parametrize(("width", "scheme", "lang"), [(320, "dark", "de-DE"), (1100, "light", "en-GB")])
def test_rel_h40_std_m1_every_page(
    site: tuple[str, World], chromium: Browser, width: int, scheme: Any, lang: str
) -> None:
    url, world = site
    context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, locale=lang)
    page = context.new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda told: said.append(told.text) if "Content Security" in told.text else None)
    style = len(CSS.read_bytes())
    for path in paths(world):
        answer = page.goto(url + path)
        assert answer is not None
        assert len(answer.body()) + style <= LIMIT, path
        assert not page.evaluate("document.documentElement.scrollWidth > innerWidth"), path
        assert page.evaluate("document.scripts.length") == 0
        assert [fault["id"] for fault in page.evaluate(f"{AXE}\n{RULES}")["violations"]] == [], path
    assert all(address.startswith(url) for address in asked)
    assert said == []
    context.close()


def test_std_m1_stopping_and_choosing_without_script_by_keyboard(
    site: tuple[str, World], chromium: Browser
) -> None:
    url, world = site
    person = world.person()
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(url + world.stop_link(person))
    page.wait_for_selector("button:focus")  # where the page puts the hand; a key pressed before it has none
    page.keyboard.press("Enter")
    page.wait_for_selector("button[name=undo]")
    assert world.states(person)["new-products"] == "withdrawn"
    page.goto(url + "/p/" + world.link(links.PREFERENCES, person, "updates"))
    page.check('input[name="topic:updates"][value="off"]')
    page.click("button[value=save]")
    assert "No more" in page.inner_text("main")
    assert world.states(person)["updates"] == "withdrawn"
    context.close()
