"""What is past its time goes, at its day and not a day before, by the clock's own job; noes stay; and the ledger says how much went.

The clock is whatever the job is told: nothing here waits.
"""

import io
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlmodel import Session, SQLModel, col, select

import verify_ledger
from scheduler import clock as alarm
from scheduler import jobs
from scheduler.wall import Wall
from service.db.session import reading, transaction
from service.domain.api_keys import queries as keys
from service.domain.brands import actions as brands
from service.domain.ledger import bundles, checkpoints
from service.domain.ledger import queries as ledger
from service.domain.ledger.tables import LedgerEntry
from service.domain.links import rules as links
from service.domain.links.tables import LinkUse, Undo
from service.domain.mailings import actions as mailings
from service.domain.mailings.tables import Address, Audience, Mailing, Outcome
from service.domain.people import queries as people
from service.domain.people.tables import AttributeKind, Identity, Person
from service.domain.preferences import access, actions, projection
from service.domain.preferences.registration import Registration, register_many
from service.domain.privacy import actions as contact
from service.domain.privacy import periods, requests, retention, rules
from service.domain.privacy.tables import ContactRequest, Retention, RightsRequest
from service.domain.suppressions import actions as suppressions
from service.domain.suppressions import queries as do_not_mail
from service.domain.transfers.tables import Import
from service.kit import addresses, clock
from service.kit.errors import DomainError
from service.kit.ids import new_id
from service.ops import backup, captured, erasure, health, uploads
from service.ops import retention as ops
from service.ops.house import House, open_house
from tests import builders as make
from tests.ops.test_ops_backup import _postgres_tools  # noqa: F401 - its fixture

DAY = timedelta(days=1)
START = datetime.fromisoformat("2026-03-02T10:00:00+00:00")


def sign_up(
    house: House, email: str = "zoe@example.org", *, at: datetime = START, mailed: bool = True
) -> str:
    """Somebody types an address into our own form; the mail with the button is gone, nobody presses it. Their opaque id."""

    def act(session: Session) -> str:
        asked = {"topic": "new-products", "given": True, "source": "join", "evidence": {"at": at.isoformat()}}
        visitor = Registration(
            new_id("v"), email, profile={"first_name": "Zoe"}, consents=[asked], attested=False
        )
        [done] = register_many(
            session, house.ring, "join", [visitor], attest=False, topics=None, now=at, by="visitor"
        )
        assert not isinstance(done, DomainError), done
        assert done.mail == "confirmation_sent"
        return done.person_id

    made: str = make.act(house, act)
    if mailed:
        depart(house, at=at)
    return made


def depart(house: House, *, at: datetime) -> None:
    """Whatever waits has left, and its mailing is over."""

    def act(session: Session) -> None:
        for one in session.exec(select(Audience)).all():
            if session.get(Outcome, (one.mailing_id, one.pos, 1)) is None:
                session.add(
                    Outcome(
                        mailing_id=one.mailing_id,
                        pos=one.pos,
                        attempt=1,
                        state="sent",
                        warrant_seq=one.warrant_seq,
                        at=at,
                    )
                )
                mailing = session.get_one(Mailing, one.mailing_id)
                mailing.state, mailing.finished_at = "sent", at
                session.add(mailing)

    make.act(house, act)


def state(house: House, person: str) -> str:
    with reading(house.engine) as session:
        return make.the_person(session, person).state


def purged(house: House) -> list[dict[str, Any]]:
    """The bodies of the entries that say what went."""
    with reading(house.engine) as session:
        return [one.body for one in ledger.of_kinds(session, (retention.PURGED,))]


def due(house: House, at: datetime) -> dict[str, int]:
    """What would go, where anything would."""
    with reading(house.engine) as session:
        return {one.data_class.name: one.due for one in ops.standing(session, house, now=at) if one.due}


def size(house: House) -> int:
    with reading(house.engine) as session:
        return ledger.tail(session)[0]


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


def said_no(session: Session, house: House, person: Person, now: datetime) -> None:
    actions.stop(session, house.ring, make.a_link(session, person), how="link", evidence={}, now=now)


