"""Until when a request has to be answered where a country's own law is quicker than the month of the GDPR (standards I8)."""

import json
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from sqlmodel import Session

from service.domain.consent import jurisdictions
from service.domain.ledger.actions import appended
from service.domain.people.tables import Person
from service.domain.privacy import queries, requests, rules
from service.domain.privacy.tables import RightsRequest
from service.kit.signing import Keyring
from tests import builders as make

BY = "staff:s_1"
CAME = date(2026, 11, 24)  # a Tuesday


def _asked(
    session: Session, ring: Keyring, now: datetime, right: str = "access", **more: Any
) -> RightsRequest:
    given = {"came_on": now.date(), "door": "staff", "who": "Ana Ruiz", "text": "By letter.", **more}
    return requests.receive(session, ring, right=right, now=now, by=BY, **given)


def _living(session: Session, ring: Keyring, now: datetime, country: str | None) -> Person:
    return make.a_person(session, ring, now=now, attributes={"country": country} if country else {})


def _last(session: Session) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(appended(session)[-1].text)
    return found


@pytest.mark.parametrize(
    ("right", "countries", "due"),
    [
        ("access", {"ru"}, "2026-12-08"),
        ("access", {"RU"}, "2026-12-08"),
        ("access", {"de", "ru"}, "2026-12-08"),
        ("erasure", {"ru"}, "2026-12-08"),
        ("rectification", {"ru"}, "2026-12-03"),
        ("objection", {"ru"}, "2026-11-24"),
        ("opt_out", {"ru"}, "2026-12-08"),
        ("access", {"de"}, "2026-12-24"),
        ("access", {"zz"}, "2026-12-24"),
        ("access", set(), "2026-12-24"),
    ],
)
def test_std_i8_until_when_it_has_to_be_answered(right: str, countries: set[str], due: str) -> None:
    assert rules.due_on(right, CAME, countries) == date.fromisoformat(due)


@pytest.mark.parametrize(("countries", "until"), [({"ru"}, "2026-12-15"), ({"de"}, "2027-02-24")])
def test_std_i8_how_much_longer_it_may_take(countries: set[str], until: str) -> None:
    said: dict[str, Any] = {"extended": False, "today": CAME, "countries": countries}
    assert rules.extended_to("access", CAME, **said) == date.fromisoformat(until)
    with pytest.raises(rules.ExtendedBefore):
        rules.extended_to("access", CAME, **said | {"extended": True})
    late = rules.due_on("access", CAME, countries) + timedelta(days=1)
    with pytest.raises(rules.TooLateToExtend):
        rules.extended_to("access", CAME, **said | {"today": late})


def test_what_the_law_there_does_not_put_off(now: datetime) -> None:
    with pytest.raises(rules.NoMoreTime):
        rules.extended_to("rectification", CAME, extended=False, today=CAME, countries={"ru"})


def test_each_clock_of_the_table_has_its_source() -> None:
    clocks = [one for one in jurisdictions.TABLE if one.answers]
    assert clocks
    assert all(one.answers_source for one in clocks)
    assert {right for one in clocks for right in one.answers} <= {"", *rules.RIGHTS}


@pytest.mark.parametrize(
    ("country", "due"), [("ru", "2026-12-08"), ("de", "2026-12-24"), (None, "2026-12-24")]
)
def test_it_is_due_by_the_law_of_where_they_live(
    session: Session, ring: Keyring, now: datetime, country: str | None, due: str
) -> None:
    row = _asked(session, ring, now, person=_living(session, ring, now, country))
    assert row.due_on == date.fromisoformat(due)
    assert _last(session)["body"]["due"] == due


def test_whose_it_is_said_later_moves_the_day_forward_only(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = _living(session, ring, now, "ru")
    row = _asked(session, ring, now)
    requests.extend(session, row.public_id, reason="Archives", told=True, now=now, by=BY)
    other = _asked(session, ring, now)
    for one in (row, other):
        requests.belongs_to(session, one.public_id, ana, now=now, by=BY)
    assert (row.due_on, other.due_on) == (date(2026, 12, 15), date(2026, 12, 8))
    assert _last(session)["body"]["due"] == "2026-12-08"


def test_a_country_known_later_moves_the_day_forward_once(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = _living(session, ring, now, None)
    row = _asked(session, ring, now, person=ana)
    assert queries.too_late(session) == []
    make.register(session, ring, now=now, attributes={"country": "ru"})
    assert queries.too_late(session) == [row.public_id]
    requests.hasten(session, [row.public_id], now=now)
    assert row.due_on == date(2026, 12, 8)
    last = _last(session)
    assert (last["kind"], last["subject"], last["actor"]) == ("request.hastened", ana.public_id, "system")
    assert last["body"]["due"] == "2026-12-08"
    written = len(appended(session))
    assert queries.too_late(session) == []
    requests.hasten(session, [row.public_id], now=now)
    assert len(appended(session)) == written
    make.register(session, ring, now=now, attributes={"country": "de"})
    assert queries.too_late(session) == []
    assert row.due_on == date(2026, 12, 8)


def test_more_time_by_the_law_there(session: Session, ring: Keyring, now: datetime) -> None:
    row = _asked(session, ring, now, person=_living(session, ring, now, "ru"))
    requests.extend(session, row.public_id, reason="Three archives", told=True, now=now, by=BY)
    assert row.due_on == date(2026, 12, 15)
    assert queries.too_late(session) == []


def test_what_is_closed_keeps_its_day(session: Session, ring: Keyring, now: datetime) -> None:
    ana = _living(session, ring, now, None)
    row = _asked(session, ring, now, person=ana)
    requests.close(session, row.public_id, outcome="done", note="", now=now, by=BY)
    make.register(session, ring, now=now, attributes={"country": "ru"})
    assert queries.too_late(session) == []
    requests.hasten(session, [row.public_id], now=now)
    assert row.due_on == date(2026, 12, 24)


def test_what_is_overdue_by_its_own_day_cannot_be_put_off_by_moving_away(
    session: Session, ring: Keyring, now: datetime
) -> None:
    """Its day went forward while they lived where the law is quicker, and no day goes back."""
    row = _asked(session, ring, now, person=_living(session, ring, now, "ru"))
    make.register(session, ring, now=now, attributes={"country": "de"})
    late = datetime(2026, 12, 9, 12, tzinfo=now.tzinfo)
    with pytest.raises(rules.TooLateToExtend):
        requests.extend(session, row.public_id, reason="Archives", told=True, now=late, by=BY)
    assert row.due_on == date(2026, 12, 8)
