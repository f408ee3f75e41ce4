"""When two become one, a yes counts from when it was said, not from when a site or a file told of it."""

from datetime import datetime, timedelta

from sqlalchemy.engine import Engine

from service.db.session import reading, transaction
from service.domain.preferences import access, actions, projection
from service.kit import addresses
from service.kit.signing import Keyring
from tests import builders as make

THERE, HERE, TOPIC = "ana@example.org", "kov@example.com", "new-products"
HOUR, YEAR = timedelta(hours=1), timedelta(days=365)


def merged(engine: Engine, ring: Keyring, now: datetime, said: datetime, *, again: bool = False) -> str:
    """What stands once somebody who says no now is one with somebody of whom a site tells an hour later that they said yes at `said`.
    `again`: that one has stopped and taken it back since."""
    with transaction(engine) as session:
        ana = make.a_person(session, ring, THERE, now=now, external_id="1")
        link = make.a_link(session, ana, TOPIC)
        actions.stop(session, ring, link, how="one_click", evidence={}, now=now)
        ana_id = ana.public_id
    with transaction(engine) as session:
        given = [make.an_answer(TOPIC, at=said, confirmed=True)]
        kov_id = make.register(session, ring, HERE, given, now=now + HOUR, external_id="2").person_id
    if again:
        with transaction(engine) as session:
            link = make.a_link(session, make.the_person(session, kov_id), TOPIC)
            undo = actions.stop(session, ring, link, how="link", evidence={}, now=now + 5 * HOUR / 4).undo
            assert undo is not None
        with transaction(engine) as session:
            assert actions.undo(session, undo, now=now + 3 * HOUR / 2)
    with transaction(engine) as session:
        ana, by = make.the_person(session, ana_id), f"person:{ana_id}"
        access.change_email(session, ring, ana, addresses.parse(HERE), now=now + 2 * HOUR, by=by)
    with transaction(engine) as session:
        [button] = make.buttons(session, make.the_person(session, ana_id))
        make.press(session, ring, button, now=now + 2 * HOUR)
    with reading(engine) as session:
        assert make.the_person(session, ana_id).public_id == kov_id
        assert projection.differences(session) == []
        return make.the_state(session, make.the_person(session, kov_id))


def test_p7_a_no_holds_over_a_yes_said_before_and_told_later(
    engine: Engine, ring: Keyring, now: datetime
) -> None:
    assert merged(engine, ring, now, now - YEAR) == "withdrawn"


def test_a_yes_said_since_holds(engine: Engine, ring: Keyring, now: datetime) -> None:
    assert merged(engine, ring, now, now + HOUR / 2) == "given"


def test_so_does_one_they_took_back_up_themselves(engine: Engine, ring: Keyring, now: datetime) -> None:
    assert merged(engine, ring, now, now - YEAR, again=True) == "given"
