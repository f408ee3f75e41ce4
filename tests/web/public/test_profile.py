"""`/me`: signing in by mail, seeing and correcting what is held."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlmodel import Session, select
from starlette.testclient import TestClient

from service.db.engine import is_sqlite
from service.db.session import reading, transaction
from service.domain.consent import queries as consents
from service.domain.ledger import queries as ledger
from service.domain.links import rules as links
from service.domain.mailings.tables import Address
from service.domain.people import queries as people
from service.domain.people.tables import Identity, Person
from service.domain.policies import actions as policies
from service.domain.policies.rules import PolicyText
from service.domain.preferences.tables import Preference
from service.domain.privacy import erasing
from service.domain.topics import queries as topics
from service.kit import clock
from service.web import deps
from service.web.staff import timeline
from tests import builders as make
from tests.web.conftest import BASE, World

OURS = {"Sec-Fetch-Site": "same-origin"}


def entrance(client: TestClient, world: World, person: Person, email: str = "ana@example.org") -> str:
    """Ask for the link and return what the mail would carry."""
    client.post("/me/sign-in", data={"email": email})
    mailing = world.mails("sign-in")[-1]
    link = links.Link(links.SIGN_IN, person.alias, 0, mailing.alias, 1)
    return "/me/enter/" + links.write(link, world.house.ring.link_keys)


def signed_in(client: TestClient, world: World, **more: Any) -> Person:
    person = world.person(profile={"first_name": "Ana", "company": "Aronia"}, **more)
    answer = client.post(entrance(client, world, person), data={"confirm": "yes"}, headers=OURS)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/me"
    return person


def test_looking_signs_nobody_in_and_the_button_works_once(client: TestClient, world: World) -> None:
    person = world.person()
    path = entrance(client, world, person)
    for _ in range(3):
        assert client.get(path).status_code == 200
    assert "bidden-me" not in client.cookies
    assert client.post(path, data={"confirm": "yes"}, headers=OURS).status_code == 303
    client.cookies.clear()
    again = client.post(path, data={"confirm": "yes"}, headers=OURS)
    assert again.status_code == 409
    assert "bidden-me" not in client.cookies


def test_the_mailed_link_ends_after_half_an_hour(client: TestClient, world: World, later: Any) -> None:
    path = entrance(client, world, world.person())
    later(timedelta(minutes=31))
    assert client.post(path, data={"confirm": "yes"}, headers=OURS).status_code == 409


def test_std_n13_the_cookie(client: TestClient, world: World, later: Any) -> None:
    person = world.person()
    answer = client.post(entrance(client, world, person), data={"confirm": "yes"}, headers=OURS)
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Max-Age=1800" in cookie
    assert "ana" not in cookie
    assert "My data" in client.get("/me").text
    later(timedelta(minutes=31))
    assert "No password" in client.get("/me").text, "its end is in what we signed, not only in the browser"


@pytest.mark.parametrize("forged", ["", "x", "e30.00", "." * 50, "é.é"])
def test_a_forged_cookie_is_nobody(client: TestClient, forged: str) -> None:
    answer = client.get("/me", headers={"cookie": f"bidden-me={forged}".encode()})
    assert answer.status_code == 200
    assert "No password" in answer.text


def test_everything_held_is_shown(client: TestClient, world: World) -> None:
    signed_in(client, world, attributes={"plan": "pro"})
    page = client.get("/me").text
    for held in ("ana@example.org", "Ana", "Aronia", "shop", "pro", "New products", "/policies/privacy"):
        assert held in page
    assert len(page.encode()) + len(client.get("/static/public.css").content) < 27_000


def test_what_is_held_is_named_in_plain_words(client: TestClient, world: World) -> None:
    person = signed_in(client, world, attributes={"plan": "pro"})

    def choose(session: Session) -> None:
        row = session.get(Preference, (person.id, topics.by_slug(session, "updates").id))
        assert row is not None
        row.cadence, row.break_until = "weekly", clock.now() + timedelta(days=9)

    world.change(choose)
    client.post("/me", data={"first_name": "Anna", "locale": "en", "zone": ""}, headers=OURS)
    page = client.get("/me").text
    for words in (
        "From the site “shop”", "Its id for you", "Corrected by you, or for you", "<dt dir=\"auto\">Plan</dt>",
        "Yes, weekly,", "paused until", "Not shown here",
    ):  # fmt: skip
        assert words in page, words
    assert "All we hold" not in page
    assert ">From me<" not in page


def test_std_j8_going_on_under_a_new_policy_is_information_and_no_consent(
    client: TestClient, world: World
) -> None:
    person = signed_in(client, world)
    texts = {"en": PolicyText("Privacy policy", "Other words.")}
    world.change(
        lambda session: policies.publish(session, slug="privacy", texts=texts, now=clock.now(), by="cli")
    )
    with reading(world.house.engine) as session:
        before = consents.states(session, person.public_id)
    client.cookies.clear()
    client.post(entrance(client, world, person), data={"confirm": "yes"}, headers=OURS)
    with reading(world.house.engine) as session:
        assert consents.states(session, person.public_id) == before
        found = ledger.of_subject(session, person.public_id, kinds=("person.signed_in",))
    assert [one.body for one in found] == [{"in_force": "privacy-v1-en"}, {"in_force": "privacy-v2-en"}]
    told = timeline.detail(found[-1].body)
    assert told == "while policy privacy-v2-en was in force, which is no consent to it"


@pytest.mark.parametrize("kept", ["fr", "de-AT"])
def test_saving_something_else_leaves_a_language_we_do_not_offer(
    client: TestClient, world: World, kept: str
) -> None:
    person = signed_in(client, world, locale=kept)
    select = re.search(r'<select[^>]*name="locale".*?</select>', client.get("/me").text, re.DOTALL)
    assert select is not None
    offered = re.findall(r'<option value="([^"]*)"([^>]*)>', select[0])
    [chosen] = [value for value, more in offered if "selected" in more]
    client.post("/me", data={"first_name": "Anna", "locale": chosen, "zone": ""}, headers=OURS)
    with reading(world.house.engine) as session:
        held = people.by_public_id(session, person.public_id)
    assert held is not None
    assert held.locale == kept


def test_correcting_the_profile(client: TestClient, world: World) -> None:
    person = signed_in(client, world)
    sent = {
        "first_name": "Anna",
        "company": "",
        "email": "ana@example.org",
        "locale": "de",
        "zone": "Europe/Berlin",
    }
    answer = client.post("/me", data=sent, headers=OURS)
    assert answer.status_code == 200
    assert 'lang="de"' in answer.text
    with reading(world.house.engine) as session:
        held = people.by_public_id(session, person.public_id)
        assert held is not None
        profile = people.profiles(session, world.house.ring, held)[-1].profile
    assert (profile["first_name"], profile["company"], held.zone) == ("Anna", "", "Europe/Berlin")
    assert world.entries("address.changed") == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [("email", "x"), ("zone", "Mars/Base"), ("first_name", "x" * 300), ("telephone", "1\x01")],
)
def test_what_is_wrong_keeps_what_was_typed(client: TestClient, world: World, field: str, value: str) -> None:
    signed_in(client, world)
    sent = {"first_name": "Kept", "email": "ana@example.org", "locale": "en", "zone": ""} | {field: value}
    answer = client.post("/me", data=sent, headers=OURS)
    assert answer.status_code == 422
    assert f'href="#{field}"' in answer.text
    assert field == "first_name" or "Kept" in answer.text


def test_rel_h59_a_new_address_waits_and_the_old_one_is_told(client: TestClient, world: World) -> None:
    signed_in(client, world)
    sent = {"email": "new@example.org", "locale": "en", "zone": ""}
    answer = client.post("/me", data=sent, headers=OURS)
    assert answer.status_code == 200
    assert "new@example.org" in answer.text
    assert len(world.mails("address-changed")) == 1
    assert len(world.mails("address-confirm")) == 1
    page = client.get("/me").text
    assert 'value="ana@example.org"' in page


def test_rel_h56_signed_in_posts_need_a_page_of_ours(client: TestClient, world: World) -> None:
    signed_in(client, world)
    sent = {"first_name": "Mallory", "email": "ana@example.org"}
    for headers in (
        {},
        {"Origin": "https://evil.example.com"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        answer = client.post("/me", data=sent, headers=headers)
        assert answer.status_code == 403
        assert "csrf" in answer.text
    assert client.post("/me", data=sent, headers={"Origin": BASE}).status_code == 200


def test_signing_out(client: TestClient, world: World) -> None:
    signed_in(client, world)
    assert client.post("/me/sign-out", headers=OURS).status_code == 303
    assert "No password" in client.get("/me").text


def test_strangers_cannot_post(client: TestClient) -> None:
    assert client.post("/me", data={"first_name": "x"}).status_code == 403


def test_std_n13_signing_out_ends_the_session_wherever_its_cookie_is(
    client: TestClient, world: World
) -> None:
    signed_in(client, world)
    kept = client.cookies["bidden-me"]
    assert client.post("/me/sign-out", headers=OURS).status_code == 303
    client.cookies.clear()
    answer = client.get("/me", headers={"cookie": f"bidden-me={kept}"})
    assert "No password" in answer.text
    assert "Aronia" not in answer.text


def test_what_somebody_corrected_goes_before_what_a_site_says_later(client: TestClient, world: World) -> None:
    signed_in(client, world)
    form = {"first_name": "Newname", "company": "", "locale": "en", "zone": ""}
    assert client.post("/me", data=form, headers=OURS).status_code == 200
    person = world.person(profile={"first_name": "Ana", "company": "Aronia"})
    with reading(world.house.engine) as session:
        assert people.profiles(session, world.house.ring, person)[-1].profile["first_name"] == "Newname"


def test_whoever_was_merged_into_somebody_does_not_see_them(client: TestClient, world: World) -> None:
    """Ana asks to move to Ben's mailbox, and Ben presses the button: her session and her other link open nothing of his."""
    ana = signed_in(client, world)
    spare = entrance(client, world, ana)
    ben = world.person("ben@example.org", profile={"first_name": "Ben", "company": "Birnbaum"})
    client.post("/me", data={"email": "ben@example.org"}, headers=OURS)
    world.change(
        lambda session: make.press(session, world.house.ring, make.buttons(session)[-1], now=clock.now())
    )
    assert world.change(lambda session: session.get_one(Person, ana.id).state) == "merged"
    assert world.change(lambda session: session.get_one(Person, ben.id).state) == "active"
    for path in ("/me", "/me/copy"):
        assert "Birnbaum" not in client.get(path).text
    assert client.get("/me/copy.json").status_code == 403
    client.cookies.clear()
    assert client.post(spare, data={"confirm": "yes"}, headers=OURS).status_code == 409
    assert "Birnbaum" not in client.get("/me").text


