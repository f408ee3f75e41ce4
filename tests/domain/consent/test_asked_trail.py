"""How a yes came about is whole on record: what was asked for, where, when and in which words, also after a no or a second time."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlmodel import Session

from service.domain.ledger import actions as ledger
from service.domain.ledger.rules import open_part
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.kit.signing import Keyring
from tests import builders as make

HOUR, KIND = timedelta(hours=1), "confirmation.requested"


def _asked(session: Session, ring: Keyring, ana: Person) -> list[dict[str, Any]]:
    """What stands in the ledger of questions, opened."""
    key, found = people.person_key(ring, ana), []
    for one in ledger.appended(session):
        if one.kind == KIND and one.subject == ana.public_id:
            body = json.loads(one.text)["body"]
            evidence = open_part(key, body.pop("evidence"), subject=ana.public_id, kind=KIND)
            found.append(body | {"at": evidence["at"], "url": evidence["url"]})
    return found


def _question(slug: str, at: datetime) -> dict[str, Any]:
    return {
        "topics": [slug],
        "wording": f"{slug}-v1-en",
        "method": "api",
        "source": "signup-form",
        "at": at.isoformat(),
        "url": "https://shop.example.org/join",
    }


def test_a_yes_after_a_no_is_asked_about_with_what_a_site_told_of_it(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.a_person(session, ring, now=now)
    make.register(session, ring, consents=[make.an_answer(given=False, at=now)], now=now)
    later = now + HOUR
    make.register(session, ring, consents=[make.an_answer(at=later, confirmed=True)], now=later)
    assert _asked(session, ring, ana) == [_question("new-products", later)]


def test_so_is_one_beside_a_topic_asked_for_the_first_time(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.a_person(session, ring, yes=("new-products",), now=now)
    make.register(session, ring, consents=[make.an_answer(given=False, at=now)], now=now)
    later = now + HOUR
    both = [make.an_answer("updates", at=later), make.an_answer(at=later)]
    make.register(session, ring, consents=both, attest=False, now=later)
    assert _asked(session, ring, ana) == [_question("new-products", later)]
    done = make.press(session, ring, make.buttons(session, ana)[-1], now=later)
    assert {one.slug for one in done.topics} == {"updates", "new-products"}


@pytest.mark.parametrize("attest", [True, False])
def test_so_is_a_second_sign_up_while_the_button_waits(
    session: Session, ring: Keyring, now: datetime, attest: bool
) -> None:
    make.register(session, ring, consents=[make.an_answer(at=now)], attest=attest, now=now)
    again = now + HOUR
    said = make.register(session, ring, consents=[make.an_answer(at=again)], attest=attest, now=again)
    ana = make.the_person(session, said.person_id)
    assert _asked(session, ring, ana) == [_question("new-products", again)]
    assert len(make.buttons(session, ana)) == 2
