"""Why a mail came, and "I never asked"."""

from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import Session
from starlette.testclient import TestClient

from service.domain.brands import queries as brands
from service.domain.links import rules as links
from service.domain.mailings.actions import new_mailing
from service.domain.mailings.tables import Audience, Mailing, MailingContent, Outcome
from service.domain.people.tables import Person
from service.domain.preferences import queries as preferences
from service.domain.privacy import queries as privacy
from service.domain.templates.tables import TemplateVersion
from service.domain.topics import queries as topics
from service.kit import clock
from tests.web.conftest import World


def mailed(world: World, person: Person, topic: str = "new-products") -> Mailing:
    """A mail this person was sent."""

    def write(session: Session) -> Mailing:
        now, about = clock.now(), topics.by_slug(session, topic)
        version = TemplateVersion(
            sha256=topic,
            starter="launch",
            locale="en",
            mail_class=about.mail_class,
            subject="{{ first_name|default('Hi') }}, spring is here",
            preheader="",
            html="",
            text="",
            fields=[],
            created_at=now,
        )
        mailing = new_mailing(
            kind="announcement",
            mail_class=about.mail_class,
            brand_id=brands.default_brand(session).id or 0,
            state="sent",
            now=now,
            valid_until=now + timedelta(days=1),
            topic_id=about.id,
            audience={"attributes": {"plan": ["pro"]}},
            planned=1,
        )
        session.add_all([version, mailing])
        session.flush()
        warrant = preferences.of_person(session, person.id or 0)[about.id or 0].warrant_seq
        member = {"mailing_id": mailing.id, "pos": 1}
        session.add(MailingContent(mailing_id=mailing.id, locale="en", template_version_id=version.id))
        session.add(
            Audience(
                **member, address_id=person.address_id, person_id=person.id, warrant_seq=warrant, due_at=now
            )
        )
        session.add(Outcome(**member, attempt=1, state="sent", code=250, warrant_seq=warrant, at=now))
        return mailing

    made: Mailing = world.change(write)
    return made


def path(world: World, person: Person, mailing: Mailing) -> str:
    return "/why/" + world.link(links.WHY, person, mailing=mailing.alias, pos=1)


def test_it_names_day_place_and_words(client: TestClient, world: World) -> None:
    person = world.person(attributes={"plan": "pro"})
    page = client.get(path(world, person, mailed(world, person))).text
    assert "Hi, spring is here" in page
    assert "https://shop.example.org/join" in page
    assert "about two a month" in page or "twice a month" in page, "the words that were ticked"
    assert "plan" in page
    assert "ana@example.org" not in page


def test_the_last_change_is_named(client: TestClient, world: World) -> None:
    person = world.person()
    mailing = mailed(world, person)
    assert "Your last change" not in client.get(path(world, person, mailing)).text
    form = "/p/" + world.link(links.PREFERENCES, person, mailing=mailing.alias, pos=1)
    ends = (clock.now() + timedelta(days=9)).date().isoformat()
    client.post(form, data={"do": "save", "break_until": ends})
    assert "Your last change: you took a break" in client.get(path(world, person, mailing)).text
    client.post(form, data={"do": "save", "topic:new-products": "off"})
    page = client.get(path(world, person, mailing)).text
    assert "Your last change: you stopped these mails" in page
    assert (
        "Ihre letzte Änderung: Sie haben diese Mails beendet"
        in client.get(f"{path(world, person, mailing)}?lang=de").text
    )


def test_what_is_long_gone_still_has_a_page(client: TestClient, world: World) -> None:
    person = world.person()
    for who, topic in ((person, "new-products"), (0x1234_5678_9ABC_DEF0, None)):
        answer = client.get("/why/" + world.link(links.WHY, who, topic, mailing=999, pos=3))
        assert answer.status_code == 200
        assert "/p/" in answer.text


def test_i_never_asked_stops_everything_and_tells_the_privacy_officer(
    client: TestClient, world: World
) -> None:
    person = world.person()
    link = path(world, person, mailed(world, person))
    for _ in range(2):
        answer = client.post(link, data={"do": "never_asked"})
    assert answer.status_code == 200
    assert "data protection" in answer.text
    assert world.states(person) == {
        "new-products": "withdrawn",
        "updates": "withdrawn",
        "important-notices": "given",
    }
    (case,) = world.change(lambda session: privacy.page(session, world.house.ring)).rows
    assert case.masked == "a***a@example.org"
    assert world.entries("contact.asked") == 1


@pytest.mark.parametrize("body", [{}, {"do": "x"}, {"confirm": "stop"}])
def test_any_other_post_changes_nothing(client: TestClient, world: World, body: dict[str, Any]) -> None:
    person = world.person()
    mailing = mailed(world, person)
    before = world.entries()
    assert client.post(path(world, person, mailing), data=body).status_code == 200
    assert world.entries() == before


def test_the_foot_of_a_page_behind_a_mail_leads_to_its_neighbours(client: TestClient, world: World) -> None:
    person = world.person()
    mailing = mailed(world, person)
    page = client.get("/u/" + world.link(links.STOP, person, mailing=mailing.alias, pos=1)).text
    assert path(world, person, mailing) in page
    shown = client.get("/p/" + world.link(links.PREFERENCES, person, mailing=mailing.alias, pos=1)).text
    assert "spring is here" in shown
