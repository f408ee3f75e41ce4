"""A no said again: its answer waits like the first one's (P1), and it goes before every older button and undo (P7)."""

import re
from datetime import timedelta

import pytest
from starlette.testclient import TestClient

from service import fence
from service.db.session import transaction
from service.domain.people.tables import Person
from service.domain.preferences import access, restoring
from service.domain.preferences.registration import Registration, register_many
from service.domain.senders import actions as senders
from service.kit import addresses, clock
from service.kit.clock import to_micros
from tests.builders import address_hash
from tests.web.conftest import ONE_CLICK, World
from tests.web.public.test_preferences import confirmation, path


def _frozen_sender(world: World) -> None:
    """A lease whose sender never looks again."""
    world.change(lambda session: senders.begin(session, "frozen", boot_id="b", seen_seq=0, now=clock.now()))


@pytest.mark.parametrize("way", ["one_click", "stop_all", "off"])
def test_a_repeated_stop_is_not_acknowledged_sooner(
    client: TestClient, world: World, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(fence, "PATIENCE", 0.1)
    person = world.person()
    _frozen_sender(world)
    said = {
        "one_click": lambda: client.post(world.stop_link(person), data=ONE_CLICK),
        "stop_all": lambda: client.post(path(world, person), data={"do": "stop_all"}),
        "off": lambda: client.post(path(world, person), data={"do": "save", "topic:new-products": "off"}),
    }[way]
    answers = [said() for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 202]
    if way != "one_click":
        assert "may still arrive" in answers[0].text
    world.change(lambda session: senders.end(session, "frozen", now=clock.now()))
    assert said().status_code == 200


@pytest.mark.parametrize("door", ["preferences", "stop"])
def test_an_undo_that_begins_a_break_again_is_not_acknowledged_sooner(
    client: TestClient, world: World, monkeypatch: pytest.MonkeyPatch, door: str
) -> None:
    monkeypatch.setattr(fence, "PATIENCE", 0.1)
    person = world.person()
    day = f"{clock.now() + timedelta(days=5):%Y-%m-%d}"
    client.post(path(world, person), data={"do": "save", "break_until": day})
    ended = client.post(path(world, person), data={"do": "save", "break_until": ""})
    found = re.search(r'name="undo" value="([^"]+)"', ended.text)
    assert found
    _frozen_sender(world)
    where = path(world, person) if door == "preferences" else world.stop_link(person)
    assert client.post(where, data={"do": "undo", "undo": found[1]}).status_code == 202
    assert f'value="{day}"' in client.get(path(world, person)).text


def test_the_button_for_a_new_address_is_answered_when_nothing_departs_to_the_old_one_any_more(
    client: TestClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fence, "PATIENCE", 0.1)
    person, new = world.person(), addresses.parse("new@example.org")
    world.change(
        lambda session: access.change_email(
            session, world.house.ring, session.get_one(Person, person.id), new, now=clock.now(), by="cli"
        )
    )
    [asked] = world.mails("address-confirm")
    button = confirmation(world, asked)
    _frozen_sender(world)
    assert [client.post(button, data={"confirm": "yes"}).status_code for _ in range(2)] == [202, 202]
    world.change(lambda session: senders.end(session, "frozen", now=clock.now()))
    assert client.post(button, data={"confirm": "yes"}).status_code == 200


def _site_says_no(world: World, email: str = "ana@example.org") -> None:
    said = Registration(email, email, consents=[{"topic": "new-products", "given": False}])
    with transaction(world.house.engine) as session:
        register_many(
            session, world.house.ring, "shop", [said], attest=True, topics=None, now=clock.now(), by="key:k"
        )


NOES = {
    "stop": lambda client, world, person: client.post(
        path(world, person), data={"do": "stop", "topic": "new-products"}
    ),
    "off": lambda client, world, person: client.post(
        path(world, person), data={"do": "save", "topic:new-products": "off"}
    ),
    "one_click": lambda client, world, person: client.post(world.stop_link(person), data=ONE_CLICK),
    "site": lambda client, world, person: _site_says_no(world),
}


@pytest.mark.parametrize("way", NOES)
def test_rel_h39_every_door_s_no_takes_the_button_back(client: TestClient, world: World, way: str) -> None:
    person = world.person()
    client.post(world.stop_link(person), data=ONE_CLICK)
    client.post(path(world, person), data={"do": "save", "topic:new-products": "each"})
    [mail] = world.mails("confirm")
    NOES[way](client, world, person)
    answer = client.post(confirmation(world, mail), data={"confirm": "yes"})
    assert answer.status_code == 409
    assert world.states(person)["new-products"] == "withdrawn"


def test_a_break_leaves_the_button_one_asked_for_and_a_no_after_it_does_not(
    client: TestClient, world: World
) -> None:
    buttons = []
    for email in ("ana@example.org", "bea@example.org"):
        person = world.person(email)
        client.post(world.stop_link(person), data=ONE_CLICK)
        client.post(path(world, person), data={"do": "save", "topic:new-products": "each"})
        until = f"{clock.now() + timedelta(days=5):%Y-%m-%d}"
        assert client.post(path(world, person), data={"do": "save", "break_until": until}).status_code == 200
        buttons.append((person, confirmation(world, world.mails("confirm")[-1])))
    (ana, first), (bea, second) = buttons
    assert client.post(first, data={"confirm": "yes"}).status_code == 200
    assert world.states(ana)["new-products"] == "given"
    client.post(world.stop_link(bea), data=ONE_CLICK)
    assert client.get(second).status_code == 409, "nothing is offered that would be refused"
    assert client.post(second, data={"confirm": "yes"}).status_code == 409


def test_p7_stop_all_holds_against_an_older_yes_to_what_was_never_asked(
    client: TestClient, world: World
) -> None:
    person = world.person()
    before = clock.now() - timedelta(hours=1)
    client.post(path(world, person), data={"do": "stop_all"})
    yes = {
        "topic": "updates", "given": True, "source": "form", "evidence": {"at": before.isoformat()},
        "confirmed": {"at": before.isoformat(), "method": "own"},
    }  # fmt: skip
    said = Registration("ana@example.org", "ana@example.org", consents=[yes])
    with transaction(world.house.engine) as session:
        register_many(
            session, world.house.ring, "shop", [said], attest=True, topics=None, now=clock.now(), by="key:k"
        )
    assert world.states(person)["updates"] == "withdrawn"


def _undo_in(page: str) -> str:
    found = re.search(r'name="undo" value="([^"]+)"', page)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("way", NOES)
def test_an_undo_never_goes_over_a_newer_no(client: TestClient, world: World, way: str) -> None:
    person = world.person()
    stop = world.stop_link(person)
    value = _undo_in(client.post(stop, data={"confirm": "stop"}).text)
    NOES[way](client, world, person)
    client.post(stop, data={"undo": value})
    assert world.states(person)["new-products"] == "withdrawn"
    entries = world.entries()
    NOES["site"](client, world, person)
    if way in ("one_click", "site"):
        assert world.entries() == entries, "with nothing left to take back it is not written again"


def test_a_double_click_still_offers_the_way_back(client: TestClient, world: World) -> None:
    person = world.person()
    stop = world.stop_link(person)
    first, second = (_undo_in(client.post(stop, data={"confirm": "stop"}).text) for _ in range(2))
    client.post(stop, data={"undo": first})
    assert world.states(person)["new-products"] == "withdrawn"
    client.post(stop, data={"undo": second})
    assert world.states(person)["new-products"] in ("given", "renewed")


def test_rel_h39_a_used_button_does_not_say_that_all_is_well_after_a_stop(
    client: TestClient, world: World
) -> None:
    person = world.person(yes=("updates",))
    client.post(path(world, person), data={"do": "save", "topic:new-products": "each"})
    [mail] = world.mails("confirm")
    button = confirmation(world, mail)
    assert client.post(button, data={"confirm": "yes"}).status_code == 200
    assert client.post(button, data={"confirm": "yes"}).status_code == 200
    client.post(world.stop_link(person), data=ONE_CLICK)
    assert client.post(button, data={"confirm": "yes"}).status_code == 409
    assert client.get(button).status_code == 409


def test_p7_a_no_younger_than_the_copy_holds_for_whoever_the_copy_does_not_know(world: World) -> None:
    """The line names the mailbox by its keyed hash, so a site's older yes comes to nothing after the restore."""
    mailbox = address_hash(world.house.ring, "late@example.org")
    line = {
        "seq": 90_000, "kind": "consent.withdrawn", "subject": "p_later", "hash": "x", "mailbox": mailbox,
        "body": {"topic": "new-products"},
    }  # fmt: skip
    done = world.change(lambda session: restoring.reapply(session, world.house.ring, [line], now=clock.now()))
    assert (done.again, done.left) == (1, 0)
    person = world.person("late@example.org")
    assert world.states(person)["new-products"] == "requested"
    assert world.states(person)["updates"] == "given"
    assert len(world.mails("confirm")) == 1


def test_p7_a_no_younger_than_the_copy_goes_before_a_button_the_copy_holds(
    client: TestClient, world: World
) -> None:
    person = world.person()
    client.post(world.stop_link(person), data=ONE_CLICK)
    client.post(path(world, person), data={"do": "save", "topic:new-products": "each"})
    [mail] = world.mails("confirm")
    line = {
        "seq": 90_000,
        "kind": "consent.withdrawn",
        "subject": person.public_id,
        "hash": "x",
        "at": to_micros(clock.now()),
        "body": {"topic": "new-products"},
    }
    done = world.change(lambda session: restoring.reapply(session, world.house.ring, [line], now=clock.now()))
    assert (done.again, done.left) == (1, 0)
    assert client.post(confirmation(world, mail), data={"confirm": "yes"}).status_code == 409
    once_more = world.change(
        lambda session: restoring.reapply(session, world.house.ring, [line], now=clock.now())
    )
    assert once_more.again == 0


def test_p7_a_yes_said_since_a_restore_put_a_no_aside_stands(client: TestClient, world: World) -> None:
    person = world.person()
    line = {
        "seq": 90_000,
        "kind": "consent.withdrawn",
        "subject": person.public_id,
        "hash": "x",
        "at": to_micros(clock.now() - timedelta(days=4)),  # their yes was said three days ago
        "body": {"topic": "new-products"},
    }
    assert (
        world.change(
            lambda session: restoring.reapply(session, world.house.ring, [line], now=clock.now())
        ).again
        == 0
    )
    assert world.states(person)["new-products"] == "given"


def test_p7_whoever_moved_since_the_copy_gets_no_marketing_at_the_old_address(world: World) -> None:
    person = world.person()
    line = {
        "seq": 90_000,
        "kind": "address.changed",
        "subject": person.public_id,
        "hash": "x",
        "body": {},
    }
    done = world.change(lambda session: restoring.reapply(session, world.house.ring, [line], now=clock.now()))
    assert (done.again, done.left) == (1, 0)
    with world.house.engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT scope, cause, origin FROM suppression").all()
    assert [tuple(row) for row in found] == [("marketing", "withdrawal", "restore")]
