"""Words of a topic that two publish, or one with two presses: nobody's are passed over unseen, and a second press makes no version."""

import re
from collections.abc import Callable

from sqlmodel import Session
from starlette.testclient import TestClient

from service.db.session import reading
from service.domain.topics import queries
from tests.web.staff.conftest import Office

Browser = Callable[..., TestClient]
PAGE = "/staff/topics/updates"


def words(office: Office) -> list[tuple[int, str]]:
    def look(session: Session) -> list[tuple[int, str]]:
        topic = queries.by_slug(session, "updates")
        found = queries.wordings(session, topic.id or 0)
        return sorted((one.version, one.text) for one in found if one.locale == "en")

    with reading(office.house.engine) as session:
        return look(session)


def form(client: TestClient) -> dict[str, str]:
    page = client.get(PAGE).text
    said = page[page.index(f'action="{PAGE}/wordings"') :].partition("</form>")[0]
    [based_on] = re.findall(r'name="based_on" value="(\d+)"', said) or [""]
    return {"name": "Updates", "often": "Weekly", "locale": "en", "based_on": based_on}


def test_a_second_press_publishes_nothing(browser: Browser, office: Office) -> None:
    officer = browser("privacy_officer")
    typed = form(officer) | {"text": "Send me updates, weekly."}
    assert officer.post(f"{PAGE}/wordings", data=typed).status_code == 303
    again = officer.post(f"{PAGE}/wordings", data=typed)
    assert again.status_code == 409
    assert "A newer version was published meanwhile." in again.text
    assert [version for version, _ in words(office)] == [1, 2]


def test_what_a_colleague_published_is_not_passed_over(browser: Browser, office: Office) -> None:
    officer, admin = browser("privacy_officer"), browser("admin")
    typed = form(officer) | {"text": "Mine."}
    admin.post(f"{PAGE}/wordings", data=form(admin) | {"text": "A colleague’s."})
    assert officer.post(f"{PAGE}/wordings", data=typed | {"text": ""}).status_code == 422
    told = officer.post(f"{PAGE}/wordings", data=typed)
    assert told.status_code == 409
    assert "A newer version was published meanwhile." in told.text
    assert "Mine." in told.text
    assert words(office)[-1] == (2, "A colleague’s.")
    assert officer.post(f"{PAGE}/wordings", data=form(officer) | {"text": "Mine."}).status_code == 303
    assert words(office)[-1] == (3, "Mine.")
