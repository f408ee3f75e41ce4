"""A mailing against a real SMTP server: everyone once, refusals by their kind, nobody after a no (P1 to P3)."""

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.engine import Engine
from sqlmodel import Session, col, select

from service import fence
from service.domain.announcements import actions as announcements
from service.domain.announcements import queries as announcement_queries
from service.domain.deliveries import actions as deliveries
from service.domain.mailings.tables import Batch
from service.domain.people import actions as people
from service.domain.people import queries as people_queries
from service.domain.people.tables import Identity, Person
from service.domain.preferences import access
from service.domain.preferences import actions as preferences
from service.domain.reports import queries as reports
from service.domain.senders.tables import Sender as Lease
from service.domain.suppressions.tables import Suppression
from service.kit import addresses
from service.kit.signing import Keyring
from service.ops.house import House
from tests import builders as make
from tests import checks
from tests.domain.deliveries.post_office import Office, holding, open_office, run
from tests.faults.sink import Settings

LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


@pytest.fixture
def house(engine: Engine, ring: Keyring, tmp_path: Path) -> House:
    return make.a_house(engine, ring, tmp_path, retry_seconds="0,1")


def _crowd(house: House, count: int, **more: Any) -> make.Sending:
    make.a_crowd(house.engine, house.ring, count, now=make.real_now())
    return make.a_mailing(house, now=make.real_now(), **more)


def _everyone(count: int) -> set[str]:
    return {f"u{n}@example.org" for n in range(count)}


def _adds_up(house: House, sending: make.Sending) -> bool:
    return bool(make.look(house, lambda session: reports.adds_up(session, make.the_mailing(house, sending))))


def _stop_action(house: House, email: str) -> Any:
    """What the one-click door does for the reader of this address."""

    def act(session: Session) -> preferences.Stopped:
        [person] = people_queries.by_address(session, house.ring, addresses.parse(email))
        return preferences.stop(session, house.ring, make.a_link(session, person), how="one_click", evidence={}, now=make.real_now())

    return act


@LOOPS
def test_everyone_gets_it_once_and_the_figures_add_up(house: House, loop: str) -> None:
    sending = _crowd(house, 230)

    async def story() -> list[str]:
        async with open_office(house) as office:
            await office.all_sent(sending)
            return office.readers

    readers = run(story(), loop)
    assert Counter(readers) == dict.fromkeys(_everyone(230), 1)
    assert make.totals(house, sending) == {"sent": 230}
    mailing = make.the_mailing(house, sending)
    assert (mailing.state, mailing.planned) == ("sent", 230)
    assert _adds_up(house, sending)
    assert checks.warrants_hold(house.engine, sending.id) == []
    assert checks.chain(house.engine) == []
    assert list(house.settings.journals.glob("*.journal")) == []
    leases = make.look(house, lambda session: session.exec(select(Lease.state)).all())
    assert leases == ["ended"]


def test_std_d_4xx_is_tried_again_on_schedule_and_5xx_never(house: House) -> None:
    sending = _crowd(house, 40)
    faults = {3: "rcpt:450 4.2.0 later", 5: "dot:451 4.3.0 later", 8: "mail:421 4.7.0 busy", 9: "data:452 4.3.1 full", 40: "rcpt:450 again"}
    faults |= {11: "dot:554 5.6.0 refused", 12: "rcpt:552 5.2.2 mailbox full"}

    async def story() -> list[str]:
        async with open_office(house, Settings(fault=faults.get)) as office:
            await office.all_sent(sending)
            return office.readers

    readers = run(story())
    assert len(readers) == len(set(readers)) == 39
    assert make.totals(house, sending) == {"sent": 39, "bounced": 1}
    assert _adds_up(house, sending)
    rows = make.outcomes(house, sending)
    deferred = [row for row in rows if row.state == "deferred"]
    assert len(deferred) >= 4
    assert {row.reason for row in deferred} <= {"temporary", "closing", "mailbox_full"}
    assert all(not row.final for row in deferred)
    for row in deferred:
        following = next(one for one in rows if one.pos == row.pos and one.attempt == row.attempt + 1)
        assert following.at >= row.at


def test_whoever_is_refused_for_good_is_given_up_when_the_schedule_ends(house: House) -> None:
    sending = _crowd(house, 4)

    async def story() -> None:
        async with open_office(house, Settings(fault=lambda n: "rcpt:450 4.2.0 never")) as office:
            await office.all_sent(sending)

    run(story())
    assert make.totals(house, sending) == {"expired": 4}
    assert {row.attempt for row in make.outcomes(house, sending)} == {1, 2, 3}
    assert {row.reason for row in make.outcomes(house, sending) if row.attempt == 3} == {"gave_up"}


