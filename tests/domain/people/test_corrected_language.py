"""Language and time zone that a person corrected go before what a site says later, as their name does."""

from datetime import datetime, timedelta

import pytest
from sqlmodel import Session

from service.domain.people import actions as people
from service.domain.people.tables import Person
from service.kit.signing import Keyring
from tests import builders as make

DAY = timedelta(days=1)


def settle(session: Session) -> None:
    """The entries of this transaction go into the table, as they do at its end."""
    session.flush()
    for last in session.info.pop("at_end", []):
        last(session)


def told(session: Session, ring: Keyring, now: datetime, **more: str) -> Person:
    answer = make.register(session, ring, "ana@example.org", source="shop", external_id="1", now=now, **more)
    settle(session)
    return make.the_person(session, answer.person_id)


@pytest.mark.parametrize(
    ("field", "sites", "corrected", "again"),
    [("locale", "en", "de", "en"), ("zone", "Europe/London", "Europe/Berlin", "Europe/London")],
)
def test_std_h10_a_site_s_next_report_does_not_undo_it(
    session: Session, ring: Keyring, now: datetime, field: str, sites: str, corrected: str, again: str
) -> None:
    ana = told(session, ring, now, **{field: sites})
    assert getattr(ana, field) == sites
    assert (
        getattr(told(session, ring, now, **{field: "fr" if field == "locale" else "Europe/Paris"}), field)
        != sites
    )
    own = {"locale": None, "zone": None, field: corrected}
    people.correct(session, ring, ana, profile={}, **own, now=now + DAY, by=f"person:{ana.public_id}")  # type: ignore[arg-type]
    settle(session)
    assert getattr(told(session, ring, now + 2 * DAY, **{field: again}), field) == corrected
    own[field] = again
    people.correct(session, ring, ana, profile={}, **own, now=now + 3 * DAY, by=f"person:{ana.public_id}")  # type: ignore[arg-type]
    assert getattr(ana, field) == again, "they themselves change it as they like"
