"""Two registrations of one mailbox: a no by the link of the one is the later word of the other, too, who had said no before."""

from datetime import datetime, timedelta

import pytest
from sqlmodel import Session

from service.domain.consent.actions import Said
from service.domain.ledger import actions as ledger
from service.domain.people.tables import Person
from service.domain.preferences import access, actions, rights
from service.kit import addresses
from service.kit.ids import receipt
from service.kit.signing import Keyring
from tests import builders as make

THERE, ELSEWHERE = "ana@example.org", "kov@example.com"
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def stops(session: Session, ring: Keyring, person: Person, how: str, at: datetime) -> actions.Stopped:
    link = make.a_link(session, person, "new-products")
    return actions.stop(session, ring, link, how=how, evidence={}, now=at)


def two_there(session: Session, ring: Keyring, now: datetime) -> tuple[Person, Person]:
    """Two sites each know somebody of one mailbox, one of them by an address that nobody has confirmed to it."""
    mine = make.a_person(session, ring, THERE, now=now, external_id="1")
    given = [make.an_answer(at=now - HOUR)]
    told = make.register(session, ring, THERE, given, now=now, external_id="2", source="blog", attest=False)
    other = make.the_person(session, told.person_id)
    assert other.id != mine.id
    return mine, other


def test_p7_an_undo_does_not_go_over_a_later_no_of_the_same_mailbox(
    session: Session, ring: Keyring, now: datetime
) -> None:
    mine, other = two_there(session, ring, now)
    undo = stops(session, ring, mine, "link", now).undo
    assert undo is not None
    stops(session, ring, other, "one_click", now + 10 * MINUTE)
    actions.undo(session, undo, now=now + 15 * MINUTE)
    assert make.the_state(session, mine) == "withdrawn"


def test_p7_it_holds_against_an_earlier_yes_elsewhere_when_the_other_moves_there(
    session: Session, ring: Keyring, now: datetime
) -> None:
    mine, other = two_there(session, ring, now)
    stops(session, ring, mine, "link", now)
    third = make.a_person(session, ring, ELSEWHERE, now=now + HOUR, external_id="3")
    stops(session, ring, other, "one_click", now + 2 * HOUR)
    by = f"person:{mine.public_id}"
    access.change_email(session, ring, mine, addresses.parse(ELSEWHERE), now=now + 3 * HOUR, by=by)
    make.press(session, ring, make.buttons(session, mine)[-1], now=now + 3 * HOUR)
    assert mine.state == "merged"
    assert make.the_state(session, third) == "withdrawn"


def test_a_press_said_twice_is_one_entry_for_the_other_too(
    session: Session, ring: Keyring, now: datetime
) -> None:
    mine, other = two_there(session, ring, now)
    for person, at in ((mine, now), (other, now + HOUR), (other, now + HOUR + timedelta(seconds=9))):
        stops(session, ring, person, "one_click", at)
    assert make.kinds(session, mine.public_id).count("consent.withdrawn") == 2
    preference = make.the_preference(session, mine)
    assert preference is not None
    assert preference.since_at == now + HOUR


def test_p7_so_does_a_site_s_that_says_when(session: Session, ring: Keyring, now: datetime) -> None:
    """Also one that merely typed the address."""
    mine, _ = two_there(session, ring, now)
    stops(session, ring, mine, "one_click", now)
    third = make.a_person(session, ring, ELSEWHERE, now=now + HOUR, external_id="3")
    at = now + 2 * HOUR
    said = make.an_answer(given=False, at=at) | {"evidence": {"at": at.isoformat()}}
    make.register(session, ring, THERE, [said], now=at, external_id="2", source="blog", attest=False)
    by = f"person:{mine.public_id}"
    access.change_email(session, ring, mine, addresses.parse(ELSEWHERE), now=now + 3 * HOUR, by=by)
    make.press(session, ring, make.buttons(session, mine)[-1], now=now + 3 * HOUR)
    assert make.the_state(session, third) == "withdrawn"


@pytest.mark.parametrize("way", ["stop", "stop all", "page"])
def test_the_receipt_is_of_their_own_entry(session: Session, ring: Keyring, now: datetime, way: str) -> None:
    """Their page shows the receipt of what they did last, and the answer says that it does."""
    mine, other = two_there(session, ring, now)
    assert make.the_state(session, other) == "requested"
    if way == "page":
        off, by = actions.Choices({"new-products": "off"}), f"person:{mine.public_id}"
        given = actions.save(session, ring, mine, off, how="page", evidence={}, now=now, by=by).receipt
    else:
        link = make.a_link(session, mine, "new-products" if way == "stop" else None)
        act = actions.stop if way == "stop" else actions.stop_all
        given = act(session, ring, link, how="link", evidence={}, now=now).receipt
    own = [one for one in ledger.appended(session) if one.subject == mine.public_id]
    assert given == receipt(own[-1].seq, own[-1].hash)
    assert make.the_state(session, other) == "refused"


def test_the_receipt_of_an_objection_said_again_is_of_their_own_entry(
    session: Session, ring: Keyring, now: datetime
) -> None:
    mine, _ = two_there(session, ring, now)
    said, by = Said("page", "the person's own page"), f"person:{mine.public_id}"
    rights.object_to_marketing(session, ring, mine, said, now=now, by=by)
    given = rights.object_to_marketing(session, ring, mine, said, now=now + HOUR, by=by)
    own = [one for one in ledger.appended(session) if one.subject == mine.public_id]
    assert given == receipt(own[-1].seq, own[-1].hash)
