"""H23: whatever somebody is called, a page shows it as it is written, and runs none of it."""

from collections.abc import Callable
from html import escape
from typing import Any

import pytest
from sqlmodel import Session
from starlette.testclient import TestClient

from service.domain.api_keys import actions as api_keys
from service.domain.notices import actions as notices
from service.domain.privacy import actions as privacy
from service.domain.privacy import breaches, disclosures, requests
from service.domain.topics import actions as topics
from service.domain.topics.rules import WordingText
from service.kit import addresses, clock
from tests.web.staff.conftest import Office, hire
from tests.web.staff.test_routes import GUARDED, filled

EVIL = "<img src=x onerror=alert(1)>{{7*7777}}\"'"


@pytest.fixture
def places(office: Office) -> dict[str, str]:
    """The name put wherever a name can come from; page → what it belongs to."""
    person = office.world.person(
        "ana@example.org",
        profile={"first_name": EVIL, "last_name": EVIL},
        attributes={"plan": EVIL},
    )
    announcement = office.announcement(
        content={
            "en": {"subject": "{{ '" + "<img src=x onerror=alert(1)>" + "' }}", "preheader": "", "body": "x"}
        }
    )

    def fill(session: Session) -> dict[str, str]:
        house, now = office.house, clock.now()
        hire(session, house, "product", name=EVIL, email="evil@example.org")
        api_keys.create(session, name=EVIL, source="shop", scopes=["topics:read"], now=now, by="cli")
        text = WordingText(EVIL, EVIL, EVIL)
        topics.publish_wording(session, "updates", {"en": text}, now=now, by="cli")
        address = addresses.parse("zoe@example.org")
        asked = privacy.ask(
            session, house.ring, address=address, name=EVIL, subject=EVIL, text=EVIL, locale="en", now=now
        )
        words: dict[str, Any] = {"title": EVIL, "preheader": "", "body": f"Hello `{EVIL}`"}
        notice = notices.create(
            session, house.settings, topic="updates", content={"en": words}, now=now, by="cli"
        )
        given = dict.fromkeys(disclosures.TEXTS, EVIL)
        disclosures.disclose(
            session,
            [],
            made_on=now.date(),
            given=given,
            approver="cli",
            told="secret",
            why_not=EVIL,
            now=now,
            by="cli",
        )
        breach = breaches.notice(
            session, noticed_at=now, given={"what": EVIL, "done": EVIL}, now=now, by="cli"
        )
        request = requests.receive(
            session,
            house.ring,
            right="access",
            door="staff",
            came_on=now.date(),
            who=EVIL,
            text=EVIL,
            now=now,
            by="cli",
        )
        return {
            "contact": asked.public_id,
            "notice": notice.public_id,
            "breach": breach.public_id,
            "request": request.public_id,
        }

    made = office.world.change(fill)
    return {
        "/staff/people": "person",
        f"/staff/people/{person.public_id}": "person",
        "/staff/staff": "staff member",
        "/staff/keys": "key",
        "/staff/topics": "topic",
        "/staff/topics/updates": "topic",
        f"/staff/contact/{made['contact']}": "message",
        "/staff/contact": "message",
        "/staff/privacy": "request",
        f"/staff/privacy/requests/{made['request']}": "request",
        "/staff/privacy/disclosures": "disclosure",
        "/staff/privacy/breaches": "breach",
        f"/staff/privacy/breaches/{made['breach']}": "breach",
        "/staff/privacy/record": "topic",
        "/staff/notices": "notice",
        f"/staff/notices/{made['notice']}": "notice",
        f"/staff/notices/{made['notice']}/review": "notice",
        f"/staff/announcements/{announcement}": "attribute",
        "/staff/announcements": "",
        f"/staff/announcements/{announcement}/review": "",
    }


def test_rel_h23_a_hostile_name_is_shown_literally(
    browser: Callable[..., TestClient], places: dict[str, str]
) -> None:
    admin = browser("admin")
    for path, whose in places.items():
        page = admin.get(path)
        assert page.status_code == 200, path
        assert "<img src=x" not in page.text, path
        assert "54439" not in page.text, path
        if whose:
            shown = {escape(EVIL), escape(EVIL).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")}
            assert any(form in page.text for form in shown), path


def test_rel_h23_nowhere_else_either(browser: Callable[..., TestClient], places: dict[str, str]) -> None:
    admin = browser("admin")
    for method, path, _ in GUARDED:
        if method == "GET" and "{" not in path:
            assert "<img src=x" not in admin.get(filled(path)).text, path
