"""Mailings against a real SMTP server: what changed since the freeze, what cannot be made, noes all through a send (P1 to P3).

The sender's own protocol is tried in tests/scheduler/test_sender.py, with the same harness.
"""

import asyncio
import multiprocessing
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import pytest
import uvloop
from sqlalchemy import text
from sqlalchemy.engine import Engine
from sqlmodel import Session, col, select

from scheduler import jobs
from scheduler.sender import Sender
from service import fence
from service.db.engine import make_engine, rest
from service.db.session import transaction
from service.domain.announcements import actions as announcements
from service.domain.brands import actions as brands
from service.domain.deliveries import actions as deliveries
from service.domain.deliveries import freeze as freezing
from service.domain.deliveries import rules
from service.domain.mailings import queries as mailings
from service.domain.mailings.tables import Audience, Mailing, Outcome
from service.domain.people import mailbox
from service.domain.people import queries as people
from service.domain.people.tables import Identity, Person, PersonAttribute
from service.domain.preferences import access
from service.domain.preferences import actions as preferences
from service.domain.privacy import erasing
from service.domain.senders.tables import Sender as Lease
from service.kit import addresses, clock
from service.kit.signing import Keyring
from tests import builders as make
from tests import checks
from tests.scheduler.conftest import WORDS, Post, Sink, SinkSettings, send_all
from tests.scheduler.test_sender import aimed_withdrawal, departures_after_no
from tests.scheduler.test_verify_mailing import checked, written

LOOPS = pytest.mark.parametrize("loop", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])


@pytest.fixture
def post(engine: Engine, ring: Keyring, tmp_path: Path) -> Post:
    return Post(engine, ring, tmp_path)


def _mailing(post: Post) -> int:
    """The row number of the one announcement's mailing."""
    with Session(post.engine) as session:
        return session.exec(select(Mailing.id).where(col(Mailing.kind) == "announcement")).one() or 0


def _reader(session: Session, post: Post, n: int) -> Person:
    return people.by_address(session, post.ring, addresses.parse(f"u{n}@example.org"))[0]


def _send(
    post: Post, announcement: str, settings: SinkSettings | None = None, **more: Any
) -> tuple[list[str], dict[str, Any]]:
    """Send what is frozen; who got it, in order, and the report."""
    return _readers(post, settings, **more), post.report(announcement)


def _readers(post: Post, settings: SinkSettings | None = None, **more: Any) -> list[str]:
    """Who got something, in order, of all that was frozen."""
    settings = settings or SinkSettings()
    settings.keep = True

    async def story() -> list[str]:
        async with Sink(settings) as sink:
            await send_all(post, post.house(sink.port, **more))
            return [message.rcpt for message in sink.kept]

    return asyncio.run(story())


def _adds_up(report: dict[str, Any]) -> bool:
    outcomes = dict(report["outcomes"])
    return bool(report["planned"] == sum(outcomes.pop("skipped", {}).values()) + sum(outcomes.values()))


@LOOPS
def test_everyone_once_on_either_event_loop(post: Post, loop: Any) -> None:
    post.sign_up(230)
    announcement = post.announce(post.house(9))

    async def story() -> list[str]:
        async with Sink(SinkSettings(keep=True)) as sink:
            await send_all(post, post.house(sink.port, connections=3))
            return [message.rcpt for message in sink.kept]

    assert Counter(loop(story())) == {f"u{n}@example.org": 1 for n in range(230)}
    report = post.report(announcement)
    assert (report["state"], report["planned"], report["outcomes"]["sent"]) == ("sent", 230, 230)
    assert _adds_up(report)
    assert checks.warrants_hold(post.engine, _mailing(post)) == []
    assert checks.chain(post.engine) == []
    assert list(post.house(9).settings.journals.glob("*.journal")) == []
    with Session(post.engine) as session:
        assert session.exec(select(Lease.state)).all() == ["ended"]


