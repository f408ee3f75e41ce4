"""A request is not called done as asked while what is held here shows that it was not, unless staff write down what was done."""

from collections.abc import Callable
from datetime import datetime

import pytest
from sqlmodel import Session

from service.domain.consent.actions import Said
from service.domain.people.tables import Person
from service.domain.preferences import rights
from service.domain.privacy import requests, rules
from service.domain.privacy.tables import RightsRequest
from service.kit.signing import Keyring
from service.ops import erasure
from tests import builders as make

Act = Callable[[Session, Keyring, Person, datetime], object]


def asked(session: Session, ring: Keyring, now: datetime, right: str, person: Person | None) -> RightsRequest:
    return requests.receive(
        session, ring, right=right, door="staff", came_on=now.date(), person=person, who="Ana",
        text="By letter.", now=now, by=make.STAFF,
    )  # fmt: skip


def close(session: Session, row: RightsRequest, now: datetime, note: str = "") -> None:
    requests.close(session, row.public_id, outcome="done", note=note, now=now, by=make.STAFF)


def _erase(session: Session, ring: Keyring, person: Person, now: datetime) -> object:
    return erasure.erase(
        session, ring, person, how="restore", now=now, by="system"
    )  # closes nothing by itself


def _restrict(session: Session, ring: Keyring, person: Person, now: datetime) -> object:
    return rights.restrict(session, person, how="staff", now=now, by=make.STAFF)


def _object(session: Session, ring: Keyring, person: Person, now: datetime) -> object:
    said = Said("objection", "staff")
    return rights.object_to_marketing(session, ring, person, said, now=now, by=make.STAFF)


@pytest.mark.parametrize(
    ("right", "act"), [("erasure", _erase), ("restriction", _restrict), ("objection", _object)]
)
def test_std_h9_nothing_was_done_and_nobody_said_what(
    session: Session, ring: Keyring, now: datetime, right: str, act: Act
) -> None:
    ana = make.a_person(session, ring, now=now)
    first, second = (asked(session, ring, now, right, ana) for _ in "ab")
    with pytest.raises(rules.NotDone):
        close(session, first, now)
    assert first.closed_at is None
    close(session, first, now, note="Only the telephone number, as they wrote")
    act(session, ring, ana, now)
    close(session, second, now)
    assert (first.outcome, second.outcome) == ("done", "done")


@pytest.mark.parametrize("right", ["access", "rectification", "objection_other", "opt_out"])
def test_what_nothing_here_shows_is_staff_s_to_say(
    session: Session, ring: Keyring, now: datetime, right: str
) -> None:
    row = asked(session, ring, now, right, make.a_person(session, ring, now=now))
    close(session, row, now)
    assert row.outcome == "done"


def test_of_nobody_known_here_nothing_is_held(session: Session, ring: Keyring, now: datetime) -> None:
    row = asked(session, ring, now, "erasure", None)
    close(session, row, now)
    assert row.outcome == "done"
