"""What is owed by law and past its day is said where whoever runs it looks: counts, and nobody's name."""

from datetime import timedelta

import pytest

from service.db.session import transaction
from service.domain.privacy import breaches, queries, requests
from service.kit import clock
from service.ops import doctor, health, metrics
from service.ops.house import House

BY = "staff:s_test"


def asked(house: House, ago: int) -> str:
    """A request that came so many days ago; its id."""
    now = clock.now()
    came = (now - timedelta(days=ago)).date()
    with transaction(house.engine) as session:
        row = requests.receive(
            session, house.ring, right="access", door="letter", came_on=came, who="Ana Ruiz", text="All.",
            now=now, by=BY,
        )  # fmt: skip
        return row.public_id


def noticed(house: House, hours: int) -> str:
    """A breach that was noticed so many hours ago; its id."""
    now = clock.now()
    with transaction(house.engine) as session:
        given = {"what": "A laptop of Ana Ruiz"}
        return breaches.notice(
            session, noticed_at=now - timedelta(hours=hours), given=given, now=now, by=BY
        ).public_id


def fact(house: House, name: str) -> health.Fact:
    [found] = [one for one in doctor.inside(house, now=clock.now()) if one.name == name]
    return found


def lines(house: House) -> list[str]:
    return metrics.text(house, now=clock.now()).splitlines()


def test_an_overdue_request_is_said_until_it_is_closed(house: House) -> None:
    asked(house, 1)
    said = fact(house, "requests")
    assert (said.ok, said.says, said.value) == (True, "1 open, none overdue", 0)
    assert "bidden_requests_overdue 0" in lines(house)
    late = asked(house, 80)
    said = fact(house, "requests")
    assert (said.ok, said.says, said.value) == (False, "1 of 2 overdue", 1)
    assert said.why
    assert said.fix
    assert "bidden_requests_overdue 1" in lines(house)
    assert "Ana" not in str(said.as_json()) + "\n".join(lines(house))
    with transaction(house.engine) as session:
        requests.close(session, late, outcome="done", note="By letter.", now=clock.now(), by=BY)
    assert fact(house, "requests").ok
    assert "bidden_requests_overdue 0" in lines(house)


@pytest.mark.parametrize("then", ["reported", "closed"])
def test_a_breach_past_its_72_hours_is_said_until_it_is_told_or_closed(house: House, then: str) -> None:
    noticed(house, 71)
    said = fact(house, "breaches")
    assert (said.ok, said.value) == (True, 0)
    assert "bidden_breaches_late 0" in lines(house)
    late = noticed(house, 73)
    said = fact(house, "breaches")
    assert (said.ok, said.says, said.value) == (False, "1 past its 72 hours", 1)
    assert said.why
    assert said.fix
    assert "bidden_breaches_late 1" in lines(house)
    assert "Ana" not in str(said.as_json()) + "\n".join(lines(house))
    with transaction(house.engine) as session:
        row = queries.breach_by_id(session, late)
        row.reported_at = clock.now() if then == "reported" else None
        row.closed_at = clock.now() if then == "closed" else None
        session.add(row)
    assert fact(house, "breaches").ok
