"""Two registrations under restriction become one: what either of them asked for is lifted by the person alone."""

from datetime import datetime, timedelta

import pytest
from sqlmodel import Session

from service.domain.people.tables import Person
from service.domain.preferences import rights, rules
from service.kit.signing import Keyring
from tests import builders as make

HOUR = timedelta(hours=1)


def settle(session: Session) -> None:
    """The entries of this transaction go into the table, as they do at its end."""
    session.flush()
    for last in session.info.pop("at_end", []):
        last(session)


def two_become_one(
    session: Session, ring: Keyring, now: datetime, *, theirs: str | None, ours: str | None
) -> tuple[Person, Person]:
    """`theirs`, `ours`: who asked for the restriction of the one who moves, and of the one who holds the mailbox."""
    held = make.a_person(session, ring, now=now)
    told = make.register(
        session, ring, "other@example.org", source="crm", external_id="7", now=now, attest=False
    )
    bea = make.the_person(session, told.person_id)
    for one, asked in ((bea, theirs), (held, ours)):
        if asked:
            rights.restrict(session, one, how="staff", asked=asked, reason="x", now=now, by=make.STAFF)
            settle(session)
    yes = [make.an_answer(at=now, confirmed=True)]
    make.register(session, ring, "ana@example.org", yes, source="crm", external_id="7", now=now + HOUR)
    session.refresh(bea)
    assert (bea.state, held.state) == ("merged", "restricted")
    settle(session)
    return held, bea


def lift(session: Session, person: Person, now: datetime) -> bool:
    return rights.lift_restriction(session, person, how="staff", told=True, now=now, by=make.STAFF)


def test_p7_what_the_one_who_moved_asked_for_is_not_staff_s_to_lift(
    session: Session, ring: Keyring, now: datetime
) -> None:
    held, bea = two_become_one(session, ring, now, theirs=rights.PERSON, ours=rights.CONTROLLER)
    assert rights.asked_for_restriction(session, held)
    with pytest.raises(rules.RestrictedByThemselves):
        lift(session, held, now + 2 * HOUR)
    own = f"person:{held.public_id}"
    assert rights.lift_restriction(session, held, how="me", now=now + 3 * HOUR, by=own)
    settle(session)
    again = {"how": "staff", "asked": rights.CONTROLLER, "now": now + 4 * HOUR, "by": make.STAFF}
    assert rights.restrict(session, held, **again)  # type: ignore[arg-type]
    settle(session)
    assert lift(session, held, now + 5 * HOUR), "what was lifted since is no word of theirs any more"
    assert bea.state == "merged"


@pytest.mark.parametrize("ours", [None, rights.CONTROLLER])
def test_what_the_controller_set_of_both_stays_the_controller_s(
    session: Session, ring: Keyring, now: datetime, ours: str | None
) -> None:
    held, _ = two_become_one(session, ring, now, theirs=rights.CONTROLLER, ours=ours)
    assert not rights.asked_for_restriction(session, held)
    assert lift(session, held, now + 2 * HOUR)


def test_p7_a_word_of_theirs_that_came_along_stays_theirs(
    session: Session, ring: Keyring, now: datetime
) -> None:
    held, _ = two_become_one(session, ring, now, theirs=rights.PERSON, ours=None)
    with pytest.raises(rules.RestrictedByThemselves):
        lift(session, held, now + 2 * HOUR)
