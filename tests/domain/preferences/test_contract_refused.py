"""A topic of class notice may rest on a registration itself, and can be refused: no other registration of the mailbox begins it anew."""

from datetime import datetime, timedelta

import pytest
from sqlmodel import Session

from service.domain.consent.actions import Said
from service.domain.ledger import queries as entries
from service.domain.people.tables import Person
from service.domain.preferences import access, actions, projection, rights
from service.domain.suppressions import actions as suppressions
from service.kit import addresses
from service.kit.signing import Keyring
from tests import builders as make

ANA, CEM = "ana@example.org", "cem@example.org"
SLUG = "product-notes"
LATER = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _notes(session: Session, now: datetime) -> None:
    make.a_topic(session, SLUG, now=now, basis="contract", mail_class="notice")


def stops(session: Session, ring: Keyring, person: Person, now: datetime) -> None:
    actions.stop(session, ring, make.a_link(session, person, SLUG), how="link", evidence={}, now=now)


def elsewhere(session: Session, ring: Keyring, now: datetime, email: str = ANA, **more: bool) -> Person:
    """A second site tells of somebody at a mailbox."""
    made = make.register(session, ring, email, source="crm", external_id="7", now=now, **more)
    return make.the_person(session, made.person_id)


def written(session: Session) -> None:
    """The entries so far are in the table, as at the end of a transaction."""
    session.flush()
    for last in session.info.pop("at_end", []):
        last(session)


@pytest.mark.parametrize("attest", [True, False])
def test_p7_a_second_registration_does_not_begin_what_was_refused_there(
    session: Session, ring: Keyring, now: datetime, attest: bool
) -> None:
    ana = make.a_person(session, ring, ANA, now=now)
    assert make.the_state(session, ana, SLUG) == "given"
    stops(session, ring, ana, now)
    other = elsewhere(session, ring, now + LATER, attest=attest)
    assert make.the_state(session, other, SLUG) == ("unknown" if other is not ana else "withdrawn")
    assert make.the_state(session, other, "important-notices") == "given"
    written(session)
    assert projection.differences(session) == []
    [*_, said] = entries.of_subject(session, other.public_id, kinds=("person.registered",))
    assert SLUG not in [one["topic"] for one in said.body["topics"]]


def test_p7_nor_does_it_where_the_do_not_mail_list_has_it(
    session: Session, ring: Keyring, now: datetime
) -> None:
    given = {"scope": "topic", "cause": "withdrawal", "origin": "i_1", "subject": None, "by": "cli"}
    topic_id = make.the_topic(session, SLUG).id
    suppressions.add(session, make.address_hash(ring, ANA), **given, topic_id=topic_id, now=now)
    other = elsewhere(session, ring, now)
    assert make.the_state(session, other, SLUG) == "unknown"
    written(session)
    assert projection.differences(session) == []


def test_an_objection_to_advertising_is_no_word_about_it(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.a_person(session, ring, ANA, now=now)
    said = Said("objection", "me")
    rights.object_to_marketing(session, ring, ana, said, now=now, by="person:x")
    assert make.the_state(session, elsewhere(session, ring, now, attest=False), SLUG) == "given"


def test_p7_a_merge_does_not_bring_it_where_it_was_refused(
    session: Session, ring: Keyring, now: datetime
) -> None:
    """Refused by somebody who has left the mailbox since, whose next owner has never been registered for it."""
    left = elsewhere(session, ring, now, ANA, attest=False)
    stops(session, ring, left, now)
    access.change_email(session, ring, left, addresses.parse("left@example.org"), now=now, by="person:x")
    made = make.register(session, ring, ANA, source="join", attested=False, attest=False, now=now)
    owner = make.the_person(session, made.person_id)
    yes = [make.an_answer(at=now, confirmed=True)]
    make.register(session, ring, ANA, yes, source="join", attested=False, now=now)
    cem = make.a_person(session, ring, CEM, now=now)
    assert (make.the_state(session, cem, SLUG), make.the_state(session, owner, SLUG)) == ("given", "unknown")
    by = f"person:{cem.public_id}"
    access.change_email(session, ring, cem, addresses.parse(ANA), now=now + LATER, by=by)
    written(session)
    make.press(session, ring, make.buttons(session, cem)[-1], now=now + LATER)
    session.refresh(cem)
    assert cem.state == "merged"
    assert make.the_state(session, owner, SLUG) == "unknown"
    written(session)
    assert projection.differences(session) == []


def test_p7_nor_does_a_registration_that_came_later_when_two_become_one(
    session: Session, ring: Keyring, now: datetime
) -> None:
    """Whoever refused it has the other account already, at another mailbox: to have registered there is no yes to it."""
    ana = make.a_person(session, ring, ANA, now=now)
    stops(session, ring, ana, now)
    other = make.a_person(session, ring, CEM, now=now + LATER)
    assert make.the_state(session, other, SLUG) == "given"
    by = f"person:{ana.public_id}"
    access.change_email(session, ring, ana, addresses.parse(CEM), now=now + 2 * LATER, by=by)
    make.press(session, ring, make.buttons(session, ana)[-1], now=now + 2 * LATER)
    assert ana.state == "merged"
    assert make.the_state(session, other, SLUG) == "withdrawn"
    written(session)
    assert projection.differences(session) == []
