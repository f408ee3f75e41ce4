"""An address that somebody typed and has not confirmed is not theirs: their rights do not reach into it, nor its owner's to them."""

from datetime import datetime, timedelta

import pytest
from sqlmodel import Session

from service.domain.consent.actions import Said
from service.domain.people import erasing as people_erasing
from service.domain.people.tables import Person
from service.domain.preferences import access, restoring, rights
from service.domain.privacy import actions as contact
from service.domain.privacy import erasing, queries
from service.domain.privacy import rules as privacy
from service.domain.suppressions import queries as suppressions
from service.kit import addresses
from service.kit.signing import Keyring
from tests import builders as make

HERS, THEIRS = "ana@example.org", "bea@example.org"
Two = tuple[Person, Person]


@pytest.fixture
def two(session: Session, ring: Keyring, now: datetime) -> Two:
    """Ana, and Bea whose address Ana has typed as a new one of her own."""
    ana, bea = (make.a_person(session, ring, email, now=now) for email in (HERS, THEIRS))
    types(session, ring, ana, THEIRS, now)
    return ana, bea


def types(session: Session, ring: Keyring, person: Person, email: str, now: datetime) -> None:
    access.change_email(session, ring, person, addresses.parse(email), now=now, by=own(person))


def own(person: Person) -> str:
    return f"person:{person.public_id}"


def objects(session: Session, ring: Keyring, person: Person, now: datetime) -> None:
    said = Said("objection", "me")
    rights.object_to_marketing(session, ring, person, said, now=now, by=own(person))


def stopped(session: Session, ring: Keyring, email: str) -> set[str]:
    """Why nothing goes to a mailbox."""
    session.flush()
    digest = make.address_hash(ring, email)
    return {row.cause for row in suppressions.live_for(session, [digest]).get(digest, ())}


def test_who_typed_an_address_stays_when_its_owner_is_erased(
    session: Session, ring: Keyring, now: datetime, two: Two
) -> None:
    ana, bea = two
    assert erasing.preview(session, bea).registrations == 1
    assert erasing.erase(session, ring, bea, how="me", now=now, by=own(bea)).persons == 1
    assert (ana.state, ana.wrapped_key is None) == ("active", False)
    assert stopped(session, ring, HERS) == set()
    assert stopped(session, ring, THEIRS) == {"erasure"}


def test_what_the_owner_of_a_typed_address_wrote_stays_when_the_other_is_erased(
    session: Session, ring: Keyring, now: datetime, two: Two
) -> None:
    ana, bea = two
    given = {"name": "Bea", "subject": privacy.SUBJECTS["question"], "text": "When?", "locale": "en"}
    contact.ask(session, ring, address=addresses.parse(THEIRS), now=now, **given)
    session.flush()
    assert erasing.preview(session, ana).messages == 0
    erasing.erase(session, ring, ana, how="me", now=now, by=own(ana))
    assert len(queries.written_from(session, people_erasing.addresses_of(session, [bea]))) == 1


def test_p7_a_restriction_is_not_lifted_by_the_owner_of_a_typed_address(
    session: Session, ring: Keyring, now: datetime, two: Two
) -> None:
    ana, bea = two
    rights.restrict(session, ana, how="me", now=now, by=own(ana))
    assert bea.state == "active"
    rights.restrict(session, bea, how="me", now=now, by=own(bea))
    assert rights.lift_restriction(session, bea, how="me", now=now, by=own(bea))
    assert (ana.state, bea.state) == ("restricted", "active")


def test_p7_an_objection_is_not_lifted_by_who_typed_its_mailbox(
    session: Session, ring: Keyring, now: datetime, two: Two
) -> None:
    ana, bea = two
    objects(session, ring, bea, now)
    assert not rights.lift_objection(session, ana, now=now)
    assert stopped(session, ring, THEIRS) == {"objection"}


def test_p7_an_objection_is_not_lifted_by_a_registration_that_nobody_confirmed(
    session: Session, ring: Keyring, now: datetime
) -> None:
    """Where the old address was not confirmed either, the typed one takes its place at once."""
    bea = make.a_person(session, ring, THEIRS, now=now)
    made = make.register(session, ring, "cem@example.org", attest=False, now=now)
    cem = make.the_person(session, made.person_id)
    objects(session, ring, bea, now)
    types(session, ring, cem, THEIRS, now)
    assert not rights.lift_objection(session, cem, now=now)
    assert stopped(session, ring, THEIRS) == {"objection"}
    assert rights.lift_objection(session, bea, now=now)


def test_an_objection_is_not_said_in_a_typed_mailbox_and_goes_along_once_it_is_confirmed(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.a_person(session, ring, HERS, now=now)
    types(session, ring, ana, THEIRS, now)
    objects(session, ring, ana, now)
    assert (stopped(session, ring, HERS), stopped(session, ring, THEIRS)) == ({"objection"}, set())
    make.press(session, ring, make.buttons(session, ana)[-1], now=now + timedelta(hours=1))
    assert stopped(session, ring, THEIRS) == {"objection"}


def test_an_objection_ends_no_yes_of_who_typed_the_mailbox(
    session: Session, ring: Keyring, now: datetime, two: Two
) -> None:
    ana, bea = two
    objects(session, ring, bea, now)
    assert (make.the_state(session, ana), make.the_state(session, bea)) == ("given", "withdrawn")


def test_p7_who_restricted_themselves_beforehand_is_not_lifted_with_another_of_the_mailbox(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana, cem = _of_one_mailbox(session, ring, now)
    rights.restrict(session, cem, how="me", now=now, by=own(cem))
    rights.restrict(session, ana, how="me", now=now, by=own(ana))
    _written(session)
    rights.lift_restriction(session, ana, how="me", now=now, by=own(ana))
    assert (ana.state, cem.state) == ("active", "restricted")


def test_p7_who_went_along_and_then_says_so_themselves_is_not_lifted_with_the_other(
    session: Session, ring: Keyring, now: datetime
) -> None:
    """Also when a restored copy hears of both."""
    ana, cem = _of_one_mailbox(session, ring, now)
    rights.restrict(session, ana, how="me", now=now, by=own(ana))
    _written(session)
    line = {"seq": 9_999, "at": 1, "kind": "person.restricted", "body": {}, "hash": "x"}
    restoring.reapply(session, ring, [line | {"subject": cem.public_id}], now=now)
    _written(session)
    rights.lift_restriction(session, ana, how="me", now=now, by=own(ana))
    assert (ana.state, cem.state) == ("active", "restricted")


def _of_one_mailbox(session: Session, ring: Keyring, now: datetime) -> Two:
    """Ana, who holds the mailbox, and a second site's registration of it."""
    ana = make.a_person(session, ring, HERS, now=now)
    made = make.register(session, ring, HERS, source="crm", attest=False, now=now)
    return ana, make.the_person(session, made.person_id)


def _written(session: Session) -> None:
    """The entries so far are in the table, as at the end of a transaction."""
    for last in session.info.pop("at_end"):
        last(session)
