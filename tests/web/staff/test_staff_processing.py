"""The record of processing on the staff's pages: to print, as JSON, and where its texts are entered."""

from collections.abc import Callable

from starlette.testclient import TestClient

from tests.web.staff.conftest import Office

Browser = Callable[..., TestClient]
HERE = "/staff/privacy/record"


def test_std_h17_the_page_and_the_file_say_the_same(browser: Browser, office: Office) -> None:
    admin, officer = browser("admin"), browser("privacy_officer")
    texts = {
        "group": "processing",
        "data_protection_officer": "Petra Okafor, Mill Lane 1",
        "processors": "Hostwerk GmbH: servers\nAcme Mail: passes mails on",
        "transfers": "",
    }
    assert admin.post("/staff/settings", data=texts).status_code == 303
    assert "Hostwerk GmbH: servers\nAcme Mail" in admin.get("/staff/settings").text
    page = officer.get(HERE).text
    for words in (
        "Petra Okafor, Mill Lane 1",
        "Acme Mail",
        "New products",
        "Mill Lane 1",
        "GDPR Art. 6(1)(a)",
    ):
        assert words in page
    file = officer.get(f"{HERE}.json")
    assert "attachment" in file.headers["content-disposition"]
    assert file.headers["cache-control"] == "no-store"
    assert file.json()["data_protection_officer"] == "Petra Okafor, Mill Lane 1"
    assert {one["purpose"] for one in file.json()["activities"]} >= {"New products", "Updates"}
    assert browser("product").get(HERE).status_code == 403


def test_a_text_that_is_too_long_is_said_at_its_field(browser: Browser, office: Office) -> None:
    answer = browser("admin").post("/staff/settings", data={"group": "processing", "processors": "x" * 2_001})
    assert answer.status_code == 422
    assert "A text of at most 2,000 characters is needed." in answer.text


def test_std_h19_periods_are_set_on_a_page_and_said_on_the_other(browser: Browser, office: Office) -> None:
    admin = browser("admin")
    shown = admin.get("/staff/settings").text
    assert "Unconfirmed sign-ups" in shown
    given = {"group": "retention", "unconfirmed_days": "14", "requests_days": "365", "ip_days": "90"}
    assert admin.post("/staff/settings", data=given).status_code == 303
    page = browser("privacy_officer").get(HERE).text
    assert "14 days from the last time they were asked for, by itself" in page
    assert "365 days from its being closed, by itself" in page
    assert "ended by hand" not in page
    answer = admin.post("/staff/settings", data=given | {"requests_days": "5"})
    assert answer.status_code == 422
    assert "A whole number from 30 to 3650 is needed." in answer.text


def test_alarms_stay_out_of_what_is_printed(browser: Browser) -> None:
    """A breach is nobody's business who is handed a page."""
    sheet = browser("admin").get("/static/app.css").text
    printed = sheet[sheet.index("@media print") :]
    assert ".alarm" in printed[: printed.index("display: none")]
