"""The sender against a real SMTP server that misbehaves by script, on both databases."""

import asyncio
import threading
import time
from binascii import b2a_base64
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import Engine

from scheduler import jobs
from scheduler.sender import Sender
from service import fence
from service.db.session import reading, transaction
from service.domain.announcements import actions as announcements
from service.domain.deliveries import claims
from service.domain.deliveries.rules import Result
from service.domain.ledger import queries as ledger
from service.domain.mailings import queries as mailings
from service.domain.preferences import access
from service.domain.preferences import actions as preferences
from service.domain.suppressions import actions as suppressions
from service.kit import addresses, clock
from tests.scheduler.conftest import WORDS, Post, Sink, SinkSettings, send_all
from tests.scheduler.test_signed import keep_key, use


def outcomes(report: dict[str, Any]) -> int:
    """All members of the audience, wherever they ended."""
    said = report["outcomes"]
    return sum(n for n in said.values() if isinstance(n, int)) + sum(said["skipped"].values())


def received(sink: Sink) -> Counter[str]:
    """How often each address got a mail."""
    return Counter(message.rcpt for message in sink.kept)


async def _everybody_once(post: Post, count: int, names: tuple[str, ...], **settings: Any) -> None:
    async with Sink(SinkSettings(keep=True, **settings)) as sink:
        house = post.house(sink.port, connections=4)
        post.sign_up(count)
        announcement = await asyncio.to_thread(post.announce, house)
        await send_all(post, house, names=names)
        report = post.report(announcement)
        assert report["state"] == "sent"
        assert report["planned"] == report["outcomes"]["sent"] == outcomes(report) == count
        assert set(received(sink).values()) == {1}
        assert len(received(sink)) == count


def test_everybody_gets_it_once(post: Post) -> None:
    asyncio.run(_everybody_once(post, 450, ("one",)))


def test_two_senders_on_one_database(post: Post) -> None:
    asyncio.run(_everybody_once(post, 900, ("one", "two")))


def test_std_d11_a_server_without_pipelining(post: Post) -> None:
    asyncio.run(_everybody_once(post, 30, ("one",), pipelining=False))


def test_std_d16_a_server_that_closes_after_seven(post: Post) -> None:
    asyncio.run(_everybody_once(post, 30, ("one",), close_after=7))


FAULTS = {
    0: "rcpt:550 5.1.1 no such user",
    1: "dot:554 5.7.1 refused by policy",
    2: "dot:451 4.7.1 greylisted",
    3: "mail:421 4.7.0 busy",
    4: "rcpt:452 4.2.2 full",
    5: "data:550 5.6.0 no",
}


async def _every_reply(post: Post) -> None:
    async with Sink(SinkSettings(keep=True, fault=FAULTS.get)) as sink:
        house = post.house(sink.port)
        post.sign_up(10)
        announcement = await asyncio.to_thread(post.announce, house)
        await send_all(post, house)
        report = post.report(announcement)
        assert report["state"] == "sent"
        assert outcomes(report) == report["planned"] == 10
        assert report["outcomes"]["bounced"] == 3
        assert report["outcomes"]["sent"] == 7  # the three deferred ones came back
        assert set(received(sink).values()) == {1}


def test_std_d3_replies_become_outcomes_and_4xx_comes_back(post: Post) -> None:
    asyncio.run(_every_reply(post))


def test_rel_h78_only_an_unknown_mailbox_is_suppressed(post: Post) -> None:
    asyncio.run(_every_reply(post))
    with post.engine.connect() as connection:
        rows = connection.execute(text("SELECT cause, scope FROM suppression")).all()
    assert [tuple(row) for row in rows] == [("hard_bounce", "all")]


def test_std_a3_the_same_message_id_on_every_attempt(post: Post) -> None:
    async def run() -> None:
        async with Sink(SinkSettings(keep=True, fault={0: "dot:451 4.7.1 later"}.get)) as sink:
            house = post.house(sink.port)
            post.sign_up(1)
            await asyncio.to_thread(post.announce, house)
            await send_all(post, house)
            first, second = sink.messages
            assert first.message_id == second.message_id
            assert first.mail_from == second.mail_from

    asyncio.run(run())


def test_retries_end(post: Post) -> None:
    async def run() -> None:
        async with Sink(SinkSettings(fault=lambda n: "rcpt:450 4.2.1 later")) as sink:
            house = post.house(sink.port, retry_seconds="0,0")
            post.sign_up(1)
            announcement = await asyncio.to_thread(post.announce, house)
            await send_all(post, house)
            assert sink.began == 3
            assert post.report(announcement)["outcomes"]["expired"] == 1

    asyncio.run(run())


