"""Sign-up and the other forms for strangers: evidence kept, nothing given away."""

import re
import statistics
import time
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import select
from starlette.testclient import TestClient

from service import app
from service.db.session import reading
from service.domain.brands import actions as brands
from service.domain.consent import queries as consents
from service.domain.consent.evidence import Opener
from service.domain.ledger.rules import open_part
from service.domain.links import rules as links
from service.domain.mailings.tables import Audience, Mailing
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.domain.policies import actions as policies
from service.domain.policies.rules import PolicyText
from service.domain.topics import actions as topics
from service.kit import clock
from service.web.public import limits
from tests.web.conftest import BASE, World


def filled(client: TestClient, email: str, *chosen: str) -> dict[str, Any]:
    """The form as a browser would send it."""
    page = client.get("/join").text
    hidden = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', page))
    return {**hidden, "email": email, "first_name": "Ana", "website": "", "topic": list(chosen)}


def test_topics_come_unticked_with_what_and_how_often(client: TestClient) -> None:
    page = client.get("/join").text
    assert "checked" not in page
    assert 'value="new-products"' in page
    assert 'name="wording:new-products" value="new-products-v1-en"' in page
    assert 'name="policy_version" value="privacy-v1-en"' in page
    assert "important-notices" not in page


def test_sign_up_keeps_what_was_shown_and_mails_a_button(client: TestClient, world: World) -> None:
    answer = client.post(
        "/join", data=filled(client, "neu@example.org", "new-products"), headers={"user-agent": "Reader/1"}
    )
    assert answer.status_code == 200
    assert "neu@example.org" in answer.text
    (mailing,) = world.mails("confirm")

    def look(session: Any) -> tuple[Any, Any, dict[str, Any]]:
        person = session.exec(select(Person)).one()
        (event,) = consents.events(session, person.public_id)
        key = people.person_key(world.house.ring, person)
        return (
            person,
            event,
            open_part(key, event.body["evidence"], subject=person.public_id, kind=event.kind),
        )

    person, event, evidence = world.change(look)
    assert world.states(person) == {"new-products": "requested"}
    assert event.body["wording"] == "new-products-v1-en"
    assert event.body["policy"] == "privacy-v1-en"
    assert evidence["url"] == "http://127.0.0.1:8000/join"
    assert evidence["user_agent"] == "Reader/1"
    assert mailing.kind == "system"


def _event(world: World) -> Any:
    """The one thing the one person has said."""

    def look(session: Any) -> Any:
        (event,) = consents.events(session, session.exec(select(Person)).one().public_id)
        return event

    return world.change(look)


def test_the_policy_on_record_is_the_one_the_form_showed(client: TestClient, world: World) -> None:
    """In its language, and never one that nobody has seen."""
    german = {"accept-language": "de"}
    page = client.get("/join", headers=german).text
    hidden = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', page))
    assert hidden["policy_version"] == "privacy-v1-de"
    sent = {**hidden, "email": "neu@example.org", "first_name": "", "website": "", "topic": ["updates"]}
    assert client.post("/join", data=sent, headers=german).status_code == 200
    assert _event(world).body["policy"] == "privacy-v1-de"
    form = filled(client, "other@example.org", "updates")
    text = PolicyText("Privacy", "We keep less from now on.")
    world.change(
        lambda session: policies.publish(
            session, slug="privacy", texts={"en": text, "de": text}, now=clock.now(), by="cli"
        )
    )
    answer = client.post("/join", data=form)
    assert answer.status_code == 422
    assert "changed" in answer.text
    assert len(world.mails("confirm")) == 1


def test_a_topic_that_is_not_offered_cannot_be_asked_for(client: TestClient, world: World) -> None:
    """Important notices come with any registration; a post that asks for them alone would be thanked for nothing."""
    form = filled(client, "neu@example.org", "important-notices")
    answer = client.post("/join", data={**form, "wording:important-notices": "important-notices-v1-en"})
    assert answer.status_code == 404
    assert "topic_unknown" in answer.text
    assert world.mails("confirm") == []


def only_person(world: World) -> Person:
    """The one who signed up."""
    found: Person = world.change(lambda session: session.exec(select(Person)).one())
    return found


def confirmation(world: World, mailing: Mailing) -> str:
    """The link the mail would carry."""
    with reading(world.house.engine) as session:
        member = session.get(Audience, (mailing.id, 1))
        person = session.get(Person, member.person_id)
        return "/confirm/" + links.write(
            links.Link(links.CONFIRM, person.alias, 0, mailing.alias, 1), world.house.ring.link_keys
        )


def test_the_button_makes_the_yes_and_looking_does_not(client: TestClient, world: World) -> None:
    client.post("/join", data=filled(client, "neu@example.org", "new-products", "updates"))
    (mailing,) = world.mails("confirm")
    path = confirmation(world, mailing)
    for _ in range(5):
        page = client.get(path)
    assert page.status_code == 200
    assert "Ana" in page.text
    assert "n***u@example.org" in page.text
    person = only_person(world)
    assert set(world.states(person).values()) == {"requested"}
    assert client.post(path, data={}).status_code == 200
    assert set(world.states(person).values()) == {"requested"}
    done = client.post(path, data={"confirm": "yes"})
    assert done.status_code == 200
    assert world.states(person) == {"new-products": "given", "updates": "given"}
    again = client.post(path, data={"confirm": "yes"})
    assert "Already confirmed" in again.text
    assert "Already confirmed" in client.get(path).text
    assert world.entries("consent.given") == 2


