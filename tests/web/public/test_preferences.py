"""The preference page: what it shows a stranger, what it changes, and that it never makes a yes."""

import re
from datetime import timedelta

import pytest
from starlette.testclient import TestClient

from service.domain.links import rules as links
from service.domain.people.tables import Person
from service.domain.topics import actions as topics
from service.domain.topics.rules import WordingText
from service.kit import clock
from tests.web.conftest import ONE_CLICK, World
from tests.web.public.test_join import confirmation

EVERYTHING = {"new-products": "given", "updates": "given", "important-notices": "given"}


def path(world: World, person: Person, topic: str | None = "new-products") -> str:
    return "/p/" + world.link(links.PREFERENCES, person, topic)


def test_it_opens_on_the_topic_of_the_mail_and_masks_the_address(client: TestClient, world: World) -> None:
    page = client.get(path(world, world.person())).text
    assert "a***a@example.org" in page
    assert "ana@example.org" not in page
    assert 'name="topic" value="new-products"' in page
    assert page.index('value="stop"') < page.index('value="save"'), (
        "stopping is the first thing there is to press"
    )
    assert 'name="topic:important-notices"' not in page


def test_std_n1_headers_of_a_token_page(client: TestClient, world: World) -> None:
    headers = client.get(path(world, world.person())).headers
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert headers["x-robots-tag"] == "noindex"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("default-src 'none'; ")
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "script-src" not in headers["content-security-policy"]
    assert "set-cookie" not in headers


def test_rel_h40_a_token_page_asks_no_other_origin(client: TestClient, world: World) -> None:
    person = world.person()
    for address in (path(world, person), world.stop_link(person), "/why/" + world.link(links.WHY, person)):
        page = client.get(address).text
        for found in re.findall(r'(?:href|src|action)="([^"]*)"', page):
            assert found.startswith(("/", "#", "?")), found
            assert not found.startswith("//")
        assert "<script" not in page


def test_stop_one_and_undo(client: TestClient, world: World) -> None:
    person = world.person()
    answer = client.post(path(world, person), data={"do": "stop", "topic": "new-products"})
    assert answer.status_code == 200
    assert world.states(person) == EVERYTHING | {"new-products": "withdrawn"}
    value = re.search(r'name="undo" value="([^"]+)"|value="([^"]+)" name="undo"', answer.text)
    assert value is not None
    undone = client.post(path(world, person), data={"do": "undo", "undo": value[1] or value[2]})
    assert undone.status_code == 200
    assert world.states(person) == EVERYTHING
    late = client.post(path(world, person), data={"do": "undo", "undo": value[1] or value[2]})
    assert late.status_code == 409


def test_stop_all_leaves_what_the_law_asks_for(client: TestClient, world: World) -> None:
    person = world.person()
    answer = client.post(path(world, person), data={"do": "stop_all"})
    assert answer.status_code == 200
    assert world.states(person) == {
        "new-products": "withdrawn",
        "updates": "withdrawn",
        "important-notices": "given",
    }
    assert "Important notices" in answer.text


def test_save_changes_only_what_it_names(client: TestClient, world: World) -> None:
    person = world.person()
    answer = client.post(path(world, person), data={"do": "save", "topic:updates": "off"})
    assert "Saved" in answer.text
    assert world.states(person) == EVERYTHING | {"updates": "withdrawn"}
    again = client.post(path(world, person), data={"do": "save", "topic:updates": "off"})
    assert "No more" in again.text, "the way back of the first is still open, and this no goes before it"
    same = client.post(path(world, person), data={"do": "save", "topic:new-products": "each"})
    assert "Nothing was changed" in same.text
    assert "None" not in re.sub(r"<[^>]+>", "", same.text)


def test_a_break_and_its_end(client: TestClient, world: World) -> None:
    person = world.person()
    day = (clock.now() + timedelta(days=40)).date().isoformat()
    answer = client.post(path(world, person), data={"do": "save", "break_until": day})
    assert answer.status_code == 200
    page = client.get(path(world, person)).text
    assert f'value="{day}"' in page
    client.post(path(world, person), data={"do": "save", "break_until": ""})
    assert f'value="{day}"' not in client.get(path(world, person)).text
    assert world.states(person) == EVERYTHING


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("break_until", "yesterday"),
        ("break_until", "2020-01-01"),
        ("break_until", "2999-01-01"),
        ("topic:new-products", "hourly"),
        ("topic:important-notices", "off"),
        ("topic:nothing", "off"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_changes(
    client: TestClient, world: World, field: str, value: str
) -> None:
    person = world.person()
    answer = client.post(path(world, person), data={"do": "save", field: value})
    assert answer.status_code in (404, 409, 422)
    assert "hourly" not in answer.text
    assert world.states(person) == EVERYTHING


def test_a_printed_link_never_says_yes(client: TestClient, world: World) -> None:
    person = world.person(yes=("updates",))
    answer = client.post(path(world, person), data={"do": "save", "topic:new-products": "each"})
    assert answer.status_code == 200
    assert world.states(person).get("new-products", "unknown") not in ("given", "renewed")
    assert len(world.mails("confirm")) == 1


def test_rel_h37_posts_from_another_site_are_refused(client: TestClient, world: World) -> None:
    person = world.person()
    for headers in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example.com"},
    ):
        answer = client.post(path(world, person), data={"do": "stop_all"}, headers=headers)
        assert answer.status_code == 403
        assert "csrf" in answer.text
    assert (
        client.post("/p/", data={"do": "stop_all"}, headers={"Sec-Fetch-Site": "cross-site"}).status_code
        == 403
    )
    assert world.states(person) == EVERYTHING


