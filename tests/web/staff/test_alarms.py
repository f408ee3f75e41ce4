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
