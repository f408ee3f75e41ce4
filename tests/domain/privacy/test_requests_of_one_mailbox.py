"""A right that was had answers what was asked for under any registration of the mailbox, and by a message that came from it."""

from datetime import datetime, timedelta

import pytest
from sqlmodel import Session

from service.domain.mailings.tables import Address
from service.domain.people.tables import Person
from service.domain.privacy import copies, queries, requests
from service.kit.signing import Keyring
from service.ops import erasure
from tests import builders as make
from tests.domain.privacy.test_requests import asked, wrote

HOUR = timedelta(hours=1)


def a_customer(session: Session, ring: Keyring, now: datetime) -> Person:
    """A site told of them; nobody has confirmed the mailbox yet."""
    told = make.register(session, ring, "ana@example.org", source="crm", attest=False, now=now)
    return make.the_person(session, told.person_id)


def confirmed(session: Session, person: Person, now: datetime) -> None:
    row = session.get_one(Address, person.address_id)
    row.confirmed_at = now
    session.add(row)
    session.flush()


def test_std_h9_a_message_made_a_request_before_the_mailbox_was_theirs_is_answered_by_the_erasure(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = a_customer(session, ring, now)
    message = wrote(session, ring, now)
    row = asked(session, ring, now, "erasure", door="form", contact=message)
    assert row.person_id is None
    confirmed(session, ana, now + HOUR)
    erasure.erase(session, ring, ana, how="me", now=now + 2 * HOUR, by=f"person:{ana.public_id}")
    session.refresh(row)
    assert (row.outcome, row.contact_id, row.sealed) == ("done", None, None)
    assert queries.requested(session, ring, row).person is ana


def test_std_h9_and_it_stands_in_their_copy(session: Session, ring: Keyring, now: datetime) -> None:
    ana = a_customer(session, ring, now)
    row = asked(session, ring, now, "objection_other", door="form", contact=wrote(session, ring, now))
    requests.close(
        session, row.public_id, outcome="refused", note="It is a contract.", now=now, by=make.STAFF
    )
    assert copies.access_copy(session, ring, ana, now=now)["requests"] == []
    confirmed(session, ana, now + HOUR)
    [one] = copies.access_copy(session, ring, ana, now=now + HOUR)["requests"]
    assert (one["right"], one["outcome"], one["note"]) == ("objection_other", "refused", "It is a contract.")


@pytest.mark.parametrize("right", ["erasure", "restriction", "objection"])
def test_what_reaches_the_whole_mailbox_answers_each_of_its_registrations(
    session: Session, ring: Keyring, now: datetime, right: str
) -> None:
    ana = make.a_person(session, ring, now=now)
    other = a_customer(session, ring, now)
    row = asked(session, ring, now, right, person=other)
    copy = asked(session, ring, now, "access", person=other)
    by = f"person:{ana.public_id}"
    if right == "erasure":
        erasure.erase(session, ring, ana, how="me", now=now + HOUR, by=by)
    else:
        requests.fulfilled(session, ana, right, door="link", now=now + HOUR, by=by)
    session.refresh(row)
    session.refresh(copy)
    assert (row.outcome, copy.outcome) == ("done", "")
