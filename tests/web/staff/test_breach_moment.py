"""A moment with its offset counts as what it says: the 72 hours run from there, not from its figures taken for UTC."""

from collections.abc import Callable
from datetime import timedelta, timezone

from starlette.testclient import TestClient

from service.db.session import reading
from service.domain.privacy import queries
from service.kit import clock
from tests.web.staff.conftest import Office

Browser = Callable[..., TestClient]


def test_std_h18_an_offset_is_heeded(browser: Browser, office: Office) -> None:
    noticed = (clock.now() - timedelta(hours=5)).replace(second=0, microsecond=0)
    typed = noticed.astimezone(timezone(timedelta(hours=-3))).isoformat(timespec="minutes")
    form = {"noticed_at": typed, "what": "A disk was left on a train"}
    assert browser("privacy_officer").post("/staff/privacy/breaches/new", data=form).status_code == 303
    with reading(office.world.house.engine) as session:
        [row] = queries.breaches(session)
        assert row.noticed_at == noticed
