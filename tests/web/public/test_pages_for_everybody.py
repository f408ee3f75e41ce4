"""Home, policies, changelog, contact, pictures, static files and the answers to machines."""

import hashlib
import json
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from sqlmodel import Session
from starlette.testclient import TestClient

from service.domain.notices import actions as notices
from service.domain.policies import actions as policies
from service.domain.policies.rules import PolicyText
from service.domain.privacy import queries as privacy
from service.domain.templates.tables import Media
from service.kit import clock
from tests.web.conftest import World

HELLO = {
    "en": {
        "title": "Tables <b>now</b> sort",
        "preheader": "",
        "body": "Press a *heading*.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n",
    }
}


def publish(world: World, topic: str = "updates", **more: Any) -> str:
    """A notice on the page."""

    def write(session: Session) -> str:
        row = notices.create(
            session,
            world.house.settings,
            topic=topic,
            now=clock.now(),
            by="staff:s_test",
            **{"content": HELLO, **more},
        )
        notices.publish(
            session, world.house.settings, row.public_id, mail=False, now=clock.now(), by="staff:s_test"
        )
        return row.slug

    slug: str = world.change(write)
    return slug


@pytest.mark.parametrize(
    "path", ["/", "/join", "/lost-link", "/me", "/contact", "/policies", "/policies/privacy", "/changelog"]
)
@pytest.mark.parametrize("lang", ["en", "de"])
def test_every_page_answers_in_each_language_and_stays_small(
    client: TestClient, world: World, path: str, lang: str
) -> None:
    publish(world)
    answer = client.get(path, headers={"Accept-Language": f"{lang};q=0.9, fr"})
    assert answer.status_code == 200
    assert f'<html lang="{lang}"' in answer.text
    assert answer.headers["content-language"] == lang
    assert len(answer.content) < 12_000


def test_a_policy_shows_any_version_for_ever(client: TestClient, world: World) -> None:
    text = {"en": PolicyText("Privacy", "**Second** <script>alert(1)</script> text")}
    world.change(
        lambda session: policies.publish(session, slug="privacy", texts=text, now=clock.now(), by="cli")
    )
    now, then = client.get("/policies/privacy").text, client.get("/policies/privacy?version=1").text
    assert "<strong>Second</strong>" in now
    assert "<script" not in now
    assert "Second" not in then
    assert "/policies/privacy?version=1" in now
    assert "/policies/privacy?version=2&amp;since=1" in now
    changed = client.get("/policies/privacy?version=2&since=1").text
    assert "<ins>**Second** &lt;script&gt;alert(1)&lt;/script&gt; text</ins>" in changed
    assert "<del>" in changed
    assert "Nothing: the text is the same." in client.get("/policies/privacy?version=2&since=2").text
    for wrong in (
        "/policies/none",
        "/policies/privacy?version=2&since=9",
        "/policies/privacy?version=2&since=x",
        "/policies/privacy?version=9",
        "/policies/privacy?version=-1",
        "/policies/privacy?version=9999999999999999999",
    ):
        assert client.get(wrong).status_code == 404


def test_the_changelog_its_entry_and_both_feeds(client: TestClient, world: World) -> None:
    slug = publish(world)
    listed, one = client.get("/changelog").text, client.get(f"/changelog/{slug}").text
    for page in (listed, one):
        assert "Tables &lt;b&gt;now&lt;/b&gt; sort" in page
        assert "<em>heading</em>" in page
        assert "<table" in page
        assert 'name="wording:updates"' in page, "the offer carries the words it shows"
    atom = client.get("/changelog/feed.atom")
    assert atom.headers["content-type"].startswith("application/atom+xml")
    assert len(ET.fromstring(atom.content).findall("{http://www.w3.org/2005/Atom}entry")) == 1
    feed = client.get("/changelog/feed.json")
    assert feed.headers["content-type"].startswith("application/feed+json")
    assert json.loads(feed.content)["items"][0]["url"].endswith(f"/changelog/{slug}")
    assert slug in client.get("/").text


