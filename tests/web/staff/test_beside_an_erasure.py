"""What staff press while a colleague erases it: nothing of what is gone is shown, handed out or made a request of, and no page breaks.

On PostgreSQL a press reads, waits for the ledger behind the erasure, and goes on with what it had read.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlmodel import Session
from starlette.testclient import TestClient

from service.db.locks import lock_ledger_tail
from service.db.session import reading, transaction
from service.domain.ledger import queries as ledger
from service.domain.privacy import queries
from service.kit import clock
from service.ops import erasure
from tests import builders as make
from tests.domain.preferences.test_stop_beside_erasure import somebody_waits
from tests.web.staff.conftest import Office
from tests.web.staff.test_message_erased import asked

Browser = Callable[..., TestClient]
WHY = {"reason": "letter of 3 November"}


@pytest.fixture(autouse=True)
def _two_at_once(office: Office) -> None:
    if office.house.engine.dialect.name == "sqlite":
        pytest.skip("one writer at a time, and each read sees one moment")


def pressed_meanwhile(office: Office, erase: Callable[[Session], Any], press: Callable[[], Any]) -> Any:
    """The answer to a press that has begun, and stands in line for the ledger, before the erasure is through."""
    answers: list[Any] = []
    other = threading.Thread(target=lambda: answers.append(press()))
    with transaction(office.house.engine) as session:
        lock_ledger_tail(session)
        other.start()
        while other.is_alive() and not somebody_waits(session):
            time.sleep(0.01)
        assert other.is_alive(), answers
        erase(session)
    other.join(20)
    return answers[0]


@pytest.mark.parametrize("path", ["copy", "portable", "correct"])
def test_nothing_is_handed_out_of_somebody_who_is_being_erased(
    browser: Browser, office: Office, path: str
) -> None:
    officer = browser("privacy_officer")
    person = office.world.person("ana@example.org", profile={"first_name": "Ana"})

    def erase(session: Session) -> None:
        held = make.the_person(session, person.public_id)
        erasure.erase(session, office.house.ring, held, how="staff", now=clock.now(), by="staff:s_1")

    def press() -> Any:
        return officer.post(f"/staff/people/{person.public_id}/{path}", data=WHY)

    answer = pressed_meanwhile(office, erase, press)
    assert answer.status_code == 409
    assert "Ana" not in answer.text
    with reading(office.house.engine) as session:
        said = ledger.of_subject(session, person.public_id, kinds=("person.exported", "person.revealed"))
        assert not said


@pytest.mark.parametrize("path", ["object", "restrict", "bar"])
def test_nothing_is_written_down_for_somebody_who_is_being_erased(
    browser: Browser, office: Office, path: str
) -> None:
    """It was answered as if it were done."""
    officer, person = browser("privacy_officer"), office.world.person("ana@example.org")

    def erase(session: Session) -> None:
        held = make.the_person(session, person.public_id)
        erasure.erase(session, office.house.ring, held, how="staff", now=clock.now(), by="staff:s_1")

    def press() -> Any:
        return officer.post(f"/staff/people/{person.public_id}/{path}", data=WHY)

    assert pressed_meanwhile(office, erase, press).status_code == 409
    with reading(office.house.engine) as session:
        answered = [one.body["right"] for one in ledger.of_kinds(session, ("request.closed",))]
        barred = [
            one for one in ledger.of_kinds(session, ("suppression.added",)) if one.body["cause"] == "legal"
        ]
    assert (answered, barred) == (["erasure"], [])


def erased(office: Office, public_id: str) -> Callable[[Session], None]:
    def erase(session: Session) -> None:
        erasure.erase_message(
            session, office.house.ring, public_id, how="staff", now=clock.now(), by="staff:s_1"
        )

    return erase


def test_a_message_that_is_being_erased_is_not_read(browser: Browser, office: Office) -> None:
    officer, one = browser("privacy_officer"), asked(office)
    answer = pressed_meanwhile(office, erased(office, one), lambda: officer.get(f"/staff/contact/{one}"))
    assert "What do you hold?" not in answer.text
    assert (answer.status_code, "This message was erased" in answer.text) == (200, True)


def test_nor_is_it_made_a_request(browser: Browser, office: Office) -> None:
    officer, one = browser("privacy_officer"), asked(office)
    path, right = f"/staff/contact/{one}/request", {"right": "access"}
    answer = pressed_meanwhile(office, erased(office, one), lambda: officer.post(path, data=right))
    assert answer.status_code == 404


@pytest.mark.parametrize("path", ["/staff/contact", "/staff/privacy"])
def test_a_list_with_a_message_that_is_just_being_erased_is_shown_without_it(
    browser: Browser, office: Office, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row was read, and is gone before the address is."""
    officer, opens = browser("privacy_officer"), queries.asked
    one, other = asked(office), asked(office, "Something else", "yve@example.org")
    officer.post(f"/staff/contact/{one}/request", data={"right": "access"})
    left = [one]

    def meanwhile(*said: Any) -> dict[str, str]:
        if left:
            colleague = threading.Thread(target=office.world.change, args=(erased(office, left.pop()),))
            colleague.start()
            colleague.join(20)
        return opens(*said)

    monkeypatch.setattr(queries, "asked", meanwhile)
    page = officer.get(path)
    assert page.status_code == 200
    assert not left
    assert other in page.text or path != "/staff/contact"
