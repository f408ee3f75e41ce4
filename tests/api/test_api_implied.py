"""What a purchase or an inquiry permits for a time, where the law says so (Canada's anti-spam law, section 10)."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlmodel import col, select
from starlette.testclient import TestClient

from scheduler import jobs
from service.db.session import reading
from service.domain.consent import jurisdictions
from service.domain.deliveries.queries import topic_facts
from service.domain.people.tables import Person
from service.domain.preferences import expiring, projection, queries, rules
from service.domain.preferences.tables import Preference
from service.domain.topics import queries as topics
from service.kit import clock
from service.ops.house import House
from tests.api.shapes import ana, assert_problem, said_yes

TOPIC = "new-products"


def _ago(days: float) -> str:
    return (clock.now() - timedelta(days=days)).isoformat()


def _implied(
    basis: str = "implied_purchase", *, days: float = 10, topic: str = TOPIC
) -> list[dict[str, Any]]:
    [item] = said_yes(topic, at=_ago(days))
    return [item | {"basis": basis, "source": "order 1001"}]


def _canadian(**more: Any) -> dict[str, Any]:
    return ana(attributes={"country": "CA"}, **more)


def _row(house: House, topic: str = TOPIC) -> Preference:
    with reading(house.engine) as session:
        return session.exec(
            select(Preference).where(col(Preference.topic_id) == topics.by_slug(session, topic).id)
        ).one()


def _refusal(house: House, now: datetime | None = None) -> str | None:
    with reading(house.engine) as session:
        person = session.exec(select(Person)).one()
        facts = topic_facts(topics.by_slug(session, TOPIC))
        standing = queries.standing(session, person, facts)
        return rules.decide(standing, topic=facts, now=now or clock.now()).reason


def _agrees(house: House) -> None:
    """The table is what the ledger alone makes of it."""
    with reading(house.engine) as session:
        assert projection.differences(session) == []


def _result(answer: Any) -> str:
    assert answer.status_code in (200, 201), answer.text
    [said] = answer.json()["consents"]
    return str(said["result"])


@pytest.mark.parametrize(("basis", "months"), [("implied_purchase", 24), ("implied_inquiry", 6)])
def test_it_permits_for_its_months_and_not_an_instant_longer(
    api: TestClient, house: House, basis: str, months: int
) -> None:
    assert _result(api.put("people/1", json=_canadian(consents=_implied(basis)))) == "given"
    row = _row(house)
    at = datetime.fromisoformat(_implied(basis)[0]["evidence"]["at"])
    assert row.basis == basis
    assert row.valid_until is not None
    whole = (row.valid_until.year - at.year) * 12 + row.valid_until.month - at.month
    assert whole == months
    assert _refusal(house) is None
    assert _refusal(house, row.valid_until - timedelta(microseconds=1)) is None
    assert _refusal(house, row.valid_until) == "expired"
    _agrees(house)


@pytest.mark.parametrize("country", ["de", "gb", "ru", "br", ""])
def test_elsewhere_it_permits_nothing(api: TestClient, house: House, country: str) -> None:
    body = ana(attributes={"country": country} if country else {}, consents=_implied())
    assert _result(api.put("people/1", json=body)) == "given"
    assert _refusal(house) == "law_wants_a_yes"


def test_two_countries_are_as_strict_as_the_stricter(api: TestClient, house: House) -> None:
    api.put("people/1", json=ana(attributes={"country": ["ca", "us"]}, consents=_implied()))
    assert _refusal(house) is None
    api.put("people/1", json=ana(attributes={"country": ["ca", "de"]}))
    assert _refusal(house) == "law_wants_a_yes"


def test_a_later_purchase_permits_for_longer_and_an_earlier_one_changes_nothing(
    api: TestClient, house: House
) -> None:
    api.put("people/1", json=_canadian(consents=_implied("implied_inquiry", days=90)))
    first = _row(house).valid_until
    assert (
        _result(api.put("people/1", json=_canadian(consents=_implied("implied_inquiry", days=100))))
        == "unchanged"
    )
    assert _row(house).valid_until == first
    assert (
        _result(api.put("people/1", json=_canadian(consents=_implied("implied_purchase", days=80))))
        == "renewed"
    )
    row = _row(house)
    assert (row.state, row.basis) == ("renewed", "implied_purchase")
    assert first is not None
    assert row.valid_until is not None
    assert row.valid_until > first
    _agrees(house)


def test_it_never_goes_over_a_no(api: TestClient, house: House) -> None:
    no = [{"topic": TOPIC, "given": False}]
    api.put("people/1", json=_canadian(consents=no))
    assert _result(api.put("people/1", json=_canadian(consents=_implied(days=0)))) == "kept_no"
    assert _row(house).state == "refused"
    assert _refusal(house) == "refused"
    _agrees(house)


def test_a_no_ends_it(api: TestClient, house: House) -> None:
    api.put("people/1", json=_canadian(consents=_implied()))
    choice = {"topics": [{"topic": TOPIC, "state": "withdrawn"}]}
    assert api.put("people/1/preferences", json=choice).status_code == 200
    assert _row(house).state == "withdrawn"
    assert _result(api.put("people/1", json=_canadian(consents=_implied(days=0)))) == "kept_no"
    _agrees(house)


def test_it_is_no_step_back_from_a_yes_of_their_own(api: TestClient, house: House) -> None:
    api.put("people/1", json=_canadian(consents=said_yes(TOPIC)))
    before = _row(house)
    assert _result(api.put("people/1", json=_canadian(consents=_implied(days=0)))) == "unchanged"
    assert _row(house) == before


def test_a_yes_of_their_own_takes_its_place_and_does_not_end(api: TestClient, house: House) -> None:
    api.put("people/1", json=_canadian(consents=_implied()))
    assert _result(api.put("people/1", json=_canadian(consents=said_yes(TOPIC)))) == "given"
    row = _row(house)
    assert (row.state, row.basis, row.valid_until) == ("given", "consent", None)
    _agrees(house)


def test_it_goes_on_while_a_yes_of_their_own_waits_for_the_button(
    client_of: Callable[[str | None], TestClient], make_key: Callable[..., str], api: TestClient, house: House
) -> None:
    api.put("people/1", json=_canadian(consents=_implied()))
    before = _row(house)
    asks = client_of(make_key("people:write", "people:read"))
    answer = asks.put("people/1", json=_canadian(consents=said_yes(TOPIC, confirmed=False)))
    assert _result(answer) == "confirmation_sent"
    assert _row(house) == before
    assert _refusal(house) is None


def test_only_who_may_be_believed_brings_one(
    client_of: Callable[[str | None], TestClient], make_key: Callable[..., str]
) -> None:
    asks = client_of(make_key("people:write"))
    [item] = _implied()
    del item["confirmed"]
    answer = asks.put("people/1", json=_canadian(consents=[item]))
    assert_problem(answer, 403, "implied_needs_attestation", "consents[0].basis")


@pytest.mark.parametrize(("basis", "days"), [("implied_purchase", 732), ("implied_inquiry", 190)])
def test_what_was_too_long_ago_is_refused(api: TestClient, basis: str, days: int) -> None:
    answer = api.put("people/1", json=_canadian(consents=_implied(basis, days=days)))
    assert_problem(answer, 422, "implied_over", "consents[0].evidence.at")


def test_a_basis_is_one_of_two_and_only_of_a_yes(api: TestClient) -> None:
    [item] = _implied()
    for wrong in (item | {"basis": "soft_opt_in"}, item | {"given": False}):
        answer = api.put("people/1", json=_canadian(consents=[wrong]))
        assert answer.status_code == 422
        assert answer.json()["field"] == "consents[0].basis"


def test_the_clock_ends_it_with_an_entry(api: TestClient, house: House) -> None:
    api.put("people/1", json=_canadian(consents=_implied()))
    ends = _row(house).valid_until
    assert ends is not None
    with reading(house.engine) as session:
        assert not expiring.waits(session, now=ends - timedelta(seconds=1))
        [(_, topic, basis, at)] = expiring.whose(session, now=clock.now(), until=ends)
        assert (topic, basis, at) == (TOPIC, "implied_purchase", ends)
    jobs.end_consents(house, ends - timedelta(seconds=1))
    assert _row(house).state == "given"
    jobs.end_consents(house, ends)
    row = _row(house)
    assert (row.state, row.warrant_seq) == ("expired", None)
    _agrees(house)
    assert _result(api.put("people/1", json=_canadian(consents=_implied(days=0)))) == "given"
    assert _refusal(house) is None
    _agrees(house)


def test_more_than_one_transaction_of_them_ends(api: TestClient, house: House) -> None:
    lines = [
        {"external_id": str(n), **_canadian(email=f"reader{n}@example.org", consents=_implied())}
        for n in range(expiring.MOST + 5)
    ]
    body = "\n".join(json.dumps(one) for one in lines)
    assert (
        api.post("people/bulk", content=body, headers={"content-type": "application/x-ndjson"}).status_code
        == 200
    )
    later = clock.now() + timedelta(days=800)
    jobs.end_consents(house, later)
    with reading(house.engine) as session:
        states = session.exec(select(Preference.state).where(col(Preference.valid_until).is_not(None))).all()
        assert states == ["expired"] * len(lines)
        assert not expiring.waits(session, now=later)


@pytest.mark.parametrize(
    ("basis", "at", "ends"),
    [
        ("implied_purchase", "2024-02-29T10:00:00+00:00", "2026-02-28T10:00:00+00:00"),
        ("implied_purchase", "2026-03-01T00:00:00+00:00", "2028-03-01T00:00:00+00:00"),
        ("implied_inquiry", "2026-08-31T23:59:59+00:00", "2027-02-28T23:59:59+00:00"),
        ("implied_inquiry", "2026-06-30T12:00:00+00:00", "2026-12-30T12:00:00+00:00"),
        ("implied_inquiry", "2025-12-31T12:00:00+00:00", "2026-06-30T12:00:00+00:00"),
    ],
)
def test_months_are_counted_by_the_calendar(basis: str, at: str, ends: str) -> None:
    counted = jurisdictions.ends(basis, datetime.fromisoformat(at))
    assert counted == datetime.fromisoformat(ends).astimezone(UTC)
