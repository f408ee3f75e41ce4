"""Where a topic rests on a sale, whoever pressed our button said yes all the same: that permits everywhere, a sale does not."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlmodel import Session, select

from service.domain.consent.tables import Confirmation, Consent
from service.domain.deliveries.queries import topic_facts
from service.domain.people.tables import Person
from service.domain.preferences import projection, queries
from service.domain.preferences.rules import decide
from service.kit.signing import Keyring
from tests import builders as make

HOUR = timedelta(hours=1)


def _refusal(session: Session, person: Person, now: datetime) -> str | None:
    facts = topic_facts(make.the_topic(session, "sales"))
    session.flush()
    return decide(queries.standing(session, person, facts), topic=facts, now=now).reason


def _differences(session: Session) -> list[Any]:
    session.flush()
    for last in session.info.pop("at_end", []):
        last(session)
    return list(projection.differences(session))


@pytest.mark.parametrize("country", [None, "ca", "ru", "de"])
def test_a_button_pressed_is_a_yes_of_their_own_wherever_they_live(
    session: Session, ring: Keyring, now: datetime, country: str | None
) -> None:
    make.a_topic(session, "sales", basis="soft_opt_in", now=now)
    lives = {"attributes": {"country": country}} if country else {}
    asked = [make.an_answer("sales", at=now)]
    done = make.register(session, ring, consents=asked, now=now, attest=False, **lives)
    ana = make.the_person(session, done.person_id)
    make.press(session, ring, make.buttons(session, ana)[-1], now=now)
    assert make.the_state(session, ana, "sales") == "given"
    assert _refusal(session, ana, now) is None
    record = session.get_one(Consent, (ana.id, make.the_topic(session, "sales").id))
    assert record.basis == "consent"
    assert _differences(session) == []


@pytest.mark.parametrize("times", [1, 2])
def test_it_takes_the_place_of_a_sale_told_while_the_button_waited(
    session: Session, ring: Keyring, now: datetime, times: int
) -> None:
    make.a_topic(session, "sales", basis="soft_opt_in", now=now)
    asked = [make.an_answer("sales", at=now)]
    ana = make.the_person(
        session, make.register(session, ring, consents=asked, now=now, attest=False).person_id
    )
    later = now + times * HOUR
    for hours in range(1, times + 1):
        told = [make.an_answer("sales", at=now + hours * HOUR, confirmed=True)]
        make.register(session, ring, consents=told, now=now + hours * HOUR)
    assert _refusal(session, ana, later) == "law_wants_a_yes"
    session.exec(select(Confirmation)).one()
    make.press(session, ring, make.buttons(session, ana)[-1], now=later)
    assert _refusal(session, ana, later) is None
    assert _differences(session) == []


def test_a_site_that_tells_of_a_sale_once_more_takes_nothing_from_it(
    session: Session, ring: Keyring, now: datetime
) -> None:
    make.a_topic(session, "sales", basis="soft_opt_in", now=now)
    asked = [make.an_answer("sales", at=now)]
    ana = make.the_person(
        session, make.register(session, ring, consents=asked, now=now, attest=False).person_id
    )
    make.press(session, ring, make.buttons(session, ana)[-1], now=now)
    later = now + HOUR
    make.register(session, ring, consents=[make.an_answer("sales", at=later, confirmed=True)], now=later)
    assert make.the_state(session, ana, "sales") == "renewed"
    assert _refusal(session, ana, later) is None
    assert _differences(session) == []


def test_what_a_site_tells_of_a_sale_rests_on_the_sale(
    session: Session, ring: Keyring, now: datetime
) -> None:
    make.a_topic(session, "sales", basis="soft_opt_in", now=now)
    told = [make.an_answer("sales", at=now, confirmed=True)]
    ana = make.the_person(session, make.register(session, ring, consents=told, now=now).person_id)
    assert _refusal(session, ana, now) == "law_wants_a_yes"
