"""A yes that was said long ago and a later no of the same mailbox come in one transaction: the no holds."""

from datetime import datetime, timedelta

import pytest
from sqlmodel import Session

from service.domain.preferences import access, actions
from service.kit import addresses
from service.kit.signing import Keyring
from tests import builders as make

THERE, HERE, TOPIC = "ana@example.org", "kov@example.com", "new-products"
HOUR, YEAR = timedelta(hours=1), timedelta(days=365)


@pytest.mark.parametrize(("said", "holds"), [(-YEAR, "withdrawn"), (HOUR / 2, "given")])
def test_p7_a_yes_told_in_the_transaction_that_makes_two_one_counts_from_when_it_was_said(
    session: Session, ring: Keyring, now: datetime, said: timedelta, holds: str
) -> None:
    ana = make.a_person(session, ring, THERE, now=now, external_id="1")
    link = make.a_link(session, ana, TOPIC)
    actions.stop(session, ring, link, how="one_click", evidence={}, now=now)
    given = [make.an_answer(TOPIC, at=now + said, confirmed=True)]
    kov = make.register(session, ring, HERE, given, now=now + HOUR, external_id="2").person_id
    by = f"person:{ana.public_id}"
    access.change_email(session, ring, ana, addresses.parse(HERE), now=now + 2 * HOUR, by=by)
    make.press(session, ring, make.buttons(session, ana)[-1], now=now + 2 * HOUR)
    assert ana.state == "merged"
    assert make.the_state(session, make.the_person(session, kov)) == holds
