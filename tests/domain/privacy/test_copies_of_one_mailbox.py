"""A copy reaches as far as an erasure: whatever else is registered with a mailbox that is shown to be theirs, each told apart."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlmodel import Session

from service.domain.people.tables import Person
from service.domain.preferences import access
from service.domain.privacy import copies, erasing, queries
from service.kit import addresses
from service.kit.signing import Keyring
from tests import builders as make
from tests.domain.privacy.schemas import faults, published

HOUR = timedelta(hours=1)


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    """One that commits, for the ledger to be read: on a database of the test's own."""
    with Session(engine.execution_options(write=True), expire_on_commit=False) as opened:
        yield opened


def settle(session: Session) -> None:
    """What the edge does at the end of a transaction; the session begins another."""
    session.flush()
    for last in session.info.pop("at_end", []):
        last(session)
    session.commit()
    session.info.clear()


def two_there(session: Session, ring: Keyring, now: datetime) -> tuple[Person, Person]:
    """A shop vouches for the mailbox, a forum only names it: a second person, whom nobody has confirmed."""
    mine = make.a_person(
        session, ring, now=now, profile={"first_name": "Ana"}, attributes={"plan": "pro"}, external_id="1"
    )
    return mine, named_by(session, ring, "forum", now)


def named_by(session: Session, ring: Keyring, site: str, now: datetime) -> Person:
    given = [make.an_answer(at=now - HOUR)]
    told = make.register(
        session, ring, "ana@example.org", given, now=now, external_id="7", source=site, attest=False,
        profile={"first_name": f"Anita of the {site}"}, attributes={"plan": "free"},
    )  # fmt: skip
    return make.the_person(session, told.person_id)


def a_copy(session: Session, ring: Keyring, person: Person, now: datetime) -> dict[str, Any]:
    settle(session)
    found: dict[str, Any] = json.loads(json.dumps(copies.access_copy(session, ring, person, now=now)))
    assert faults(published("access-copy"), found) == []
    return found


def under(found: dict[str, Any], part: str) -> set[str | None]:
    return {one["registration"] for one in found[part]}


def test_std_h9_the_copy_reaches_whatever_an_erasure_of_the_mailbox_takes(
    session: Session, ring: Keyring, now: datetime
) -> None:
    mine, other = two_there(session, ring, now)
    found = a_copy(session, ring, mine, now)
    assert found["person"]["id"] == mine.public_id
    assert [one["id"] for one in found["registrations"]] == [mine.public_id, other.public_id]
    both = {mine.public_id, other.public_id}
    for part in ("addresses", "profiles", "attributes", "consents", "events"):
        assert under(found, part) == both, part
    assert under(found, "mails") == {other.public_id}, "the question that the forum's yes made"
    assert {one["registration"]: one["profile"]["first_name"] for one in found["profiles"]} == {
        mine.public_id: "Ana", other.public_id: "Anita of the forum",
    }  # fmt: skip
    assert {one["registration"]: one["values"] for one in found["attributes"]} == {
        mine.public_id: ["pro"], other.public_id: ["free"],
    }  # fmt: skip
    states = {(one["registration"], one["topic"]): one["state"] for one in found["consents"]}
    assert states[mine.public_id, "new-products"] == "given"
    assert states[other.public_id, "new-products"] == "requested"
    goes = erasing.preview(session, mine)
    assert goes.sources == sorted(one["source"] for one in found["profiles"])
    assert (goes.registrations, goes.entries) == (2, len(found["events"]))


def test_std_h9_whose_own_address_is_not_confirmed_gets_nothing_of_the_other(
    session: Session, ring: Keyring, now: datetime
) -> None:
    """Whoever typed another's address into a site must not get that other's data by it."""
    mine, other = two_there(session, ring, now)
    third = named_by(session, ring, "blog", now)
    for one in (other, third):
        found = a_copy(session, ring, one, now)
        assert [row["id"] for row in found["registrations"]] == [one.public_id]
        for part in ("addresses", "profiles", "attributes", "consents", "events"):
            assert under(found, part) == {one.public_id}, part
        assert mine.public_id not in json.dumps(found)
        assert len(copies.portable_copy(session, ring, one, now=now)["profiles"]) == 1
    assert len(a_copy(session, ring, mine, now)["registrations"]) == 3


def test_a_mailbox_that_was_left_or_is_only_to_be_theirs_shows_nothing_there(
    session: Session, ring: Keyring, now: datetime
) -> None:
    mine, other = two_there(session, ring, now)
    bea = make.a_person(session, ring, "bea@example.org", now=now, external_id="2")
    for who, to in ((bea, "ana@example.org"), (mine, "new@example.org")):
        by = f"person:{who.public_id}"
        access.change_email(session, ring, who, addresses.parse(to), now=now, by=by)
    assert under(a_copy(session, ring, bea, now), "profiles") == {bea.public_id}
    make.press(session, ring, make.buttons(session, mine)[-1], now=now + HOUR)
    assert under(a_copy(session, ring, mine, now + HOUR), "profiles") == {mine.public_id}
    assert other.public_id not in json.dumps(a_copy(session, ring, mine, now + HOUR))


def test_one_who_was_merged_is_told_apart_and_what_they_had_lies_under_who_is_left(
    session: Session, ring: Keyring, now: datetime
) -> None:
    mine, other = two_there(session, ring, now)
    make.press(session, ring, make.buttons(session, other)[-1], now=now)
    assert other.state == "merged"
    found = a_copy(session, ring, mine, now)
    assert [(one["id"], one["state"]) for one in found["registrations"]] == [
        (mine.public_id, "active"), (other.public_id, "merged"),
    ]  # fmt: skip
    assert under(found, "profiles") == under(found, "consents") == {mine.public_id}
    assert under(found, "events") == {mine.public_id, other.public_id}
    of_before = [one for one in found["events"] if one["registration"] == other.public_id]
    assert "person.merged" in {one["kind"] for one in of_before}


def test_std_h14_what_they_gave_to_any_site_goes_along(
    session: Session, ring: Keyring, now: datetime
) -> None:
    mine, other = two_there(session, ring, now)
    settle(session)
    found = json.loads(json.dumps(copies.portable_copy(session, ring, mine, now=now)))
    assert faults(published("portable-copy"), found) == []
    for part in ("profiles", "consents"):
        assert under(found, part) == {mine.public_id, other.public_id}
    assert found["email"] == "ana@example.org"


def test_mails_of_all_registrations_come_newest_first(session: Session, ring: Keyring, now: datetime) -> None:
    mine, other = two_there(session, ring, now)
    access.request_sign_in(session, ring, addresses.parse("ana@example.org"), locale="en", now=now + HOUR)
    third = named_by(session, ring, "blog", now + 2 * HOUR)
    found = a_copy(session, ring, mine, now + 2 * HOUR)
    assert [one["registration"] for one in found["mails"]] == [
        third.public_id, mine.public_id, other.public_id,
    ]  # fmt: skip


@pytest.mark.parametrize("who", [0, 1])
def test_erasure_and_copy_ask_the_same_question(
    session: Session, ring: Keyring, now: datetime, who: int
) -> None:
    person = two_there(session, ring, now)[who]
    whom = [one.public_id for one in queries.whole(session, person)]
    assert [one["id"] for one in a_copy(session, ring, person, now)["registrations"]] == whom
    assert erasing.erase(session, ring, person, how="me", now=now, by="cli").persons == len(whom)
