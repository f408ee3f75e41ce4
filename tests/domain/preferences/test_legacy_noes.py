"""A no to what rested on an old registration is a no as any other: a site's yes does not undo it."""

from datetime import datetime, timedelta

import pytest
from sqlmodel import Session

from service.domain.people.tables import Person
from service.domain.preferences import actions
from service.domain.preferences.intake import Transfer, look_up
from service.domain.preferences.registration import Registered, Registration, register_many
from service.kit.signing import Keyring
from tests import builders as make

ANA, HOUR = "ana@example.org", timedelta(hours=1)


def of_old(session: Session, ring: Keyring, now: datetime) -> Person:
    """Somebody of whom it is only known that registering meant agreeing once."""
    facts = look_up(session, now, Transfer("i_old", False, {"new-products": "legacy_registration"}))
    given = Registration("1", ANA, consents=[make.an_answer(at=now - 400 * 24 * HOUR, confirmed=True)])
    [done] = register_many(
        session, ring, "shop", [given], attest=True, topics=None, now=now, by=make.BY, facts=facts
    )
    assert isinstance(done, Registered)
    ana = make.the_person(session, done.person_id)
    row = make.the_preference(session, ana)
    assert row is not None
    assert (row.state, row.basis) == ("given", "legacy_registration")
    return ana


@pytest.mark.parametrize("attested", [True, False])
def test_p7_a_no_to_an_old_registration_is_kept(
    session: Session, ring: Keyring, now: datetime, attested: bool
) -> None:
    ana = of_old(session, ring, now)
    link = make.a_link(session, ana, "new-products")
    actions.stop(session, ring, link, how="one_click", evidence={}, now=now + HOUR)
    for hours in (2, 3, 4):
        said = make.an_answer(at=now - HOUR, confirmed=attested)
        [answer] = make.register(session, ring, ANA, [said], now=now + hours * HOUR, external_id="1").consents
        assert (answer["state"], answer["result"]) == ("withdrawn", "kept_no")
        assert make.the_state(session, ana) == "withdrawn"
    assert make.buttons(session, ana) == []


def test_a_yes_since_is_asked_for_and_the_button_alone_makes_it(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = of_old(session, ring, now)
    link = make.a_link(session, ana, "new-products")
    actions.stop(session, ring, link, how="one_click", evidence={}, now=now + HOUR)
    for hours in (2, 3):
        said = make.an_answer(at=now + hours * HOUR, confirmed=True)
        make.register(session, ring, ANA, [said], now=now + hours * HOUR, external_id="1")
        assert make.the_state(session, ana) == "withdrawn"
    make.press(session, ring, make.buttons(session, ana)[-1], now=now + 4 * HOUR)
    row = make.the_preference(session, ana)
    assert row is not None
    assert (row.state, row.basis) == ("given", "consent")


def test_who_has_not_said_no_is_brought_by_a_site_as_before(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = of_old(session, ring, now)
    said = make.an_answer(at=now, confirmed=True)
    make.register(session, ring, ANA, [said], now=now + HOUR, external_id="1")
    assert make.the_state(session, ana) == "given"
