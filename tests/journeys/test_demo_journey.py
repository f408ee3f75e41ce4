"""`bidden demo` as a newcomer gets it; then every staff page in a real browser: axe, both themes, desk and phone."""

import re
from collections.abc import Iterator
from pathlib import Path

import axe_playwright_python
import httpx2
import pytest
from playwright.sync_api import Page

from tests.browser import browser, watch
from tests.stack import Stack, until

pytestmark = [pytest.mark.journey, pytest.mark.browser]

AXE = next(Path(axe_playwright_python.__file__).parent.rglob("axe.min.js")).read_text()
RULES = "axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})"
LISTS = [
    "/staff", "/staff/announcements", "/staff/announcements/new", "/staff/notices", "/staff/templates", "/staff/people",
    "/staff/topics", "/staff/policies", "/staff/contact", "/staff/ledger", "/inbox", "/staff/health", "/staff/settings",
    "/staff/staff", "/staff/keys", "/staff/password", "/staff/nothing-here", "/staff/privacy", "/staff/privacy/requests/new",
    "/staff/privacy/disclosures/new", "/staff/privacy/breaches/new", "/staff/privacy/record",
]  # fmt: skip
# From these lists the first entry is opened, too.
DETAILS = {
    "/staff/announcements": r"/staff/announcements/a_\w+",
    "/staff/announcements?state=scheduled": r"/staff/announcements/a_\w+",
    "/staff/notices": r"/staff/notices/n_\w+",
    "/staff/people": r"/staff/people/p_\w+",
    "/staff/topics": r"/staff/topics/[\w-]+",
    "/staff/policies": r"/staff/policies/[\w-]+",
}


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Stack]:
    made = Stack(tmp_path)
    made.start("demo")
    yield made
    made.stop()


def _pages(page: Page, base: str) -> list[str]:
    found = list(LISTS)
    for where, pattern in DETAILS.items():
        page.goto(base + where)
        link = re.search(rf'href="({pattern})"', page.content())
        if link:
            found.append(link[1])
            if "/announcements/" in link[1]:
                found += [f"{link[1]}/deliveries", f"{link[1]}/review"]
    return found


def test_every_staff_page_of_the_demo(demo: Stack) -> None:
    link = until("the sign-in link", lambda: re.search(r"http\S+/staff/start/\S+", demo.logs()), 120)[0]
    assert httpx2.get(f"{demo.base_url}/readyz").status_code == 200
    with browser() as opened:
        context = opened.new_context()
        page = context.new_page()
        complaints = watch(page)
        page.goto(link)
        page.click("main button")
        page.wait_for_url(f"{demo.base_url}/staff")
        paths = _pages(page, demo.base_url)
        assert len(paths) >= len(LISTS) + 5
        complaints.clear()
        for width, scheme in ((1440, "light"), (390, "dark")):
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            for path in paths:
                page.goto(demo.base_url + path)
                faults = page.evaluate(f"{AXE}\n{RULES}")["violations"]
                assert [(fault["id"], fault["nodes"][0]["html"]) for fault in faults] == [], (
                    f"{path} {width} {scheme}"
                )
                assert not page.evaluate("document.documentElement.scrollWidth > innerWidth"), (
                    f"{path} {width}"
                )
        assert [said for said in complaints if "404" not in said] == []
