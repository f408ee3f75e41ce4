"""What stops mail whatever somebody has said, on their page of a day in the past and in the evidence file, which a checker holds to it:
an objection, the do-not-mail list, a topic out of use, newer words that promise more, a new address that waits, a break."""

import io
import json
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from sqlmodel import Session
from starlette.testclient import TestClient

import verify_ledger
from service.domain.ledger import checkpoints
from service.domain.people.tables import Person
from service.domain.preferences import access, actions, rights
from service.domain.suppressions import actions as suppressions
from service.domain.topics import actions as topics
from service.domain.topics.rules import WordingText
from service.kit import addresses, clock
from tests import builders as make
from tests.web.staff.conftest import Office
from tests.web.staff.test_that_day import shown

Browser = Callable[..., TestClient]
DAY = timedelta(days=1)
Act = Callable[[Session, Office, Person, datetime], object]


def add(cause: str, scope: str) -> Act:
    def act(session: Session, office: Office, person: Person, now: datetime) -> None:
        suppressions.add(
            session, make.address_hash(office.house.ring, "ana@example.org"), scope=scope, cause=cause,
            origin="m_1", subject=person.public_id, now=now, by="system",
        )  # fmt: skip

    return act


def objects(session: Session, office: Office, person: Person, now: datetime) -> None:
    said = actions.consent.Said("staff", "page")
    rights.object_to_marketing(
        session, office.house.ring, make.the_person(session, person.public_id), said, now=now, by="cli"
    )


def moves(session: Session, office: Office, person: Person, now: datetime) -> None:
    one, address = make.the_person(session, person.public_id), addresses.parse("ana.new@example.org")
    access.change_email(session, office.house.ring, one, address, now=now, by="person")


def rests(session: Session, office: Office, person: Person, now: datetime) -> None:
    actions.save(
        session, office.house.ring, make.the_person(session, person.public_id),
        actions.Choices(break_until=(now + 9 * DAY).date()), how="page", evidence={}, now=now, by="person",
    )  # fmt: skip


def promises_more(session: Session, office: Office, person: Person, now: datetime) -> None:
    texts = {
        code: WordingText("New products", "Often", f"Send me far more ({code}).") for code in ("en", "de")
    }
    topics.publish_wording(session, "new-products", texts, material=True, now=now, by="cli")


def retires(session: Session, office: Office, person: Person, now: datetime) -> None:
    topics.retire(session, "new-products", now=now, by="cli")


STOPS: dict[str, tuple[Act, str, set[str]]] = {
    "objection": (objects, "do-not-mail", {"New products"}),
    "complaint": (add("complaint", "marketing"), "spam", {"New products"}),
    "barred by law": (add("legal", "all"), "do-not-mail", {"New products", "Updates", "Important notices"}),
    "dead mailbox": (add("hard_bounce", "all"), "mailbox does", {"New products", "Updates", "Important notices"}),
    "topic retired": (retires, "retired", {"New products"}),
    "older words": (promises_more, "older words", {"New products"}),
    "address waits": (moves, "changing the address", {"New products", "Updates"}),
    "on a break": (rests, "takes a break", {"New products", "Updates"}),
}  # fmt: skip


def told(office: Office, officer: TestClient, person: Person, day: date) -> dict[str, tuple[bool, str]]:
    """What the page says of a day, which is what the evidence file says, and what a checker holds that to."""
    base = f"/staff/people/{person.public_id}"
    said = shown(officer.get(f"{base}?on={day}").text)
    file = officer.get(f"{base}/evidence.json?on={day}").json()
    names = {"new-products": "New products", "updates": "Updates"}
    assert {names[one["topic"]]: one["permits"] for one in file["standing"]} == {
        topic: permits for topic, (permits, _) in said.items() if topic in names.values()
    }
    assert found(office, file) is None
    for one in file["standing"]:
        one["permits"] = not one["permits"]
        assert found(office, file) == "retold_differs"
        one["permits"] = not one["permits"]
    return said


def found(office: Office, file: dict[str, Any]) -> str | None:
    """The fault that verify_ledger.py finds in an evidence file."""
    keys = verify_ledger.read_keys([*checkpoints.keys(office.house.ring)])
    return verify_ledger.check(io.BytesIO(json.dumps(file).encode()), keys).fault


@pytest.mark.parametrize("what", STOPS)
def test_what_stops_mail_is_said_from_its_day_on(
    browser: Browser, office: Office, later: Callable[[timedelta], datetime], what: str
) -> None:
    act, why, stopped = STOPS[what]
    ana, first = office.world.person("ana@example.org", yes=("new-products", "updates")), clock.now().date()
    second = later(2 * DAY)
    office.world.change(lambda session: act(session, office, ana, clock.now()))
    later(4 * DAY)
    officer = browser("privacy_officer")
    before, then = (told(office, officer, ana, day) for day in (first, second.date()))
    assert {topic for topic, (permits, _) in before.items() if permits} == {
        "New products", "Updates", "Important notices"
    }  # fmt: skip
    assert {topic for topic, (permits, _) in then.items() if not permits} == stopped
    assert all(why in then[topic][1] for topic in stopped)


def test_what_lay_over_a_mailbox_ends_when_it_is_lifted_and_a_break_when_it_is_over(
    browser: Browser, office: Office, later: Callable[[timedelta], datetime]
) -> None:
    ana = office.world.person("ana@example.org", yes=("new-products", "updates"))
    digest = make.address_hash(office.house.ring, "ana@example.org")
    office.world.change(lambda session: add("legal", "all")(session, office, ana, clock.now()))
    office.world.change(lambda session: rests(session, office, ana, clock.now()))
    first, second = clock.now().date(), later(2 * DAY).date()
    office.world.change(
        lambda session: suppressions.lift(
            session, digest, causes=("legal",), subject=ana.public_id, now=clock.now(), by="cli"
        )
    )
    third = later(12 * DAY).date()
    later(14 * DAY)
    officer = browser("privacy_officer")
    days = [told(office, officer, ana, day) for day in (first, second, third)]
    assert [sorted(topic for topic, (permits, _) in said.items() if permits) for said in days] == [
        [], ["Important notices"], ["Important notices", "New products", "Updates"]
    ]  # fmt: skip
