"""Three registrations that become one, one after the other: the last word of them all holds, and no older button or undo goes over it."""

from datetime import datetime, timedelta

import pytest
from sqlmodel import Session

from service.domain.people.tables import Person
from service.domain.preferences import access, actions, projection, rules
from service.kit import addresses
from service.kit.signing import Keyring
from tests import builders as make

FIRST, SECOND, THIRD = "ana@example.org", "ana.kov@example.net", "kov@example.com"
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def stops(session: Session, ring: Keyring, person: Person, how: str, at: datetime) -> actions.Stopped:
    link = make.a_link(session, person, "new-products")
    return actions.stop(session, ring, link, how=how, evidence={}, now=at)


def moves_in(session: Session, ring: Keyring, person: Person, email: str, at: datetime) -> None:
    """Asks for another's mailbox and presses the button in the mail there."""
    by = f"person:{person.public_id}"
    access.change_email(session, ring, person, addresses.parse(email), now=at, by=by)
    make.press(session, ring, make.buttons(session, person)[-1], now=at)
    assert person.state == "merged"


def test_p7_a_later_no_that_met_an_older_one_on_its_way_goes_before_the_yes_between(
    session: Session, ring: Keyring, now: datetime
) -> None:
    first = make.a_person(session, ring, FIRST, now=now, external_id="1")
    second = make.a_person(session, ring, SECOND, now=now, external_id="2")
    stops(session, ring, first, "one_click", now)
    third = make.a_person(session, ring, THIRD, now=now + HOUR, external_id="3")
    stops(session, ring, second, "one_click", now + 2 * HOUR)
    moves_in(session, ring, second, FIRST, now + 3 * HOUR)
    moves_in(session, ring, first, THIRD, now + 4 * HOUR)
    assert make.the_state(session, third) == "withdrawn", "they said no an hour after that yes"
    session.flush()
    for last in session.info.pop("at_end", []):  # its entries are in the table at the end of the transaction
        last(session)
    assert projection.differences(session) == []


def test_p7_an_undo_does_not_go_over_the_later_no_of_who_became_the_same_person(
    session: Session, ring: Keyring, now: datetime
) -> None:
    first = make.a_person(session, ring, FIRST, now=now, external_id="1")
    second = make.a_person(session, ring, SECOND, now=now, external_id="2")
    undo = stops(session, ring, first, "link", now).undo
    assert undo is not None
    stops(session, ring, second, "one_click", now + 5 * MINUTE)
    moves_in(session, ring, second, FIRST, now + 10 * MINUTE)
    assert actions.undo(session, undo, now=now + 15 * MINUTE) == []
    assert make.the_state(session, first) == "withdrawn"


def test_p7_nor_does_an_older_button(session: Session, ring: Keyring, now: datetime) -> None:
    first = make.a_person(session, ring, FIRST, now=now, external_id="1")
    second = make.a_person(session, ring, SECOND, now=now, external_id="2")
    stops(session, ring, first, "one_click", now)
    asked = make.an_answer(at=now + HOUR)
    make.register(session, ring, FIRST, [asked], now=now + HOUR, external_id="1")
    button = make.buttons(session, first)[-1]
    stops(session, ring, second, "one_click", now + 2 * HOUR)
    moves_in(session, ring, second, FIRST, now + 3 * HOUR)
    with pytest.raises(rules.GrantNeedsNewConfirmation):
        make.press(session, ring, button, now=now + 4 * HOUR)
    assert make.the_state(session, first) == "withdrawn"
