"""What every staff page says when something is wrong with the whole installation."""

from collections.abc import Callable

from starlette.testclient import TestClient

from service.domain.brands import actions as brands
from service.kit import clock
from tests.web.staff.conftest import Office


def test_rel_f26_why_sending_is_off_is_on_every_page(
    browser: Callable[..., TestClient], office: Office
) -> None:
    admin = browser("admin")
    assert "Sending is switched off" not in admin.get("/staff/topics").text
    office.world.change(
        lambda session: brands.set_setting(session, "sending_on", False, now=clock.now(), by="cli")
    )
    assert "Sending is switched off: nothing leaves" in admin.get("/staff/topics").text
    office.world.change(lambda session: brands.note_clock(session, {"jumped": 3600.0}, now=clock.now()))
    assert "Sending is switched off since the clock jumped by +1 h" in admin.get("/staff/topics").text


def test_a_copy_from_an_earlier_day_is_said_on_every_page_and_cannot_be_switched_on(
    browser: Callable[..., TestClient], office: Office
) -> None:
    admin = browser("admin")
    office.world.change(lambda session: brands.note_behind(session, {"reason": "behind"}, now=clock.now()))
    assert "This database is a copy from an earlier day" in admin.get("/staff/topics").text
    refused = admin.post("/staff/settings", data={"group": "sending", "sending_on": "1"})
    assert refused.status_code == 409
    assert "it is a copy from an earlier day" in refused.text
    office.world.change(lambda session: brands.note_restored(session, {}, now=clock.now(), by="cli"))
    assert "Sending is switched off: nothing leaves" in admin.get("/staff/topics").text
    assert admin.post("/staff/settings", data={"group": "sending", "sending_on": "1"}).status_code == 303
