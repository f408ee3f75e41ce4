"""A page marker that nobody made is refused as such, also one with a number that PostgreSQL has no place for."""

from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from service.kit import paging
from tests.web.staff.conftest import Office

Browser = Callable[..., TestClient]
LISTS = (
    "/staff/do-not-mail", "/staff/people", "/staff/contact", "/staff/privacy?show=closed", "/staff/announcements",
    "/staff/notices", "/staff/ledger", "/staff/inbox", "/changelog",
)  # fmt: skip
KEYS = (2**31, 2**63 - 1, -(2**40), "2026-11-24 99999999999999999", "1.999999999999999", "9" * 17 + ".1", "x")


@pytest.mark.parametrize("path", LISTS)
def test_no_page_breaks_on_a_marker_that_nobody_made(browser: Browser, office: Office, path: str) -> None:
    officer = browser("admin" if "inbox" in path else "privacy_officer")
    for key in KEYS:
        url = f"{path}{'&' if '?' in path else '?'}after={paging.encode(key)}"
        assert officer.get(url).status_code in (200, 404, 422), key


def test_requests_by_their_day_too(browser: Browser, office: Office) -> None:
    after = paging.encode("2026-11-24 99999999999999999")
    assert browser("privacy_officer").get(f"/staff/privacy?after={after}").status_code == 200
