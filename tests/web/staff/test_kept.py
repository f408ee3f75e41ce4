"""A text that was being written when the sign-in ended is not lost."""

import re
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from starlette.testclient import TestClient

from service.db.session import reading
from service.domain.announcements import queries as announcements
from service.domain.notices import queries as notices
from tests.web.staff.conftest import PASSWORD, Office

Browser = Callable[..., TestClient]
TEXT = 'Hello "there" & <b>all</b>,\n\n  it took an hour.\n'


def hidden(page: str) -> dict[str, Any]:
    """The hidden fields of a page's form, as a browser would send them."""
    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', page)
    fields: dict[str, Any] = {}
    for name, value in found:
        fields.setdefault(unescape(name), []).append(unescape(value))
    return fields


def signs_in_again(browser: TestClient, refused: str, who: str) -> str:
    """Once with a wrong password, then rightly; the page that leads on."""
    claim = {"email": f"{who}@example.org", "password": "not this one at all"}
    wrong = browser.post("/staff/login", data={**hidden(refused), **claim})
    assert wrong.status_code == 403
    right = browser.post("/staff/login", data={**hidden(wrong.text), **claim, "password": PASSWORD})
    assert right.status_code == 200
    assert "set-cookie" in right.headers
    assert PASSWORD not in right.text
    return right.text


def test_an_announcement_survives_the_end_of_the_sign_in(
    browser: Browser, office: Office, later: Any
) -> None:
    marketing, public_id = browser("marketing"), office.announcement()
    form = {
        "subject": "Kept",
        "preheader": "",
        "body": TEXT,
        "locale": "en",
        "attribute:plan": ["pro", "team"],
    }
    later(timedelta(hours=9))
    refused = marketing.post(f"/staff/announcements/{public_id}", data={**form, "then": "review"})
    assert refused.status_code == 401
    assert "What you wrote is kept in this page" in refused.text
    assert "it took an hour" not in str(refused.url)
    page = signs_in_again(marketing, refused.text, "marketing")
    action = re.search(r'action="([^"]+)"', page)
    assert action is not None
    assert action[1] == f"/staff/announcements/{public_id}"
    done = marketing.post(action[1], data=hidden(page))
    assert done.headers["location"] == f"/staff/announcements/{public_id}/review"
    with reading(office.house.engine) as session:
        draft = announcements.draft_of(session, announcements.by_public_id(session, public_id))
    assert draft.content["en"]["body"] == TEXT.strip()
    assert draft.audience["attributes"] == {"plan": ["pro", "team"]}


def test_a_new_notice_survives_it_too(browser: Browser, office: Office, later: Any) -> None:
    product = browser("product")
    later(timedelta(hours=9))
    form = {"title": "Kept", "topic": "updates", "locale": "en", "body": TEXT, "mail": "1"}
    refused = product.post("/staff/notices/new", data=form)
    page = signs_in_again(product, refused.text, "product")
    assert product.post("/staff/notices/new", data=hidden(page)).status_code == 303
    with reading(office.house.engine) as session:
        (kept,) = notices.page(session).rows
    assert (kept.title, kept.content["en"]["body"], kept.mail) == ("Kept", TEXT.strip(), True)


@pytest.mark.parametrize(
    "path", ["https://evil.example.org/", "//evil.example.org", "/u/x", "/staff/../x", ""]
)
def test_what_is_kept_goes_to_pages_of_the_staff_only(browser: Browser, office: Office, path: str) -> None:
    claim = {"email": "admin@example.org", "password": PASSWORD}
    answer = browser().post("/staff/login", data={**claim, "kept_path": path, "kept:body": TEXT})
    assert (answer.status_code, answer.headers["location"]) == (303, "/staff")


def test_a_form_without_a_text_is_refused_as_ever(browser: Browser, office: Office) -> None:
    refused = browser().post("/staff/settings", data={"group": "brand", "title": "Secret Works"})
    assert refused.status_code == 401
    assert "Secret Works" not in refused.text
