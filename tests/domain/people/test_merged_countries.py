"""Two registrations of one mailbox become one: where they live is what both sites said, and the law as strict as the stricter."""

from datetime import datetime, timedelta

import pytest
from sqlmodel import Session

from service.domain.deliveries.queries import topic_facts
from service.domain.preferences import queries
from service.domain.preferences.rules import decide
from service.kit.signing import Keyring
from tests import builders as make

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(("first", "second"), [("us", "ru"), ("ru", "us"), ("us", "us"), ("us", None)])
def test_a_country_of_the_one_is_not_lost_with_the_other(
    session: Session, ring: Keyring, now: datetime, first: str, second: str | None
) -> None:
    make.a_topic(session, "sales", basis="soft_opt_in", now=now)
    told = [make.an_answer("sales", at=now, confirmed=True)]
    lives = {"attributes": {"country": first}}
    ana = make.the_person(session, make.register(session, ring, consents=told, now=now, **lives).person_id)
    later = now + HOUR
    asked = [make.an_answer("updates", at=later)]
    more = {"attributes": {"country": second}} if second else {}
    make.register(session, ring, consents=asked, source="forum", attest=False, now=later, **more)
    there = make.the_person(session, make.register(session, ring, source="forum", now=later).person_id)
    make.press(session, ring, make.buttons(session, there)[-1], now=later)
    session.flush()
    assert there.state == "merged"
    assert queries.countries(session, ana) == {first} | ({second} if second else set())
    facts = topic_facts(make.the_topic(session, "sales"))
    refused = decide(queries.standing(session, ana, facts), topic=facts, now=later).reason
    assert refused == ("law_wants_a_yes" if "ru" in (first, second) else None)
