"""`bidden post` of release notes as people write them: the page, the feeds and the mail, each valid and readable."""

import json
from pathlib import Path
from xml.etree import ElementTree

import httpx2
import pytest

from tests.journeys.conftest import Town
from tests.journeys.test_api_journey import yes
from tests.mailbox import html
from tests.stack import until

pytestmark = pytest.mark.journey

OWN = [
    path
    for path in sorted((Path(__file__).parents[1] / "data" / "notices").glob("*.md"))
    if path.read_text().startswith(("# ", "---"))
]
SHARED = sorted((Path(__file__).parents[3] / "shared" / "data" / "release-notes").glob("*.md"))


def test_post_every_release_note(town: Town) -> None:
    files = [*OWN, *SHARED]
    assert OWN
    with town.house.client() as client:
        client.put("/people/u1", json={"email": "ana@example.org", "consents": [yes("updates")]})
        client.put("/people/u2", json={"email": "bo@example.org", "consents": [yes("new-products")]})
    posted = [town.house.json("post", str(file), "--mail") for file in files]
    for facts in posted:
        page = httpx2.get(facts["url"])
        assert page.status_code == 200
        assert "<script" not in page.text
    mails = until(
        "every mail",
        lambda: len(town.box.to("ana@example.org")) == len(files) and town.box.to("ana@example.org"),
        120,
    )
    assert town.box.to("bo@example.org") == []
    for mail in mails:
        assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        text = str(mail.get_body(("plain",)).get_content())  # type: ignore[union-attr]
        assert "<p>" not in text
        assert "&nbsp;" not in text
        assert "</html>" in html(mail)
    base = town.house.base_url
    atom = ElementTree.fromstring(httpx2.get(f"{base}/changelog/feed.atom").content)
    assert len(atom.findall("{http://www.w3.org/2005/Atom}entry")) == len(files)
    feed = json.loads(httpx2.get(f"{base}/changelog/feed.json").content)
    assert len(feed["items"]) == len(files)
    assert httpx2.get(f"{base}/changelog").status_code == 200
    wide = next((facts for facts in posted if "0.100.0" in facts["title"]), None)
    if wide:
        assert "Pydantic v2" in httpx2.get(wide["url"]).text
