"""A no where a no stands: written down where it was said later, so that a merge knows which word was the last (docs/adr/0025)."""

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.engine import Engine
from sqlmodel import Session

from service.db.session import reading, transaction
from service.domain.consent.actions import Said
from service.domain.links.tables import Undo
from service.domain.people.tables import Person
from service.domain.preferences import access, actions, projection, restoring, rights
from service.kit import addresses, clock
from service.kit.clock import to_micros
from service.kit.signing import Keyring
from tests import builders as make
from tests.domain.transfers import files

OLD, NEW = "ana@example.org", "ana.kov@example.net"
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
Again = Callable[[Session, Keyring, Person, datetime], object]


def one_click(session: Session, ring: Keyring, person: Person, at: datetime) -> actions.Stopped:
    link = make.a_link(session, person, "new-products")
    return actions.stop(session, ring, link, how="one_click", evidence={}, now=at)


def stops_all(session: Session, ring: Keyring, person: Person, at: datetime) -> actions.Stopped:
    link = make.a_link(session, person, None)
    return actions.stop_all(session, ring, link, how="one_click", evidence={}, now=at)


def objects(session: Session, ring: Keyring, person: Person, at: datetime) -> None:
    """And takes the objection back: what they said of each topic stays said."""
    by = f"person:{person.public_id}"
    rights.object_to_marketing(session, ring, person, Said("page", "page"), now=at, by=by)
    rights.lift_objection(session, person, now=at)


def a_site_tells(session: Session, ring: Keyring, person: Person, at: datetime) -> None:
    said = make.an_answer(given=False, at=at) | {"evidence": {"at": at.isoformat()}}
    make.register(session, ring, OLD, [said], now=at, external_id="1")


def a_site_sends_how_things_stand(session: Session, ring: Keyring, person: Person, at: datetime) -> None:
    make.register(session, ring, OLD, [make.an_answer(given=False, at=at)], now=at, external_id="1")


def a_site_sends_an_old_word(session: Session, ring: Keyring, person: Person, at: datetime) -> None:
    old = (at - timedelta(days=3)).isoformat()
    said = make.an_answer(given=False, at=at) | {"evidence": {"at": old}}
    make.register(session, ring, OLD, [said], now=at, external_id="1")


def the_file_outside_tells(session: Session, ring: Keyring, person: Person, at: datetime) -> None:
    line = {"seq": 9_999, "hash": "x", "at": to_micros(at), "kind": "consent.withdrawn"}
    line |= {"subject": person.public_id, "mailbox": make.address_hash(ring, OLD)}
    restoring.reapply(session, ring, [line | {"body": {"topic": "new-products"}}], now=at)


def two_registrations(session: Session, ring: Keyring, now: datetime) -> tuple[Person, Person]:
    """Who said no an hour ago, and who said yes since in another mailbox."""
    ana = make.a_person(session, ring, OLD, now=now, external_id="1")
    one_click(session, ring, ana, now)
    there = make.a_person(session, ring, NEW, now=now + 3 * HOUR / 2, external_id="2")
    assert make.the_state(session, there) == "given"
    return ana, there


def become_one(session: Session, ring: Keyring, ana: Person, at: datetime) -> None:
    """The one who said no asks for the other's mailbox, and presses the button in the mail there."""
    by = f"person:{ana.public_id}"
    access.change_email(session, ring, ana, addresses.parse(NEW), now=at, by=by)
    make.press(session, ring, make.buttons(session, ana)[-1], now=at)
    assert ana.state == "merged"


@pytest.mark.parametrize("again", [one_click, stops_all, objects, a_site_tells, the_file_outside_tells])
def test_p7_a_no_said_again_since_the_other_yes_holds_when_the_two_become_one(
    session: Session, ring: Keyring, now: datetime, again: Again
) -> None:
    ana, there = two_registrations(session, ring, now)
    again(session, ring, ana, now + 2 * HOUR)
    become_one(session, ring, ana, now + 3 * HOUR)
    assert make.the_state(session, there) == "withdrawn"
    session.flush()
    for last in session.info.pop("at_end", []):  # its entries are in the table at the end of the transaction
        last(session)
    assert projection.differences(session) == []