def test_whatever_changed_since_the_freeze_is_heeded_at_the_claim(post: Post) -> None:
    """The second gate: withdrawn, on another address, moving to one, merged into the one who is left."""
    post.sign_up(8)
    announcement = post.announce(post.house(9))
    now = clock.now()
    sure = [make.an_answer("updates", at=now, confirmed=True)]
    with transaction(post.engine) as session:
        preferences.stop(
            session,
            post.ring,
            make.a_link(session, _reader(session, post, 0)),
            how="link",
            evidence={},
            now=now,
        )
        make.register(session, post.ring, "new@example.org", sure, source="site", external_id="u1", now=now)
        access.change_email(
            session, post.ring, _reader(session, post, 2), addresses.parse("x@example.org"), now=now, by="cli"
        )
        make.register(session, post.ring, "u4@example.org", sure, source="site", external_id="u3", now=now)
    readers, report = _send(post, announcement)
    told = "u2@example.org"  # that their address is to change: not the announcement
    assert sorted(reader for reader in readers if reader.startswith("u")) == [
        told,
        *(f"u{n}@example.org" for n in (4, 5, 6, 7)),
    ]
    assert report["outcomes"]["skipped"] == {"withdrawn": 1, "address_changed": 2, "address_pending": 1}
    assert _adds_up(report)
    assert checks.warrants_hold(post.engine, _mailing(post)) == []


def _two_of_one_mailbox(post: Post, external_id: str, email: str, *answers: dict[str, Any]) -> Person:
    """A registration of `shop`, whose mailbox nobody confirmed unless the answers say so."""
    with transaction(post.engine) as session:
        given = {"external_id": external_id, "now": clock.now()}
        made = make.register(session, post.ring, email, answers, **given)
        return make.the_person(session, made.person_id)


def _erased(post: Post, first: Person) -> None:
    with transaction(post.engine) as session:
        again = session.get_one(Person, first.id)
        erasing.erase(session, post.ring, again, how="api", now=clock.now(), by="cli")


def _elsewhere(post: Post, first: Person) -> None:
    _two_of_one_mailbox(post, "first", "elsewhere@example.org")


def _merged(post: Post, first: Person) -> None:
    sure = make.an_answer("updates", at=clock.now(), confirmed=True)
    _two_of_one_mailbox(post, "second", "two@example.org", sure)
    _two_of_one_mailbox(post, "first", "two@example.org", sure)


@pytest.mark.parametrize("goes", [_erased, _elsewhere, _merged])
def test_p3_who_leaves_a_mailbox_before_the_claim_takes_no_important_notice_from_the_other_who_is_there(
    post: Post, goes: Callable[[Post, Person], None], tmp_path: Path
) -> None:
    """The first stood for the mailbox at the freeze; what is owed to it goes to the second, under their own permission."""
    post.sign_up(3)
    first, second = (_two_of_one_mailbox(post, name, "two@example.org") for name in ("first", "second"))
    notice = post.warn(post.house(9))
    assert post.report_of_notice(notice)["excluded"] == {"same_mailbox": 1}
    goes(post, first)
    readers = _readers(post)
    report = post.report_of_notice(notice)
    assert Counter(readers)["two@example.org"] == 1
    assert (report["planned"], report["outcomes"]["sent"], _adds_up(report)) == (4, 4, True)
    with Session(post.engine) as session:
        mailing = session.exec(select(Mailing).where(col(Mailing.kind) == "notice")).one()
        [row] = session.exec(select(Audience).where(col(Audience.person_id) == second.id)).all()
        assert session.exec(select(Audience).where(col(Audience.person_id) == first.id)).all() == []
    assert row.mailing_id == mailing.id
    assert checks.warrants_hold(post.engine, mailing.id or 0) == []
    verified = checked(*written(post, notice, tmp_path))
    assert verified.holds, (verified.fault, verified.position)


