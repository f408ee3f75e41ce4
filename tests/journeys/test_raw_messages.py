"""A captured message of each class, read from its raw bytes by a reader of our own: header table, six traps, both parts.

The bytes are what an SMTP server was sent, never an object of the product.
"""

import quopri
import re
from typing import Any

import httpx2
import pytest

from tests.journeys.conftest import Town
from tests.journeys.test_api_journey import send_announcement, sent, yes
from tests.mailbox import link
from tests.stack import until

pytestmark = pytest.mark.journey

ALWAYS = {"date", "from", "to", "subject", "message-id", "mime-version", "content-type", "reply-to"}
LIST = {
    "list-id", "list-unsubscribe", "list-unsubscribe-post", "list-help", "list-owner", "list-post", "precedence", "feedback-id",
}  # fmt: skip
NEVER = {
    "bcc",
    "return-path",
    "received",
    "x-priority",
    "importance",
    "disposition-notification-to",
    "x-mailer",
}


def headers(raw: bytes) -> tuple[dict[str, str], bytes]:
    """Names in lower case with their unfolded values, and the body; refuses what RFC 5322 refuses."""
    assert b"\x00" not in raw
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)", raw), "a bare line end"
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    head, _, body = raw.partition(b"\r\n\r\n")
    found: dict[str, str] = {}
    for line in re.sub(rb"\r\n([ \t])", rb"\1", head).split(b"\r\n"):
        name, colon, value = line.partition(b":")
        assert colon
        assert re.fullmatch(rb"[!-9;-~]+", name)
        assert name.lower().decode() not in found, f"{name!r} twice"
        found[name.lower().decode()] = value.strip().decode("ascii")
    return found, body


def part(body: bytes, kind: str, boundary: str) -> str:
    """One part in clear, from the raw body."""
    _, _, rest = body.partition(b"Content-Type: " + kind.encode())
    head, _, text = rest.partition(b"\r\n\r\n")
    text = text.split(b"\r\n--" + boundary.encode())[0]
    if b"quoted-printable" in head:
        text = quopri.decodestring(text)
    return text.decode("utf-8")


def check_common(raw: bytes, rcpt: str) -> dict[str, str]:
    """What holds for every class."""
    found, body = headers(raw)
    assert set(found) >= ALWAYS
    assert not set(found) & NEVER
    assert found["to"] == rcpt
    assert re.fullmatch(r"<[^<>@\s]+@[^<>@\s]+>", found["message-id"])
    assert rcpt.partition("@")[0] not in found["message-id"]  # Base32 knows neither "." nor 9
    for name in ("message-id", "list-unsubscribe", "list-id", "feedback-id", "list-help"):
        assert "=?" not in found.get(name, "")
    boundary = re.search(r'multipart/alternative; boundary="([^"]{1,70})"', found["content-type"])
    assert boundary
    assert body.find(b"text/plain") < body.find(b"text/html")
    text, html = part(body, "text/plain", boundary[1]), part(body, "text/html", boundary[1])
    assert boundary[1] not in text + html
    assert "<p" not in text
    assert re.search(r"<html[^>]* lang=", html)
    assert "<title>" in html
    links_in_html = {url.replace("&amp;", "&") for url in re.findall(r'href="(https?://[^"]+)"', html)}
    assert all(url in text.replace("\r\n", "\n") for url in links_in_html), (
        "a link is missing in the text part"
    )
    return found


def check_stoppable(found: dict[str, str]) -> None:
    assert set(found) >= LIST
    assert re.fullmatch(r"<http://127\.0\.0\.1:\d+/u/[a-z2-7]{66}>", found["list-unsubscribe"])
    assert found["list-unsubscribe-post"] == "List-Unsubscribe=One-Click"
    assert found["list-post"] == "NO"
    assert found["precedence"] == "bulk"
    assert len(found["feedback-id"].split(":")) == 4