def test_rel_h78_a_mailbox_that_is_gone_is_suppressed_and_a_policy_refusal_is_not(house: House) -> None:
    sending = _crowd(house, 6)
    faults = {0: "rcpt:550 5.1.1 no such user", 1: "dot:554 5.7.1 we do not like you", 2: "rcpt:550 5.2.1 closed"}
    refused: dict[int, str] = {}

    async def story() -> None:
        async with open_office(house, Settings(fault=faults.get), connections=1) as office:
            await office.all_sent(sending)
            sent = set(office.readers)
            refused.update(enumerate(sorted(_everyone(6) - sent)))

    run(story())
    assert make.totals(house, sending) == {"sent": 3, "bounced": 3}
    rows = {row.reason: row for row in make.outcomes(house, sending) if row.state == "bounced"}
    assert set(rows) == {"address_invalid", "policy"}
    suppressed = make.look(house, lambda session: session.exec(select(Suppression)).all())
    assert [(one.cause, one.scope) for one in suppressed] == [("hard_bounce", "all")] * 2
    assert {one.address_hash for one in suppressed} < {make.address_hash(house.ring, email) for email in refused.values()}
    again = make.a_mailing(house, now=make.real_now())
    assert make.the_mailing(house, again).planned == 4


def test_rel_h05_h21_what_cannot_be_made_is_skipped_alone(house: House) -> None:
    """A header in a name, a missing field, a zone that is none: each its own person's, the rest go on."""
    make.a_crowd(house.engine, house.ring, 9, now=make.real_now())

    def spoil(session: Session) -> None:
        for n, spoiled in enumerate(("name", "plan", "zone")):
            [person] = people_queries.by_address(session, house.ring, addresses.parse(f"u{n}@example.org"))
            identity = session.exec(select(Identity).where(col(Identity.person_id) == person.id)).one()
            if spoiled == "name":
                key = people_queries.person_key(house.ring, person)
                profile = {"first_name": "Ana\nBcc: all@example.org"}
                identity.profile = people._seal_profile(key, identity.source, identity.external_id, profile)
            elif spoiled == "plan":
                people.PersonAttribute.__table__  # noqa: B018
                for row in session.exec(select(people.PersonAttribute).where(col(people.PersonAttribute.person_id) == person.id)):
                    session.delete(row)
            else:
                person.zone = "Nowhere/Land"
            session.add_all([person, identity])

    make.act(house, spoil)
    words = {"en": {**make.WORDS["en"], "body": "You are on {{ plan }}."}}
    sending = make.a_mailing(house, now=make.real_now(), words=words)

    async def story() -> list[str]:
        async with open_office(house) as office:
            await office.all_sent(sending)
            return office.readers

    assert set(run(story())) == {f"u{n}@example.org" for n in range(3, 9)}
    assert make.totals(house, sending) == {"sent": 6, "skipped(header_injection)": 1, "skipped(render_error)": 2}
    assert _adds_up(house, sending)


def test_rel_h09_an_address_the_server_cannot_carry_is_skipped(house: House) -> None:
    with_utf8 = [("josé@example.org", "jose"), ("用户@example.org", "user")]

    def add(session: Session) -> None:
        for email, external_id in with_utf8:
            make.a_person(session, house.ring, email, now=make.real_now(), external_id=external_id)

    make.act(house, add)
    sending = _crowd(house, 3)

    async def story() -> list[str]:
        async with open_office(house, Settings(smtputf8=False)) as office:
            await office.all_sent(sending)
            return office.readers

    assert set(run(story())) == _everyone(3)
    assert make.totals(house, sending) == {"sent": 3, "skipped(server_lacks_smtputf8)": 2}


def test_whatever_changed_since_the_freeze_is_heeded_at_the_claim(house: House) -> None:
    """The second gate: withdrawn, on another address, merged away, suppressed."""
    sending = _crowd(house, 8)

    def change(session: Session) -> None:
        now = make.real_now()
        reader = {n: people_queries.by_address(session, house.ring, addresses.parse(f"u{n}@example.org"))[0] for n in range(8)}
        preferences.stop(session, house.ring, make.a_link(session, reader[0]), how="link", evidence={}, now=now)
        confirmed = [make.an_answer("updates", at=now, confirmed=True)]
        make.register(session, house.ring, "new@example.org", confirmed, source="crowd", external_id="u1", now=now)
        access.change_email(session, house.ring, reader[2], addresses.parse("other@example.org"), now=now, by="cli")
        make.register(session, house.ring, "u4@example.org", confirmed, source="crowd", external_id="u3", now=now)

    make.act(house, change)

    async def story() -> list[str]:
        async with open_office(house) as office:
            await office.all_sent(sending)
            return [reader for reader in office.readers if reader.startswith("u")]

    readers = run(story())
    assert sorted(readers) == ["u4@example.org", "u5@example.org", "u6@example.org", "u7@example.org"]
    assert make.totals(house, sending) == {
        "sent": 4,
        "skipped(withdrawn)": 1,
        "skipped(address_changed)": 2,
        "skipped(address_pending)": 1,
    }
    assert _adds_up(house, sending)
    assert checks.warrants_hold(house.engine, sending.id) == []


