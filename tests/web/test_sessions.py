"""Sign-ins of staff over the real application: what a cookie is worth, and when it is worth nothing any more."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from service import app
from service.config import Settings
from service.domain.staff import actions
from service.domain.staff.rules import ABSOLUTE, IDLE
from service.kit import clock
from service.ops.house import House
from service.web.sessions import Permission
from tests.web.conftest import BASE, World
from tests.web.staff.conftest import OURS, PASSWORD, hire

Later = Callable[[timedelta], object]


@pytest.fixture
def ana(house: House, world: World) -> str:
    """An admin."""
    return str(world.change(lambda session: hire(session, house, "admin", email="ana@example.org")))


@pytest.fixture
def browser(house: House) -> TestClient:
    return TestClient(app.build(house), base_url=BASE, follow_redirects=False, headers=OURS)


def sign_in(browser: TestClient, password: str = PASSWORD, **more: str) -> int:
    return browser.post(
        "/staff/login", data={"email": "ana@example.org", "password": password, **more}
    ).status_code


@pytest.mark.usefixtures("ana")
def test_sign_in_and_out(browser: TestClient) -> None:
    assert browser.get("/staff").headers["location"] == "/staff/login"
    assert sign_in(browser) == 303
    assert browser.get("/staff").status_code == 200
    assert browser.get("/staff/login").headers["location"] == "/staff"
    assert browser.post("/staff/logout").headers["location"] == "/staff/login"
    assert browser.get("/staff").status_code == 303


@pytest.mark.usefixtures("ana")
def test_std_n13_cookie_is_http_only_lax_and_host_bound_under_https(house: House, tmp_path: Path) -> None:
    """N13: on http loopback a plain cookie; under https `__Host-` and Secure."""
    plain = TestClient(app.build(house), base_url=BASE, follow_redirects=False, headers=OURS)
    cookie = plain.post("/staff/login", data={"email": "ana@example.org", "password": PASSWORD}).headers[
        "set-cookie"
    ]
    assert cookie.startswith("bidden-staff=")
    assert "HttpOnly" in cookie
    assert "samesite=lax" in cookie.lower()
    assert "secure" not in cookie.lower()
    settings = Settings(
        data_dir=tmp_path, database_url=house.settings.database_url, public_url="https://mail.example.org"
    )
    safe = House(settings, house.engine, house.ring)
    there = {"Origin": "https://mail.example.org"}
    client = TestClient(
        app.build(safe), base_url="https://mail.example.org", follow_redirects=False, headers=there
    )
    cookie = client.post("/staff/login", data={"email": "ana@example.org", "password": PASSWORD}).headers[
        "set-cookie"
    ]
    assert cookie.startswith("__Host-bidden-staff=")
    assert all(part in cookie for part in ("Secure", "HttpOnly", "Path=/"))
    assert "Domain" not in cookie


@pytest.mark.usefixtures("ana")
def test_a_planted_token_is_worth_nothing_after_sign_in(browser: TestClient) -> None:
    """Session fixation: whatever the browser held before, the session is another one."""
    browser.cookies.set("bidden-staff", "planted", domain="127.0.0.1")
    assert sign_in(browser) == 303
    assert browser.cookies.get("bidden-staff", domain="127.0.0.1") != "planted"
    stranger = TestClient(
        browser.app, base_url=BASE, follow_redirects=False, cookies={"bidden-staff": "planted"}
    )
    assert stranger.get("/staff").status_code == 303


@pytest.mark.usefixtures("ana")
def test_signing_in_again_ends_the_session_before(house: House, browser: TestClient) -> None:
    sign_in(browser)
    first = browser.cookies["bidden-staff"]
    sign_in(browser)
    old = TestClient(app.build(house), base_url=BASE, follow_redirects=False, cookies={"bidden-staff": first})
    assert old.get("/staff").status_code == 303
    assert browser.get("/staff").status_code == 200


@pytest.mark.usefixtures("ana")
def test_std_n13_a_session_ends_after_eight_idle_hours(browser: TestClient, later: Later) -> None:
    sign_in(browser)
    later(IDLE - timedelta(minutes=1))
    assert browser.get("/staff").status_code == 200  # which is noted: the hours begin anew
    later(2 * IDLE - timedelta(minutes=3))
    assert browser.get("/staff").status_code == 200
    later(3 * IDLE)
    assert browser.get("/staff").status_code == 303


@pytest.mark.usefixtures("ana")
def test_std_n13_a_session_ends_after_seven_days_however_busy(browser: TestClient, later: Later) -> None:
    sign_in(browser)
    for hours in range(7, int(ABSOLUTE / timedelta(hours=1)), 7):
        later(timedelta(hours=hours))
        assert browser.get("/staff").status_code == 200, hours
    later(ABSOLUTE + timedelta(minutes=1))
    assert browser.get("/staff").status_code == 303


@pytest.mark.usefixtures("ana")
def test_rel_h58_a_changed_password_ends_every_other_session(house: House, browser: TestClient) -> None:
    other = TestClient(app.build(house), base_url=BASE, follow_redirects=False, headers=OURS)
    assert sign_in(browser) == sign_in(other) == 303
    wrong = browser.post(
        "/staff/password", data={"current_password": "not it at all", "password": "nine slow trains hum"}
    )
    assert wrong.status_code == 422
    assert "That is not your present password." in wrong.text
    right = browser.post(
        "/staff/password", data={"current_password": PASSWORD, "password": "nine slow trains hum"}
    )
    assert right.status_code == 303
    assert browser.get("/staff").status_code == 200
    assert other.get("/staff").status_code == 303
    assert other.post("/staff/keys", data={"name": "x"}).status_code == 401
    assert sign_in(other) == 403
    assert sign_in(other, "nine slow trains hum") == 303


def test_rel_h58_another_role_or_a_closed_account_ends_sessions(
    browser: TestClient, house: House, world: World, ana: str
) -> None:
    world.change(lambda session: hire(session, house, "admin", email="ben@example.org"))
    sign_in(browser)
    world.change(lambda session: actions.set_role(session, ana, "product", now=clock.now(), by="cli"))
    assert browser.get("/staff").status_code == 303
    sign_in(browser)
    assert browser.get("/staff/keys").status_code == 403
    world.change(lambda session: actions.end(session, ana, now=clock.now(), by="cli"))
    assert browser.get("/staff").status_code == 303
    assert sign_in(browser) == 403


@pytest.mark.usefixtures("ana")
def test_rel_h57_ten_wrong_passwords_close_the_door_for_a_while(browser: TestClient) -> None:
    answers = [sign_in(browser, f"wrong number {number}") for number in range(10)]
    assert answers == [403] * 10
    assert sign_in(browser) == 429


@pytest.mark.usefixtures("ana")
def test_rel_h55_an_unknown_account_is_answered_like_a_wrong_password(browser: TestClient) -> None:
    known = browser.post("/staff/login", data={"email": "ana@example.org", "password": "wrong"})
    unknown = browser.post("/staff/login", data={"email": "zoe@example.org", "password": "wrong"})
    assert known.status_code == unknown.status_code == 403
    assert known.text.replace("ana@", "zoe@") == unknown.text


@pytest.mark.usefixtures("ana")
@pytest.mark.parametrize(
    "following", ["//evil.example.org", "https://evil.example.org", "/\\evil", "/staff/../..//x"]
)
def test_rel_h41_sign_in_leads_to_our_own_pages_only(browser: TestClient, following: str) -> None:
    answer = browser.post(
        "/staff/login", data={"email": "ana@example.org", "password": PASSWORD, "next": following}
    )
    assert answer.headers["location"] == "/staff"


@pytest.mark.usefixtures("ana")
def test_sign_in_leads_back_to_the_page_that_was_asked_for(browser: TestClient) -> None:
    asked = browser.get("/staff/ledger").headers["location"]
    assert asked == "/staff/login?next=/staff/ledger"
    assert 'value="/staff/ledger"' in browser.get(asked).text
    answer = browser.post(
        "/staff/login", data={"email": "ana@example.org", "password": PASSWORD, "next": "/staff/ledger"}
    )
    assert answer.headers["location"] == "/staff/ledger"


def test_first_run_makes_the_admin_once(browser: TestClient, world: World) -> None:
    token = world.change(lambda session: actions.first_run(session, now=clock.now()))
    page = browser.get(f"/staff/start/{token}")
    assert "Welcome to Bidden" in page.text
    assert "At least 15 characters" in page.text
    short = browser.post(
        f"/staff/start/{token}", data={"name": "Ana", "email": "ana@example.org", "password": "short"}
    )
    assert short.status_code == 422
    assert "at least 15 characters" in short.text
    assert 'value="ana@example.org"' in short.text
    done = browser.post(
        f"/staff/start/{token}", data={"name": "Ana", "email": "ana@example.org", "password": PASSWORD}
    )
    assert done.headers["location"] == "/staff"
    assert browser.get("/staff/keys").status_code == 200
    assert browser.get(f"/staff/start/{token}").status_code == 404


def test_a_sign_in_link_is_used_by_its_button_only(browser: TestClient, house: House, world: World) -> None:
    """P5: a scanner that opens the link signs nobody in and spoils nothing."""

    def link(session: object) -> str:
        hire(session, house, "admin", email="ana@example.org")  # type: ignore[arg-type]
        member = actions.queries.members(session)[0]  # type: ignore[arg-type]
        return actions.sign_in_token(session, member.id or 0, now=clock.now(), by="cli")  # type: ignore[arg-type]

    token = world.change(link)
    for _ in range(3):
        assert "set-cookie" not in browser.get(f"/staff/start/{token}").headers
    assert browser.post(f"/staff/start/{token}").headers["location"] == "/staff"
    assert browser.get("/staff").status_code == 200
    assert browser.post(f"/staff/start/{token}").status_code == 404


def test_a_misspelt_permission_fails_when_it_is_declared() -> None:
    with pytest.raises(KeyError):
        Permission("announcements:wrte")