def test_rel_h05_h21_what_cannot_be_made_is_skipped_alone(post: Post) -> None:
    """A header in a name, a missing field, a zone that is none: each is its own person's loss, the rest go on."""
    post.sign_up(9, attributes={"plan": "pro"}, first_name="Ana")
    with transaction(post.engine) as session:
        named, unplanned, lost = (_reader(session, post, n) for n in range(3))
        identity = session.exec(select(Identity).where(col(Identity.person_id) == named.id)).one()
        key = people.person_key(post.ring, named)
        identity.profile = mailbox.seal_profile(
            key, identity.source, identity.external_id, {"first_name": "Ana\nBcc: all@example.org"}
        )
        session.delete(
            session.exec(select(PersonAttribute).where(col(PersonAttribute.person_id) == unplanned.id)).one()
        )
        lost.zone = "Nowhere/Land"
        session.add_all([identity, lost])
    words = {
        "en": {
            **WORDS["en"],
            "subject": "{{ first_name|default('You') }}, the planner",
            "body": "You are on {{ plan }}.",
        }
    }
    readers, report = _send(post, post.announce(post.house(9), words))
    assert set(readers) == {f"u{n}@example.org" for n in range(3, 9)}
    assert report["outcomes"]["skipped"] == {"header_injection": 1, "render_error": 2}
    assert _adds_up(report)


def test_rel_h09_an_address_the_server_cannot_carry_is_skipped(post: Post) -> None:
    post.sign_up(3)
    with transaction(post.engine) as session:
        for email in ("josé@example.org", "用户@example.org"):
            make.a_person(session, post.ring, email, now=clock.now())
    readers, report = _send(post, post.announce(post.house(9)), SinkSettings(smtputf8=False))
    assert len(readers) == 3
    assert report["outcomes"]["skipped"] == {"server_lacks_smtputf8": 2}


# --- taking away while it is sent ---


def test_rel_i1_a_no_while_the_server_already_asked_for_the_message_under_uvloop(post: Post) -> None:
    acknowledged, dots = uvloop.run(aimed_withdrawal(post))
    assert departures_after_no(acknowledged, dots) == []
    assert len(dots) == 7


@LOOPS
def test_rel_i1_noes_all_through_a_send(post: Post, loop: Any) -> None:
    post.sign_up(400)
    announcement = post.announce(post.house(9))
    answers: dict[str, float] = {}

    async def story() -> list[tuple[str, float]]:
        async with Sink(SinkSettings(keep=True, delay=0.003)) as sink:
            house = post.house(sink.port, connections=3)

            async def stop(n: int) -> None:
                link = await asyncio.to_thread(post.stop_link, f"u{n}")

                def act(session: Session) -> preferences.Stopped:
                    return preferences.stop(
                        session, post.ring, link, how="link", evidence={}, now=clock.now()
                    )

                done = await fence.perform(house, act)
                assert done.settled
                answers[f"u{n}@example.org"] = time.monotonic()

            async def stops() -> None:
                for k in range(10):
                    while sink.committed < 20 * k:
                        await asyncio.sleep(0.002)
                    await asyncio.gather(*(stop((k * 37 + j * 131) % 400) for j in range(3)))

            await send_all(post, house, meanwhile=stops)
            return [(message.rcpt, message.t_dot) for message in sink.messages if message.t_dot]

    dots = loop(story())
    assert checks.departed_after_the_answer(answers, dots) == []
    assert len(answers) == 30
    report = post.report(announcement)
    assert _adds_up(report)
    assert report["outcomes"]["skipped"]["withdrawn"] > 0
    assert max(Counter(rcpt for rcpt, _ in dots).values()) == 1
    assert checks.warrants_hold(post.engine, _mailing(post), while_taking=True) == []


# --- one after the other, not too fast, and not at all ---


def test_a_sender_that_is_stopped_leaves_the_rest_to_the_next(post: Post) -> None:
    post.sign_up(260)
    announcement = post.announce(post.house(9))

    async def first() -> list[str]:
        async with Sink(SinkSettings(keep=True, delay=0.004)) as sink:
            stop = asyncio.Event()
            sending = asyncio.create_task(Sender(post.house(sink.port), "one").run(stop))
            while sink.committed < 70:
                await asyncio.sleep(0.005)
            stop.set()
            await sending
            return [message.rcpt for message in sink.kept]

    before = asyncio.run(first())
    after, report = _send(post, announcement)
    assert 70 <= len(before) < 260
    assert Counter(before + after) == {f"u{n}@example.org": 1 for n in range(260)}
    assert report["outcomes"]["sent"] == 260