def a_no_to_another_topic(session: Session, house: House, person: Person, now: datetime) -> None:
    link = make.a_link(session, person, "updates")
    actions.stop(session, house.ring, link, how="link", evidence={}, now=now)


def suppressed(session: Session, house: House, person: Person, now: datetime) -> None:
    digest = make.address_hash(house.ring, "zoe@example.org")
    suppressions.add(
        session, digest, scope="all", cause="hard_bounce", origin="dsn", subject=None, now=now, by="system"
    )


def asked_for_a_right(session: Session, house: House, person: Person, now: datetime) -> None:
    requests.receive(
        session,
        house.ring,
        right="access",
        door="staff",
        came_on=now.date(),
        person=person,
        who="Zoe",
        text="A copy, please",
        now=now,
        by="staff:s_test",
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


# --- attributes ---


def test_std_h19_an_attribute_goes_when_its_days_are_over(house: House) -> None:
    with transaction(house.engine) as session:
        make.a_person(session, house.ring, now=START, attributes={"plan": "gold", "country": "de"})
        kind = session.get_one(AttributeKind, "plan")
        kind.retention_days = 10
        session.add(kind)
    site_says(house, START + 4 * DAY, plan="gold")  # the same again: its days begin anew
    jobs.forget(house, START + 13 * DAY)
    assert attributes(house) == {"plan": ["gold"], "country": ["de"]}
    assert due(house, START + 14 * DAY) == {"attributes": 1}
    jobs.forget(house, START + 14 * DAY)
    assert attributes(house) == {"country": ["de"]}
    assert purged(house)[-1] == {
        "class": "attributes",
        "gone": 1,
        "names": {"plan": {"days": 10, "gone": 1}},
    }
    site_says(house, START + 15 * DAY, plan="silver")
    assert attributes(house) == {"plan": ["silver"], "country": ["de"]}


def test_what_was_given_before_it_was_dated_counts_from_when_the_clock_sees_it(house: House) -> None:
    with transaction(house.engine) as session:
        make.a_person(session, house.ring, now=START, attributes={"plan": "gold"})
        session.execute(text("UPDATE person_attribute SET set_at = NULL"))
    seen = START + 2000 * DAY
    jobs.forget(house, seen)
    assert attributes(house) == {"plan": ["gold"]}
    jobs.forget(house, seen + 1094 * DAY)
    assert attributes(house) == {"plan": ["gold"]}
    jobs.forget(house, seen + 1095 * DAY)
    assert attributes(house) == {}


def test_an_attribute_keeps_its_day_when_two_turn_out_to_be_one(house: House) -> None:
    with transaction(house.engine) as session:
        make.a_person(session, house.ring, now=START, source="other")
        make.register(session, house.ring, now=START, attest=False, attributes={"plan": "gold"})
        kind = session.get_one(AttributeKind, "plan")
        kind.retention_days = 10
        session.add(kind)
    with transaction(house.engine) as session:
        later = START + 5 * DAY
        make.register(
            session, house.ring, "ana@example.org", [make.an_answer(at=later, confirmed=True)], now=later
        )
    assert attributes(house) == {"plan": ["gold"]}
    jobs.forget(house, START + 10 * DAY - timedelta(seconds=1))
    assert attributes(house) == {"plan": ["gold"]}
    jobs.forget(house, START + 10 * DAY)
    assert attributes(house) == {}


def site_says(house: House, at: datetime, **given: str) -> None:
    with transaction(house.engine) as session:
        make.register(session, house.ring, "ana@example.org", now=at, attributes=given)


def attributes(house: House) -> dict[str, list[str]]:
    with reading(house.engine) as session:
        [person] = people.by_address(session, house.ring, addresses.parse("ana@example.org"))
        return people.attributes(session, person.id or 0)


# --- messages, requests, words of single mails ---


def write(session: Session, house: House, email: str, now: datetime) -> str:
    asked = contact.ask(
        session,
        house.ring,
        address=addresses.parse(email),
        name="Zoe",
        subject=rules.SUBJECTS["question"],
        text="Where is my mail?",
        locale="en",
        now=now,
    )
    return asked.public_id


def test_std_h19_messages_go_once_they_are_done_with(house: House) -> None:
    with transaction(house.engine) as session:
        brands.set_setting(session, "requests_days", 100, now=START, by="staff:s_test")
        done, closed, waiting = (write(session, house, f"{name}@example.org", START) for name in "abc")
    with transaction(house.engine) as session:
        contact.answer(session, house.ring, done, text="Here.", now=START + DAY, by="staff:s_test")
    with transaction(house.engine) as session:
        contact.close(session, closed, now=START + 2 * DAY, by="staff:s_test")
    depart(house, at=START + DAY)
    jobs.forget(house, START + 101 * DAY - timedelta(seconds=1))
    assert messages(house) == {done, closed, waiting}
    jobs.forget(house, START + 101 * DAY)
    assert messages(house) == {closed, waiting}
    jobs.forget(house, START + 102 * DAY)
    assert messages(house) == {waiting}
    jobs.forget(house, START + 1000 * DAY)
    assert messages(house) == {waiting}, "nobody has answered it"
    assert [one for one in purged(house) if one["class"] == "messages"] == [
        {"class": "messages", "gone": 1, "days": 100}
    ] * 2
    with reading(house.engine) as session:
        left = session.exec(select(Address).where(Address.owner_kind == "visitor")).all()
        assert sum(row.sealed is not None for row in left) == 1
        assert ledger.verify(session).holds


def messages(house: House) -> set[str]:
    with reading(house.engine) as session:
        return set(session.exec(select(ContactRequest.public_id)))


def test_std_h19_closed_requests_go_open_ones_stay(house: House) -> None:
    with transaction(house.engine) as session:
        brands.set_setting(session, "requests_days", 100, now=START, by="staff:s_test")
        ana = make.a_person(session, house.ring, now=START)
        asked_for_a_right(session, house, ana, START)
        contact_id = write(session, house, "ana@example.org", START)
        message = session.exec(select(ContactRequest)).one()
        requests.receive(
            session,
            house.ring,
            right="erasure",
            door="form",
            came_on=START.date(),
            contact=message,
            now=START,
            by="staff:s_test",
        )
        contact.close(session, contact_id, now=START, by="staff:s_test")
    with reading(house.engine) as session:
        first = session.exec(select(RightsRequest.public_id).where(RightsRequest.right == "access")).one()
    with transaction(house.engine) as session:
        requests.close(session, first, outcome="done", note="", now=START + DAY, by="staff:s_test")
    jobs.forget(house, START + 100 * DAY)
    assert rights(house) == {"access", "erasure"}
    jobs.forget(house, START + 101 * DAY)
    assert rights(house) == {"erasure"}
    assert messages(house) == {contact_id}, "its request is not answered"
    assert purged(house)[-1] == {"class": "requests", "gone": 1, "days": 100}


def rights(house: House) -> set[str]:
    with reading(house.engine) as session:
        return set(session.exec(select(RightsRequest.right)))


def test_what_a_single_mail_said_goes_and_its_name_stays(house: House) -> None:
    with transaction(house.engine) as session:
        ana = make.a_person(session, house.ring, now=START)
        seq = ledger.tail(session)[0]
        sealed = mailings.seal_facts(
            house.ring, "address-changed", {"new_address_masked": "z***@example.org"}
        )
        row = mailings.enqueue_single(
            session,
            purpose="address-changed",
            brand_id=1,
            address_id=ana.address_id or 0,
            person_id=ana.id,
            locale="en",
            facts={**sealed, "domains": ["example.org", "example.org"]},
            warrant_seq=seq,
            now=START,
        )
        number = row.id
    later = START + 40 * DAY
    jobs.forget(house, later)
    with reading(house.engine) as session:
        assert "sealed" in session.get_one(Mailing, number).facts, "it may leave still"
    depart(house, at=later)
    jobs.forget(house, later + 29 * DAY)
    with reading(house.engine) as session:
        assert "sealed" in session.get_one(Mailing, number).facts
    jobs.forget(house, later + 30 * DAY)
    with reading(house.engine) as session:
        assert session.get_one(Mailing, number).facts == {"domains": ["example.org", "example.org"]}


# --- what lives for days ---


def test_std_h19_links_sessions_answers_and_uploads_go(house: House) -> None:
    now = START
    with transaction(house.engine) as session:
        session.add(LinkUse(mailing_alias="me:abc", position=0, purpose=3, used_at=now))
        ana = make.a_person(session, house.ring, now=now)
        actions.stop(session, house.ring, make.a_link(session, ana), how="link", evidence={}, now=now)
        draft = Import(
            public_id="i_old", state="draft", file_sha256="0" * 64, octets=1, plan={}, plan_sha256="0" * 64,
            counts={}, mended=b"x", created_at=now, created_by="staff:s_test",
        )  # fmt: skip
        session.add(draft)
    uploads.keep(house, "i_old", b"email\nzoe@example.org\n")
    path = house.settings.data_dir / "imports" / "i_old"
    os.utime(path, (now.timestamp(), now.timestamp()))
    jobs.forget(house, now + 7 * DAY - timedelta(seconds=1))
    assert path.exists()
    jobs.forget(house, now + 7 * DAY)
    assert not path.exists()
    with reading(house.engine) as session:
        assert session.exec(select(Import.mended)).one() is None
        assert len(session.exec(select(Undo)).all()) == len(session.exec(select(LinkUse)).all()) == 1
    assert purged(house)[-1] == {"class": "uploads", "gone": 2, "days": 7}
    jobs.forget(house, now + 31 * DAY)
    with reading(house.engine) as session:
        assert session.exec(select(Undo)).all() == session.exec(select(LinkUse)).all() == []
    assert purged(house)[-1] == {"class": "links", "gone": 2, "days": 30}


def test_the_periods_of_the_program_are_said_as_they_are() -> None:
    assert periods.BY_NAME[periods.ANSWERS].days == keys.ANSWERS_LIVE.days


# --- the run itself ---


class Killed(BaseException):
    """The process ends here."""


def killed_between(patch: pytest.MonkeyPatch) -> int:
    """After a transaction; how many are gone by then."""

    def killed(_: House) -> None:
        raise Killed

    patch.setattr(jobs, "_let_others", killed)
    return retention.MOST_PEOPLE


def killed_within(patch: pytest.MonkeyPatch) -> int:
    """In the middle of the first transaction."""
    forget, done = erasure.forget, []

    def killed(*given: Any, **named: Any) -> None:
        if len(done) == 3:
            raise Killed
        forget(*given, **named)
        done.append(1)

    patch.setattr(erasure, "forget", killed)
    return 0


def visitors(house: House, many: int) -> None:
    for number in range(many):
        sign_up(house, f"v{number}@example.org", mailed=False)
    depart(house, at=START)


def forgotten(house: House) -> list[str | None]:
    with reading(house.engine) as session:
        said = select(LedgerEntry.subject).where(LedgerEntry.kind == "person.erased")
        return list(session.exec(said))


@pytest.mark.parametrize("cut", [killed_between, killed_within])
def test_a_run_that_is_cut_off_goes_on_and_writes_one_entry(
    house: House, monkeypatch: pytest.MonkeyPatch, cut: Callable[[pytest.MonkeyPatch], int]
) -> None:
    many = 2 * retention.MOST_PEOPLE + 1
    visitors(house, many)
    end = START + 30 * DAY
    with monkeypatch.context() as patch:
        gone = cut(patch)
        with pytest.raises(Killed):
            jobs.forget(house, end)
    assert purged(house) == []
    assert due(house, end) == {"unconfirmed": many - gone}
    jobs.forget(house, end)
    assert purged(house) == [{"class": "unconfirmed", "gone": many, "days": 30}]
    assert len(set(forgotten(house))) == len(forgotten(house)) == many
    with reading(house.engine) as session:
        assert {row.gone for row in session.exec(select(Retention))} == {0}


def test_two_clocks_forget_everybody_once(house: House) -> None:
    many = 2 * retention.MOST_PEOPLE + 1
    visitors(house, many)
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(jobs.forget, house, START + 30 * DAY) for _ in range(2)]:
            done.result()
    assert len(set(forgotten(house))) == len(forgotten(house)) == many
    assert sum(one["gone"] for one in purged(house)) == many
    with reading(house.engine) as session:
        assert ledger.verify(session).holds


