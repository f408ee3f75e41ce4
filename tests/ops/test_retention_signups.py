"""A sign-up that nobody confirmed goes at its day and not a day before; whoever is more than that stays, and so does every no."""

from collections.abc import Callable
from contextlib import nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, col, select

from scheduler import jobs
from service.db.session import reading, transaction
from service.domain.brands import actions as brands
from service.domain.ledger import queries as ledger
from service.domain.links import rules as links
from service.domain.mailings.tables import Address, Mailing
from service.domain.people.tables import Identity, Person
from service.domain.preferences import access, actions, projection
from service.domain.privacy import periods, retention
from service.domain.suppressions import actions as suppressions
from service.domain.suppressions import queries as do_not_mail
from service.kit import addresses, clock
from service.ops import backup
from service.ops.house import House, open_house
from tests import builders as make
from tests.ops.retained import (
    DAY,
    START,
    asked_for_a_right,
    depart,
    due,
    purged,
    said_no,
    sign_up,
    size,
    state,
    write,
)
from tests.ops.test_ops_backup import _postgres_tools  # noqa: F401 - its fixture

# --- sign-ups that nobody confirmed ---


def test_std_h19_h23_a_sign_up_nobody_confirmed_goes_at_its_day(house: House, tmp_path: Path) -> None:
    person, other = sign_up(house), sign_up(house, "bea@example.org", at=START + DAY)
    end = START + 30 * DAY
    before = size(house)
    jobs.forget(house, end - timedelta(seconds=1))
    assert (state(house, person), size(house), purged(house)) == ("active", before, [])
    assert due(house, end) == {"unconfirmed": 1}
    jobs.forget(house, end)
    assert (state(house, person), state(house, other)) == ("erased", "active")
    assert purged(house) == [{"class": "unconfirmed", "gone": 1, "days": 30}]
    with reading(house.engine) as session:
        row = make.the_person(session, person)
        assert row.wrapped_key is None
        [address] = session.exec(select(Address).where(Address.owner_id == row.id)).all()
        assert (address.sealed, address.ended_at) == (None, end)
        assert do_not_mail.live_for(session, [address.address_hash]) == {}, "they never said no"
        last = ledger.of_subject(session, person)[-1]
        assert (last.kind, last.body["how"], last.actor) == ("person.erased", "retention", "system")
        assert projection.differences(session) == []
        assert ledger.verify(session).holds
    again = size(house)
    jobs.forget(house, end)
    assert size(house) == again, "what removed nothing writes nothing"


def test_the_setting_says_when(house: House) -> None:
    person = sign_up(house)
    with transaction(house.engine) as session:
        brands.set_setting(session, "unconfirmed_days", 90, now=START, by="staff:s_test")
    jobs.forget(house, START + 89 * DAY)
    assert state(house, person) == "active"
    jobs.forget(house, START + 90 * DAY)
    assert state(house, person) == "erased"


def test_nobody_goes_while_the_button_works(house: House) -> None:
    person = sign_up(house)
    with transaction(house.engine) as session:
        brands.set_setting(session, "unconfirmed_days", 1, now=START, by="staff:s_test")
    jobs.forget(house, START + 6 * DAY)
    assert state(house, person) == "active"
    jobs.forget(house, START + 7 * DAY)
    assert state(house, person) == "erased"


def confirmed(session: Session, house: House, person: Person, now: datetime) -> None:
    make.press(session, house.ring, make.buttons(session, person)[-1], now=now)


def a_no_to_another_topic(session: Session, house: House, person: Person, now: datetime) -> None:
    link = make.a_link(session, person, "updates")
    actions.stop(session, house.ring, link, how="link", evidence={}, now=now)


def suppressed(session: Session, house: House, person: Person, now: datetime) -> None:
    digest = make.address_hash(house.ring, "zoe@example.org")
    suppressions.add(
        session, digest, scope="all", cause="hard_bounce", origin="dsn", subject=None, now=now, by="system"
    )


def wrote_to_us(session: Session, house: House, person: Person, now: datetime) -> None:
    write(session, house, "zoe@example.org", now)


def mail_under_way(session: Session, house: House, person: Person, now: datetime) -> None:
    address = addresses.parse("zoe@example.org")
    access.request_sign_in(session, house.ring, address, locale="en", now=now)


def signed_in(session: Session, house: House, person: Person, now: datetime) -> None:
    """By a mailed link, so the mailbox is theirs; nothing but the ledger says so a month later."""
    access.request_sign_in(session, house.ring, addresses.parse("zoe@example.org"), locale="en", now=now)
    mailing = session.exec(select(Mailing).where(Mailing.purpose == "sign-in")).one()
    link = make.a_link(session, person, None, purpose=links.SIGN_IN, mailing=mailing.alias, pos=1)
    access.sign_in_by_link(session, house.ring, link, now=now)


def restricted(session: Session, house: House, person: Person, now: datetime) -> None:
    person.state = "restricted"
    session.add(person)


def known_to_a_site(session: Session, house: House, person: Person, now: datetime) -> None:
    session.add(
        Identity(source="shop", external_id="77", person_id=person.id or 0, created_at=now, changed_at=now)
    )


def attested(session: Session, house: House, person: Person, now: datetime) -> None:
    address = session.get_one(Address, person.address_id)
    address.attested = True
    session.add(address)


More = Callable[[Session, House, Person, datetime], None]
MORE: tuple[More, ...] = (
    confirmed, said_no, a_no_to_another_topic, suppressed, asked_for_a_right, wrote_to_us, mail_under_way, restricted,
    known_to_a_site, attested, signed_in,
)  # fmt: skip


