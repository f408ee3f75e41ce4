"""How many mails a week somebody wants at most, through a merge and an erasure: the lower one holds, and nothing is left of it."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlmodel import Session

from service.domain.people.tables import Person
from service.domain.preferences import actions, projection
from service.domain.preferences.actions import Choices
from service.domain.privacy import erasing
from service.kit.signing import Keyring
from tests import builders as make

HOUR = timedelta(hours=1)


def _limit(session: Session, ring: Keyring, person: Person, most: int | None, now: datetime) -> None:
    said: dict[str, Any] = {"how": "page", "evidence": {}, "now": now, "by": f"person:{person.public_id}"}
    actions.save(session, ring, person, Choices(max_per_week=most), **said)
    _settle(session)


def _settle(session: Session) -> None:
    """What closing a transaction does, all but the commit: the ledger's rows are written."""
    session.flush()
    for last in session.info.pop("at_end", []):
        last(session)


def _same_mailbox(session: Session, ring: Keyring, now: datetime) -> Person:
    """A second registration of the same mailbox, by another site that does not vouch for it."""
    answers, more = (
        [make.an_answer("updates", at=now)],
        {"source": "crm", "external_id": "c1", "attest": False},
    )
    return make.the_person(session, make.register(session, ring, consents=answers, now=now, **more).person_id)


@pytest.mark.parametrize(("first", "second", "left"), [(None, 2, 2), (3, 2, 2), (2, 3, 2), (2, None, 2)])
def test_of_two_limits_the_lower_one_holds(
    session: Session, ring: Keyring, now: datetime, first: int | None, second: int | None, left: int
) -> None:
    ana = make.a_person(session, ring, now=now)
    other = _same_mailbox(session, ring, now)
    assert other.id != ana.id
    _limit(session, ring, ana, first, now)
    _limit(session, ring, other, second, now)
    [button] = make.buttons(session, other)
    make.press(session, ring, button, now=now + HOUR)
    _settle(session)
    assert other.merged_into == ana.id
    assert session.get_one(Person, ana.id).max_per_week == left
    assert projection.differences(session) == []


def test_nothing_is_left_of_it_after_an_erasure(session: Session, ring: Keyring, now: datetime) -> None:
    ana = make.a_person(session, ring, now=now)
    _limit(session, ring, ana, 2, now)
    erasing.erase(session, ring, ana, how="staff", reason="asked by letter", now=now + HOUR, by="staff:s_1")
    _settle(session)
    assert session.get_one(Person, ana.id).max_per_week is None
    assert projection.differences(session) == []
