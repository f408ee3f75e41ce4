"""What a site is answered about a no it brings again, and what the entry keeps of it."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlmodel import Session

from service.domain.consent.actions import Said
from service.domain.consent.evidence import Opener
from service.domain.ledger import actions as ledger
from service.domain.ledger.rules import Entry
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.domain.preferences import changes
from service.kit.signing import Keyring
from tests import builders as make

ANA = "ana@example.org"
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


def tells(session: Session, ring: Keyring, now: datetime, at: datetime) -> dict[str, str]:
    """The answer to a dated no."""
    evidence = {"at": at.isoformat(), "url": "https://shop.example.org/account"}
    said = make.an_answer(given=False, at=at) | {"source": "account page", "evidence": evidence}
    [answer] = make.register(session, ring, ANA, [said], now=now, external_id="1").consents
    return answer


def noes(session: Session, person: Person) -> list[Entry]:
    written = [one for one in ledger.appended(session) if one.subject == person.public_id]
    return [one for one in written if one.kind in changes.NOES]


def test_a_no_to_a_question_stays_one_when_it_is_said_again(
    session: Session, ring: Keyring, now: datetime
) -> None:
    make.register(session, ring, ANA, [make.an_answer(at=now)], now=now, external_id="1", attest=False)
    assert tells(session, ring, now + HOUR, now + HOUR)["state"] == "refused"
    again = tells(session, ring, now + 2 * HOUR, now + 2 * HOUR)
    person = make.the_person(session, noes(session, _ana(session))[-1].subject or "")
    assert (again["state"], again["result"]) == ("refused", "unchanged")
    assert make.the_state(session, person) == "refused"
    assert len(noes(session, person)) == 2


def _ana(session: Session) -> Person:
    found = people.identity(session, "shop", "1")
    assert found is not None
    return session.get_one(Person, found.person_id)


def test_the_answer_tells_what_it_made_of_what_the_controller_took_back(
    session: Session, ring: Keyring, now: datetime
) -> None:
    person = make.a_person(session, ring, ANA, now=now, external_id="1")
    topic, preference = make.the_topic(session), make.the_preference(session, person)
    assert preference is not None
    change = changes.Change(session, person, None, Said("admin_on_request"), now, make.STAFF)
    changes.move(change, topic, preference, "consent.invalidated", "invalidated")
    answer = tells(session, ring, now + HOUR, now + HOUR)
    assert make.the_state(session, person) == "withdrawn"
    assert (answer["state"], answer["result"]) == ("withdrawn", "withdrawn")


def test_the_later_word_keeps_its_evidence_as_the_first_does(
    session: Session, ring: Keyring, now: datetime
) -> None:
    person = make.a_person(session, ring, ANA, now=now, external_id="1")
    for hours in (1, 3):
        tells(session, ring, now + hours * HOUR, now + hours * HOUR)
    kept = [_opened(session, ring, person, one) for one in noes(session, person)]
    assert [one.get("at") for one in kept] == [(now + HOUR).isoformat(), (now + 3 * HOUR).isoformat()]


def _opened(session: Session, ring: Keyring, person: Person, entry: Entry) -> dict[str, Any]:
    part = json.loads(entry.text)["body"].get("evidence")
    key = people.person_key(ring, person)
    return Opener(session, ring).open(key, part, subject=person.public_id, kind=entry.kind) if part else {}


@pytest.mark.parametrize("fast", [timedelta(0), timedelta(minutes=4)])
def test_h33_the_same_call_made_twice_is_one_no_by_a_fast_clock_too(
    session: Session, ring: Keyring, now: datetime, fast: timedelta
) -> None:
    person = make.a_person(session, ring, ANA, now=now, external_id="1")
    for later in (0, 2, 5):
        tells(session, ring, now + later * SECOND, now + fast)
    assert len(noes(session, person)) == 1
