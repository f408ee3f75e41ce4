"""What the guard refuses and what an error page says: the right status, one sentence, never what was sent."""

import asyncio

import pytest
from sqlalchemy.exc import OperationalError
from starlette.requests import Request
from starlette.testclient import TestClient

from service import app
from service.config import Settings
from service.db.engine import AWAY
from service.domain.links import rules as links
from service.ops.house import House
from service.web import errors, words
from tests.web.conftest import BASE, World

CANARY = "canary-7f3a"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example.com",
        "127.0.0.1:8000.evil.example.com",
        "a/?x=",
        "127.0.0.1",
        "127.0.0.1:8001",
        "",
        "127.0.0.1:8000@evil.example.com",
    ],
)
def test_rel_h42_other_hosts_are_refused(client: TestClient, host: str) -> None:
    for path in ("/", "/join", "/api/v1/topics", "/static/public.css"):
        answer = client.get(path, headers={"Host": host})
        assert answer.status_code == 400
        assert "host_not_allowed" in answer.text
        assert "evil" not in answer.text


@pytest.mark.parametrize(
    ("path", "allow"),
    [("/u/abc", "GET, POST"), ("/policies", "GET"), ("/api/v1/people/1", "GET, PUT, DELETE")],
)
def test_what_a_path_cannot_do_names_what_it_can(client: TestClient, path: str, allow: str) -> None:
    answer = client.request("PATCH", path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allow)


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "[::1]:8000", "LOCALHOST:8000"])
def test_rel_h42_our_own_names_are_not(client: TestClient, host: str) -> None:
    assert client.get("/join", headers={"Host": host}).status_code == 200


def test_rel_h42_forwarded_headers_are_not_believed(client: TestClient, world: World) -> None:
    forged = {
        "X-Forwarded-Host": "evil.example.com",
        "X-Forwarded-Proto": "https",
        "Forwarded": "host=evil.example.com",
    }
    person = world.person()
    for path in ("/", world.stop_link(person), "/changelog/feed.atom"):
        answer = client.get(path, headers=forged)
        assert answer.status_code == 200
        assert "evil" not in answer.text


def test_rel_h42_former_hosts_still_answer_and_https_is_kept(house: House) -> None:
    told = house.settings.model_dump() | {
        "public_url": "https://mail.example.org",
        "public_urls_former": "https://old.example.org/",
    }
    moved = House(Settings(**told), house.engine, house.ring)
    with TestClient(app.build(moved), base_url="https://mail.example.org") as client:
        for host in ("mail.example.org", "old.example.org", "mail.example.org:443"):
            answer = client.get("/join", headers={"Host": host})
            assert answer.status_code == 200
            assert answer.headers["strict-transport-security"] == "max-age=31536000"
        assert client.get("/join", headers={"Host": "localhost:8000"}).status_code == 400
        cookie = client.get("/join?lang=de").headers["set-cookie"]
        assert cookie.startswith("__Host-bidden-lang=de")
        assert "Secure" in cookie


@pytest.mark.parametrize(
    "path",
    [
        "//evil.example.com/",
        "/%2e%2e/etc/passwd",
        "/u/%00",
        "/..%2f..%2f",
        "/nothing/" + CANARY,
        "/U/x",
        "/join/",
    ],
)
def test_rel_h43_odd_paths_get_the_same_plain_page(client: TestClient, path: str) -> None:
    answer = client.get(BASE + path)
    assert answer.status_code in (400, 404)
    assert CANARY not in answer.text
    assert "evil" not in answer.text
    assert "<h1>" in answer.text


@pytest.mark.parametrize(
    ("path", "host", "status", "code"),
    [
        ("/api", "evil.example.com", 400, "host_not_allowed"),
        ("/api/v1/topics", "evil.example.com", 400, "host_not_allowed"),
        ("/api/v1/%2e%2e/people", None, 404, "path_not_allowed"),
        ("/api/v1/people/%00", None, 404, "path_not_allowed"),
        ("/api/%2e%2e/%2e%2e/etc/passwd", None, 404, "path_not_allowed"),
    ],
)
def test_rel_h42_h43_a_program_is_refused_in_its_own_language(
    client: TestClient, path: str, host: str | None, status: int, code: str
) -> None:
    answer = client.get(BASE + path, headers={"Host": host} if host else None)
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["status"], answer.json()["code"]) == (status, status, code)
    assert set(answer.json()) == {"type", "title", "status", "code", "detail", "field", "fix"}


def test_a_wrong_method_is_said_with_what_is_right(client: TestClient) -> None:
    answer = client.put("/join", headers={"Sec-Fetch-Site": "same-origin"})
    assert answer.status_code == 405
    assert "method_not_allowed" in answer.text


