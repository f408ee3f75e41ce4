"""Not more than so many mails a week: offered on the preference page, said in the reader's language, and projected from the ledger."""

import pytest
from sqlalchemy import update
from sqlmodel import col
from starlette.testclient import TestClient

from service.db.session import reading
from service.domain.ledger import queries as ledger
from service.domain.people.tables import Person
from service.domain.preferences import projection
from service.web.staff import timeline
from tests.web.conftest import World
from tests.web.public.test_preferences import path


def _most(world: World, person: Person) -> int | None:
    with reading(world.house.engine) as session:
        return session.get_one(Person, person.id).max_per_week


def _save(client: TestClient, world: World, person: Person, most: str) -> str:
    answer = client.post(path(world, person), data={"do": "save", "max_per_week": most})
    assert answer.status_code == 200
    return answer.text


def test_it_is_chosen_shown_and_taken_back(client: TestClient, world: World) -> None:
    person = world.person()
    page = client.get(path(world, person)).text
    assert '<select id="max_per_week" name="max_per_week"' in page
    assert '<option value="" selected>' in page
    saved = _save(client, world, person, "2")
    assert "Not more than 2 mails a week." in saved
    assert '<option value="2" selected>' in saved
    assert _most(world, person) == 2
    assert "Nothing was changed" in _save(client, world, person, "2")
    assert "No limit on mails a week any more." in _save(client, world, person, "")
    assert _most(world, person) is None


def test_one_a_week_and_german_words(client: TestClient, world: World) -> None:
    person = world.person()
    assert "Not more than 1 mail a week." in _save(client, world, person, "1")
    page = client.get(path(world, person) + "?lang=de").text
    assert "Nicht mehr als" in page
    assert "1 Mail pro Woche" in page
    assert "Not more than" not in page


def test_what_a_site_set_beside_the_usual_numbers_is_shown_and_stays(
    client: TestClient, world: World
) -> None:
    person = world.person()
    _save(client, world, person, "12")
    assert '<option value="12" selected>' in client.get(path(world, person)).text


def test_what_does_not_come_changes_nothing(client: TestClient, world: World) -> None:
    person = world.person()
    _save(client, world, person, "3")
    client.post(path(world, person), data={"do": "save", "topic:updates": "off"})
    assert _most(world, person) == 3


def test_the_timeline_says_which_limit(client: TestClient, world: World) -> None:
    person = world.person()
    for most in ("2", ""):
        _save(client, world, person, most)
    with reading(world.house.engine) as session:
        found = ledger.of_subject(session, person.public_id, kinds=("preference.changed",))
    assert [timeline.detail(one.body) for one in found] == [
        "on their own page, at most 2 a week",
        "on their own page, any number of mails a week",
    ]


@pytest.mark.parametrize("odd", ["0", "51", "-1", "many", "2.5", "²", "9" * 5000])
def test_what_is_no_limit_is_said_and_nothing_changes(client: TestClient, world: World, odd: str) -> None:
    person = world.person()
    answer = client.post(
        path(world, person), data={"do": "save", "max_per_week": odd, "topic:updates": "off"}
    )
    assert answer.status_code == 422
    assert "A weekly limit is 1 to 50 mails, or none." in answer.text
    assert world.states(person)["updates"] == "given"
    assert _most(world, person) is None


@pytest.mark.parametrize("value", [None, 5])
def test_a_limit_written_past_the_ledger_shows(client: TestClient, world: World, value: int | None) -> None:
    person = world.person()
    _save(client, world, person, "2")
    assert world.change(projection.differences) == []
    world.change(
        lambda session: session.connection().execute(
            update(Person).where(col(Person.id) == person.id).values(max_per_week=value)
        )
    )
    assert world.change(projection.differences) == [
        f"{person.public_id}: max_per_week is {value}, the ledger says 2"
    ]
