"""The route matrix: every staff route with every role, and what each declares."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from service.domain.staff.rules import ROLES, may
from service.web.sessions import Permission
from service.web.staff.routes import router

OPEN = {
    ("GET", "/staff/login"), ("POST", "/staff/login"), ("POST", "/staff/logout"),
    ("GET", "/staff/start/{token}"), ("POST", "/staff/start/{token}"),
    ("GET", "/staff/password"), ("POST", "/staff/password"),
}  # fmt: skip


def routes(part: Any) -> Iterator[APIRoute]:
    """Every route, however deep it was included."""
    for route in part.routes:
        if isinstance(route, APIRoute):
            yield route
        elif hasattr(route, "original_router"):
            yield from routes(route.original_router)
        else:
            raise AssertionError(f"{route!r} is no route we know how to examine")


def permission(dependant: Dependant) -> str | None:
    """The permission a route declares through `require`."""
    for inner in dependant.dependencies:
        if isinstance(inner.call, Permission):
            return inner.call.name
    return None


DECLARED = [
    (method, route.path, permission(route.dependant))
    for route in routes(router)
    for method in sorted(route.methods or ())
]
GUARDED = [(method, path, wanted) for method, path, wanted in DECLARED if wanted]


def test_every_route_but_those_of_signing_in_declares_its_permission() -> None:
    assert {(method, path) for method, path, wanted in DECLARED if wanted is None} == OPEN
    assert len(DECLARED) > 70


def filled(path: str) -> str:
    """A path with something in its places that names nothing."""
    for place in ("{public_id}", "{slug}", "{token}"):
        path = path.replace(place, "nothing")
    return path.replace("{mail_id}", "1")


def ask(browser: TestClient, method: str, path: str) -> int:
    return browser.request(method, filled(path), **({"data": {}} if method == "POST" else {})).status_code


def test_strangers_are_asked_to_sign_in(browser: Callable[..., TestClient]) -> None:
    """A page leads to the sign-in, a form is refused; neither says whether the thing exists."""
    stranger = browser()
    for method, path, _ in GUARDED:
        answer = stranger.request(method, filled(path), **({"data": {}} if method == "POST" else {}))
        if method == "GET":
            assert answer.status_code == 303, path
            assert answer.headers["location"].startswith("/staff/login"), path
        else:
            assert answer.status_code == 401, path
            assert "Please sign in" in answer.text, path
    assert stranger.get("/staff/password").status_code == 303
    assert stranger.post("/staff/password").status_code == 401


@pytest.mark.parametrize("role", ROLES)
def test_a_role_opens_what_its_permissions_say_and_nothing_else(
    browser: Callable[..., TestClient], role: str
) -> None:
    colleague = browser(role)
    for method, path, wanted in GUARDED:
        status = ask(colleague, method, path)
        assert (status == 403) == (not may(role, wanted)), (method, path, status)
        assert status < 500, (method, path, status)


@pytest.mark.parametrize("role", ROLES)
def test_the_menu_holds_what_can_be_opened(browser: Callable[..., TestClient], role: str) -> None:
    colleague = browser(role)
    page = colleague.get("/staff").text
    menu = page[page.index('id="menu"') : page.index('class="me"')]
    for method, path, wanted in GUARDED:
        if method == "GET" and f'href="{path}"' in menu:
            assert may(role, wanted), path
            assert colleague.get(path).status_code == 200, path


def test_rel_h56_a_form_from_another_site_is_refused(browser: Callable[..., TestClient]) -> None:
    """H56: a foreign Origin, or none at all, and nothing happens: 403 csrf, for every form there is."""
    for headers in (
        {"Origin": "https://evil.example.org"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {},
    ):
        admin = browser("admin", headers=headers)
        for method, path, _ in DECLARED:
            if method == "POST":
                answer = admin.post(filled(path), data={})
                assert answer.status_code == 403, (headers, path)
                assert "csrf" in answer.text, (headers, path)
    assert (
        browser("admin", headers={"Sec-Fetch-Site": "same-origin"}).post("/staff/ledger/verify").status_code
        == 200
    )


def test_get_changes_nothing(browser: Callable[..., TestClient], office: Any) -> None:
    """Only a look at personal data leaves its entry."""
    admin = browser("admin")
    admin.get("/staff")
    before = office.world.entries()
    for method, path, _ in GUARDED:
        if method == "GET" and path != "/staff/people":
            admin.get(filled(path))
    assert office.world.entries() == before


def test_every_answer_keeps_to_itself(browser: Callable[..., TestClient]) -> None:
    """No other origin, no inline script, no frame around it, nothing kept in a cache."""
    answer = browser("admin").get("/staff")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
