"""The button of a confirmation stands beside the words that a press of it puts on record, and no others."""

import re
from typing import Any

import pytest
from sqlmodel import Session, col, select
from starlette.testclient import TestClient

from service.domain.consent import queries as consents
from service.domain.consent.tables import Confirmation
from service.domain.links import rules as links
from service.domain.mailings.tables import Mailing
from service.domain.people.tables import Person
from service.domain.preferences.registration import Registration, register_many
from service.domain.topics import actions as topics
from service.domain.topics import queries as topic_queries
from service.domain.topics.rules import WordingText
from service.kit import clock
from tests.web.conftest import World

NEWER = {
    "en": WordingText("New products", "Twice a month", "News of our products, and offers of our partners."),
    "de": WordingText("Neue Produkte", "Zweimal im Monat", "Neues von uns, und Angebote unserer Partner."),
}


def _sign_up(client: TestClient) -> None:
    page = client.get("/join").text
    hidden = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', page))
    sent = {**hidden, "email": "neu@example.org", "first_name": "", "website": "", "topic": ["new-products"]}
    assert client.post("/join", data=sent).status_code == 200


def _button(world: World) -> str:
    def look(session: Session) -> tuple[Person, int]:
        mailing = session.exec(select(Mailing).join(Confirmation, col(Confirmation.mailing_id) == Mailing.id))
        return session.exec(select(Person)).one(), mailing.one().alias

    person, mailing = world.change(look)
    return "/confirm/" + world.link(links.CONFIRM, person, None, mailing=mailing)


def _on_record(world: World) -> Any:
    """The words that the yes names."""

    def look(session: Session) -> Any:
        person = session.exec(select(Person)).one()
        [given] = [one for one in consents.events(session, person.public_id) if one.kind == "consent.given"]
        return topic_queries.wording_by_public_id(session, given.body["wording"])

    return world.change(look)


@pytest.mark.parametrize("material", [True, False])
def test_words_published_since_are_not_shown_where_a_press_says_yes_to_the_older_ones(
    client: TestClient, world: World, material: bool
) -> None:
    _sign_up(client)

    def publish(session: Session) -> None:
        topics.publish_wording(
            session, "new-products", NEWER, material=material, now=clock.now(), by="staff:u_1"
        )

    world.change(publish)
    button = _button(world)
    shown = client.get(button).text
    assert NEWER["en"].text not in shown
    assert client.post(button, data={"confirm": "yes"}).status_code == 200
    words = _on_record(world)
    assert words.public_id == "new-products-v1-en"
    assert words.text in shown


def test_the_words_are_in_the_language_in_which_a_site_says_they_were_read(
    client: TestClient, world: World
) -> None:
    said = {"topic": "new-products", "given": True, "source": "form", "wording": "new-products-v1-de"}
    said |= {"evidence": {"at": clock.now().isoformat()}}
    given = Registration("ana", "ana@example.org", "en", consents=[said])
    more: dict[str, Any] = {"attest": False, "topics": None, "now": clock.now(), "by": "key:k_test"}
    world.change(lambda session: register_many(session, world.house.ring, "shop", [given], **more))
    button = _button(world)
    shown = client.get(button).text
    assert client.post(button, data={"confirm": "yes"}).status_code == 200
    words = _on_record(world)
    assert words.public_id == "new-products-v1-de"
    assert words.text in shown