def test_the_link_of_somebody_unknown_answers_kindly(client: TestClient, world: World) -> None:
    token = world.link(links.PREFERENCES, 0x1234_5678_9ABC_DEF0)
    answer = client.get(f"/p/{token}")
    assert answer.status_code == 200
    assert "no mails" in answer.text
    assert client.post(f"/p/{token}", data={"do": "stop_all"}).status_code == 200


def test_it_speaks_the_persons_language_unless_asked(client: TestClient, world: World) -> None:
    person = world.person(locale="de", zone="Europe/Berlin")
    german = client.get(path(world, person), headers={"Accept-Language": "fr"})
    assert 'lang="de"' in german.text
    assert "Neue Produkte" in german.text
    english = client.get(path(world, person) + "?lang=en")
    assert 'lang="en"' in english.text
    assert 'lang="en"' in client.get(path(world, person)).text, "what was chosen stays chosen"


def test_what_is_wrong_is_said_in_the_language_of_the_page(client: TestClient, world: World) -> None:
    person = world.person(locale="de", zone="Europe/Berlin")
    far = {"do": "save", "break_until": "2999-01-01"}
    answer = client.post(path(world, person), data=far, headers={"Accept-Language": "en"})
    assert answer.status_code == 422
    assert "Please choose a day" not in answer.text
    assert "zwischen morgen und" in answer.text
    fixed = {"do": "save", "topic:important-notices": "off"}
    refused = client.post(path(world, person), data=fixed, headers={"Accept-Language": "en"})
    assert refused.status_code == 409
    assert 'lang="de"' in refused.text


@pytest.mark.parametrize("way", ["one_click", "stop_all"])
@pytest.mark.parametrize("before", ["withdrawn", "unknown"])
def test_rel_h39_a_no_after_the_question_takes_the_button_back(
    client: TestClient, world: World, way: str, before: str
) -> None:
    """The topic was off already when it was asked for, so the later stop finds no yes to end; it ends the question."""
    person = world.person(yes=("updates", "new-products") if before == "withdrawn" else ("updates",))
    one_click = world.stop_link(person, "new-products")
    if before == "withdrawn":
        client.post(one_click, data=ONE_CLICK)
    client.post(path(world, person), data={"do": "save", "topic:new-products": "each"})
    [mail] = world.mails("confirm")
    if way == "one_click":
        assert client.post(one_click, data=ONE_CLICK).status_code == 200
    else:
        client.post(path(world, person), data={"do": "stop_all"})
        client.post(one_click, data=ONE_CLICK)  # goes before the undo that the page offered
    entries = world.entries("consent.withdrawn")
    client.post(one_click, data=ONE_CLICK)
    assert world.entries("consent.withdrawn") == entries  # said once
    answer = client.post(confirmation(world, mail), data={"confirm": "yes"})
    assert (answer.status_code, "grant_needs_new_confirmation" in answer.text) == (409, True)
    assert world.states(person)["new-products"] == "withdrawn"


def test_rel_h32_an_undo_of_somebody_else_does_nothing(client: TestClient, world: World) -> None:
    ana, bea = world.person(), world.person("bea@example.org")
    answer = client.post(path(world, bea), data={"do": "stop", "topic": "new-products"})
    value = re.search(r'name="undo" value="([^"]+)"|value="([^"]+)" name="undo"', answer.text)
    assert value is not None
    said = {"do": "undo", "undo": value[1] or value[2]}
    assert client.post(path(world, ana), data=said).status_code == 409
    client.post(world.stop_link(ana), data={"undo": said["undo"]})
    assert world.states(bea)["new-products"] == "withdrawn"
    assert client.post(path(world, bea), data=said).status_code == 200  # and is not used up by the attempt
    assert world.states(bea) == EVERYTHING


def test_new_words_are_shown_and_agreed_to_by_a_mail_with_a_button(client: TestClient, world: World) -> None:
    person = world.person()
    more = {
        "en": WordingText("New products", "Twice a month", "New products, and what partners offer."),
        "de": WordingText("Neue Produkte", "Zweimal im Monat", "Neue Produkte, und was Partner anbieten."),
    }
    world.change(
        lambda session: topics.publish_wording(
            session, "new-products", more, material=True, now=clock.now(), by="cli"
        )
    )
    page = client.get(path(world, person)).text
    assert "New products, and what partners offer." in page
    box = 'name="agree:new-products"'
    assert box in page
    assert 'name="agree:updates"' not in page
    chosen = {"do": "save", "topic:new-products": "each", "agree:new-products": "1"}
    saved = client.post(path(world, person), data=chosen)
    assert "Press the button in it" in saved.text
    (mailing,) = world.mails("confirm")
    client.post(confirmation(world, mailing), data={"confirm": "yes"})
    assert world.states(person) == EVERYTHING | {"new-products": "renewed"}
    assert box not in client.get(path(world, person)).text