@pytest.mark.parametrize("again", [None, a_site_sends_how_things_stand, a_site_sends_an_old_word])
def test_the_later_yes_holds_where_nobody_said_no_since(
    session: Session, ring: Keyring, now: datetime, again: Again | None
) -> None:
    ana, there = two_registrations(session, ring, now)
    if again is not None:
        again(session, ring, ana, now + 2 * HOUR)
    become_one(session, ring, ana, now + 3 * HOUR)
    assert make.the_state(session, there) == "given"


def test_a_yes_by_a_button_counts_from_its_press_and_not_from_what_it_answers(
    session: Session, ring: Keyring, now: datetime
) -> None:
    asked = make.register(session, ring, NEW, [make.an_answer(at=now)], now=now, external_id="2")
    there = make.the_person(session, asked.person_id)
    ana = make.a_person(session, ring, OLD, now=now, external_id="1")
    one_click(session, ring, ana, now + HOUR)
    make.press(session, ring, make.buttons(session, there)[-1], now=now + 2 * HOUR)
    become_one(session, ring, ana, now + 3 * HOUR)
    assert make.the_state(session, there) == "given"


def test_a_no_said_again_is_one_entry_a_minute_with_its_receipt(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.a_person(session, ring, OLD, now=now)
    assert one_click(session, ring, ana, now).already_since is None
    hurried = one_click(session, ring, ana, now + SECOND)
    assert (hurried.receipt, hurried.undo, hurried.already_since) == (None, None, now)
    later = one_click(session, ring, ana, now + HOUR)
    assert (later.undo, later.already_since) == (None, now)
    assert later.receipt is not None
    assert one_click(session, ring, ana, now + HOUR + SECOND).already_since == now
    assert make.kinds(session, ana.public_id).count("consent.withdrawn") == 2


def test_a_site_whose_clock_is_ahead_writes_no_more_than_anybody(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana = make.a_person(session, ring, OLD, now=now, external_id="1")
    one_click(session, ring, ana, now)
    for n in range(5):
        at = now + HOUR + n * SECOND
        ahead = {"evidence": {"at": (at + timedelta(minutes=4)).isoformat()}}
        said = make.an_answer(given=False, at=at) | ahead
        make.register(session, ring, OLD, [said], now=at, external_id="1")
    assert make.kinds(session, ana.public_id).count("consent.withdrawn") == 2


def test_there_is_nothing_to_undo_about_what_stood_before(
    session: Session, ring: Keyring, now: datetime
) -> None:
    ana, link = make.a_person(session, ring, OLD, now=now), None
    for how, at in ((actions.stop, now), (actions.stop, now + HOUR), (actions.stop_all, now + 2 * HOUR)):
        link = make.a_link(session, ana, "new-products" if how is actions.stop else None)
        done = how(session, ring, link, how="link", evidence={}, now=at)
    assert done.undo is not None
    row = session.get(Undo, hashlib.sha256(done.undo.encode()).hexdigest())
    assert row is not None
    topics = {make.the_topic(session).id}
    assert not topics & {was["topic"] for was in row.before}, "only what the last press ended comes back"
    again = actions.stop_all(session, ring, link, how="link", evidence={}, now=now + 4 * HOUR)
    assert (again.undo, again.already_since) == (None, now + 2 * HOUR)


def test_a_file_that_says_when_counts_as_a_later_no_once(
    engine: Engine, ring: Keyring, now: datetime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with transaction(engine) as session:
        ana, there = two_registrations(session, ring, now)
        ids = ana.public_id, there.public_id
    monkeypatch.setattr(clock, "now", lambda: now + timedelta(days=3))
    house, day = make.a_house(engine, ring, tmp_path), (now + timedelta(days=2)).date().isoformat()
    content = f"email,subscribed at,status,unsubscribed at\n{OLD},2024-01-02,unsubscribed,{day}\n"
    for once_more in ("", "\n"):
        files.imported(house, files.job((content + once_more).encode(), files.GRANT))
    with reading(engine) as session:
        assert make.kinds(session, ids[0]).count("consent.withdrawn") == 2, "once said, once said again"
    with transaction(engine) as session:
        become_one(session, ring, make.the_person(session, ids[0]), now + timedelta(days=4))
        assert make.the_state(session, make.the_person(session, ids[1])) == "withdrawn"
