"""The register of breaches through the staff's pages: the clock in words, on every page of whoever can stop it."""

from collections.abc import Callable
from datetime import timedelta

from starlette.testclient import TestClient

from service.kit import clock
from service.web.staff.breaches import MINUTE
from tests.web.staff.conftest import Office

Browser = Callable[..., TestClient]
HERE = "/staff/privacy/breaches"


def at(hours: float) -> str:
    return (clock.now() - timedelta(hours=hours)).strftime(MINUTE)


def noticed(officer: TestClient, hours: float = 1, **more: str) -> str:
    form = {"noticed_at": at(hours), "what": "A backup disk was left on a train", **more}
    answer = officer.post(f"{HERE}/new", data=form)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def test_std_h18_the_clock_runs_in_words_on_every_page_of_an_officer(
    browser: Browser, office: Office
) -> None:
    officer = browser("privacy_officer")
    assert "No breaches. Good." in officer.get(HERE).text
    path = noticed(officer, 10)
    assert "left to report" in officer.get(HERE).text
    assert "the authority has to know of it within 2 d" in officer.get("/staff/topics").text
    assert "A breach is on record" not in browser("marketing").get("/staff/topics").text
    noticed(officer, 80)
    assert "Overdue by" in officer.get(HERE).text
    assert "should have known" in officer.get(path).text


def test_from_the_first_word_to_the_end(browser: Browser, office: Office) -> None:
    officer = browser("privacy_officer")
    path = noticed(officer)
    assert officer.post(f"{path}/close").status_code == 409
    facts = {"what": "A disk was lost", "how_many": "400", "whom": "Readers", "done": "Keys changed"}
    assert officer.post(f"{path}/facts", data=facts).status_code == 303
    report = {"to": "State commissioner", "reported_at": at(0.5), "why": "", "do": "report"}
    assert "Please say why." in officer.post(f"{path}/report", data=report | {"to": ""}).text
    assert officer.post(f"{path}/report", data=report | {"reported_at": "soon"}).status_code == 422
    assert officer.post(f"{path}/report", data=report).status_code == 303
    assert officer.post(f"{path}/people", data={"told": "yes", "how": ""}).status_code == 422
    assert officer.post(f"{path}/people", data={"told": "yes", "how": "By mail"}).status_code == 303
    assert "A breach is on record" not in officer.get("/staff").text
    assert officer.post(f"{path}/close").headers["location"] == path
    page = officer.get(path).text
    for words in ("Reported in time", "State commissioner", "By mail", "400", "Keys changed", "Closed"):
        assert words in page
    ledger = officer.get(f"/staff/ledger?subject={path.rpartition('/')[2]}").text
    for kind in ("noticed", "noted", "reported", "people", "closed"):
        assert f"breach.{kind}" in ledger


def test_what_need_not_be_told(browser: Browser, office: Office) -> None:
    officer = browser("privacy_officer")
    path = noticed(officer)
    assert officer.post(f"{path}/report", data={"do": "leave", "why": ""}).status_code == 422
    officer.post(f"{path}/report", data={"do": "leave", "why": "Encrypted, and the key is here"})
    assert "Not to be reported" in officer.get(HERE).text


def test_what_is_missing_is_said_at_its_field(browser: Browser, office: Office) -> None:
    officer = browser("privacy_officer")
    for wrong, words in (
        ({"what": ""}, "Please say why."),
        ({"noticed_at": "2999-01-01T00:00"}, "it cannot lie ahead"),
        ({"noticed_at": ""}, "Please give day and hour"),
        ({"how_many": "some"}, "Please give a number"),
    ):
        form = {"noticed_at": at(1), "what": "A disk", "done": "Keys changed"} | wrong
        answer = officer.post(f"{HERE}/new", data=form)
        assert answer.status_code == 422
        assert words in answer.text
        assert "Keys changed" in answer.text