def _first(town: Town, address: str, word: str) -> bytes:
    def look() -> Any:
        return next((raw for rcpt, raw in town.box.raw if rcpt == address and word.encode() in raw), None)

    found: bytes = until(f"a mail with {word!r}", look)
    return found


def test_std_a_one_message_of_each_class(town: Town) -> None:
    with town.house.client() as client:
        client.put(
            "/people/u1",
            json={
                "email": "ana.90@example.org",
                "locale": "de",
                "consents": [yes("new-products"), yes("updates")],
            },
        )
        client.put(
            "/people/u2", json={"email": "bo.90@example.org", "consents": [yes("updates", confirmed=False)]}
        )
        sent(client, send_announcement(client))
        for topic, title in (("updates", "Version 2 is out"), ("important-notices", "A short outage")):
            words = {"title": title, "body": "It **works** again.\n\n| a | b |\n|---|---|\n| 1 | 2 |"}
            body = {"topic": topic, "mail": True, "content": {"en": words}}
            made = client.post("/notices", json=body)
            assert made.status_code == 201, made.text
            assert client.post(f"/notices/{made.json()['id']}/publish").status_code in (200, 202)

    marketing = check_common(_first(town, "ana.90@example.org", "planner"), "ana.90@example.org")
    check_stoppable(marketing)
    assert marketing["from"].endswith("<news@acme.example.org>")
    assert "auto-submitted" not in marketing

    notice = check_common(_first(town, "ana.90@example.org", "Version 2"), "ana.90@example.org")
    check_stoppable(notice)
    assert notice["from"].endswith("<updates@acme.example.org>")
    assert notice["auto-submitted"] == "auto-generated"
    assert notice["list-id"] != marketing["list-id"]
    assert re.fullmatch(
        r"New products <new-products\.lists\.(?!lists\.)[a-z.-]+>", marketing["list-id"]
    )  # B13

    important = check_common(_first(town, "ana.90@example.org", "short outage"), "ana.90@example.org")
    assert not set(important) & {
        "list-unsubscribe",
        "list-unsubscribe-post",
        "precedence",
        "list-id",
        "list-post",
    }
    assert important["auto-submitted"] == "auto-generated"
    assert "class-service" in important["feedback-id"]

    asking = check_common(_first(town, "bo.90@example.org", "/confirm/"), "bo.90@example.org")
    assert not set(asking) & {
        "list-unsubscribe",
        "list-unsubscribe-post",
        "precedence",
        "list-id",
        "feedback-id",
    }
    assert asking["auto-submitted"] == "auto-generated"
    assert asking["x-auto-response-suppress"] == "OOF, AutoReply"
    assert {asking["from"], important["from"], notice["from"], marketing["from"]} == {
        f"Acme <{box}@acme.example.org>" for box in ("accounts", "service", "updates", "news")
    }


def test_std_b7_every_link_of_a_mail_looked_at_by_a_scanner(town: Town) -> None:
    """GET and HEAD on everything a mail links to, many times: nothing changes, and the button still works afterwards."""
    with town.house.client() as client:
        client.put("/people/u1", json={"email": "ana.90@example.org", "consents": [yes("new-products")]})
        sent(client, send_announcement(client))
        [mail] = town.box.to("ana.90@example.org")
        found = [link(mail, path) for path in ("/u/", "/p/", "/why/")] + [
            str(mail["List-Unsubscribe"]).strip("<>")
        ]
        before = client.get("/ledger", params={"limit": 200}).json()["items"]
        for agent in ("scanner/1.0", "Mozilla/5.0", ""):
            for url in found:
                for method in ("GET", "HEAD", "OPTIONS"):
                    answer = httpx2.request(method, url, headers={"User-Agent": agent, "Purpose": "prefetch"})
                    assert answer.status_code < 500
        assert client.get("/ledger", params={"limit": 200}).json()["items"] == before
        assert httpx2.post(found[0], data={"List-Unsubscribe": "One-Click"}).status_code == 200
        states = {row["topic"]: row["state"] for row in client.get("/people/u1/preferences").json()["topics"]}
        assert states["new-products"] == "withdrawn"
