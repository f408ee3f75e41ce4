"""The page of a button opens also once the sign-up it was mailed for has become one with somebody known."""

import re

import pytest
from sqlmodel import Session, col, select
from starlette.testclient import TestClient

from service.domain.consent.tables import Confirmation
from service.domain.links import rules as links
from service.domain.mailings.tables import Mailing
from service.domain.people.tables import Person
from tests.web.conftest import World


def _sign_up(client: TestClient, topic: str) -> None:
    page = client.get("/join").text
    hidden = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', page))
    sent = {**hidden, "email": "ana@example.org", "first_name": "", "website": "", "topic": [topic]}
    assert client.post("/join", data=sent).status_code == 200


def _buttons(world: World) -> list[str]:
    def look(session: Session) -> list[tuple[Person, int]]:
        asked = select(Person, Mailing.alias).join(Confirmation, col(Confirmation.person_id) == Person.id)
        mailed = asked.join(Mailing, col(Mailing.id) == Confirmation.mailing_id).order_by(col(Mailing.id))
        return list(session.exec(mailed))

    return [
        "/confirm/" + world.link(links.CONFIRM, person, None, mailing=mailing)
        for person, mailing in world.change(look)
    ]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_button_pressed_is_opened_again(client: TestClient, world: World, method: str) -> None:
    world.person(yes=("updates",))
    _sign_up(client, "new-products")
    [button] = _buttons(world)
    assert client.post(button, data={"confirm": "yes"}).status_code == 200
    again = client.request(method, button)  # a POST without the button's value shows the page
    assert again.status_code == 200
    assert "Already confirmed" in again.text


def test_a_second_button_is_read_and_pressed_after_the_first_of_another_sign_up(
    client: TestClient, world: World
) -> None:
    world.person(yes=("important-notices",))
    _sign_up(client, "new-products")
    _sign_up(client, "updates")
    first, second = _buttons(world)
    for button, topic in ((first, "New products"), (second, "updates")):
        shown = client.get(button)
        assert shown.status_code == 200
        assert topic.lower() in shown.text.lower()
        assert client.post(button, data={"confirm": "yes"}).status_code == 200
        assert client.get(button).status_code == 200