def test_long_entries_begin_with_whole_words_and_nothing_half(client: TestClient, world: World) -> None:
    text = "## Where it is\n\nOpen **any table** and choose `Export`, " + "then wait a moment, " * 30 + "\n\n"
    long = text + "| a | b |\n|---|---|\n| 1 | 2 |\n" + "\n\nMore of it. " * 300
    bare = "# Only\n\n```\ncode\n```\n" + "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 300
    for name, body in (("long", long), ("bare", bare)):
        content = {"en": {"title": name, "preheader": "", "body": body}}
        publish(world, slug=name, content=content)
    page = client.get("/changelog").text
    begun = page.partition("<p>Open any table and choose Export, then wait")[2].partition("</p>")[0]
    assert begun.endswith("…")
    assert len(begun) < 200
    assert begun[-2].isalpha()
    assert "Where it is" not in page, "a heading does not run into the text"
    assert "|" not in page.partition("<main")[2].partition("</main>")[0]
    assert page.count("Read on") == 2


def test_the_changelog_narrows_and_goes_on(client: TestClient, world: World) -> None:
    for n in range(12):
        publish(world, slug=f"n-{n}")
    first = client.get("/changelog").text
    older = first.partition('rel="next"')[0].rpartition('href="')[2].partition('"')[0].replace("&amp;", "&")
    assert "n-11" in first
    assert "n-0" not in first
    assert 'href="/changelog/n-0"' in client.get(older).text
    assert client.get("/changelog?topic=no-such").status_code in (200, 404)
    assert client.get("/changelog?after=nonsense").status_code == 422
    assert client.get("/changelog/no-such").status_code == 404


def test_contact_keeps_the_question_sealed(client: TestClient, world: World) -> None:
    sent = {
        "name": "Ana",
        "email": "ana@example.org",
        "subject": "data",
        "message": "What do you hold?\r\n<b>?</b>",
        "website": "",
    }
    answer = client.post("/contact", data=sent)
    assert answer.status_code == 200
    (listed,) = world.change(lambda session: privacy.page(session, world.house.ring)).rows
    assert listed.public_id in answer.text
    robot = client.post("/contact", data=sent | {"website": "x"})
    assert robot.status_code == 200
    assert world.entries("contact.asked") == 1


@pytest.mark.parametrize(
    ("wrong", "field"),
    [({"message": ""}, "message"), ({"email": "x"}, "email"), ({"message": "x" * 11_000}, "message")],
)
def test_contact_says_what_is_missing(client: TestClient, wrong: dict[str, str], field: str) -> None:
    answer = client.post(
        "/contact", data={"email": "ana@example.org", "message": "Hello", "subject": "other"} | wrong
    )
    assert answer.status_code == 422
    assert f'href="#{field}"' in answer.text


def test_pictures_never_change(client: TestClient, world: World) -> None:
    content = b"\x89PNG\r\n\x1a\n not really"
    name = hashlib.sha256(content).hexdigest()
    world.change(
        lambda session: session.add(
            Media(sha256=name, extension="png", content=content, width=1, height=1, created_at=clock.now())
        )
    )
    answer = client.get(f"/media/{name}.png")
    assert answer.content == content
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    for wrong in (f"/media/{name}.jpg", f"/media/{'0' * 64}.png", "/media/x.svg", f"/media/{name}.html"):
        assert client.get(wrong).status_code == 404


def test_static_files_and_nothing_beside_them(client: TestClient) -> None:
    assert client.get("/static/public.css").headers["content-type"].startswith("text/css")
    for wrong in ("/static/../pages.py", "/static/%2e%2e/pages.py", "/static/none.css", "/static/"):
        assert client.get(wrong).status_code in (400, 404)


def test_machines_ask(client: TestClient) -> None:
    assert client.get("/livez").text == "ok\n"
    assert client.get("/readyz").status_code == 200
    assert client.get("/livez", headers={"Host": "10.0.0.7:8000"}).status_code == 200
    assert client.get("/metrics").status_code == 403, "the test client does not come from loopback"
    assert client.get("/metrics", headers={"Authorization": "Bearer bk_nothing"}).status_code == 403
