"""What is past its time goes, at its day and not a day before, class by class; and no table is without a period.

The clock is whatever the job is told: nothing here waits.
"""

import os
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlmodel import SQLModel, select

from scheduler import jobs
from service.db.session import reading, transaction
from service.domain.api_keys import queries as keys
from service.domain.brands import actions as brands
from service.domain.ledger import queries as ledger
from service.domain.links.tables import LinkUse, Undo
from service.domain.mailings import actions as mailings
from service.domain.mailings.tables import Address, Mailing
from service.domain.people import queries as people
from service.domain.people.tables import AttributeKind
from service.domain.preferences import actions
from service.domain.privacy import actions as contact
from service.domain.privacy import periods, requests
from service.domain.privacy.tables import ContactRequest, RightsRequest
from service.domain.transfers.tables import Import
from service.kit import addresses
from service.ops import captured, uploads
from service.ops.house import House
from tests import builders as make
from tests.ops.retained import DAY, START, asked_for_a_right, depart, due, purged, write
from tests.ops.test_ops_backup import _postgres_tools  # noqa: F401 - its fixture

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


# --- every table ---


def test_std_h19_every_table_has_a_period_or_the_reason_why_not() -> None:
    """Whoever adds a table says here how long its rows are kept."""
    assert captured.CapturedMail.__tablename__ in SQLModel.metadata.tables
    assert set(periods.TABLES) == set(SQLModel.metadata.tables)
    classed = {said for said in periods.TABLES.values() if said in periods.BY_NAME}
    assert classed | {periods.UNCONFIRMED} == set(periods.BY_NAME)
