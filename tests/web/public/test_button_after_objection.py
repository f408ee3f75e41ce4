"""Whoever objected to advertising and presses the button of a topic of it is told that they get none, before and after."""

import re

import pytest
from sqlmodel import Session, col, select
from starlette.testclient import TestClient

from service.domain.consent import actions as consent
from service.domain.consent.tables import Confirmation
from service.domain.links import rules as links
from service.domain.mailings.tables import Mailing
from service.domain.people.tables import Person
from service.domain.preferences import rights
from service.kit import clock
from tests.web.conftest import World

TOLD = "You objected to advertising: you get none, on whatever ground."


def _button(world: World) -> str:
    def look(session: Session) -> tuple[Person, int]:
        asked = select(Person, Mailing.alias).join(Confirmation, col(Confirmation.person_id) == Person.id)
        found: tuple[Person, int] = session.exec(
            asked.join(Mailing, col(Mailing.id) == Confirmation.mailing_id)
        ).one()
        return found

    person, mailing = world.change(look)
    return "/confirm/" + world.link(links.CONFIRM, person, None, mailing=mailing)


@pytest.mark.parametrize(
    ("objects", "topic", "told"),
    [(True, "new-products", True), (True, "updates", False), (False, "new-products", False)],
)
def test_nobody_is_told_that_all_is_well_while_their_objection_stands(
    client: TestClient, world: World, objects: bool, topic: str, told: bool
) -> None:
    ana = world.person(yes=("important-notices",))
    if objects:
        said = {"now": clock.now(), "by": f"person:{ana.public_id}"}
        world.change(
            lambda session: rights.object_to_marketing(
                session, world.house.ring, session.get_one(Person, ana.id), consent.Said("me"), **said
            )
        )
    page = client.get("/join").text
    hidden = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', page))
    sent = {**hidden, "email": "ana@example.org", "first_name": "", "website": "", "topic": [topic]}
    assert client.post("/join", data=sent).status_code == 200
    button = _button(world)
    before, pressed = client.get(button), client.post(button, data={"confirm": "yes"})
    again = client.get(button)
    assert (before.status_code, pressed.status_code, again.status_code) == (200, 200, 200)
    assert [TOLD in one.text for one in (before, pressed, again)] == [told] * 3