def test_a_session_ends_where_the_new_address_is_confirmed_and_not_before(
    client: TestClient, world: World
) -> None:
    """Whoever reads the mailbox of before, or kept a cookie from there, is not them any more."""
    ana = signed_in(client, world)
    kept = client.cookies["bidden-me"]
    assert client.post("/me", data={"email": "new@example.org"}, headers=OURS).status_code == 200
    assert "Aronia" in client.get("/me").text, "it waits for its button"
    world.change(
        lambda session: make.press(session, world.house.ring, make.buttons(session)[-1], now=clock.now())
    )
    assert "Aronia" not in client.get("/me").text
    for path in ("/me", "/me/object", "/me/restrict", "/me/erase"):
        answer = client.post(path, data={"confirm": "yes", "first_name": "x"}, headers=OURS)
        assert answer.status_code == 403, path
    client.cookies.clear()
    assert client.post(entrance(client, world, ana, "new@example.org"), data={"confirm": "yes"}, headers=OURS)
    assert "Aronia" in client.get("/me").text
    client.cookies.clear()
    assert "Aronia" not in client.get("/me", headers={"cookie": f"bidden-me={kept}"}).text


def test_a_cookie_that_does_not_say_by_which_mailbox_is_nobody(client: TestClient, world: World) -> None:
    """As they were made before they said so."""
    ana, now = world.person(profile={"company": "Aronia"}), clock.now()
    facts = {"person": ana.public_id, "session": "me:0011223344556677"}
    cookie = deps.signed(world.house.ring, "me", facts, now=now, valid_for=timedelta(minutes=30))
    answer = client.get("/me", headers={"cookie": f"bidden-me={cookie}"})
    assert answer.status_code == 200
    assert "No password" in answer.text
    assert "Aronia" not in answer.text