def test_rel_h44_no_error_repeats_what_was_sent(client: TestClient, world: World) -> None:
    person = world.person()
    preferences = "/p/" + world.link(links.PREFERENCES, person)
    seen = []
    for answer in (
        client.get(f"/{CANARY}"),
        client.get(f"/policies/{CANARY}"),
        client.get(f"/changelog?after={CANARY}&topic={CANARY}"),
        client.get(f"/u/{CANARY}"),
        client.post(f"/u/{CANARY}", data={CANARY: CANARY}),
        client.post(preferences, data={"do": "save", "topic:" + CANARY: CANARY}),
        client.post(preferences, data={"do": "save", "break_until": CANARY}),
        client.post("/join", data={"topic": CANARY, "email": "x@example.org"}),
        client.post(
            "/me", data={"first_name": CANARY}, headers={"cookie": f"bidden-me={CANARY}", "origin": BASE}
        ),
        client.get("/", headers={"Host": CANARY}),
    ):
        assert CANARY not in answer.text
        assert CANARY not in str(answer.headers)
        seen.append(answer.status_code)
    assert all(400 <= status < 500 for status in seen), seen


def test_what_nobody_foresaw_is_a_page_with_a_number_and_no_detail(house: House) -> None:
    broken = app.build(house)

    @broken.get("/broken")
    async def fail(request: Request) -> None:
        raise RuntimeError(CANARY)

    with TestClient(broken, base_url=BASE) as client:
        answer = client.get("/broken")
    assert answer.status_code == 500
    assert CANARY not in answer.text
    assert answer.headers["x-request-id"] in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


def test_std_n2_the_log_names_routes_and_never_tokens(
    client: TestClient, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    path = world.stop_link(world.person())
    with caplog.at_level("INFO", "service.web"):
        client.get(path)
        client.get("/policies/privacy?version=1")
        client.get("/nothing/" + CANARY)
    routes = [record.facts["route"] for record in caplog.records if record.name == "service.web"]
    assert routes == ["/u/{token}", "/policies/{slug}", "-"]
    assert path[3:] not in caplog.text
    assert CANARY not in caplog.text


# --- sizes ---


def test_rel_h45_a_body_that_says_it_is_large_is_not_read(client: TestClient) -> None:
    answer = client.post(
        "/join", content=b"x" * 300_000, headers={"content-type": "application/x-www-form-urlencoded"}
    )
    assert answer.status_code == 413
    assert "body_too_large" in answer.text
    assert answer.headers["connection"] == "close"


def test_rel_h46_reading_stops_at_the_limit(house: House) -> None:
    """A body of no stated size is read up to its limit and no further."""
    taken = 0

    async def receive() -> dict[str, object]:
        nonlocal taken
        taken += 65_536
        return {"type": "http.request", "body": b"x" * 65_536, "more_body": True}

    sent: list[dict[str, object]] = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/join",
        "raw_path": b"/join",
        "query_string": b"",
        "http_version": "1.1",
        "scheme": "http",
        "headers": [(b"host", b"127.0.0.1:8000"), (b"content-type", b"multipart/form-data; boundary=x")],
        "client": ("127.0.0.1", 5),
        "server": ("127.0.0.1", 8000),
        "root_path": "",
    }
    asyncio.run(app.build(house)(scope, receive, send))
    assert sent[0]["status"] == 413
    assert taken <= 6 * 65_536


@pytest.mark.parametrize("kind", ["urlencoded", "multipart"])
def test_rel_h46_ten_thousand_parts_are_refused(client: TestClient, kind: str) -> None:
    if kind == "urlencoded":
        answer = client.post(
            "/join",
            content=b"&".join([b"a=1"] * 10_000),
            headers={"content-type": "application/x-www-form-urlencoded"},
        )
    else:
        part = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
        answer = client.post(
            "/join",
            content=part * 4_000 + b"--x--\r\n",
            headers={"content-type": "multipart/form-data; boundary=x"},
        )
    assert answer.status_code == 413


# --- one page for each kind ---


@pytest.mark.parametrize("status", sorted(errors.HEADINGS))
def test_every_status_has_a_heading_in_german_too(status: int) -> None:
    assert words.catalogue("de").get(errors.HEADINGS[status])


@pytest.mark.parametrize("room", [MemoryError(), RuntimeError("can't start new thread")])
def test_rel_f19_a_machine_without_room_is_a_503_too(room: Exception) -> None:
    assert errors.as_domain(room).status == 503
    assert errors.as_domain(RuntimeError("anything else")).status == 500


@pytest.mark.parametrize("kind", [*AWAY, MemoryError])
def test_rel_f16_a_database_that_is_away_is_a_503_that_says_so(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    """A 500 would say that something is broken; whoever stops by one click is told to come again."""

    async def away(*_: object) -> None:
        raise (
            OperationalError("BEGIN", None, Exception("database is locked"))
            if kind is OperationalError
            else kind
        )

    monkeypatch.setattr("service.web.forms.read_kindly", away)
    monkeypatch.setattr("service.web.public.tokens.read", lambda *_: None)
    answer = client.post("/u/x", data={"List-Unsubscribe": "One-Click"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert "busy" in answer.text
