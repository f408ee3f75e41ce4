"""A copy is in the database's place, and a site tells of an old yes before anybody has merged the withdrawal file."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy.engine import Engine

from service.db.session import reading, transaction
from service.domain.preferences import expiring, restoring
from service.kit.clock import to_micros
from service.kit.signing import Keyring
from tests import builders as make

ANA, DAY = "ana@example.org", timedelta(days=1)


@pytest.mark.parametrize(("said", "holds"), [(-1, "withdrawn"), (2.5, "given")])
def test_p7_the_no_of_the_file_holds_unless_they_have_said_yes_since(
    engine: Engine, ring: Keyring, now: datetime, said: float, holds: str
) -> None:
    """They said no on the second day; the site tells on the third."""
    with transaction(engine) as session:
        given = [make.an_answer(at=now + said * DAY, confirmed=True)]
        ana = make.register(session, ring, ANA, given, now=now + 3 * DAY, external_id="1").person_id
    line = {"seq": 9_999, "hash": "x", "at": to_micros(now + 2 * DAY), "kind": "consent.withdrawn"}
    line |= {"subject": ana, "mailbox": make.address_hash(ring, ANA), "body": {"topic": "new-products"}}
    with transaction(engine) as session:
        restoring.reapply(session, ring, [line], now=now + 4 * DAY)
    with reading(engine) as session:
        assert make.the_state(session, make.the_person(session, ana)) == holds


def test_p7_what_ran_out_since_is_no_word_against_the_no_of_the_file(
    engine: Engine, ring: Keyring, now: datetime
) -> None:
    """The clock ended in the copy what a sale had permitted, before anybody merged the file: a site's yes of before the no is none."""
    said = make.an_answer(at=now - 729 * DAY) | {"basis": "implied_purchase"}
    with transaction(engine) as session:
        make.a_person(session, ring, ANA, yes=(), now=now, external_id="1")
        ana = make.register(session, ring, ANA, [said], now=now, external_id="1").person_id
    with transaction(engine) as session:
        assert expiring.end_due(session, now=now + 3 * DAY)
    with reading(engine) as session:
        assert make.the_state(session, make.the_person(session, ana)) == "expired"
    line = {"seq": 9_999, "hash": "x", "at": to_micros(now + DAY / 2), "kind": "consent.withdrawn"}
    line |= {"subject": ana, "mailbox": make.address_hash(ring, ANA), "body": {"topic": "new-products"}}
    with transaction(engine) as session:
        restoring.reapply(session, ring, [line], now=now + 4 * DAY)
    with transaction(engine) as session:
        given = [make.an_answer(at=now - DAY, confirmed=True)]
        make.register(session, ring, ANA, given, now=now + 5 * DAY, external_id="1")
    with reading(engine) as session:
        assert make.the_state(session, make.the_person(session, ana)) == "withdrawn"


def test_p7_nor_is_a_registration_told_of_since(engine: Engine, ring: Keyring, now: datetime) -> None:
    with transaction(engine) as session:
        make.a_topic(session, "notes", now=now, basis="contract", mail_class="notice")
        ana = make.register(session, ring, ANA, [], now=now + 3 * DAY, external_id="1").person_id
    line = {"seq": 9_999, "hash": "x", "at": to_micros(now + 2 * DAY), "kind": "consent.withdrawn"}
    line |= {"subject": ana, "mailbox": make.address_hash(ring, ANA), "body": {"topic": "notes"}}
    with transaction(engine) as session:
        restoring.reapply(session, ring, [line], now=now + 4 * DAY)
    with reading(engine) as session:
        assert make.the_state(session, make.the_person(session, ana), "notes") == "withdrawn"
