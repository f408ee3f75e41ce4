"""Rectification and portability from the staff's side: with a reason, on record, and the request that asked for it is closed."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import Session
from starlette.testclient import TestClient

from service.db.session import reading
from service.domain.ledger import actions as entries
from service.domain.ledger import queries as ledger
from service.domain.people import actions as people_actions
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.domain.privacy import actions, copies, rules
from service.kit import addresses, clock
from tests import builders as make
from tests.domain.privacy.schemas import faults, published
from tests.web.staff.conftest import Office
from tests.web.staff.test_staff_requests import letter, of, written

Browser = Callable[..., TestClient]
WHY = {"reason": "letter of 3 November"}
HELD = {
    "first_name": "Ana", "last_name": "Ruis", "company": "Acme", "postal_address": "Mill Lane 1\n12345 Riverton",
    "telephone": "",
}  # fmt: skip


def ana(office: Office, **more: Any) -> Person:
    return office.world.person(profile=HELD, **more)


def profile(office: Office, person: Person) -> dict[str, str]:
    """The one that mails use."""
    with reading(office.house.engine) as session:
        held = make.the_person(session, person.public_id)
        return people.profiles(session, office.house.ring, held)[-1].profile


def said(office: Office, person: Person, *kinds: str) -> list[ledger.Seen]:
    with reading(office.house.engine) as session:
        return ledger.of_subject(session, person.public_id, kinds=kinds)


def form_of(page: str) -> dict[str, str]:
    """What a browser would send back of the form that corrects, untouched."""
    found = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page))
    found |= dict(re.findall(r'<input type="(?:text|tel)" id="(\w+)"[^>]* value="([^"]*)"', page))
    [[name, text]] = re.findall(r'<textarea[^>]* name="(postal_address)"[^>]*>\n?([^<]*)</textarea>', page)
    chosen = re.search(r'<select id="locale".*?<option value="(\w*)" selected>', page, re.S)
    return found | {name: text, "locale": chosen[1] if chosen else ""}


def opened(officer: TestClient, person: Person) -> dict[str, str]:
    answer = officer.post(f"/staff/people/{person.public_id}/correct", data=WHY)
    assert answer.status_code == 200
    return form_of(answer.text)


def test_it_needs_a_reason_and_the_role(browser: Browser, office: Office) -> None:
    person = ana(office)
    base = f"/staff/people/{person.public_id}"
    officer = browser("privacy_officer")
    for path in ("correct", "portable"):
        without = officer.post(f"{base}/{path}", data={"reason": " "})
        assert without.status_code == 422
        assert "Please say who asked for it" in without.text
        assert "Mill Lane" not in without.text
    for path in ("correct", "correct/save", "portable"):
        assert browser("marketing").post(f"{base}/{path}", data=WHY).status_code == 403
    without = officer.post(f"{base}/correct/save", data={"first_name": "Eve", "was:first_name": "Ana"})
    assert without.status_code == 422
    assert "Please say who asked for it" in without.text
    assert 'value="Eve"' in without.text
    assert not said(office, person, "person.revealed", "person.changed", "person.exported")


def test_what_is_held_is_revealed_and_that_is_on_record(browser: Browser, office: Office) -> None:
    person = ana(office)
    form = opened(browser("privacy_officer"), person)
    assert {name: form[name] for name in HELD} == HELD
    [entry] = said(office, person, "person.revealed")
    assert (entry.body["reason"], entry.actor) == (WHY["reason"], f"staff:{office.ids['privacy_officer']}")


def test_a_correction_is_the_entry_of_the_persons_own_with_who_did_it(
    browser: Browser, office: Office
) -> None:
    person, other = ana(office), office.world.person("bea@example.org", profile=HELD)
    officer = browser("privacy_officer")
    form = opened(officer, person) | {"last_name": "Ruiz", "zone": "Europe/Madrid"}
    answer = officer.post(f"/staff/people/{person.public_id}/correct/save", data=form)
    assert answer.headers["location"] == f"/staff/people/{person.public_id}"
    assert profile(office, person) == HELD | {"last_name": "Ruiz"}
    [entry] = said(office, person, "person.changed")
    assert entry.actor == f"staff:{office.ids['privacy_officer']}"
    assert entry.body == {"source": "me", "fields": ["profile", "zone"], "reason": WHY["reason"]}

    def herself(session: Session) -> None:
        held = make.the_person(session, other.public_id)
        people_actions.correct(
            session, office.house.ring, held, profile={"last_name": "Ruiz"}, locale=None,
            zone="Europe/Madrid", now=clock.now(), by=f"person:{held.public_id}",
        )  # fmt: skip

    office.world.change(herself)
    [own] = said(office, other, "person.changed")
    assert entry.body == own.body | {"reason": WHY["reason"]}
    page = officer.get(f"/staff/people/{person.public_id}").text
    assert "“letter of 3 November” by Privacy_Officer Person" in page


def test_only_what_was_changed_is_written_over_what_the_person_corrected_meanwhile(
    browser: Browser, office: Office
) -> None:
    person = ana(office)
    officer = browser("privacy_officer")
    form = opened(officer, person)

    def herself(session: Session) -> None:
        held = make.the_person(session, person.public_id)
        people_actions.correct(
            session, office.house.ring, held, profile={"company": "Her own"}, locale=None, zone=None,
            now=clock.now(), by=f"person:{held.public_id}",
        )  # fmt: skip

    office.world.change(herself)
    officer.post(f"/staff/people/{person.public_id}/correct/save", data=form | {"last_name": "Ruiz"})
    assert profile(office, person) == HELD | {"last_name": "Ruiz", "company": "Her own"}


def test_nothing_changed_writes_nothing_and_closes_nothing(browser: Browser, office: Office) -> None:
    person = ana(office)
    officer = browser("privacy_officer")
    path = written(officer, **letter(right="rectification", who=person.public_id))
    officer.post(f"/staff/people/{person.public_id}/correct/save", data=opened(officer, person))
    assert not said(office, person, "person.changed")
    assert of(office, path).row.closed_at is None


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"zone": "Mars/Olympus"}, "That is not a time zone we know"),
        ({"first_name": "x" * 201}, "at most 200 characters"),
        ({"telephone": "1\x07"}, "a character that cannot be seen"),
        ({"locale": "?"}, "not a language tag"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(
    browser: Browser, office: Office, wrong: dict[str, str], words: str
) -> None:
    person = ana(office)
    officer = browser("privacy_officer")
    form = opened(officer, person)
    answer = officer.post(
        f"/staff/people/{person.public_id}/correct/save", data=form | {"company": "B"} | wrong
    )
    assert answer.status_code == 422
    assert words in answer.text
    assert 'value="B"' in answer.text
    assert 'name="was:company" value="Acme"' in answer.text
    assert profile(office, person) == HELD


def test_the_address_is_the_persons_own_to_change(browser: Browser, office: Office) -> None:
    person = ana(office)
    officer = browser("privacy_officer")
    form = opened(officer, person) | {"email": "eve@example.org", "last_name": "Ruiz"}
    officer.post(f"/staff/people/{person.public_id}/correct/save", data=form)
    with reading(office.house.engine) as session:
        held = make.the_person(session, person.public_id)
        address = people.address_of(session, office.house.ring, held)
        assert address is not None
        assert (address.text, held.pending_address_id) == ("ana@example.org", None)
    page = officer.post(f"/staff/people/{person.public_id}/correct", data=WHY).text
    assert "They change their mail address themselves" in page


@pytest.mark.parametrize(
    ("door", "closes"), [("staff", True), ("form", False), ("form, signed in since", True)]
)
def test_a_correction_closes_what_was_asked_of_staff_once_it_is_theirs(
    browser: Browser, office: Office, door: str, closes: bool
) -> None:
    person = ana(office)
    officer = browser("privacy_officer")
    if door == "staff":
        path = written(officer, **letter(right="rectification", who=person.public_id))
    else:
        path = from_a_message(officer, office, "rectification")
    if door.endswith("since"):
        office.world.change(
            lambda session: entries.append(
                session, "person.signed_in", subject=person.public_id, body={}, now=clock.now(),
                by=f"person:{person.public_id}",
            )
        )  # fmt: skip
    page = officer.get(path).text
    assert ("made there closes this by itself" in page) == closes
    officer.post(
        f"/staff/people/{person.public_id}/correct/save", data=opened(officer, person) | {"last_name": "Ruiz"}
    )
    row = of(office, path).row
    assert (row.outcome == "done") == closes
    if closes:
        assert row.closed_by == f"staff:{office.ids['privacy_officer']}"


def from_a_message(officer: TestClient, office: Office, right: str) -> str:
    """A request made of what somebody wrote in the contact form, an hour ago."""

    def write(session: Session) -> str:
        return actions.ask(
            session, office.house.ring, address=addresses.parse("ana@example.org"), name="",
            subject=rules.SUBJECTS["data"], text="My name is Ruiz.", locale="en",
            now=clock.now() - timedelta(hours=1),
        ).public_id  # fmt: skip

    message = office.world.change(write)
    return str(officer.post(f"/staff/contact/{message}/request", data={"right": right}).headers["location"])


def test_what_we_correct_of_our_own_accord_is_no_request(browser: Browser, office: Office) -> None:
    person = ana(office)
    officer = browser("privacy_officer")
    path = written(officer, **letter(right="rectification", who=person.public_id))
    form = opened(officer, person) | {"last_name": "Ruiz", "asked": "controller"}
    officer.post(f"/staff/people/{person.public_id}/correct/save", data=form)
    assert profile(office, person)["last_name"] == "Ruiz"
    assert of(office, path).row.closed_at is None
    assert not said(office, person, "request.closed")


def test_a_portable_copy_is_a_file_by_its_schema_and_on_record(browser: Browser, office: Office) -> None:
    person = ana(office)
    officer = browser("privacy_officer")
    path = written(officer, **letter(right="portability", who=person.public_id))
    page = officer.get(path).text
    assert "A portable copy made there is yours to hand over" in page
    answer = officer.post(f"/staff/people/{person.public_id}/portable", data=WHY)
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == 'attachment; filename="portable-copy.json"'
    found = answer.json()
    assert faults(published("portable-copy"), found) == []
    assert found["schema"] == copies.PORTABLE
    assert found["email"] == "ana@example.org"
    [entry] = said(office, person, "person.exported")
    assert (entry.body["reason"], entry.actor) == (WHY["reason"], f"staff:{office.ids['privacy_officer']}")
    assert of(office, path).row.closed_at is None, "closed when they have it"
    assert officer.post(f"{path}/close", data={"outcome": "done"}).status_code == 303


def test_of_somebody_erased_nothing_is_corrected_nor_taken_along(browser: Browser, office: Office) -> None:
    person = ana(office)
    officer, base = browser("privacy_officer"), f"/staff/people/{person.public_id}"
    form = opened(officer, person) | {"last_name": "Ruiz"}
    officer.post(f"{base}/erase", data=WHY)
    for path, data in (("correct", WHY), ("correct/save", form), ("portable", WHY)):
        assert officer.post(f"{base}/{path}", data=data).status_code == 409, path
    assert not said(office, person, "person.changed", "person.exported")


def test_a_request_leads_to_it(browser: Browser, office: Office) -> None:
    person = ana(office)
    officer = browser("privacy_officer")
    for right in ("rectification", "portability"):
        page = officer.get(written(officer, **letter(right=right, who=person.public_id))).text
        assert f'href="/staff/people/{person.public_id}#rights"' in page
    page = officer.get(f"/staff/people/{person.public_id}").text
    assert f'formaction="/staff/people/{person.public_id}/correct"' in page
    assert f'formaction="/staff/people/{person.public_id}/portable"' in page