@pytest.mark.parametrize("more", MORE)
def test_whoever_is_more_than_a_sign_up_stays(house: House, more: More) -> None:
    person = sign_up(house)
    with transaction(house.engine) as session:
        more(session, house, make.the_person(session, person), START + timedelta(hours=1))
    if more is not mail_under_way:
        depart(house, at=START + timedelta(hours=1))
    later = START + 400 * DAY
    assert "unconfirmed" not in due(house, later)
    before = state(house, person)
    jobs.forget(house, later)
    assert state(house, person) == before
    assert [one for one in purged(house) if one["class"] == "unconfirmed"] == []


def test_a_sites_customer_is_not_forgotten_for_a_newsletter_they_never_confirmed(house: House) -> None:
    with transaction(house.engine) as session:
        asked = make.an_answer(at=START)
        shop = make.register(session, house.ring, "ana@example.org", [asked], now=START, attest=False)
    depart(house, at=START)
    jobs.forget(house, START + 400 * DAY)
    assert state(house, shop.person_id) == "active"


def test_whoever_signs_up_again_has_their_time_again_and_may_come_back(house: House) -> None:
    first = sign_up(house)
    second = sign_up(house, at=START + 20 * DAY)
    jobs.forget(house, START + 30 * DAY)
    assert (state(house, first), state(house, second)) == ("erased", "active")
    jobs.forget(house, START + 50 * DAY)
    assert state(house, second) == "erased"
    back = sign_up(house, at=START + 60 * DAY)
    with transaction(house.engine) as session:
        person = make.the_person(session, back)
        confirmed(session, house, person, START + 60 * DAY)
        assert make.the_state(session, person) == "given"


def test_whoever_asks_for_a_link_has_their_time_again(house: House) -> None:
    person = sign_up(house)
    asked = START + 20 * DAY
    with transaction(house.engine) as session:
        mail_under_way(session, house, make.the_person(session, person), asked)
    depart(house, at=asked)
    jobs.forget(house, START + 49 * DAY)
    assert state(house, person) == "active"
    jobs.forget(house, START + 50 * DAY)
    assert state(house, person) == "erased"


def test_a_site_may_bring_whoever_was_forgotten(house: House) -> None:
    sign_up(house)
    jobs.forget(house, START + 30 * DAY)
    with transaction(house.engine) as session:
        answer = make.an_answer(at=START + 31 * DAY, confirmed=True)
        shop = make.register(session, house.ring, "zoe@example.org", [answer], now=START + 31 * DAY)
        assert shop.consents[0]["state"] == "given"


def test_a_stop_from_their_old_mail_still_counts_for_the_mailbox(house: House) -> None:
    """P5, P7: nobody is there to say no, but the mailbox is."""
    person = sign_up(house)
    with reading(house.engine) as session:
        alias = make.the_person(session, person).alias
    jobs.forget(house, START + 30 * DAY)
    later = START + 31 * DAY
    with transaction(house.engine) as session:
        link = make.a_link(session, alias)
        actions.stop(session, house.ring, link, how="link", evidence={}, now=later)
    with transaction(house.engine) as session:
        answer = make.an_answer(at=later, confirmed=True)
        shop = make.register(session, house.ring, "zoe@example.org", [answer], now=later)
        assert shop.consents[0]["state"] == "requested", "a site's word does not go over it"


# --- noes, and a purge that forgets one ---


def careless(since: datetime, now: datetime) -> Any:
    """Whoever is there for so long is forgotten, whatever they said."""
    return Person, (col(Person.state) == "active") & (col(Person.created_at) <= since)


@pytest.mark.sabotage
@pytest.mark.parametrize("broken", [False, True])
def test_p7_a_purge_that_forgets_a_no_is_seen(
    house: House, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    person = sign_up(house)
    with transaction(house.engine) as session:
        said_no(session, house, make.the_person(session, person), START + DAY)
    if broken:
        monkeypatch.setitem(retention._PAST, periods.UNCONFIRMED, careless)
    jobs.forget(house, START + 90 * DAY)
    with pytest.raises(AssertionError, match="a no was forgotten") if broken else nullcontext():
        assert state(house, person) == "active", "a no was forgotten"


# --- copies from an earlier day ---


def test_whoever_was_forgotten_does_not_come_back_with_a_copy(house: House, tmp_path: Path) -> None:
    now = clock.now()
    person = sign_up(house, at=now - 30 * DAY)
    copy = tmp_path / "copies" / "before"
    backup.backup(house, copy)
    jobs.forget(house, now)
    assert state(house, person) == "erased"
    jobs.keep_safe(house, now)
    line = (house.settings.safe / "withdrawals.jsonl").read_text().splitlines()[-1]
    assert '"how"' in line
    assert "mailbox" not in line
    house.engine.dispose()
    done = backup.restore(house.settings, copy, replace=True, now=now)
    back = open_house(house.settings)
    assert done.reapplied == 1
    assert state(back, person) == "erased"
    with reading(back.engine) as session:
        digest = make.address_hash(back.ring, "zoe@example.org")
        assert do_not_mail.live_for(session, [digest]) == {}, "nobody said no"
        assert ledger.verify(session).holds
    back.engine.dispose()


def test_a_copy_that_does_not_know_them_takes_nothing_from_the_mailbox(house: House, tmp_path: Path) -> None:
    now = clock.now()
    copy = tmp_path / "copies" / "before"
    backup.backup(house, copy)
    sign_up(house, at=now - 30 * DAY)
    jobs.forget(house, now)
    jobs.keep_safe(house, now)
    house.engine.dispose()
    assert backup.restore(house.settings, copy, replace=True, now=now).reapplied == 0
    back = open_house(house.settings)
    with reading(back.engine) as session:
        assert do_not_mail.live_for(session, [make.address_hash(back.ring, "zoe@example.org")]) == {}
    back.engine.dispose()
