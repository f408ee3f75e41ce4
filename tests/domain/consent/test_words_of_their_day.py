"""Whoever agreed on a day was shown words that had been published by then, and their entry names no later ones."""

import json
from datetime import datetime, timedelta

import pytest
from sqlmodel import Session

from service.domain.consent.rules import WordingNotThereYet
from service.domain.deliveries.queries import topic_facts
from service.domain.ledger import actions as ledger
from service.domain.people.tables import Person
from service.domain.preferences import queries
from service.domain.preferences.rules import decide
from service.domain.topics import actions as topics
from service.domain.topics.rules import WordingText
from service.kit.signing import Keyring
from tests import builders as make

DAY = timedelta(days=1)
MORE = {
    "en": WordingText("New products", "Twice a month", "News of new products, and offers of our partners."),
    "de": WordingText("Neue Produkte", "Zweimal im Monat", "Neues, und Angebote unserer Partner."),
}


@pytest.fixture
def later(session: Session, now: datetime) -> datetime:
    """Words that promise more were published ten days after the first; it is two days after that."""
    topics.publish_wording(session, "new-products", MORE, material=True, now=now + 10 * DAY, by=make.STAFF)
    return now + 12 * DAY


def _stands(session: Session, person: Person, now: datetime) -> tuple[str, int | None, str | None]:
    session.flush()
    row, facts = make.the_preference(session, person), topic_facts(make.the_topic(session), 2)
    assert row is not None
    reason = decide(queries.standing(session, person, facts), topic=facts, now=now).reason
    return row.state, row.wording_version, reason


@pytest.mark.parametrize(("days", "version"), [(-400, 1), (1, 1), (9, 1), (10, 2), (11, 2)])
@pytest.mark.parametrize("locale", ["en", "de", "fr"])
def test_a_yes_that_names_no_words_was_to_those_of_its_day(
    session: Session, ring: Keyring, now: datetime, later: datetime, days: int, version: int, locale: str
) -> None:
    """A site that sends its people late, or all of them once more: what they agreed to had not been widened yet."""
    said = [make.an_answer(at=now + days * DAY, confirmed=True)]
    ana = make.the_person(
        session, make.register(session, ring, consents=said, now=later, locale=locale).person_id
    )
    reason = None if version == 2 else "older_words"
    assert _stands(session, ana, later) == ("given", version, reason)


def test_a_yes_repeated_late_renews_what_it_was_to(
    session: Session, ring: Keyring, now: datetime, later: datetime
) -> None:
    first, again = now + DAY, now + 9 * DAY
    ana = make.a_person(session, ring, yes=("new-products",), now=first)
    make.register(session, ring, consents=[make.an_answer(at=again, confirmed=True)], now=later)
    assert _stands(session, ana, later) == ("renewed", 1, "older_words")


def test_words_are_not_named_that_were_published_afterwards(
    session: Session, ring: Keyring, now: datetime, later: datetime
) -> None:
    early = make.an_answer(at=now + 9 * DAY, confirmed=True, wording="new-products-v2-en")
    with pytest.raises(WordingNotThereYet) as raised:
        make.register(session, ring, consents=[early], now=later)
    assert raised.value.field == "consents[0].wording"
    soon = now + 10 * DAY - timedelta(minutes=4)  # a site's clock may be slow
    just = make.an_answer(at=soon, confirmed=True, wording="new-products-v2-en")
    ana = make.the_person(session, make.register(session, ring, consents=[just], now=later).person_id)
    assert _stands(session, ana, later) == ("given", 2, None)


def test_the_first_words_may_have_been_a_site_s_own_before(
    session: Session, ring: Keyring, now: datetime
) -> None:
    """Who moves here brings people who agreed to the same words elsewhere."""
    old = make.an_answer(at=now - 400 * DAY, confirmed=True, wording="new-products-v1-en")
    ana = make.the_person(session, make.register(session, ring, consents=[old], now=now).person_id)
    assert make.the_state(session, ana) == "given"


def test_our_own_button_stands_beside_todays_words_where_a_site_named_none(
    session: Session, ring: Keyring, now: datetime, later: datetime
) -> None:
    """What is asked by mail is read there: the request was to the words of its day, the yes is to those beside the button."""
    early = make.an_answer(at=now + DAY)
    asked = make.register(session, ring, consents=[early], now=later, attest=False)
    ana = make.the_person(session, asked.person_id)
    make.press(session, ring, make.buttons(session, ana)[-1], now=later)
    assert _stands(session, ana, later) == ("given", 2, None)
    bodies = [json.loads(one.text)["body"] for one in ledger.appended(session)]
    named = {one["state"]: one["wording"] for one in bodies if one.get("topic") == "new-products"}
    assert named == {"requested": "new-products-v1-en", "given": "new-products-v2-en"}
