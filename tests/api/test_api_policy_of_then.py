"""What a site tells of later was said before the policy of then, as it was before the words of then: its entry names that one."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel import select
from starlette.testclient import TestClient

from service.db.session import reading, transaction
from service.domain.consent.tables import Consent
from service.domain.policies import actions as policies
from service.domain.policies import queries
from service.domain.policies.rules import PolicyText
from service.kit import clock
from service.ops.house import House
from tests.api.shapes import ana, said_yes


@pytest.fixture
def changed_at(house: House) -> datetime:
    """When a second version of the privacy policy came into effect."""
    at = clock.now() - timedelta(hours=1)
    with transaction(house.engine) as session:
        texts: dict[str, PolicyText | None] = {"en": PolicyText("Privacy", "We do more now.")}
        policies.publish(session, slug="privacy", texts=texts, now=at, by="cli")
    return at


def _named(api: TestClient, at: datetime, **more: object) -> list[str]:
    said = said_yes("updates", at=at.isoformat(), **more)
    answer = api.put("people/1", json=ana(consents=said, locale="en"))
    assert answer.status_code in (200, 201), answer.text
    [receipt] = api.get("people/1/receipts").json()["receipts"]
    return [one["policy"] for one in receipt["events"]]


@pytest.mark.parametrize("confirmed", [True, False])
def test_a_yes_of_before_names_the_policy_of_before(
    api: TestClient, house: House, changed_at: datetime, confirmed: bool
) -> None:
    assert _named(api, changed_at - timedelta(days=1), confirmed=confirmed) == ["privacy-v1-en"]
    with reading(house.engine) as session:
        [record] = session.exec(select(Consent).where(Consent.source == "signup-form")).all()
        text = queries.by_id(session, record.policy_version_id or 0)
        assert text.version == 1, "and the record the same"


@pytest.mark.parametrize("late", [timedelta(0), timedelta(minutes=30), timedelta(hours=1, minutes=4)])
def test_a_yes_of_today_names_that_of_today(api: TestClient, changed_at: datetime, late: timedelta) -> None:
    assert _named(api, changed_at + late) == ["privacy-v2-en"]


def test_nobody_was_shown_what_is_to_come(api: TestClient, house: House, changed_at: datetime) -> None:
    """A clock that goes fast by minutes is forgiven, and sees no further."""
    with transaction(house.engine) as session:
        texts: dict[str, PolicyText | None] = {"en": PolicyText("Privacy", "More still.")}
        now = clock.now()
        soon = now + timedelta(minutes=1)
        policies.publish(session, slug="privacy", texts=texts, effective_at=soon, now=now, by="cli")
    assert _named(api, clock.now() + timedelta(minutes=4)) == ["privacy-v2-en"]


def test_before_there_was_any_it_is_the_first(api: TestClient, changed_at: datetime) -> None:
    assert _named(api, datetime(2001, 1, 1, tzinfo=UTC)) == ["privacy-v1-en"]