def test_the_rate_is_kept_and_reached(post: Post) -> None:
    post.sign_up(60)
    announcement = post.announce(post.house(9))

    async def story() -> float:
        async with Sink(SinkSettings(keep=True)) as sink:
            await send_all(post, post.house(sink.port, send_rate=40.0, connections=2))
            dots = sorted(message.t_dot for message in sink.kept)
            return dots[-1] - dots[0]

    assert 1.3 <= asyncio.run(story()) <= 8
    assert post.report(announcement)["outcomes"]["sent"] == 60


def test_nothing_is_claimed_while_sending_is_switched_off(post: Post) -> None:
    post.sign_up(5)
    announcement = post.announce(post.house(9))

    def switch(on: bool) -> None:
        with transaction(post.engine) as session:
            brands.set_setting(session, "sending_on", on, now=clock.now(), by="cli")

    switch(False)

    async def story() -> int:
        async with Sink(SinkSettings(keep=True)) as sink:

            async def later() -> None:
                await asyncio.sleep(0.8)
                assert sink.began == 0
                await asyncio.to_thread(switch, True)

            await send_all(post, post.house(sink.port), meanwhile=later)
            return sink.committed

    assert asyncio.run(story()) == 5
    assert post.report(announcement)["outcomes"]["sent"] == 5


# --- the freeze, and what was frozen ---


def _freeze_on(url: str, mailing_id: int, now: datetime) -> None:
    rules.CHUNK = 7
    engine = make_engine(url)
    for _ in range(3):
        with transaction(engine) as session:
            freezing.add_chunk(session, mailing_id, now=now)
    engine.dispose()


def test_a_freeze_is_carried_on_by_another_process(
    post: Post, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "CHUNK", 7)
    post.sign_up(50)
    now = clock.now()
    sending = make.a_started_mailing(post.house(9), now=now)
    with transaction(post.engine) as session:
        assert freezing.add_chunk(session, sending.id, now=now)
    other = multiprocessing.get_context("spawn").Process(
        target=_freeze_on, args=(database_url, sending.id, now)
    )
    other.start()
    other.join(60)
    assert other.exitcode == 0
    with Session(post.engine) as session:
        assert len(session.exec(select(Audience)).all()) == 28
    make.freeze(post.house(9), sending, now=now)
    mailing = make.the_mailing(post.house(9), sending)
    assert (mailing.state, mailing.planned) == ("sending", 50)
    with Session(post.engine) as session:
        rows = session.exec(select(Audience).order_by(col(Audience.pos))).all()
        assert [row.pos for row in rows] == list(range(1, 51))
        assert len({row.person_id for row in rows}) == 50


def test_a_mailing_cancelled_while_it_freezes_planned_nobody(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "CHUNK", 7)
    post.sign_up(20)
    house, now = post.house(9), clock.now()
    sending = make.a_started_mailing(house, now=now)
    with transaction(post.engine) as session:
        assert freezing.add_chunk(session, sending.id, now=now)
    make.act(
        house, lambda session: announcements.cancel(session, sending.announcement, now=now, by=make.STAFF)
    )
    jobs.freeze(house, now)
    jobs.settle(house, now)
    mailing = make.the_mailing(house, sending)
    assert (mailing.state, mailing.planned, mailing.finished_at is not None) == ("cancelled", 0, True)
    with Session(post.engine) as session:
        assert session.exec(select(Audience)).all() == []
        assert session.exec(select(Outcome)).all() == []
    assert _adds_up(post.report(sending.announcement))


