"""When two registrations become one, a no of theirs holds over what permits without a word of theirs, whenever that came."""

from datetime import datetime, timedelta

import pytest
from sqlmodel import Session

from service.domain.people.tables import Person
from service.domain.preferences import access, actions, projection
from service.domain.preferences.intake import Transfer, look_up
from service.domain.preferences.registration import Registered, Registration, register_many
from service.kit import addresses
from service.kit.signing import Keyring
from tests import builders as make

THERE, HERE = "ana@example.org", "kov@example.com"
HOUR = timedelta(hours=1)


def told(session: Session, ring: Keyring, now: datetime, basis: str) -> Person:
    """Somebody of whom a site says that they bought something, or an old list that they registered."""
    made = make.a_person(session, ring, HERE, yes=(), now=now, external_id="2")
    said = make.an_answer(at=now)
    facts = look_up(session, now, Transfer("i_old", False, {"new-products": basis}))
    if basis != "legacy_registration":
        said["basis"], facts = basis, look_up(session, now)
    [done] = register_many(
        session, ring, "shop", [Registration("2", HERE, consents=[said])], attest=True, topics=None, now=now,
        by=make.BY, facts=facts,
    )  # fmt: skip
    assert isinstance(done, Registered)
    row = make.the_preference(session, made)
    assert row is not None
    assert (row.state, row.basis) == ("given", basis)
    return made


def become_one(session: Session, ring: Keyring, ana: Person, at: datetime) -> None:
    by = f"person:{ana.public_id}"
    access.change_email(session, ring, ana, addresses.parse(HERE), now=at, by=by)
    make.press(session, ring, make.buttons(session, ana)[-1], now=at)
    assert ana.state == "merged"


@pytest.mark.parametrize("basis", ["implied_purchase", "implied_inquiry", "legacy_registration"])
def test_p7_a_no_holds_over_what_is_no_yes_of_theirs(
    session: Session, ring: Keyring, now: datetime, basis: str
) -> None:
    ana = make.a_person(session, ring, THERE, now=now, external_id="1")
    link = make.a_link(session, ana, "new-products")
    actions.stop(session, ring, link, how="one_click", evidence={}, now=now)
    there = told(session, ring, now + HOUR, basis)
    become_one(session, ring, ana, now + 2 * HOUR)
    assert make.the_state(session, there) == "withdrawn"
    session.flush()
    for last in session.info.pop("at_end", []):
        last(session)
    assert projection.differences(session) == []


@pytest.mark.parametrize("pressed", [False, True])
def test_p7_a_no_holds_over_a_sale_that_a_site_told_of_and_not_over_a_button(
    session: Session, ring: Keyring, now: datetime, pressed: bool
) -> None:
    make.a_topic(session, "sales", basis="soft_opt_in", double_opt_in=pressed, now=now)
    ana = make.a_person(session, ring, THERE, now=now, external_id="1")
    link = make.a_link(session, ana, "sales")
    actions.stop(session, ring, link, how="one_click", evidence={}, now=now)
    there, later = make.a_person(session, ring, HERE, yes=(), now=now, external_id="2"), now + HOUR
    make.register(session, ring, HERE, [make.an_answer("sales", at=later)], now=later, external_id="2")
    if pressed:
        make.press(session, ring, make.buttons(session, there)[-1], now=later)
    assert make.the_state(session, there, "sales") == "given"
    become_one(session, ring, ana, now + 2 * HOUR)
    assert make.the_state(session, there, "sales") == ("given" if pressed else "withdrawn")
