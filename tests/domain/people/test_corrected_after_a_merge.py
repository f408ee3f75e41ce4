"""Two who each had something corrected become one: what was corrected last of each field goes on standing."""

from datetime import datetime, timedelta

from sqlmodel import Session

from service.domain.people import actions as people
from service.domain.people import queries
from service.domain.people.tables import Person
from service.domain.preferences import access
from service.kit import addresses
from service.kit.signing import Keyring
from tests import builders as make

DAY = timedelta(days=1)


def settle(session: Session) -> None:
    session.flush()
    for last in session.info.pop("at_end", []):
        last(session)


def correct(session: Session, ring: Keyring, person: Person, now: datetime, **profile: str) -> None:
    people.correct(session, ring, person, profile=profile, locale=None, zone=None, now=now, by=make.STAFF)
    settle(session)


def mails_use(session: Session, ring: Keyring, person: Person) -> dict[str, str]:
    profile = queries.profiles(session, ring, person)[-1].profile
    return {name: value for name, value in profile.items() if value}


def test_std_h10_a_later_correction_of_another_field_loses_none(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.a_person(session, ring, now=now, profile={"first_name": "Anna"})
    bea = make.a_person(
        session, ring, "bea@example.org", now=now, source="crm", profile={"first_name": "Annna"}
    )
    correct(session, ring, ana, now + DAY, telephone="+49 1")
    correct(session, ring, bea, now + 2 * DAY, first_name="Ana", telephone="+49 1")
    to = addresses.parse("ana@example.org")
    access.change_email(session, ring, bea, to, now=now + 3 * DAY, by=f"person:{bea.public_id}")
    make.press(session, ring, make.buttons(session)[-1], now=now + 3 * DAY)
    settle(session)
    session.refresh(bea)
    assert bea.state == "merged"
    assert mails_use(session, ring, ana)["first_name"] == "Ana"
    correct(session, ring, ana, now + 4 * DAY, company="Aronia")
    assert mails_use(session, ring, ana) == {"first_name": "Ana", "telephone": "+49 1", "company": "Aronia"}