@pytest.mark.parametrize("gone", ["erased", "merged"])
def test_a_correction_that_waits_while_they_are_erased_or_made_one_writes_nothing_back(
    client: TestClient, world: World, gone: str
) -> None:
    """Between the page's look at who is signed in and its own turn, in that order on either database."""
    ana = signed_in(client, world)
    world.person("ben@example.org", profile={"first_name": "Ben", "company": "Birnbaum"})
    if gone == "merged":
        client.post("/me", data={"email": "ben@example.org"}, headers=OURS)
    sent = {"first_name": "Anna", "locale": "de", "zone": ""}
    with ThreadPoolExecutor(1) as pool:
        with transaction(world.house.engine) as session:
            if gone == "erased":
                held = session.get_one(Person, ana.id)
                erasing.erase(session, world.house.ring, held, how="staff", now=clock.now(), by=make.STAFF)
            else:
                make.press(session, world.house.ring, make.buttons(session)[-1], now=clock.now())
            session.flush()
            before = len(seals(session, ana))
            waits = pool.submit(client.post, "/me", data=sent, headers=OURS)
            until_somebody_waits(world)
        answer = waits.result(20)
    with reading(world.house.engine) as session:
        assert len(seals(session, ana)) == before
        assert session.get_one(Person, ana.id).locale != "de"
    assert answer.status_code == 403
    assert "Birnbaum" not in answer.text


def seals(session: Session, person: Person) -> list[object]:
    """What is held sealed under a person's key."""
    profiles = session.exec(select(Identity.profile).where(Identity.person_id == person.id)).all()
    sealed = session.exec(select(Address.sealed).where(Address.owner_id == person.id)).all()
    return [one for one in (*profiles, *sealed) if one is not None]


def until_somebody_waits(world: World) -> None:
    """Until another transaction waits for a lock; on SQLite until it has asked for its turn."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if not is_sqlite(world.house.engine):
            with reading(world.house.engine) as session:
                if session.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar_one():
                    return
        elif world.house.engine.pool.checkedout() > 1:  # type: ignore[attr-defined]
            return
        time.sleep(0.01)
    raise AssertionError("nobody waits")
