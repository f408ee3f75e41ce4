"""Two registrations of which the controller took the same yes back become one: nobody has said a no by that."""

from datetime import datetime, timedelta

from sqlmodel import Session

from service.domain.consent.actions import Said
from service.domain.people.tables import Person
from service.domain.preferences import access, changes
from service.kit import addresses
from service.kit.signing import Keyring
from tests import builders as make

THERE, HERE = "ana@example.org", "kov@example.com"
HOUR = timedelta(hours=1)


def taken_back(session: Session, person: Person, now: datetime) -> None:
    topic, preference = make.the_topic(session), make.the_preference(session, person)
    assert preference is not None
    change = changes.Change(session, person, None, Said("admin_on_request"), now, make.STAFF)
    changes.move(change, topic, preference, "consent.invalidated", "invalidated")


def test_what_was_taken_back_of_both_is_no_word_of_theirs(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.a_person(session, ring, THERE, now=now, external_id="1")
    kov = make.a_person(session, ring, HERE, now=now, external_id="2")
    for one in (kov, ana):
        taken_back(session, one, now + HOUR)
    by = f"person:{ana.public_id}"
    access.change_email(session, ring, ana, addresses.parse(HERE), now=now + 2 * HOUR, by=by)
    make.press(session, ring, make.buttons(session, ana)[-1], now=now + 2 * HOUR)
    assert ana.state == "merged"
    assert make.the_state(session, kov) == "invalidated"
    assert not set(make.kinds(session, kov.public_id)) & set(changes.NOES)
