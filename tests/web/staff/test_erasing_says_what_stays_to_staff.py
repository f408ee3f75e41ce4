"""The staff's preview of an erasure names the registers that outlive it."""

from collections.abc import Callable

from starlette.testclient import TestClient

from tests.web.staff.conftest import Office

Browser = Callable[..., TestClient]


def test_std_h11_the_registers_are_among_what_stays_for_staff_to_see(
    browser: Browser, office: Office
) -> None:
    ana = office.world.person()
    page = browser("privacy_officer").get(f"/staff/people/{ana.public_id}/erase").text
    assert "Requests under their rights" in page
    assert "for 1,095 days after each was closed" in page
    assert "The register of disclosures" in page
