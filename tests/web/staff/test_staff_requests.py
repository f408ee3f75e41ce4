"""Requests under people's rights through the staff's pages: in words, by their day, closed by what is done."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlmodel import Session
from starlette.testclient import TestClient

from scheduler import jobs
from service.db.session import reading
from service.domain.ledger import actions as entries
from service.domain.ledger import queries as ledger
from service.domain.preferences import access
from service.domain.privacy import actions, copies, queries, rules
from service.kit import addresses, clock
from tests import builders as make
from tests.web.staff.conftest import Office

Browser = Callable[..., TestClient]
HERE = "/staff/privacy"


def letter(ago: int = 0, **more: str) -> dict[str, str]:
    """The form of what came by letter so many days ago."""
    came = (clock.now() - timedelta(days=ago)).date().isoformat()
    return {"right": "access", "who": "Ana Ruiz", "came_on": came, "text": "By letter.", **more}


def written(officer: TestClient, **form: str) -> str:
    """Where the new request stands."""
    answer = officer.post(f"{HERE}/requests/new", data=form)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def of(office: Office, path: str) -> queries.Requested:
    with reading(office.house.engine) as session:
        row = queries.request_by_id(session, path.rpartition("/")[2])
        return queries.requested(session, office.house.ring, row)


def test_std_h9_open_ones_by_their_day_and_overdue_in_words(browser: Browser, office: Office) -> None:
    officer = browser("privacy_officer")
    assert "No open requests. Good." in officer.get(HERE).text
    written(officer, **letter())
    written(officer, **letter(40, right="erasure"))
    written(officer, **letter(right="objection"))
    page = officer.get(HERE).text
    overdue, today, later = (page.index(words) for words in ("Overdue by ", "Due today", " days left"))
    assert overdue < today < later
    assert "1 overdue." in page
    assert "Ana Ruiz" in page
    home = officer.get("/staff").text
    assert "1 overdue of what people asked for under their rights" in home
    assert "2 requests under somebody’s rights to answer" in home
    assert "under somebody’s rights" not in browser("marketing").get("/staff").text


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"right": "cake"}, "Please say what is asked for."),
        ({"came_on": "yesterday"}, "Please give the day it came"),
        ({"came_on": "2999-01-01"}, "it cannot lie ahead"),
        ({"text": ""}, "Please write something here."),
    ],
)
def test_what_is_missing_is_said_at_its_field(browser: Browser, wrong: dict[str, str], words: str) -> None:
    answer = browser("privacy_officer").post(f"{HERE}/requests/new", data=letter() | wrong)
    assert answer.status_code == 422
    assert words in answer.text
    assert "Ana Ruiz" in answer.text


def test_opening_one_is_on_record_and_whose_it_is_can_be_said_later(browser: Browser, office: Office) -> None:
    ana = office.world.person()
    officer = browser("privacy_officer")
    path = written(officer, **letter())
    page = officer.get(path).text
    assert "it is not known here who that is" in page
    with reading(office.house.engine) as session:
        assert [one.kind for one in ledger.of_subject(session, path.rpartition("/")[2])] == [
            "request.received",
            "request.read",
        ]
    unclear = officer.post(f"{path}/person", data={"who": "nobody@example.org"})
    assert unclear.status_code == 404
    assert "That names nobody here" in unclear.text
    officer.post(f"{path}/person", data={"who": "ana@example.org"})
    found = of(office, path)
    assert found.person is not None
    assert found.person.public_id == ana.public_id
    assert "a***a@example.org" in officer.get(path).text


def test_what_is_one_persons_does_not_become_anothers(browser: Browser, office: Office) -> None:
    """The entries before stand under the first one's name, in their copy and their proof."""
    ana, ben = office.world.person(), office.world.person("ben@example.org")
    officer = browser("privacy_officer")
    path = written(officer, **letter())
    assert officer.post(f"{path}/person", data={"who": ana.public_id}).status_code == 303
    other = officer.post(f"{path}/person", data={"who": ben.public_id})
    assert other.status_code == 409
    assert "It is somebody else" in other.text
    assert officer.post(f"{path}/person", data={"who": ana.public_id}).status_code == 303
    found = of(office, path)
    assert found.person is not None
    assert found.person.public_id == ana.public_id
    with reading(office.house.engine) as session:
        received = [
            one for one in ledger.of_subject(session, ana.public_id) if one.kind == "request.received"
        ]
    assert len(received) == 1


