"""What staff write as a reason the person reads in their access copy, so the page says so: what they must not know is not put there."""

from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from tests.web.staff.conftest import Office

Browser = Callable[..., TestClient]
READ = "the person reads it in their copy"


def test_std_k8_the_reasons_stand_in_the_copy_and_the_page_says_so(browser: Browser, office: Office) -> None:
    ana, officer = office.world.person(), browser("privacy_officer")
    path = f"/staff/people/{ana.public_id}"
    assert officer.get(path).text.count(READ) == 2, "looking at the address, and acting for them"
    assert officer.post(f"{path}/bar", data={"reason": "Order 12 of the court"}).status_code == 303
    copy = officer.post(f"{path}/copy", data={"reason": "Letter of the 3rd"}).json()
    reasons = {one["body"].get("reason") for one in copy["events"]}
    assert "Order 12 of the court" in reasons
    correct = officer.post(f"{path}/correct", data={"reason": "letter"})
    assert READ in correct.text


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/staff/people/export", "Everybody in it reads it in their copy."),
        ("/staff/privacy/disclosures/new", "those they read in their copy."),
    ],
)
def test_other_places_where_it_could_slip_out_say_it_too(browser: Browser, path: str, words: str) -> None:
    assert words in browser("admin").get(path).text