def test_rel_h21_many_who_have_no_name_halt_the_mailing_until_a_person_goes_on(post: Post) -> None:
    async def run() -> None:
        async with Sink(SinkSettings(keep=True)) as sink:
            house = post.house(sink.port)
            post.sign_up(2)
            post.sign_up(403, first_name="Ana")
            words = {"en": {**WORDS["en"], "body": "Hello {{ first_name }}, plan a week."}}
            announcement = await asyncio.to_thread(post.announce, house, words)
            stop = asyncio.Event()
            sender = asyncio.create_task(Sender(house, "one").run(stop))
            async with asyncio.timeout(30):
                while (await asyncio.to_thread(post.report, announcement))["state"] != "halted":
                    await asyncio.sleep(0.05)
            stop.set()
            await sender
            report = post.report(announcement)
            assert report["reason"] == "render_errors"
            assert report["outcomes"]["skipped"] == {"render_error": 2}
            with transaction(post.engine) as session:
                announcements.resume(session, announcement, now=clock.now(), by="cli")
            await send_all(post, house)
            report = post.report(announcement)
            assert (report["state"], report["outcomes"]["sent"]) == ("sent", 403)
            assert set(received(sink).values()) == {1}

    asyncio.run(run())


def test_rel_h21_one_who_has_no_name_is_skipped_alone(post: Post) -> None:
    async def run() -> None:
        async with Sink(SinkSettings(keep=True)) as sink:
            house = post.house(sink.port)
            post.sign_up(3, first_name="Ana")
            post.sign_up(1)
            words = {"en": {**WORDS["en"], "body": "Hello {{ first_name }}, plan a week."}}
            announcement = await asyncio.to_thread(post.announce, house, words)
            await send_all(post, house)
            report = post.report(announcement)
            assert report["outcomes"]["sent"] == 3
            assert report["outcomes"]["skipped"] == {"render_error": 1}

    asyncio.run(run())