def test_the_second_of_two_mails_says_that_the_first_was_pressed(client: TestClient, world: World) -> None:
    for _ in range(2):
        client.post("/join", data=filled(client, "neu@example.org", "updates"))
    first, second = (confirmation(world, mail) for mail in world.mails("confirm"))
    assert "Already confirmed" not in client.get(second).text
    assert client.post(first, data={"confirm": "yes"}).status_code == 200
    assert "Already confirmed" in client.get(second).text
    assert client.post(second, data={"confirm": "yes"}).status_code == 200
    assert world.entries("consent.given") == 1


def test_a_confirmation_is_good_for_seven_days(client: TestClient, world: World, later: Any) -> None:
    client.post("/join", data=filled(client, "neu@example.org", "updates"))
    path = confirmation(world, world.mails("confirm")[0])
    later(timedelta(days=7, minutes=1))
    for answer in (client.get(path), client.post(path, data={"confirm": "yes"})):
        assert answer.status_code == 409
        assert "too old" in answer.text
    assert world.entries("consent.given") == 0


def test_rel_h39_an_old_button_cannot_undo_a_later_no(client: TestClient, world: World) -> None:
    client.post("/join", data=filled(client, "neu@example.org", "updates"))
    path = confirmation(world, world.mails("confirm")[0])
    person = only_person(world)
    client.post(world.stop_link(person, "updates"), data={"List-Unsubscribe": "One-Click"})
    answer = client.post(path, data={"confirm": "yes"})
    assert answer.status_code == 409
    assert "grant_needs_new_confirmation" in answer.text
    assert world.states(person)["updates"] in ("refused", "withdrawn")


def test_rel_h53_a_private_topic_is_not_there(client: TestClient, world: World) -> None:
    world.change(
        lambda session: topics.change(session, "updates", visibility="private", now=clock.now(), by="cli")
    )
    assert 'value="updates"' not in client.get("/join").text
    sent = filled(client, "neu@example.org", "updates") | {"wording:updates": "updates-v1-en"}
    private, absent = client.post("/join", data=sent), client.post("/join", data=sent | {"topic": "no-such"})
    assert private.status_code == absent.status_code == 404
    assert private.text == absent.text
    assert world.mails("confirm") == []


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"email": "ana"}, "email"),
        ({"email": ["a@example.org", "b@example.org"]}, "email"),
        ({"email": "a@example.org,b@example.org"}, "email"),
        ({"topic": []}, "topic"),
        ({"wording:new-products": "new-products-v9-en"}, "topic"),
        ({"policy_version": "x"}, "topic"),
        ({"first_name": "A\r\nBcc: x"}, "first_name"),
        ({"first_name": "x" * 300}, "first_name"),
    ],
)
def test_rel_h54_what_is_wrong_is_said_at_its_field(
    client: TestClient, world: World, wrong: dict[str, Any], field: str
) -> None:
    answer = client.post("/join", data=filled(client, "neu@example.org", "new-products") | wrong)
    assert answer.status_code == 422
    assert f'href="#{field}"' in answer.text
    assert world.mails("confirm") == []


def test_a_filled_honeypot_gets_the_same_answer_and_nothing_else(client: TestClient, world: World) -> None:
    sent = filled(client, "neu@example.org", "updates")
    robot = client.post("/join", data=sent | {"website": "http://spam.example.com"})
    assert world.entries("person.registered") == 0
    assert robot.text == client.post("/join", data=sent).text
    assert world.entries("person.registered") == 1


def _shape(answer: Any, email: str) -> tuple[int, str, list[str]]:
    headers = sorted(f"{k}: {v}" for k, v in answer.headers.items() if k not in ("x-request-id", "date"))
    return answer.status_code, answer.text.replace(email, "…"), headers


@pytest.mark.parametrize("door", ["/join", "/lost-link", "/me/sign-in"])
def test_rel_h55_a_known_address_is_answered_like_an_unknown_one(
    client: TestClient, world: World, door: str
) -> None:
    for n in range(7):
        world.person(f"known{n:02}@example.org")
    took: dict[str, list[float]] = {"known": [], "other": []}
    shapes = set()
    for n in range(7):
        for kind in took:
            email = f"{kind}{n:02}@example.org"
            sent = filled(client, email, "new-products") if door == "/join" else {"email": email}
            began = time.process_time()
            answer = client.post(door, data=sent)
            took[kind].append(time.process_time() - began)
            assert answer.status_code == 200
            shapes.add(str(_shape(answer, email)))
    assert len(shapes) == 1
    assert abs(statistics.median(took["known"]) - statistics.median(took["other"])) < 0.02


def test_one_network_can_fill_a_form_only_so_often(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "_LOOPBACK", (3.0, 0.0))
    answers = [client.post("/contact", data={}).status_code for _ in range(5)]
    assert answers == [422, 422, 422, 429, 429]


@pytest.mark.parametrize("policy", ["none", "truncated", "full"])
def test_a_sign_up_keeps_of_the_network_what_staff_have_set(world: World, policy: str) -> None:
    """Whatever that is, nobody is turned away by it."""
    world.change(
        lambda session: brands.set_setting(session, "ip_evidence", policy, now=clock.now(), by="cli")
    )
    reader = ("203.0.113.7", 50000)
    with TestClient(app.build(world.house), base_url=BASE, client=reader) as visitor:
        given = filled(visitor, "neu@example.org", "new-products")
        assert visitor.post("/join", data=given).status_code == 200

    def look(session: Any) -> Any:
        person = session.exec(select(Person)).one()
        (event,) = consents.events(session, person.public_id)
        key = people.person_key(world.house.ring, person)
        opener = Opener(session, world.house.ring)
        return opener.open(key, event.body["evidence"], subject=person.public_id, kind=event.kind)

    kept = {"none": None, "truncated": "203.0.113.0/24", "full": "203.0.113.7"}
    assert world.change(look).get("ip") == kept[policy]
