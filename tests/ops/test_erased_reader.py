"""A test mail goes to staff with the values of a reader it stands for: they go with that reader, and with nobody else."""

from service.db.session import reading, transaction
from service.domain.announcements import actions as announcements
from service.domain.brands import actions as brands
from service.domain.people import queries as people
from service.domain.staff import actions as staff
from service.kit import addresses, clock
from service.ops.house import House
from tests.domain.privacy import marked
from tests.domain.privacy.marked import Marked
from tests.ops.test_erasure import erase

BODY = "Dear {{ first_name|default('there') }} of {{ company|default('') }}"
CONTENT = {"en": {"subject": "News", "preheader": "A kettle", "body": BODY}}


def _tests_as(house: House, readers: list[Marked]) -> None:
    now = clock.now()
    with transaction(house.engine) as session:
        brands.set_fields(session, "default", {"postal_address": "Berlin"}, now=now, by="cli")
        invited = staff.invite(
            session, house.ring, address=addresses.parse("jana@example.org"), name="Jana", role="admin", mail=False,
            now=now, by="cli",
        )  # fmt: skip
        words = {"password": "correct horse battery", "address": None, "now": now}
        staff.accept(session, house.ring, invited.token, name="Jana", **words)
        row = announcements.create(
            session,
            house.settings,
            topic="new-products",
            template="launch",
            content=CONTENT,
            now=now,
            by="cli",
        )
        for one in readers:
            announcements.test_mail(
                session, house.ring, house.settings, row.public_id, member=invited.member,
                as_person=people.by_public_id(session, one.person_id), locale="en", now=now,
                by=f"staff:{invited.member.public_id}",
            )  # fmt: skip


def _opens(house: House, one: Marked) -> bool:
    with reading(house.engine):
        found = marked.opened_with(house.engine, house.ring)
    return any(word in plain for plain in found for word in one.words)


def test_the_values_in_a_test_mail_go_with_the_reader_it_stood_for(house: House) -> None:
    ana, bea = marked.sign_up(house, 2, now=clock.now())
    _tests_as(house, [ana, bea])
    assert _opens(house, ana)
    erase(house, ana.person_id)
    assert (_opens(house, ana), _opens(house, bea)) == (False, True)
