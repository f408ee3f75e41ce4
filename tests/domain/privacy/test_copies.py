"""The access copy: by its schema, whole, opened, and nothing of anybody else's in it."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlmodel import Session, col, select

from service.db.session import reading, transaction
from service.domain.announcements.tables import Announcement
from service.domain.mailings.tables import Address
from service.domain.people import actions as people_actions
from service.domain.people.tables import Person
from service.domain.preferences import rights
from service.domain.preferences.actions import stop
from service.domain.privacy import actions as contact
from service.domain.privacy import copies, erasing, requests, rules
from service.domain.privacy.tables import ContactRequest
from service.domain.suppressions import actions as suppressions
from service.domain.transfers import actions as transfers
from service.fence import perform_now
from service.kit import addresses
from service.kit.signing import Keyring
from service.ops.house import House
from tests import builders as make
from tests.domain.privacy.schemas import faults, published

PROFILE = {"first_name": "Ana", "last_name": "Ruiz", "company": "Aronia"}


@pytest.fixture
def house(engine: Any, ring: Keyring, tmp_path: Any) -> House:
    return make.a_house(engine, ring, tmp_path)


def filled(house: House, now: datetime) -> str:
    """Somebody with something in every part; a mailing is frozen with them in it."""
    with transaction(house.engine) as session:
        ana = make.a_person(session, house.ring, now=now, profile=PROFILE, attributes={"plan": "pro"})
        make.a_person(session, house.ring, "bea@example.org", now=now, profile={"first_name": "Beatrix"})
        link = make.a_link(session, ana, "updates")
        person = ana.public_id
    perform_now(
        house,
        lambda session: stop(
            session, house.ring, link, how="link", evidence={"ip": "203.0.113.0/24"}, now=now
        ),
    )
    sending = make.a_started_mailing(house, now=now)
    make.freeze(house, sending, now=now)
    _wrote(house, now)
    return person


def _wrote(house: House, now: datetime) -> None:
    with transaction(house.engine) as session:
        asked = contact.ask(
            session,
            house.ring,
            address=addresses.parse("ana@example.org"),
            name="Ana",
            subject=rules.SUBJECTS["question"],
            text="What do you hold?",
            locale="en",
            now=now,
        ).public_id
    with transaction(house.engine) as session:
        contact.answer(session, house.ring, asked, text="All of this.", now=now, by=make.STAFF)


def a_copy(house: House, person: str, now: datetime) -> dict[str, Any]:
    with reading(house.engine) as session:
        made = copies.access_copy(session, house.ring, make.the_person(session, person), now=now)
    read: dict[str, Any] = json.loads(json.dumps(made))
    return read


def test_std_h9_the_copy_is_whole_and_as_its_schema_says(house: House, now: datetime) -> None:
    found = a_copy(house, filled(house, now), now)
    assert faults(published("access-copy"), found) == []
    empty = [name for name, part in found.items() if part == []]
    assert empty == ["suppressions", "requests", "disclosures"]
    assert found["addresses"][0]["address"] == "ana@example.org"
    assert found["profiles"][0]["profile"]["company"] == "Aronia"
    [attribute] = found["attributes"]
    assert (attribute["name"], attribute["values"]) == ("plan", ["pro"])
    assert attribute["purpose"]
    assert {one["topic"]: one["state"] for one in found["consents"]} == {
        "new-products": "given", "updates": "withdrawn", "important-notices": "given",
    }  # fmt: skip
    assert found["messages"][0]["answers"][0]["text"] == "All of this."


def test_each_event_is_opened_and_each_wording_there_in_full(house: House, now: datetime) -> None:
    found = a_copy(house, filled(house, now), now)
    given = next(one for one in found["events"] if one["kind"] == "consent.given")
    assert given["evidence"]["url"] == "https://shop.example.org/join"
    stopped = next(one for one in found["events"] if one["kind"] == "consent.withdrawn")
    assert (stopped["evidence"], stopped["by"]) == ({"ip": "203.0.113.0/24"}, "you")
    words = {one["id"]: one["text"] for one in found["wordings"]}
    assert words[given["body"]["wording"]]
    mail = next(one for one in found["mails"] if one["state"] == "waiting")
    assert mail["warrant"] in {one["entry"] for one in found["events"]}
    assert "the planner is here" in mail["about"]


def test_nobody_elses_data_is_in_it(house: House, now: datetime) -> None:
    text = json.dumps(a_copy(house, filled(house, now), now))
    assert "Beatrix" not in text
    assert "bea@example.org" not in text
    assert "staff:" not in text


def test_an_objection_is_in_it(session: Session, ring: Keyring, now: datetime) -> None:
    from service.domain.consent.actions import Said

    ana = make.a_person(session, ring, now=now)
    said, by = Said("objection", "me"), f"person:{ana.public_id}"
    rights.object_to_marketing(session, ring, ana, said, now=now, by=by)
    session.flush()
    found = copies.access_copy(session, ring, ana, now=now)
    assert [(one["scope"], one["cause"]) for one in found["suppressions"]] == [("marketing", "objection")]


def test_std_h14_the_portable_copy_holds_what_they_gave(house: House, now: datetime) -> None:
    person = filled(house, now)
    with transaction(house.engine) as session:
        make.the_person(session, person).max_per_week = 2
    with reading(house.engine) as session:
        found = copies.portable_copy(session, house.ring, make.the_person(session, person), now=now)
        assert session.exec(select(Announcement).order_by(col(Announcement.id))).first()
    assert faults(published("portable-copy"), json.loads(json.dumps(found))) == []
    assert (found["email"], found["profiles"][0]["profile"]["first_name"]) == ("ana@example.org", "Ana")
    assert found["max_per_week"] == 2


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("person", None),
        ("events", [{"entry": "1"}]),
        ("consents", [{"state": "maybe"}]),
        ("unheard_of", 1),
        ("schema", "urn:bidden:access-copy:2"),
    ],
)
def test_the_reader_of_schemas_objects(house: House, now: datetime, part: str, value: Any) -> None:
    found = a_copy(house, filled(house, now), now)
    assert faults(published("access-copy"), found | {part: value})


def looks(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        one for one in found["events"] if one["kind"] in ("people.listed", "contact.read", "request.read")
    ]


def two_people(house: House, now: datetime) -> tuple[Person, Person]:
    with transaction(house.engine) as session:
        ana = make.a_person(session, house.ring, now=now)
        return ana, make.a_person(session, house.ring, "bea@example.org", now=now)


def test_std_k8_looks_at_lists_and_exports_are_in_it_and_show_nobody_else(
    house: House, now: datetime
) -> None:
    """GDPR 15(1), CJEU C-579/21: when somebody looked, and why; in a list with others too."""
    ana, bea = two_people(house, now)
    with transaction(house.engine) as session:
        people_actions.note_list(session, [bea, ana], now=now, by=make.STAFF)
        people_actions.note_list(session, [bea], now=now, by=make.STAFF)
        transfers.note_export(session, reason="Audit of May", form="csv", now=now, by=make.STAFF)
        transfers.note_export(session, reason="Another one", form="csv", now=now, by="cli")
        transfers.note_exported(session, [bea.public_id, ana.public_id], now=now, by=make.STAFF)
    found = a_copy(house, ana.public_id, now)
    assert faults(published("access-copy"), found) == []
    assert [one["body"] for one in looks(found)] == [
        {"people": [ana.public_id]},
        {"people": [ana.public_id], "export": True, "reason": "Audit of May"},
    ]
    assert {one["by"] for one in looks(found)} == {"staff"}
    assert bea.public_id not in json.dumps(found)


def test_an_id_that_is_alike_is_somebody_else(house: House, now: datetime) -> None:
    ana, _ = two_people(house, now)
    alike = [ana.public_id.replace("_", "x", 1), f"{ana.public_id}2", ana.public_id.upper()]
    with transaction(house.engine) as session:
        transfers.note_exported(session, alike, now=now, by=make.STAFF)
    assert looks(a_copy(house, ana.public_id, now)) == []


def test_std_k8_looks_at_their_messages_and_requests_are_in_it(house: House, now: datetime) -> None:
    ana, _ = two_people(house, now)
    with transaction(house.engine) as session:
        wrote = [
            a_message(session, house.ring, f"{who}@example.org", now).public_id for who in ("ana", "bea")
        ]
        asked = requests.receive(
            session, house.ring, right="access", door="staff", came_on=now.date(), person=ana, text="A letter.",
            now=now, by=make.STAFF,
        ).public_id  # fmt: skip
    with transaction(house.engine) as session:
        for one in wrote:
            contact.open_request(session, house.ring, one, now=now, by=make.STAFF)
        requests.open_request(session, house.ring, asked, now=now, by=make.STAFF)
    found = a_copy(house, ana.public_id, now)
    assert faults(published("access-copy"), found) == []
    assert [one["kind"] for one in looks(found)] == ["contact.read", "request.read"]


def a_message(session: Session, ring: Keyring, email: str, now: datetime) -> ContactRequest:
    return contact.ask(
        session, ring, address=addresses.parse(email), name="", subject=rules.SUBJECTS["question"],
        text=f"From {email}", locale="en", now=now,
    )  # fmt: skip


def test_what_a_merged_registration_wrote_is_in_it_as_an_erasure_takes_it(
    house: House, now: datetime
) -> None:
    """So is what staff found to be theirs though it came from elsewhere, and what stops mail to a mailbox of theirs."""
    ana, bea = two_people(house, now)
    with transaction(house.engine) as session:
        for who in ("ana", "bea"):
            a_message(session, house.ring, f"{who}@example.org", now)
        elsewhere = a_message(session, house.ring, "office@example.org", now)
        requests.receive(
            session, house.ring, right="access", door="form", came_on=now.date(), person=bea, contact=elsewhere,
            now=now, by=make.STAFF,
        )  # fmt: skip
        held = session.get_one(Person, bea.id)
        rights.bar(session, held, reason="order 12/2026", now=now, by=make.STAFF)
        held.state, held.merged_into = "merged", ana.id
    found = a_copy(house, ana.public_id, now)
    assert faults(published("access-copy"), found) == []
    assert [one["text"] for one in found["messages"]] == [
        f"From {who}@example.org" for who in ("ana", "bea", "office")
    ]
    assert [one["cause"] for one in found["suppressions"]] == ["legal"]
    with reading(house.engine) as session:
        assert erasing.preview(session, make.the_person(session, ana.public_id)).messages == 3


def test_a_mailbox_that_is_somebody_elses_by_now_shows_nothing_of_theirs(house: House, now: datetime) -> None:
    """What was said of it before it was left is theirs, what its next owner said is not."""
    ana, bea = two_people(house, now)
    later = now + timedelta(days=2)
    with transaction(house.engine) as session:
        row = session.get_one(Address, bea.address_id)
        row.ended_at = now + timedelta(days=1)
        held = session.get_one(Person, bea.id)
        held.state, held.merged_into = "merged", ana.id
    with transaction(house.engine) as session:
        suppressions.add(
            session, row.address_hash, scope="marketing", cause="objection", origin="me", subject=None,
            now=later, by="system",
        )  # fmt: skip
        suppressions.add(
            session, row.address_hash, scope="all", cause="hard_bounce", origin="bounce", subject=None,
            now=now, by="system",
        )  # fmt: skip
        a_message(session, house.ring, "bea@example.org", later)
    found = a_copy(house, ana.public_id, later)
    assert (found["messages"], [one["cause"] for one in found["suppressions"]]) == ([], ["hard_bounce"])
