"""A no said again takes back the question that was asked since. No undo asks it anew, so none is offered that would say so."""

from datetime import datetime, timedelta

import pytest
from sqlmodel import Session

from service.domain.people.tables import Person
from service.domain.preferences import actions, rules
from service.kit.signing import Keyring
from tests import builders as make

ANA, HOUR = "ana@example.org", timedelta(hours=1)


def asked_again(session: Session, ring: Keyring, now: datetime, *, was: str) -> Person:
    """Somebody who said no, signed up anew since, and has the mail with the button."""
    ana = make.a_person(session, ring, ANA, now=now, external_id="1", yes=("new-products",))
    slug = "new-products" if was == "withdrawn" else "updates"
    if was == "withdrawn":
        link = make.a_link(session, ana, slug)
        actions.stop(session, ring, link, how="one_click", evidence={}, now=now)
    else:
        make.register(session, ring, ANA, [make.an_answer(slug, False, at=now)], now=now, external_id="1")
    assert make.the_state(session, ana, slug) == was
    asks = [make.an_answer(slug, at=now + HOUR)]
    make.register(session, ring, ANA, asks, now=now + HOUR, external_id="1")
    return ana


@pytest.mark.parametrize("was", ["withdrawn", "refused"])
@pytest.mark.parametrize("page", [True, False])
def test_h39_a_no_that_takes_a_question_back_offers_no_undo(
    session: Session, ring: Keyring, now: datetime, was: str, page: bool
) -> None:
    ana, slug = asked_again(session, ring, now, was=was), "new-products" if was == "withdrawn" else "updates"
    if page:
        off, by = actions.Choices({slug: "off"}), f"person:{ana.public_id}"
        saved = actions.save(session, ring, ana, off, how="page", evidence={}, now=now + 2 * HOUR, by=by)
        undo, receipt = saved.undo, saved.receipt
    else:
        link = make.a_link(session, ana, slug)
        done = actions.stop(session, ring, link, how="link", evidence={}, now=now + 2 * HOUR)
        undo, receipt = done.undo, done.receipt
    assert receipt is not None
    assert undo is None
    assert make.the_state(session, ana, slug) == was
    with pytest.raises(rules.GrantNeedsNewConfirmation):
        make.press(session, ring, make.buttons(session, ana)[-1], now=now + 3 * HOUR)
