"""What may change of a topic after it was made: where it is shown, double opt-in, the sender's mailbox; never what it rests on."""

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from service.db.session import reading
from service.domain.ledger import queries as ledger
from service.domain.topics import actions
from service.domain.topics import queries as topics
from tests.web.staff.conftest import Office

Browser = Callable[..., TestClient]
PAGE = "/staff/topics/updates"
AS_IT_IS = {"visibility": "public", "double_opt_in": "1", "mailbox": "updates"}


def stands(office: Office) -> tuple[str, bool, str]:
    with reading(office.house.engine) as session:
        topic = topics.by_slug(session, "updates")
        return topic.visibility, topic.double_opt_in, topic.mailbox


def changes(office: Office) -> list[Any]:
    with reading(office.house.engine) as session:
        rows = ledger.page(session, after=None, limit=200, kind="topic.changed").rows
        return [(one.body["field"], one.body["before"], one.body["after"], one.actor) for one in rows]


def test_the_page_shows_what_may_change_as_it_stands(browser: Browser) -> None:
    page = browser("privacy_officer").get(PAGE).text
    form = page[page.index(f'action="{PAGE}/change"') :].partition("</form>")[0]
    assert '<option value="public" selected>' in form
    assert re.search(r'name="double_opt_in" value="1" checked', form)
    assert re.search(r'<input[^>]*name="mailbox"[^>]*value="updates"', form)
    for fixed in ("basis", "class", "slug"):
        assert f'name="{fixed}"' not in page
    for role in ("marketing", "product"):
        assert f"{PAGE}/change" not in browser(role).get(PAGE).text
        assert browser(role).post(f"{PAGE}/change", data=AS_IT_IS).status_code == 403


def test_what_differs_is_changed_and_named(browser: Browser, office: Office) -> None:
    officer = browser("privacy_officer")
    answer = officer.post(f"{PAGE}/change", data={"visibility": "private", "mailbox": " Hello "})
    assert answer.headers["location"] == PAGE
    assert stands(office) == ("private", False, "hello")
    said = officer.get(PAGE).text
    assert "Changed: where it is shown, double opt-in, the sender’s mailbox." in said
    by = f"staff:{office.ids['privacy_officer']}"
    assert sorted(changes(office)) == [
        ("double_opt_in", True, False, by),
        ("mailbox", "updates", "hello", by),
        ("visibility", "public", "private", by),
    ]
    form = said[said.index(f'action="{PAGE}/change"') :].partition("</form>")[0]
    assert '<option value="private" selected>' in form
    assert "checked" not in form


def test_nothing_changed_is_said_too(browser: Browser, office: Office) -> None:
    officer = browser("privacy_officer")
    assert officer.post(f"{PAGE}/change", data=AS_IT_IS).status_code == 303
    assert "Nothing changed: it was so already." in officer.get(PAGE).text
    assert changes(office) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [("visibility", "hidden"), ("visibility", ""), ("mailbox", "two words"), ("mailbox", "")],
)
def test_what_cannot_be_is_refused_at_its_field_and_the_form_is_kept(
    browser: Browser, office: Office, field: str, value: str
) -> None:
    odd = {"visibility": "private", "mailbox": "hello", field: value}
    answer = browser("privacy_officer").post(f"{PAGE}/change", data=odd)
    assert answer.status_code == 422
    assert f'href="#{field}"' in answer.text
    assert f'id="{field}-e"' in answer.text
    form = answer.text[answer.text.index(f'action="{PAGE}/change"') :].partition("</form>")[0]
    assert "checked" not in form, "the tick that was taken away stays away"
    assert stands(office) == ("public", True, "updates")
    assert changes(office) == []


def test_a_topic_that_is_not_there_cannot_be_changed(browser: Browser) -> None:
    assert browser("admin").post("/staff/topics/nothing/change", data=AS_IT_IS).status_code == 404


def test_a_wording_that_is_refused_leaves_the_other_form_as_it_stands(browser: Browser) -> None:
    wording = {"name": "Updates", "often": "Weekly", "locale": "en", "text": ""}
    page = browser("privacy_officer").post(f"{PAGE}/wordings", data=wording).text
    form = page[page.index(f'action="{PAGE}/change"') :].partition("</form>")[0]
    assert "checked" in form
    assert '<option value="public" selected>' in form


def test_every_part_that_can_change_can_be_reached() -> None:
    wanted = set(inspect.signature(actions.change).parameters) - {"session", "slug", "now", "by"}
    assert wanted == {"visibility", "double_opt_in", "mailbox"}


def test_what_a_colleague_changed_meanwhile_stays_as_they_left_it(browser: Browser, office: Office) -> None:
    """A page that was open shows a tick that is gone by now: it does not come back with another change."""
    officer, admin = browser("privacy_officer"), browser("admin")
    page = officer.get(PAGE).text
    form = page[page.index(f'action="{PAGE}/change"') :].partition("</form>")[0]
    was = dict(re.findall(r'name="(was:\w+)" value="(\w*)"', form))
    assert was == {"was:visibility": "public", "was:double_opt_in": "1", "was:mailbox": "updates"}
    admin.post(f"{PAGE}/change", data={"visibility": "private", "mailbox": "updates"} | was)
    assert stands(office) == ("private", False, "updates")
    officer.post(f"{PAGE}/change", data={**AS_IT_IS, "double_opt_in": "1", "mailbox": "hello"} | was)
    assert stands(office) == ("private", False, "hello")
    refused = officer.post(f"{PAGE}/change", data={**AS_IT_IS, "mailbox": "two words"} | was)
    assert 'name="was:visibility" value="public"' in refused.text
