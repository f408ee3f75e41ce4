"""What is held of somebody under restriction is kept as it is (GDPR 18): they may need it, and asked that it not be erased."""

from datetime import datetime

from sqlmodel import select

from scheduler import jobs
from service.db.session import reading, transaction
from service.domain.brands import actions as brands
from service.domain.people import queries as people
from service.domain.people.tables import AttributeKind, Person
from service.domain.preferences import rights
from service.domain.privacy import actions as contact
from service.domain.privacy import requests
from service.domain.privacy.tables import ContactRequest, RightsRequest
from service.kit import addresses
from service.ops.house import House
from tests import builders as make
from tests.ops.retained import DAY, START, due, write

STAFF = "staff:s_test"
LATER = START + 50 * DAY


def filled(house: House, email: str) -> str:
    """Somebody with an attribute, a message and a request made of it, all done with long ago."""
    with transaction(house.engine) as session:
        person = make.a_person(session, house.ring, email, now=START, attributes={"plan": "gold"})
        public_id = person.public_id
        kind = session.get_one(AttributeKind, "plan")
        kind.retention_days = 10
        session.add(kind)
        brands.set_setting(session, "requests_days", 30, now=START, by=STAFF)
        message = write(session, house, email, START)
    with transaction(house.engine) as session:
        row = requests.receive(
            session, house.ring, right="access", door="staff", came_on=START.date(),
            person=make.the_person(session, public_id), who="They", text="By letter.", now=START, by=STAFF,
        )  # fmt: skip
        requests.close(session, row.public_id, outcome="done", note="", now=START, by=STAFF)
        contact.close(session, message, now=START, by=STAFF)
    return public_id


def held(house: House) -> tuple[list[str], int, int]:
    """Whose attribute is there, and how many messages and requests."""
    with reading(house.engine) as session:
        found = session.exec(select(Person)).all()
        whose = [one.public_id for one in found if people.attributes(session, one.id or 0)]
        messages, asked = (
            session.exec(select(ContactRequest)).all(),
            session.exec(select(RightsRequest)).all(),
        )
        return whose, len(messages), len(asked)


def restricted(house: House, public_id: str, *, lift: bool = False, now: datetime = START) -> None:
    by = f"person:{public_id}"
    with transaction(house.engine) as session:
        act = rights.lift_restriction if lift else rights.restrict
        assert act(session, make.the_person(session, public_id), how="me", now=now, by=by)


def test_std_h12_nothing_of_theirs_goes_by_its_time_until_it_is_lifted(house: House) -> None:
    ana, ben = filled(house, "ana@example.org"), filled(house, "ben@example.org")
    restricted(house, ana)
    jobs.forget(house, LATER)
    assert held(house) == ([ana], 1, 1)
    assert due(house, LATER) == {}
    restricted(house, ana, lift=True, now=LATER)
    jobs.forget(house, LATER + DAY)
    assert held(house) == ([], 0, 0)
    assert ana != ben


def test_std_h12_nor_of_who_was_merged_into_them(house: House) -> None:
    ben, ana = filled(house, "ben@example.org"), filled(house, "ana@example.org")
    with transaction(house.engine) as session:
        told = make.register(
            session, house.ring, "bea@example.org", source="crm", external_id="7", now=START, attest=False
        )
        row = requests.receive(
            session, house.ring, right="access", door="staff", came_on=START.date(),
            person=make.the_person(session, told.person_id), who="They", text="By letter.", now=START, by=STAFF,
        )  # fmt: skip
        requests.close(session, row.public_id, outcome="done", note="", now=START, by=STAFF)
    with transaction(house.engine) as session:
        yes = [make.an_answer(at=START, confirmed=True)]
        make.register(session, house.ring, "ana@example.org", yes, source="crm", external_id="7", now=START)
    restricted(house, ana)
    jobs.forget(house, LATER)
    assert held(house) == ([ana], 1, 2)
    with reading(house.engine) as session:
        [left] = people.by_address(session, house.ring, addresses.parse("ana@example.org"))
        assert left.public_id == ana != ben
