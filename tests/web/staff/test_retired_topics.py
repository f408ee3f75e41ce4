"""What stands under a topic that is taken out of use says so wherever it is shown, and pages without any topic hold."""

from collections.abc import Callable
from datetime import timedelta

from starlette.testclient import TestClient

from service.kit import clock
from tests.web.staff.conftest import Office
from tests.web.staff.test_announcements import state

Browser = Callable[..., TestClient]


def test_what_is_scheduled_under_a_retired_topic_says_so(browser: Browser, office: Office) -> None:
    office.world.person("reader@example.org")
    public_id, marketing = office.announcement(), browser("marketing")
    base, tomorrow = f"/staff/announcements/{public_id}", clock.now() + timedelta(days=1)
    when = {"when": "at", "zone": "UTC", "date": f"{tomorrow:%Y-%m-%d}", "time": "12:00"}
    seen = {"content_hash": state(office, public_id).content_hash}
    assert marketing.post(f"{base}/schedule", data={**seen, **when}).status_code == 303
    assert f'value="{tomorrow:%Y-%m-%d}"' in marketing.get(f"{base}/review").text
    browser("privacy_officer").post("/staff/topics/new-products/retire")
    for path in ("/staff", "/staff/announcements", f"{base}/report"):
        assert "its topic is retired" in marketing.get(path).text


def test_without_a_topic_nobody_is_led_into_a_dead_end(browser: Browser) -> None:
    officer, marketing = browser("privacy_officer"), browser("marketing")
    for slug in ("new-products", "updates"):
        officer.post(f"/staff/topics/{slug}/retire")
    page = marketing.get("/staff/announcements/new")
    assert page.status_code == 200
    assert 'href="/staff/topics"' in page.text
    assert 'name="template"' not in page.text
    assert marketing.get("/staff/templates/launch/preview").status_code == 404
