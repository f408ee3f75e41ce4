"""The stop page says since when somebody has stopped, however often they press again, and nothing they have not done."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel import Session
from starlette.testclient import TestClient

from service.domain.consent.actions import Said
from service.domain.people.tables import Person
from service.domain.preferences import changes
from service.domain.preferences.registration import Registration, register_many
from service.kit import clock
from tests import builders as make
from tests.web.conftest import ONE_CLICK, World
from tests.web.public.test_preferences import path

THE_THIRD = 'on <span class="nowrap">3 Nov 2026'
FIRST = datetime(2026, 11, 3, 9, tzinfo=UTC)


class Calendar:
    """What day it is."""

    def __init__(self) -> None:
        self.now = FIRST

    def on(self, day: int) -> None:
        self.now = FIRST.replace(day=day)


@pytest.fixture
def calendar(monkeypatch: pytest.MonkeyPatch) -> Calendar:
    today = Calendar()
    monkeypatch.setattr(clock, "now", lambda: today.now)
    return today


def test_a_press_said_again_does_not_move_the_day_on_the_page(
    client: TestClient, world: World, calendar: Calendar
) -> None:
    person = world.person()
    link = world.stop_link(person)
    client.post(link, data=ONE_CLICK)
    for day in (9, 12):
        calendar.on(day)
        told = client.post(link, data={"confirm": "stop"}).text
        assert THE_THIRD in told
        assert THE_THIRD in client.get(link).text


def test_a_site_that_repeats_a_no_does_not_move_it_either(
    client: TestClient, world: World, calendar: Calendar
) -> None:
    person = world.person()
    link = world.stop_link(person)
    client.post(link, data=ONE_CLICK)
    calendar.on(9)
    said = {"topic": "new-products", "given": False, "evidence": {"at": clock.now().isoformat()}}
    given = [Registration("ana@example.org", "ana@example.org", consents=[said])]

    def tell(session: Session) -> None:
        register_many(
            session, world.house.ring, "shop", given, attest=True, topics=None, now=clock.now(), by=make.BY
        )

    world.change(tell)
    assert THE_THIRD in client.get(link).text


@pytest.mark.parametrize("first", ["new-products", "updates", "offers"])
def test_all_of_them_are_stopped_since_the_last_one_was(
    client: TestClient, world: World, calendar: Calendar, first: str
) -> None:
    person = world.person()
    world.change(lambda session: make.a_topic(session, "offers", now=clock.now()))
    client.post(world.stop_link(person, first), data=ONE_CLICK)
    calendar.on(4)
    client.post(path(world, person), data={"do": "stop_all"})
    calendar.on(9)
    told = client.post(path(world, person), data={"do": "stop_all"}).text
    assert 'on <span class="nowrap">4 Nov 2026' in told


def test_what_the_controller_took_back_nobody_has_stopped_until_they_press(
    client: TestClient, world: World, calendar: Calendar
) -> None:
    person = world.person()

    def take_back(session: Session) -> None:
        who = session.get_one(Person, person.id)
        said = Said("admin_on_request", "", transfer="imp_1")
        change = changes.Change(session, who, None, said, clock.now(), make.STAFF)
        topic = make.the_topic(session)
        preference = change.preference(topic)
        assert preference is not None
        changes.move(change, topic, preference, "consent.invalidated", "invalidated")

    world.change(take_back)
    link = world.stop_link(person)
    calendar.now += timedelta(seconds=20)
    assert "You stopped" not in client.get(link).text
    told = client.post(link, data={"confirm": "stop"}).text
    assert "Done. No more" in told
    assert 'name="undo"' not in told
    assert world.states(person)["new-products"] == "withdrawn"
    assert "You stopped" in client.get(link).text