def test_whom_there_was_no_memory_for_gets_the_mail_later(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is skipped for a shortage that passes; nor does anybody wait for it."""
    signed: list[int] = []

    def short(data: bytes, *, newline: bool) -> bytes:
        signed.append(1)
        if len(signed) == 2:
            raise MemoryError
        return b2a_base64(data, newline=newline)

    monkeypatch.setattr("service.mail.dkim.b2a_base64", short)
    monkeypatch.setattr("scheduler.sender.LATER", 0.2, raising=False)
    keep_key(post, "one")
    use(post, "one")
    signed.clear()
    post.sign_up(3)

    async def run() -> None:
        async with Sink(SinkSettings(keep=True)) as sink:
            house = post.house(sink.port)
            announcement = await asyncio.to_thread(post.announce, house)
            await asyncio.wait_for(send_all(post, house), 30)
            assert post.report(announcement)["outcomes"]["sent"] == 3
            assert received(sink) == {f"u{n}@example.org": 1 for n in range(3)}

    asyncio.run(run())
    assert len(signed) > 2


def test_a_sender_without_work_forgets_what_was_taken_away(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many say no meanwhile, as a file of noes that is read in: nothing in hand is concerned."""
    monkeypatch.setattr("scheduler.lease.MANY", 10)

    def take_away() -> int:
        for n in range(50):
            with transaction(post.engine) as session:
                about: dict[str, Any] = {
                    "scope": "all",
                    "cause": "imported",
                    "origin": "a-file",
                    "subject": None,
                }
                suppressions.add(session, f"{n:064}", **about, now=clock.now(), by="cli")
        with reading(post.engine) as session:
            return ledger.tail(session)[0]

    async def run() -> None:
        sender, stop = Sender(post.house(9), "one"), asyncio.Event()
        sending = asyncio.create_task(sender.run(stop))
        async with asyncio.timeout(20):
            while not sender.lease.id:
                await asyncio.sleep(0.01)
            last = await asyncio.to_thread(take_away)
            while sender.lease.seen < last or len(sender.lease._taken) >= 10:
                await asyncio.sleep(0.01)
        stop.set()
        await sending

    asyncio.run(run())


@pytest.mark.parametrize("readable", [5, 0])
def test_whom_no_key_opens_is_skipped_alone(post: Post, readable: int) -> None:
    async def run() -> None:
        async with Sink(SinkSettings(keep=True)) as sink:
            house = post.house(sink.port)
            post.sign_up(readable + 3)
            announcement = await asyncio.to_thread(post.announce, house)
            with post.engine.begin() as connection:
                damaged = text("UPDATE address SET sealed = :other WHERE id IN (SELECT address_id FROM audience"
                               " WHERE pos > :readable)")  # fmt: skip
                connection.execute(damaged, {"other": b"\x01" + bytes(60), "readable": readable})
            await send_all(post, house)
            jobs.finish(house, clock.now())
            report = post.report(announcement)
            assert report["state"] == "sent"
            assert (report["outcomes"]["sent"], report["outcomes"]["skipped"]) == (readable, {"erased": 3})
            assert received(sink) == {f"u{n}@example.org": 1 for n in range(readable)}

    asyncio.run(run())


async def aimed_withdrawal(post: Post) -> tuple[float, list[tuple[str, float]]]:
    """Somebody stops while the server holds the 354 of their very mail; when it was acknowledged, and every dot."""
    loop = asyncio.get_running_loop()
    held: asyncio.Future[None] = loop.create_future()
    reached = asyncio.Event()

    def hold(message: Any) -> asyncio.Future[None] | None:
        if message.rcpt == "u3@example.org":
            reached.set()
            return held
        return None

    async with Sink(SinkSettings(keep=True, hold=hold)) as sink:
        house = post.house(sink.port)
        post.sign_up(8)
        await asyncio.to_thread(post.announce, house)
        link, acknowledged = post.stop_link("u3"), 0.0

        async def withdraw() -> None:
            nonlocal acknowledged
            await reached.wait()
            done = await fence.perform(
                house,
                lambda session: preferences.stop(
                    session, post.ring, link, how="one_click", evidence={}, now=clock.now()
                ),
            )
            acknowledged = time.monotonic()
            loop.call_later(0.05, held.set_result, None)  # clearly later than the answer
            assert done.settled

        await send_all(post, house, meanwhile=withdraw)
        return acknowledged, [(message.rcpt, message.t_dot) for message in sink.messages if message.t_dot]


def departures_after_no(acknowledged: float, dots: list[tuple[str, float]]) -> list[str]:
    """P1's checker: who got a dot after their no was acknowledged (5 ms for the loopback)."""
    return [rcpt for rcpt, at in dots if rcpt == "u3@example.org" and at > acknowledged + 0.005]


def test_std_b9_no_mail_departs_after_an_acknowledged_no(post: Post) -> None:
    acknowledged, dots = asyncio.run(aimed_withdrawal(post))
    assert departures_after_no(acknowledged, dots) == []
    assert "u3@example.org" not in [rcpt for rcpt, _ in dots]
    assert len(dots) == 7
    with post.engine.connect() as connection:
        skipped = (
            connection.execute(text("SELECT reason FROM outcome WHERE state = 'skipped'")).scalars().all()
        )
    assert list(skipped) == ["withdrawn"]


def test_the_freeze_goes_on_in_another_clock(post: Post, monkeypatch: Any) -> None:
    """Two clocks step at the same mailing; the audience is whole, without gap and without double."""
    monkeypatch.setattr("service.domain.deliveries.rules.CHUNK", 7)
    house = post.house(9)
    post.sign_up(50)
    announcement = post.announce(house)

    async def both() -> None:
        await asyncio.gather(*(asyncio.to_thread(jobs.freeze, house, clock.now()) for _ in range(2)))

    asyncio.run(both())
    assert post.report(announcement)["planned"] == 50
    with post.engine.connect() as connection:
        positions = connection.execute(text("SELECT pos FROM audience ORDER BY pos")).scalars().all()
        assert list(positions) == list(range(1, 51))
        assert connection.execute(text("SELECT count(*) FROM batch")).scalar_one() == 1


def test_two_freezes_at_once_make_one_audience(post: Post) -> None:
    house = post.house(9)
    post.sign_up(40)

    async def race() -> str:
        announcement = await asyncio.to_thread(post.announce, house)
        await asyncio.gather(*(asyncio.to_thread(jobs.freeze, house, clock.now()) for _ in range(4)))
        return announcement

    assert post.report(asyncio.run(race()))["planned"] == 40


def test_a_sign_in_link_overtakes_a_large_mailing(post: Post) -> None:
    async def run() -> None:
        async with Sink(SinkSettings(keep=True, delay=0.01)) as sink:
            house = post.house(sink.port)
            post.sign_up(300)
            await asyncio.to_thread(post.announce, house)

            def ask(session: Any) -> None:
                access.request_sign_in(
                    session, post.ring, addresses.parse("u7@example.org"), locale="en", now=clock.now()
                )

            async def sign_in() -> None:
                while len(sink.kept) < 20:
                    await asyncio.sleep(0.005)
                await asyncio.to_thread(_in_transaction, post, ask)

            await send_all(post, house, meanwhile=sign_in)
            order = [index for index, message in enumerate(sink.kept) if b"Auto-Submitted" in message.data]
            assert order
            assert order[0] < 250

    asyncio.run(run())


def _in_transaction(post: Post, action: Any) -> None:
    with transaction(post.engine) as session:
        action(session)


def test_every_batch_is_sealed_and_the_chain_holds(post: Post) -> None:
    asyncio.run(_everybody_once(post, 20, ("one",)))
    with reading(post.engine) as session:
        kinds = [seen.kind for seen in ledger.page(session, after=None, limit=200).rows]
        assert "batch.sealed" in kinds
        assert ledger.verify(session).holds
        for row in session.connection().execute(text("SELECT warrant_seq FROM outcome")):
            grant = ledger.entry(session, row.warrant_seq)
            assert grant is not None
            assert grant.kind == "consent.given"


def test_completion_is_computed_and_a_gap_halts(post: Post) -> None:
    house = post.house(9)
    post.sign_up(5)
    announcement = post.announce(house)
    with post.engine.execution_options(write=True).begin() as connection:
        connection.execute(text("UPDATE batch SET state = 'closed'"))
    jobs.finish(house, clock.now())
    report = post.report(announcement)
    assert (report["state"], report["reason"]) == ("halted", "outcomes_do_not_add_up")


def test_recording_twice_changes_nothing(post: Post) -> None:
    house = post.house(9)
    post.sign_up(3)
    post.announce(house)
    import random

    from service.domain.deliveries.rules import Result, Waits
    from service.domain.senders import actions as senders

    with transaction(post.engine) as session:
        lease = senders.begin(session, "one", boot_id="b", seen_seq=0, now=clock.now())
    with transaction(post.engine) as session:
        [claimed] = claims.claim(session, post.ring, lease.id or 0, now=clock.now(), limit=1, system=False)
    results = [Result(member.pos, member.attempt, "sent", code=250) for member in claimed.members]
    for expected in (True, False):
        with transaction(post.engine) as session:
            done = claims.record(
                session, claimed, results, waits=Waits([1], 1), now=clock.now(), chance=random.Random(1)
            )
            assert done is expected
    with reading(post.engine) as session:
        assert mailings.outcome_counts(session, claimed.mailing.id or 0) == {("sent", ""): 3}


def test_a_record_of_two_mailings_and_whoever_cancels_one_do_not_wait_for_each_other(post: Post) -> None:
    """Whoever changes a mailing takes it first and the ledger's tail after it. A sender that records batches of two mailings at once
    has the tail by the first when it comes to the second, which the one who cancels holds."""
    if post.engine.dialect.name == "sqlite":
        return  # one writer at a time
    house = post.house(9)
    post.sign_up(1)
    first, second = (post.announce(house) for _ in range(2))
    sender = Sender(house, "one")
    asyncio.run(_take_two(sender))
    door = threading.Thread(target=_cancel, args=(post, second))
    failed = _each_holds_one(post.engine, door)
    door.start()
    asyncio.run(sender._settle())
    door.join(20)
    assert failed == []
    assert sender.works == []
    states = {one: post.report(one)["outcomes"]["sent"] for one in (first, second)}
    assert states == {first: 1, second: 1}


async def _take_two(sender: Sender) -> None:
    """Both batches are claimed, and all in them answered."""
    await sender._begin()
    await sender._claim()
    assert len(sender.works) == 2
    for work in sender.works:
        work.results += [Result(one.pos, one.attempt, "sent", code=250) for one in work.waiting]
        work.waiting.clear()


def _cancel(post: Post, announcement: str) -> None:
    with transaction(post.engine) as session:
        announcements.cancel(session, announcement, now=clock.now(), by="cli")


def _each_holds_one(engine: Engine, door: threading.Thread) -> list[str]:
    """From now on neither goes on before the door has its mailing and the other the ledger's tail; what the database refuses of it."""
    has_mailing, has_tail, failed = threading.Event(), threading.Event(), list[str]()

    @event.listens_for(engine, "before_cursor_execute")
    def before(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "pg_advisory_xact_lock" in statement and threading.current_thread() is door:
            has_mailing.set()
            has_tail.wait(10)

    @event.listens_for(engine, "after_cursor_execute")
    def after(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "pg_advisory_xact_lock" in statement and threading.current_thread() is not door:
            has_tail.set()
            has_mailing.wait(10)

    event.listen(engine, "handle_error", lambda context: failed.append(str(context.original_exception)))
    return failed