def test_what_is_left_of_a_stopped_mailing_is_settled_at_the_same_cost_to_the_end(post: Post) -> None:
    """Position by position: the last twenty of 420 read no more than the second twenty, and a killed clock loses nothing."""
    post.sign_up(420)
    house, now = post.house(9), clock.now()
    announcement = post.announce(house)
    with transaction(post.engine) as session:
        announcements.cancel(session, announcement, now=now, by=make.STAFF)
    costs: list[int] = []
    more = 1
    while more:
        with Session(post.engine.execution_options(write=True)) as killed:
            deliveries.settle_ended(killed, post.ring, now=now, limit=20)
        with transaction(post.engine) as session:
            spent = _spent(session)
            more = deliveries.settle_ended(session, post.ring, now=now, limit=20)
            costs.append(spent())
        assert len(costs) <= 30
    # 21 windows, the end with its own counting, and once more for nothing
    assert len(costs) == 23
    assert max(costs[1:21]) <= 1.5 * costs[1]
    report = post.report(announcement)
    assert (report["planned"], report["outcomes"]["cancelled"], report["state"]) == (420, 420, "cancelled")
    assert checks.warrants_hold(post.engine, _mailing(post)) == []


def test_the_end_of_a_mailing_that_the_database_has_not_counted_yet_reads_each_row_once(post: Post) -> None:
    """PostgreSQL knows the numbers of the mailing before, and takes a new one for a single row: joined with themselves, 300
    outcomes would be 90,000 to read, and those of a million never come to an end."""
    post.sign_up(300)
    house, now = post.house(9), clock.now()

    def ended() -> int:
        announcement = post.announce(house)
        with transaction(post.engine) as session:
            announcements.cancel(session, announcement, now=now, by=make.STAFF)
        jobs.settle(house, now)
        with Session(post.engine) as session:
            return session.exec(select(col(Mailing.id)).order_by(col(Mailing.id).desc())).first() or 0

    ended()
    with transaction(post.engine) as session:
        session.execute(text("ANALYZE"))
    last = ended()
    with transaction(post.engine) as session:
        spent = _spent(session)
        assert mailings.outcome_counts(session, last) == {("cancelled", ""): 300}
        assert deliveries._without_final_outcome(session, last, 1, 300) == []
        assert spent() <= 12 * 300


def _spent(session: Session) -> Callable[[], int]:
    """What a look costs from here on: rows of audience and outcome on PostgreSQL, steps of its machine on SQLite."""
    connection = session.connection()
    if connection.dialect.name == "sqlite":
        steps: list[int] = []
        raw = cast(sqlite3.Connection, connection.connection.dbapi_connection)
        raw.set_progress_handler(lambda: steps.append(1), 10)
        return lambda: (raw.set_progress_handler(None, 0), len(steps))[1]
    counted = text(
        "SELECT sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)) FROM pg_stat_xact_user_tables "
        "WHERE relname IN ('audience', 'outcome')"
    )
    before = int(session.execute(counted).scalar_one())
    return lambda: int(session.execute(counted).scalar_one()) - before


def test_the_clock_rests_between_two_steps(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a no that waits for SQLite's one place to write would wait for all of them."""
    post.sign_up(20)
    house, now, rests = post.house(9), clock.now(), list[float]()
    announcement = post.announce(house)
    with transaction(post.engine) as session:
        announcements.cancel(session, announcement, now=now, by=make.STAFF)

    class Waited(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            rests.append(timeout or 0.0)
            return False

    monkeypatch.setattr(jobs.threading, "Event", Waited)
    jobs.settle(house, now)
    seconds = rest(post.engine)
    assert rests == ([seconds] * 2 if seconds else []), "one window of positions, and the end"


def test_outcomes_are_only_ever_added(post: Post) -> None:
    post.sign_up(2)
    _send(post, post.announce(post.house(9)))
    with Session(post.engine) as session:
        row = session.exec(select(Outcome)).first()
    assert row is not None
    assert (
        checks.outcome_guards(post.engine, {name: getattr(row, name) for name in type(row).model_fields})
        == []
    )
