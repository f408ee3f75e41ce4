"""People through their pages: finding, the timeline as of any day, revealing; every look is on record."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import Session
from starlette.testclient import TestClient

from service.db.session import reading, transaction
from service.domain.ledger import queries as ledger
from service.domain.links import rules as links
from service.domain.people import mailbox
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.domain.preferences import access
from service.domain.preferences import actions as preferences
from service.kit import addresses, clock
from tests import builders as make
from tests.web.conftest import ONE_CLICK
from tests.web.staff.conftest import Office

Browser = Callable[..., TestClient]


def looks(office: Office, kind: str, subject: str | None = None) -> list[Any]:
    with reading(office.house.engine) as session:
        return list(ledger.page(session, after=None, limit=200, kind=kind, subject=subject).rows)


def test_a_look_at_the_list_or_a_page_is_one_entry_with_who(browser: Browser, office: Office) -> None:
    ana = office.world.person("ana@example.org", profile={"first_name": "Ana", "last_name": "Ruiz"})
    marketing = browser("marketing")
    page = marketing.get("/staff/people").text
    assert "Ana Ruiz" in page
    assert "a***a@example.org" in page
    assert "ana@example.org" not in page
    listed = looks(office, "people.listed")
    assert [one.body for one in listed] == [{"people": [ana.public_id]}]
    assert listed[0].actor == f"staff:{office.ids['marketing']}"
    person = marketing.get(f"/staff/people/{ana.public_id}").text
    assert "a***a@example.org" in person
    assert [one.actor for one in looks(office, "person.viewed", ana.public_id)] == [
        f"staff:{office.ids['marketing']}"
    ]


def test_people_are_found_by_address_id_and_external_id(browser: Browser, office: Office) -> None:
    ana = office.world.person("ana@example.org")
    marketing = browser("marketing")
    for q in (" Ana@Example.ORG ", ana.public_id, "ana@example.org"):
        assert (
            marketing.post("/staff/people/find", data={"q": q}).headers["location"]
            == f"/staff/people/{ana.public_id}"
        )
    for q in ("nobody@example.org", "an", "not an address@", "%", ""):
        answer = marketing.post("/staff/people/find", data={"q": q})
        assert answer.status_code == 200
        assert ana.public_id not in answer.text


def test_an_address_never_stands_in_a_url(browser: Browser, office: Office) -> None:
    """P6: the search is a POST, and no link of the page carries what was searched for."""
    office.world.person("ana@example.org")
    answer = browser("marketing").post("/staff/people/find", data={"q": "zoe@example.org"})
    assert 'method="post" action="/staff/people/find"' in answer.text
    assert "q=" not in answer.text


def test_revealing_needs_the_right_and_a_reason(browser: Browser, office: Office) -> None:
    ana = office.world.person("ana@example.org")
    path = f"/staff/people/{ana.public_id}/reveal"
    assert browser("marketing").post(path, data={"reason": "curious"}).status_code == 403
    officer = browser("privacy_officer")
    without = officer.post(path, data={"reason": " "})
    assert without.status_code == 422
    assert "ana@example.org" not in without.text.replace("a***a@example.org", "")
    assert not looks(office, "person.revealed")
    shown = officer.post(path, data={"reason": "answer to request 12"})
    assert "ana@example.org" in shown.text
    entry = looks(office, "person.revealed", ana.public_id)[0]
    assert (entry.body["reason"], entry.actor) == (
        "answer to request 12",
        f"staff:{office.ids['privacy_officer']}",
    )
    assert shown.headers["cache-control"] == "no-store"


def test_the_page_shows_what_stood_on_any_day_and_what_came_later(
    browser: Browser, office: Office, later: Any
) -> None:
    ana = office.world.person("ana@example.org", yes=("new-products",))
    given_on = clock.now().date()
    later(timedelta(days=40))
    stop = links.read(office.world.link(links.STOP, ana), office.house.ring.link_keys, purpose=links.STOP)
    office.world.change(
        lambda s: preferences.stop(
            s, office.house.ring, stop, how="link", evidence={"ip": "203.0.113.0/24"}, now=clock.now()
        )
    )
    officer = browser("privacy_officer")
    base = f"/staff/people/{ana.public_id}"
    today = officer.get(base).text
    assert "May not be mailed: stopped this topic" in today
    assert "203.0.113.0/24" in today, "the sealed evidence, opened with the person's key"
    assert "by the link in a mail" in today
    assert "at “signup-form”" in today, "the site's own word for its place"
    assert "at link" not in today
    assert "Has not said yes to any topic." in today
    shown = re.sub(r'datetime="[^"]*"', "", today)
    raw = re.search(r".{30}\d{4}-\d\d-\d\dT\d\d:\d\d.{40}", shown)
    assert raw is None, raw and raw[0]
    for role in ("marketing", "product"):
        log = browser(role).get(base).text
        assert "203.0.113.0/24" not in log, (
            "who may not see addresses in clear sees no network address either"
        )
        assert "shop.example.org/join" not in log
        assert "Sealed: shown to whoever may see addresses in clear." in log
    assert "Sealed: shown" not in today
    then = officer.get(f"{base}?on={given_on + timedelta(days=3)}").text
    assert "Had said yes to New products by the end of that day (UTC)." in then
    assert 'class="later"' in then
    before = officer.get(f"{base}?on={given_on - timedelta(days=30)}").text
    assert "Had not said yes to any topic" in before
    only_mail = officer.get(f"{base}?show=mail").text
    assert "Nothing of this kind." in only_mail
    assert officer.get(f"{base}?on=never").status_code == 200


def test_a_new_address_is_said_twice_in_different_words(browser: Browser, office: Office) -> None:
    world = office.world
    ana, new = world.person("ana@example.org"), addresses.parse("new@example.org")
    world.change(
        lambda session: access.change_email(
            session, world.house.ring, session.get_one(Person, ana.id), new, now=clock.now(), by="cli"
        )
    )
    page = browser("marketing").get(f"/staff/people/{ana.public_id}").text
    assert page.count("New address given, not confirmed yet") == 1
    assert not re.search(r"New address(?! given)", page)


def test_a_stop_said_again_is_told_as_such(
    browser: Browser, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = office.world
    ana, now = world.person("ana@example.org"), clock.now()
    officer = browser("privacy_officer")
    for later in (timedelta(), timedelta(hours=1)):
        monkeypatch.setattr(clock, "now", lambda later=later: now + later)
        assert officer.post(world.stop_link(ana, "updates"), data=ONE_CLICK).status_code == 200
    page = officer.get(f"/staff/people/{ana.public_id}").text
    assert page.count("Stopped again") == 1


def test_a_reason_is_said_of_one_person(browser: Browser, office: Office) -> None:
    ana = office.world.person("ana@example.org")
    ends = (clock.now() + timedelta(days=9)).date().isoformat()
    page = "/p/" + office.world.link(links.PREFERENCES, ana)
    assert browser().post(page, data={"do": "save", "break_until": ends}).status_code == 200
    shown = browser("marketing").get(f"/staff/people/{ana.public_id}").text
    assert "May not be mailed: takes a break" in shown
    assert "until" in shown.partition("<strong>Break</strong>")[2][:600]


def test_a_stranger_is_not_found(browser: Browser, office: Office) -> None:
    answer = browser("marketing").get("/staff/people/p_nobody")
    assert answer.status_code == 404
    assert "We know nobody by that id." in answer.text


def test_the_evidence_file_is_read_by_officers_and_written_down(browser: Browser, office: Office) -> None:
    ana = office.world.person("ana@example.org")
    path = f"/staff/people/{ana.public_id}/evidence"
    assert browser("marketing").get(path).status_code == 403
    assert path not in browser("marketing").get(f"/staff/people/{ana.public_id}").text
    officer = browser("privacy_officer")
    assert path in officer.get(f"/staff/people/{ana.public_id}").text
    page = officer.get(path).text
    assert "Send me news" in page, "the words that were shown"
    assert "signed head" in page
    file = officer.get(f"{path}.json")
    assert "attachment" in file.headers["content-disposition"]
    assert file.json()["proof"]["format"] == "bidden-proof"
    assert len(looks(office, "person.exported", ana.public_id)) == 2
    before = (clock.now() - timedelta(days=3)).date().isoformat()
    assert "Nothing is on record by then" in officer.get(f"{path}?on={before}").text
    assert officer.get("/staff/people/p_0/evidence").status_code == 404


def test_the_evidence_of_a_former_registration_is_on_the_page(browser: Browser, office: Office) -> None:
    ana = office.world.person("ana@example.org")
    ben = office.world.person("ben@example.org")
    with transaction(office.house.engine) as session:
        ben, into = (make.the_person(session, one.public_id) for one in (ben, ana))
        known = mailbox.Known(ben, None, None, people.person_key(office.house.ring, ben))  # type: ignore[arg-type]
        mailbox.merge(session, office.house.ring, known, into, now=clock.now(), by="person")
        name = ben.public_id
    page = browser("privacy_officer").get(f"/staff/people/{ana.public_id}/evidence").text
    assert f"under the former registration {name}" in page
    assert page.count("Send me news") == 1


def test_a_sites_own_id_that_looks_like_an_address_is_found(browser: Browser, office: Office) -> None:
    def came(session: Session) -> str:
        ring, now = office.house.ring, clock.now()
        return make.a_person(
            session, ring, "new@example.org", external_id="old@example.org", now=now
        ).public_id

    ana, marketing = office.world.change(came), browser("marketing")
    for q in ("old@example.org", "new@example.org"):
        found = marketing.post("/staff/people/find", data={"q": q})
        assert found.headers.get("location") == f"/staff/people/{ana}", q
