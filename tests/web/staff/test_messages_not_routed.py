"""A message about somebody's data may be a request, whose month runs since it came: officers are told of it before it is made one."""

from collections.abc import Callable
from datetime import timedelta

from starlette.testclient import TestClient

from service.domain.privacy import actions, rules
from service.kit import addresses, clock
from tests.web.staff.conftest import Office

Browser = Callable[..., TestClient]
PRIVACY = "/staff/privacy"


def wrote(office: Office, email: str, subject: str, *, days: int) -> str:
    made = office.world.change(
        lambda session: (
            actions.ask(
                session,
                office.house.ring,
                address=addresses.parse(email),
                name="",
                subject=rules.SUBJECTS[subject],
                text="What do you hold about me?",
                locale="en",
                now=clock.now() - timedelta(days=days),
            ).public_id
        )
    )
    return str(made)


def test_std_h9_they_are_counted_with_their_first_day_until_they_are_made_requests_or_closed(
    browser: Browser, office: Office
) -> None:
    officer, waits = browser("privacy_officer"), "about somebody’s data"
    wrote(office, "ben@example.org", "question", days=60)
    assert waits not in officer.get(PRIVACY).text
    first, second = (
        wrote(office, f"{name}@example.org", "data", days=ago) for name, ago in (("a", 40), ("b", 3))
    )
    page = officer.get(PRIVACY).text
    assert "2 messages</a> about somebody’s data or rights are no requests yet" in page
    assert 'href="/staff/contact?state=open"' in page
    assert "2 messages about somebody’s data or rights, 1 of them past a month" in officer.get("/staff").text
    assert waits not in browser("marketing").get("/staff").text
    assert waits not in officer.get(f"{PRIVACY}?state=closed").text
    assert officer.post(f"/staff/contact/{first}/request", data={"right": "access"}).status_code == 303
    assert "1 message</a> about somebody’s data or rights is no request yet" in officer.get(PRIVACY).text
    assert "1 message about somebody’s data or rights" in officer.get("/staff").text
    assert officer.post(f"/staff/contact/{second}/request", data={"right": "access"}).status_code == 303
    assert waits not in officer.get(PRIVACY).text
    assert waits not in officer.get("/staff").text