# --- taking away while it is sent ---


@LOOPS
def test_rel_h72_after_the_answer_to_a_cancellation_no_dot_leaves(house: House, loop: str) -> None:
    sending = _crowd(house, 420)

    async def story() -> tuple[float, list[float]]:
        async with open_office(house, Settings(delay=0.004)) as office:
            await office.arrived(150)
            cancel = lambda session: announcements.cancel(session, sending.announcement, now=make.real_now(), by=make.STAFF)  # noqa: E731
            done = await fence.perform(office.house, cancel)
            answered = time.monotonic()
            assert done.settled
            await asyncio.sleep(0.5)
            return answered, [message.t_dot for message in office.sink.messages if message.t_dot]

    answered, dots = run(story(), loop)
    assert max(dots) <= answered
    while make.act(house, lambda session: deliveries.settle_ended(session, now=make.real_now())):
        pass
    totals = make.totals(house, sending)
    assert sum(totals.values()) == 420
    assert totals["sent"] + totals.get("unknown", 0) == len(dots)
    assert totals["cancelled"] > 100
    assert make.the_mailing(house, sending).finished_at is not None
    assert _adds_up(house, sending)


def test_pause_holds_everything_back_and_resume_sends_the_rest_once(house: House) -> None:
    sending = _crowd(house, 300)

    async def story() -> list[str]:
        async with open_office(house, Settings(delay=0.004)) as office:
            await office.arrived(60)
            pause = lambda session: announcements.pause(session, sending.announcement, now=make.real_now(), by=make.STAFF)  # noqa: E731
            assert (await fence.perform(office.house, pause)).settled
            answered = time.monotonic()
            await asyncio.sleep(0.6)
            assert all(message.t_dot <= answered for message in office.sink.messages if message.t_dot)
            assert office.sink.committed < 300
            resume = lambda session: announcements.resume(session, sending.announcement, now=make.real_now(), by=make.STAFF)  # noqa: E731
            await fence.perform(office.house, resume)
            await office.all_sent(sending)
            return office.readers

    readers = run(story())
    totals = make.totals(house, sending)
    assert Counter(readers) == dict.fromkeys(_everyone(300), 1) or totals.get("unknown", 0) == 300 - len(set(readers))
    assert sum(totals.values()) == 300
    assert _adds_up(house, sending)


