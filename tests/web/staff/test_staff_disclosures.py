"""The register of disclosures through the staff's pages, and where the person meets it."""

from collections.abc import Callable

from starlette.testclient import TestClient

from service.kit import clock
from tests.domain.privacy.test_disclosures import GIVEN
from tests.web.staff.conftest import Office

Browser = Callable[..., TestClient]
HERE = "/staff/privacy/disclosures"


def form(office: Office, **more: str) -> dict[str, str]:
    approver = f"staff:{office.ids['admin']}"
    day = clock.now().date().isoformat()
    return {**GIVEN, "made_on": day, "people": "", "approver": approver, "told": "told", **more}


def test_one_is_written_for_good_and_shown_where_they_may_know(browser: Browser, office: Office) -> None:
    ana = office.world.person()
    officer = browser("privacy_officer")
    assert "Nothing was given to anybody. Good." in officer.get(HERE).text
    answer = officer.post(f"{HERE}/new", data=form(office, people=f"ana@example.org, {ana.public_id}"))
    assert answer.headers["location"].startswith(f"{HERE}#d_")
    page = officer.get(HERE).text
    for words in (*GIVEN.values(), "Admin Person", "Has been told", ana.public_id):
        assert words in page
    evidence = f"/staff/people/{ana.public_id}/evidence"
    assert GIVEN["to"] in officer.get(evidence).text
    [given] = officer.get(f"{evidence}.json").json()["disclosures"]
    assert given["document"] == GIVEN["document"]
    copy = officer.post(f"/staff/people/{ana.public_id}/copy", data={"reason": "letter"}).json()
    assert copy["disclosures"] == [given]
    assert "They have been told now" not in page


def test_a_secret_one_is_shown_to_officers_alone_until_told(browser: Browser, office: Office) -> None:
    ana = office.world.person()
    officer = browser("privacy_officer")
    secret = form(office, people=ana.public_id, told="secret", why_not="Order of secrecy")
    made = officer.post(f"{HERE}/new", data=secret).headers["location"].partition("#")[2]
    assert "Must not know" in officer.get(HERE).text
    assert browser("marketing").get(HERE).status_code == 403
    paths = [f"/staff/people/{ana.public_id}", f"/staff/people/{ana.public_id}/evidence"]
    for path in paths:
        assert GIVEN["to"] not in officer.get(path).text
        assert made not in officer.get(path).text
    assert officer.post(f"{HERE}/{made}/told").headers["location"] == f"{HERE}#{made}"
    assert GIVEN["to"] in officer.get(paths[1]).text
    assert officer.post(f"{HERE}/d_gone/told").status_code == 404


def test_what_is_missing_is_said_at_its_field(browser: Browser, office: Office) -> None:
    officer = browser("privacy_officer")
    for wrong, words in (
        ({"people": "p_nobody"}, "That names nobody here"),
        ({"made_on": "soon"}, "Please give the day it came"),
        ({"approver": f"staff:{office.ids['marketing']}"}, "Please say who approved it."),
        ({"told": "secret"}, "Please say why."),
        ({"ground": ""}, "Please say why."),
    ):
        answer = officer.post(f"{HERE}/new", data=form(office, **wrong))
        assert answer.status_code in (404, 422)
        assert words in answer.text
        assert GIVEN["document"] in answer.text