def test_std_i8_the_clock_of_where_they_live_and_its_own_more_time(browser: Browser, office: Office) -> None:
    office.world.person(attributes={"country": "ru"})
    officer = browser("privacy_officer")
    path = written(officer, **letter(who="ana@example.org"))
    page = officer.get(path).text
    assert "(GDPR Art. 15; Russia: 10 working days)" in page
    assert "Russia: 5 further working days" in page
    due = of(office, path).row.due_on
    assert officer.post(f"{path}/extend", data={"reason": "Archives", "told": "1"}).status_code == 303
    assert (of(office, path).row.due_on - due).days == 7
    corrected = officer.get(written(officer, **letter(who="ana@example.org", right="rectification"))).text
    assert "Russia: 7 working days" in corrected
    assert "Take more time" not in corrected


def test_the_clock_brings_a_day_forward_once_the_country_is_known(browser: Browser, office: Office) -> None:
    ana, officer = office.world.person(), browser("privacy_officer")
    path = written(officer, **letter(who="ana@example.org"))
    before = of(office, path).row.due_on
    office.world.person(attributes={"country": "ru"})
    for _ in range(2):
        jobs.hasten(office.house, clock.now())
    assert of(office, path).row.due_on < before
    page = officer.get(f"/staff/people/{ana.public_id}").text
    assert page.count("To be answered sooner, by the law of where they live:") == 1


def test_more_time_with_its_reason_and_a_refusal_with_its_own(browser: Browser, office: Office) -> None:
    officer = browser("privacy_officer")
    path = written(officer, **letter())
    assert "two further months, GDPR Art. 12(3)" in officer.get(path).text
    assert officer.post(f"{path}/extend", data={"reason": "Archives"}).status_code == 422
    assert officer.post(f"{path}/extend", data={"reason": "Archives", "told": "1"}).status_code == 303
    page = officer.get(path).text
    assert "Archives" in page
    assert "Take more time" not in page
    short = officer.post(f"{path}/close", data={"outcome": "refused"})
    assert "Please say why." in short.text
    officer.post(f"{path}/close", data={"outcome": "refused", "note": "The fifth this week"})
    page = officer.get(path).text
    assert "The fifth this week" in page
    assert "Privacy_Officer Person" in page
    assert "Refused" in officer.get(f"{HERE}?state=closed").text
    assert officer.post(f"{path}/close", data={"outcome": "done"}).status_code == 409


@pytest.mark.parametrize(
    ("right", "act"),
    [("objection", "object"), ("opt_out", "object"), ("restriction", "restrict"), ("erasure", "erase")],
)
def test_what_is_done_on_the_persons_page_closes_the_request(
    browser: Browser, office: Office, right: str, act: str
) -> None:
    ana = office.world.person()
    officer = browser("privacy_officer")
    path = written(officer, **letter(right=right, who=ana.public_id))
    answer = officer.post(f"/staff/people/{ana.public_id}/{act}", data={"reason": "letter of 3 November"})
    assert answer.status_code in (200, 303)
    row = of(office, path).row
    assert (row.outcome, row.closed_by) == ("done", f"staff:{office.ids['privacy_officer']}")
    assert "Done as asked" in officer.get(path).text
    assert "Answered what they asked for" in officer.get(f"/staff/people/{ana.public_id}").text


def test_what_is_done_elsewhere_is_said_to_be_closed_by_hand(browser: Browser, office: Office) -> None:
    """An objection to advertising, done there, answers nobody who objects to another use."""
    ana = office.world.person()
    officer = browser("privacy_officer")
    path = written(officer, **letter(right="objection_other", who=ana.public_id))
    page = officer.get(path).text
    assert "closes this by itself" not in page
    assert "Nothing done there closes this: use the form below once it is done." in page
    officer.post(f"/staff/people/{ana.public_id}/object", data={"reason": "letter of 3 November"})
    assert of(office, path).row.closed_at is None


def test_std_h9_a_copy_that_was_only_made_leaves_the_request_open(browser: Browser, office: Office) -> None:
    """It is answered when the person has it, which staff say with the form."""
    ana = office.world.person()
    officer = browser("privacy_officer")
    path = written(officer, **letter(who=ana.public_id))
    page = officer.get(path).text
    assert (
        "An access copy made there is yours to hand over: close this with the form below when they have it."
        in page
    )
    why = {"reason": "letter of 3 November"}
    assert officer.post(f"/staff/people/{ana.public_id}/copy", data=why).status_code == 200
    assert of(office, path).row.closed_at is None
    with reading(office.house.engine) as session:
        assert len(ledger.of_subject(session, ana.public_id, kinds=("person.exported",))) == 1
        assert not ledger.of_subject(session, ana.public_id, kinds=("request.closed",))
    assert officer.post(f"{path}/close", data={"outcome": "done"}).status_code == 303
    assert of(office, path).row.outcome == "done"