@LOOPS
def test_rel_i1_a_no_while_the_server_has_already_asked_for_the_message(
    house: House, loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MAIL, RCPT and DATA of that very person are said, 354 is on its way: the no still comes first."""
    sending = _crowd(house, 30)

    async def story() -> tuple[str, list[str], bool]:
        with holding(monkeypatch, 12) as server:
            async with open_office(house) as office:
                email = await asyncio.wait_for(server.held, 20)
                done = await fence.perform(office.house, _stop_action(house, email))
                server.release.set()
                await office.all_sent(sending)
                return email, office.readers, done.settled

    email, readers, settled = run(story(), loop)
    assert settled
    assert email not in readers
    assert Counter(readers) == dict.fromkeys(_everyone(30) - {email}, 1)
    assert make.totals(house, sending) == {"sent": 29, "skipped(withdrawn)": 1}


@LOOPS
def test_rel_i1_noes_all_through_a_send(house: House, loop: str) -> None:
    sending = _crowd(house, 400)
    answers: dict[str, float] = {}

    async def stop(office: Office, email: str) -> None:
        done = await fence.perform(office.house, _stop_action(house, email))
        assert done.settled
        answers[email] = time.monotonic()

    async def story() -> list[tuple[str, float]]:
        async with open_office(house, Settings(delay=0.003), connections=3) as office:
            for n in range(12):
                await office.arrived(20 * (n + 1))
                await asyncio.gather(*(stop(office, f"u{(n * 37 + k * 111) % 400}@example.org") for k in range(3)))
            await office.all_sent(sending)
            return [(message.rcpt, message.t_dot) for message in office.sink.messages if message.t_dot]

    dots = run(story(), loop)
    assert checks.departed_after_the_answer(answers, dots) == []
    assert len(answers) > 20
    totals = make.totals(house, sending)
    assert sum(totals.values()) == 400
    assert totals["skipped(withdrawn)"] > 0
    assert max(Counter(rcpt for rcpt, _ in dots).values()) == 1
    assert checks.warrants_hold(house.engine, sending.id) == []


# --- more than one, and one after the other ---


def test_two_senders_on_one_database_send_once_between_them(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.domain.deliveries.rules.BATCH", 25)
    monkeypatch.setattr("service.domain.deliveries.rules.ranges.__defaults__", (25,))
    sending = _crowd(house, 400)

    async def story() -> list[str]:
        async with open_office(house, Settings(delay=0.002), names=("one", "two")) as office:
            await office.all_sent(sending)
            return office.readers

    readers = run(story())
    assert Counter(readers) == dict.fromkeys(_everyone(400), 1)
    assert make.totals(house, sending) == {"sent": 400}
    holders = make.look(house, lambda session: session.exec(select(Batch.sender_id)).all())
    assert len(set(holders)) == 2


def test_a_sender_that_is_stopped_leaves_the_rest_to_the_next(house: House) -> None:
    sending = _crowd(house, 260)

    async def first() -> list[str]:
        async with open_office(house, Settings(delay=0.004)) as office:
            await office.arrived(70)
            office.stop.set()
            await asyncio.gather(*office.tasks)
            return office.readers

    async def second() -> list[str]:
        async with open_office(house, names=("two",)) as office:
            await office.all_sent(sending)
            return office.readers

    before, after = run(first()), run(second())
    assert 70 <= len(before) < 260
    assert Counter(before + after) == dict.fromkeys(_everyone(260), 1)
    assert make.totals(house, sending) == {"sent": 260}


def test_a_sign_in_mail_overtakes_a_large_mailing_to_slow_readers(house: House) -> None:
    sending = _crowd(house, 300)
    make.act(house, lambda session: make.a_person(session, house.ring, "ana@example.org", yes=(), now=make.real_now()))

    async def story() -> int:
        async with open_office(house, Settings(delay=0.02), connections=1) as office:
            await office.arrived(10)
            ask = lambda session: access.request_sign_in(  # noqa: E731
                session, house.ring, addresses.parse("ana@example.org"), locale="en", now=make.real_now()
            )
            await fence.perform(office.house, ask)
            asked_at = office.sink.committed
            while "ana@example.org" not in office.readers:
                assert office.sink.committed < 300
                await asyncio.sleep(0.01)
            return office.readers.index("ana@example.org") - asked_at

    assert run(story()) < 60
    assert make.the_mailing(house, sending).state == "sending"


def test_the_rate_is_kept_and_reached(house: House) -> None:
    sending = _crowd(house, 60)
    house = House(house.settings.model_copy(update={"send_rate": 40.0}), house.engine, house.ring)

    async def story() -> float:
        async with open_office(house) as office:
            await office.all_sent(sending)
            dots = sorted(message.t_dot for message in office.sink.kept)
            return dots[-1] - dots[0]

    assert 1.3 <= run(story()) <= 6
    assert make.totals(house, sending) == {"sent": 60}


def test_nothing_is_claimed_while_sending_is_switched_off(house: House) -> None:
    from service.domain.brands import actions as brands

    sending = _crowd(house, 5)
    make.act(house, lambda session: brands.set_setting(session, "sending_on", False, now=make.real_now(), by="cli"))

    async def story() -> int:
        async with open_office(house) as office:
            await asyncio.sleep(1)
            assert office.sink.committed == 0
            make.act(house, lambda session: brands.set_setting(session, "sending_on", True, now=make.real_now(), by="cli"))
            await office.all_sent(sending)
            return office.sink.committed

    assert run(story()) == 5


def test_completion_is_computed_and_figures_that_do_not_add_up_halt(house: House) -> None:
    sending = _crowd(house, 6)
    assert make.act(house, lambda session: deliveries.finish(session, now=make.real_now())) == 0

    async def story() -> None:
        async with open_office(house) as office:
            await office.until(lambda session: not session.exec(select(Batch).where(col(Batch.state) != "closed")).all())

    run(story())
    from service.domain.mailings.tables import Mailing

    make.act(house, lambda session: session.connection().execute(update(Mailing).where(col(Mailing.id) == sending.id).values(planned=7)))
    make.act(house, lambda session: deliveries.finish(session, now=make.real_now()))
    mailing = make.the_mailing(house, sending)
    assert (mailing.state, mailing.reason) == ("halted", "outcomes_do_not_add_up")
    row = make.look(house, lambda session: announcement_queries.by_mailing(session, sending.id))
    assert row is not None


def test_the_outcome_table_is_insert_only(house: House) -> None:
    sending = _crowd(house, 2)

    async def story() -> None:
        async with open_office(house) as office:
            await office.all_sent(sending)

    run(story())
    [row, _] = make.outcomes(house, sending)
    values = {name: getattr(row, name) for name in type(row).model_fields}
    assert checks.outcome_guards(house.engine, values) == []
    assert make.look(house, lambda session: session.exec(select(Person)).all())
