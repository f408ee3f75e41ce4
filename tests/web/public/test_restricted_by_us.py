"""A restriction that the controller set of its own accord: the person's page does not say that they asked, and lets them ask."""

from starlette.testclient import TestClient

from service.domain.people.tables import Person
from service.domain.preferences import rights
from service.kit import clock
from tests import builders as make
from tests.web.conftest import World
from tests.web.public.test_own_rights import state
from tests.web.public.test_profile import OURS, signed_in


def restricted(world: World, person: Person) -> None:
    world.change(
        lambda session: rights.restrict(
            session,
            make.the_person(session, person.public_id),
            how="staff",
            asked=rights.CONTROLLER,
            reason="a claim",
            now=clock.now(),
            by=make.STAFF,
        )
    )


def test_the_page_does_not_say_that_they_asked(client: TestClient, world: World) -> None:
    person = signed_in(client, world)
    restricted(world, person)
    page = client.get("/me").text
    assert "As you asked" not in page
    assert "We decided so" in page
    german = client.get("/me?lang=de").text
    assert "Wie gewünscht" not in german
    assert "Wir haben das so entschieden" in german


def test_they_can_ask_for_it_as_well_and_then_only_they_end_it(client: TestClient, world: World) -> None:
    person = signed_in(client, world)
    restricted(world, person)
    assert 'name="do" value="restrict"' in client.get("/me").text
    page = client.post("/me/restrict", data={"do": "restrict"}, headers=OURS).text
    assert "As you asked" in page
    assert 'name="do" value="restrict"' not in page
    assert world.entries("request.closed") == 1
    assert "Use my data again" in page
    client.post("/me/restrict", data={"do": "lift"}, headers=OURS)
    assert state(world, person) == "active"