def test_a_message_is_made_a_request(browser: Browser, office: Office) -> None:
    office.world.person()

    def write_from(email: str) -> str:
        def write(session: Session) -> str:
            return actions.ask(
                session, office.house.ring, address=addresses.parse(email), name="Ana",
                subject=rules.SUBJECTS["data"], text="What do you hold?", locale="en", now=clock.now(),
            ).public_id  # fmt: skip

        return str(office.world.change(write))

    message = write_from("ana@example.org")
    officer = browser("privacy_officer")
    assert "Make it a request" in officer.get(f"/staff/contact/{message}").text
    paths = {
        officer.post(f"/staff/contact/{message}/request", data={"right": "access"}).headers["location"]
        for _ in range(2)
    }
    [path] = paths
    found = of(office, path)
    assert (found.row.door, found.row.came_on) == ("form", clock.now().date())
    assert found.person is not None
    pending = write_from("stranger@example.org")
    ana = found.person

    def types(session: Session) -> None:
        held = make.the_person(session, ana.public_id)
        to = addresses.parse("stranger@example.org")
        access.change_email(session, office.house.ring, held, to, now=clock.now(), by="cli")

    office.world.change(types)
    path_of_theirs = officer.post(f"/staff/contact/{pending}/request", data={"right": "access"}).headers[
        "location"
    ]
    assert of(office, path_of_theirs).person is None, "an address somebody typed is not theirs"
    page = officer.get(path).text
    assert "What do you hold?" in page
    assert f"/staff/contact/{message}" in page


def typed_by_a_visitor(office: Office, email: str = "ana@example.org") -> str:
    """Somebody writes "erase my data" in the contact form under that address; returns the message."""

    def write(session: Session) -> str:
        return actions.ask(
            session, office.house.ring, address=addresses.parse(email), name="", subject=rules.SUBJECTS["data"],
            text="Erase my data.", locale="en", now=clock.now() - timedelta(hours=1),
        ).public_id  # fmt: skip

    return str(office.world.change(write))


UNPROVEN = "nothing proves it is theirs. Have them sign in by a mailed link first."


def test_an_address_typed_into_the_form_proves_nobody(browser: Browser, office: Office) -> None:
    ana = office.world.person()
    officer = browser("privacy_officer")
    message = typed_by_a_visitor(office)
    path = officer.post(f"/staff/contact/{message}/request", data={"right": "erasure"}).headers["location"]
    page = officer.get(path).text
    assert UNPROVEN in page
    assert "Asked by" not in page
    assert "an erasure made there" not in page
    unproven = officer.post(f"{path}/close", data={"outcome": "done"})
    assert unproven.status_code == 422
    assert "Please say how they showed that it is theirs" in unproven.text
    with reading(office.house.engine) as session:
        found = copies.access_copy(
            session, office.house.ring, make.the_person(session, ana.public_id), now=clock.now()
        )
    assert [(one["text"], one["proven"]) for one in found["messages"]] == [("Erase my data.", False)]
    told = {"outcome": "done", "note": "Called back, knew the last order"}
    assert officer.post(f"{path}/close", data=told).status_code == 303
    page = officer.get(path).text
    assert "Called back, knew the last order" in page
    assert UNPROVEN not in page


def test_who_signed_in_since_is_who_asked(browser: Browser, office: Office) -> None:
    ana = office.world.person()
    officer = browser("privacy_officer")

    def signs_in(ago: timedelta) -> None:
        """The entry that a mailed link leaves."""
        by = f"person:{ana.public_id}"
        office.world.change(
            lambda session: entries.append(
                session, "person.signed_in", subject=ana.public_id, body={}, by=by, now=clock.now() - ago
            )
        )

    signs_in(timedelta(hours=2))
    message = typed_by_a_visitor(office)
    path = officer.post(f"/staff/contact/{message}/request", data={"right": "access"}).headers["location"]
    assert UNPROVEN in officer.get(path).text, "before it came, it says nothing of who wrote it"
    signs_in(timedelta())
    page = officer.get(path).text
    assert UNPROVEN not in page
    assert "Asked by" in page
    assert officer.post(f"{path}/close", data={"outcome": "done"}).status_code == 303


def test_a_letter_and_a_stranger_are_closed_as_before(browser: Browser, office: Office) -> None:
    """Staff saw the letter; of somebody unknown here nothing is held."""
    ana = office.world.person()
    officer = browser("privacy_officer")
    message = typed_by_a_visitor(office, "stranger@example.org")
    stranger = officer.post(f"/staff/contact/{message}/request", data={"right": "access"})
    for path in (written(officer, **letter(who=ana.public_id)), stranger.headers["location"]):
        assert UNPROVEN not in officer.get(path).text
        assert officer.post(f"{path}/close", data={"outcome": "done"}).status_code == 303