def test_whoever_confirms_between_the_look_and_the_purge_stays(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = sign_up(house)
    end = START + 30 * DAY
    take = ops.take

    def later(session: Session, house: House, name: str, numbers: Any, *, now: datetime) -> int:
        if name == periods.UNCONFIRMED:
            said_no(session, house, make.the_person(session, person), end)
        return take(session, house, name, numbers, now=now)

    monkeypatch.setattr(ops, "take", later)
    jobs.forget(house, end)
    assert state(house, person) == "active"


def test_one_class_that_fails_keeps_no_other_from_going(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = sign_up(house)

    def fails(*_: Any) -> Any:
        raise ValueError

    monkeypatch.setitem(retention._PAST, periods.REQUESTS, fails)
    monkeypatch.setattr(ops, "NAMES", (periods.REQUESTS, periods.UNCONFIRMED))
    jobs.forget(house, START + 30 * DAY)
    assert state(house, person) == "erased"


def test_a_wall_clock_that_jumped_forgets_nobody(house: House) -> None:
    person, shown = sign_up(house), [START]
    watch = Wall(lambda: shown[0], lambda: 1_000.0, "boot")
    shown[0] += 400 * DAY
    [job] = [one for one in jobs.TIMETABLE if one.name == "forget"]
    alarm.tick(house, job, watch)
    assert state(house, person) == "active"
    alarm.tick(house, job, Wall(lambda: shown[0], lambda: 1_000.0, "boot"))
    assert state(house, person) == "erased", "another process that began with that time"


def test_a_database_that_is_behind_forgets_nothing(house: House) -> None:
    person = sign_up(house)
    with transaction(house.engine) as session:
        brands.note_behind(session, {"reason": "behind", "size": 1, "known": 2}, now=START)
    jobs.forget(house, START + 90 * DAY)
    assert state(house, person) == "active"


def test_health_says_when_nothing_was_forgotten_for_a_day(house: House) -> None:
    now = clock.now()

    def fact(at: datetime) -> health.Fact:
        return next(one for one in health.readiness(house, now=at).facts if one.name == "old data")

    assert fact(now).ok, "nothing has run yet"
    jobs.forget(house, now)
    assert fact(now + timedelta(hours=23)).ok
    late = fact(now + timedelta(hours=25))
    assert not late.ok
    assert late.value == len(periods.CLASSES)
    assert "bidden clock" in late.fix


def test_the_independent_checker_takes_the_entries_and_they_name_nobody(house: House) -> None:
    sign_up(house)
    jobs.forget(house, START + 30 * DAY)
    jobs.checkpoint(house, clock.now())
    with reading(house.engine) as session:
        bundle = "".join(bundles.lines(session, house.settings.safe, house.ring))
    assert retention.PURGED in bundle
    assert "zoe@" not in bundle
    checked = verify_ledger.check(
        io.BytesIO(bundle.encode()), verify_ledger.read_keys(list(checkpoints.keys(house.ring)))
    )
    assert checked.holds, checked.fault


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


# --- every table ---


def test_std_h19_every_table_has_a_period_or_the_reason_why_not() -> None:
    """Whoever adds a table says here how long its rows are kept."""
    assert captured.CapturedMail.__tablename__ in SQLModel.metadata.tables
    assert set(periods.TABLES) == set(SQLModel.metadata.tables)
    classed = {said for said in periods.TABLES.values() if said in periods.BY_NAME}
    assert classed | {periods.UNCONFIRMED} == set(periods.BY_NAME)
