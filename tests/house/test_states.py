"""Eight states of a consent (design.md 2, standards J6), and which may follow which: enforced in the database, both of them."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError
from sqlmodel import Session

from service.domain.preferences.tables import STATES
from service.kit.signing import Keyring
from tests import builders as make

NOW = datetime(2026, 11, 24, 9, 20, tzinfo=UTC)
# What a person, a site, the clock or the controller can make of each state, written out once more.
AFTER = {
    "unknown": {"requested", "given", "refused", "withdrawn"},
    "requested": {"given", "refused", "withdrawn"},
    "given": {"renewed", "withdrawn", "expired", "invalidated"},
    "renewed": {"given", "withdrawn", "expired", "invalidated"},
    "refused": {"given", "requested", "withdrawn"},
    "withdrawn": {"given", "renewed", "requested", "refused", "expired", "invalidated"},
    "expired": {"given", "requested", "refused", "withdrawn"},
    "invalidated": {"given", "withdrawn"},
}
FIRST = {"unknown", "requested", "given", "refused", "withdrawn"}
WAYS = {  # to bring a row there
    "renewed": ["given", "renewed"],
    "expired": ["given", "expired"],
    "invalidated": ["given", "invalidated"],
}


@pytest.fixture
def person_id(session: Session, ring: Keyring) -> int:
    return make.a_person(session, ring, yes=(), now=NOW).id or 0


def _allowed(session: Session, statement: str, **values: object) -> bool:
    """Whether the database lets it happen."""
    session.flush()
    try:
        with session.begin_nested():
            session.connection().execute(text(statement), values)
    except DatabaseError:
        return False
    return True


def _begin(session: Session, person_id: int, state: str, basis: str = "consent") -> bool:
    topic = make.the_topic(session).id
    session.connection().execute(
        text("DELETE FROM preference WHERE person_id = :p AND topic_id = :t"), {"p": person_id, "t": topic}
    )
    return _allowed(
        session,
        "INSERT INTO preference (person_id, topic_id, state, basis, cadence, since_at, last_seq)"
        " VALUES (:person, :topic, :state, :basis, 'each', :now, 1)",
        person=person_id, topic=topic, state=state, basis=basis, now=NOW.replace(tzinfo=None),
    )  # fmt: skip


def _move(session: Session, person_id: int, state: str, basis: str | None = None) -> bool:
    return _allowed(
        session,
        "UPDATE preference SET state = :state, basis = COALESCE(:basis, basis)"
        " WHERE person_id = :person AND topic_id = :topic",
        person=person_id, topic=make.the_topic(session).id, state=state, basis=basis,
    )  # fmt: skip


def test_every_pair_of_states_is_decided(session: Session, person_id: int) -> None:
    assert set(AFTER) == set(STATES)
    for before in STATES:
        for after in STATES:
            first, *way = WAYS.get(before, [before])
            assert _begin(session, person_id, first)
            assert all(_move(session, person_id, step) for step in way)
            assert _move(session, person_id, after) == (after in AFTER[before] or after == before), (
                before,
                after,
            )


def test_no_consent_begins_as_what_follows_one(session: Session, person_id: int) -> None:
    assert {state for state in STATES if _begin(session, person_id, state)} == FIRST


def test_an_answer_of_their_own_may_follow_a_registration_that_counted_as_one(
    session: Session, person_id: int
) -> None:
    for state in ("requested", "refused"):
        assert _begin(session, person_id, "given", "legacy_registration")
        assert _move(session, person_id, state, "consent")
        assert _begin(session, person_id, "given", "consent")
        assert not _move(session, person_id, state, "legacy_registration")
