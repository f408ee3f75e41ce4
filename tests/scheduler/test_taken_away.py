"""What the staff takes away while mail is leaving: once it is acknowledged, nothing more of it departs (P1)."""

import asyncio
import time
from collections.abc import Callable

import pytest
from sqlalchemy import text
from sqlmodel import Session

from scheduler import jobs, lease
from scheduler.sender import Sender
from service import fence
from service.db.session import reading, transaction
from service.domain.announcements import actions as announcements
from service.domain.ledger import queries as ledger
from service.domain.ledger.actions import stands
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.domain.preferences import access
from service.domain.preferences import actions as preferences
from service.domain.privacy import erasing
from service.domain.suppressions import actions as suppressions
from service.domain.topics import actions as topics
from service.kit import addresses, clock
from service.ops.house import House
from tests import builders as make
from tests.domain.transfers import files
from tests.faults.sink import Message
from tests.scheduler.conftest import Post, Sink, SinkSettings, send_all
from tests.scheduler.test_sender import outcomes, received


async def _in_the_middle(sink: Sink, house: House, action: Callable[[Session], object]) -> float:
    """Do it when twenty letters have arrived; the moment it was acknowledged."""
    while len(sink.messages) < 20:
        await asyncio.sleep(0.005)
    settled = (await fence.perform(house, action)).settled
    while not settled:  # a busy machine: the honest 202, so ask again until it is acknowledged
        settled = (await fence.perform(house, stands)).settled
    return time.monotonic()


def test_rel_h72_cancel_in_the_middle(post: Post) -> None:
    async def run() -> None:
        async with Sink(SinkSettings(keep=True, delay=0.01)) as sink:
            house = post.house(sink.port)
            post.sign_up(120)
            announcement = await asyncio.to_thread(post.announce, house)
            after = 0.0

            async def cancel() -> None:
                nonlocal after
                after = await _in_the_middle(
                    sink,
                    house,
                    lambda session: announcements.cancel(session, announcement, now=clock.now(), by="cli"),
                )

            stop = asyncio.create_task(cancel())
            ended = asyncio.Event()
            sending = asyncio.create_task(Sender(house, "one").run(ended))
            await stop
            await asyncio.sleep(0.3)
            ended.set()
            await sending
            jobs.settle(house, clock.now())
            report = post.report(announcement)
            assert report["state"] == "cancelled"
            assert outcomes(report) == report["planned"] == 120
            assert report["outcomes"]["sent"] == len(sink.kept)
            assert 0 < report["outcomes"]["cancelled"] < 120
            assert [message for message in sink.messages if message.t_dot > after + 0.015] == []

    asyncio.run(run())


def test_pause_and_resume_send_the_rest_once(post: Post) -> None:
    async def run() -> None:
        async with Sink(SinkSettings(keep=True, delay=0.005)) as sink:
            house = post.house(sink.port)
            post.sign_up(60)
            announcement = await asyncio.to_thread(post.announce, house)

            async def pause() -> None:
                while len(sink.messages) < 10:
                    await asyncio.sleep(0.002)
                await fence.perform(
                    house,
                    lambda session: announcements.pause(session, announcement, now=clock.now(), by="cli"),
                )
                seen = len(sink.kept)
                await asyncio.sleep(0.2)
                assert len(sink.kept) <= seen + 1  # one reply may have been on its way back
                await fence.perform(
                    house,
                    lambda session: announcements.resume(session, announcement, now=clock.now(), by="cli"),
                )

            await send_all(post, house, meanwhile=pause)
            report = post.report(announcement)
            assert report["outcomes"]["sent"] == 60
            assert set(received(sink).values()) == {1}

    asyncio.run(run())


def test_a_pause_gives_back_at_once_what_a_slow_rate_would_hold_for_long(post: Post) -> None:
    async def run() -> None:
        async with Sink(SinkSettings(keep=True)) as sink:
            house = post.house(sink.port, send_rate=1.0)
            post.sign_up(50)
            announcement = await asyncio.to_thread(post.announce, house)

            async def pause() -> None:
                while not sink.kept:
                    await asyncio.sleep(0.01)
                before = time.monotonic()
                await fence.perform(
                    house,
                    lambda session: announcements.pause(session, announcement, now=clock.now(), by="cli"),
                )
                while await asyncio.to_thread(post.batches_in_hand):
                    assert time.monotonic() - before < 15, "20 positions at 1/s would take 20 s"
                    await asyncio.sleep(0.02)
                await fence.perform(
                    house,
                    lambda session: announcements.cancel(session, announcement, now=clock.now(), by="cli"),
                )

            stop = asyncio.Event()
            sending = asyncio.create_task(Sender(house, "one").run(stop))
            await pause()
            stop.set()
            await sending
            jobs.settle(house, clock.now())
            report = post.report(announcement)
            assert outcomes(report) == report["planned"] == 50
            assert report["outcomes"]["sent"] == len(sink.kept)

    asyncio.run(run())


def test_a_topic_retired_in_the_middle_stops_what_is_on_its_way(post: Post) -> None:
    async def run() -> None:
        async with Sink(SinkSettings(keep=True, delay=0.01)) as sink:
            house = post.house(sink.port)
            post.sign_up(120)
            announcement = await asyncio.to_thread(post.announce, house)
            after = 0.0

            async def retire() -> None:
                nonlocal after
                after = await _in_the_middle(
                    sink,
                    house,
                    lambda session: topics.retire(session, "new-products", now=clock.now(), by="cli"),
                )

            await send_all(post, house, meanwhile=retire)
            report = post.report(announcement)
            assert outcomes(report) == report["planned"] == 120
            assert report["outcomes"]["skipped"]["topic_retired"] == 120 - len(sink.kept) > 0
            assert [message for message in sink.messages if message.t_dot > after + 0.015] == []

    asyncio.run(run())


def test_many_noes_at_once_take_all_in_hand_back_to_a_new_claim(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than can be remembered one by one: nobody of them is written to afterwards, all others are, once, and nothing of it
    stays in memory when no claim can be older."""
    many = 5
    monkeypatch.setattr(lease, "MANY", many)

    async def run() -> None:
        said: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        arrived: list[str] = []

        def hold(message: Message) -> asyncio.Future[None] | None:
            """From the twenty-first on nobody's mail is let in before the noes are answered."""
            arrived.append(message.rcpt)
            return said if len(arrived) > 20 else None

        async with Sink(SinkSettings(keep=True, hold=hold)) as sink:
            house = post.house(sink.port)
            post.sign_up(60)
            links = [post.stop_link(f"u{number}") for number in range(60 - 2 * many, 60)]
            announcement = await asyncio.to_thread(post.announce, house)
            sender, stop = Sender(house, "one"), asyncio.Event()

            def say_no(session: Session) -> None:
                for link in links:
                    preferences.stop(session, post.ring, link, how="one_click", evidence={}, now=clock.now())

            sending = asyncio.create_task(sender.run(stop))
            after = await _in_the_middle(sink, house, say_no)
            said.set_result(None)
            before = {message.rcpt for message in sink.kept}
            while await asyncio.to_thread(post.open_batches):
                await asyncio.sleep(0.01)
            stop.set()
            await sending
            jobs.finish(house, clock.now())
            report = post.report(announcement)
            assert report["state"] == "sent"
            assert set(received(sink).values()) == {1}
            late = {message.rcpt for message in sink.messages if message.t_dot > after + 0.005}
            assert late
            assert late <= {f"u{number}@example.org" for number in range(60 - 2 * many)} - before
            assert sum(report["outcomes"]["skipped"].values()) == 60 - len(sink.kept)
            assert len(sender.lease._taken) < many
            assert sender.lease._taken_all == sender.lease.seen

    asyncio.run(run())


def _bounced_elsewhere(house: House) -> None:
    """A file says that the mailbox of u3 is dead: its entry names nobody."""
    with_status = files.job(b"email,status\nu3@example.org,bounced\n", files.DATED)
    assert files.imported(house, with_status).counts == {"noes": {"bounced": 1}}


def _erased_by_another_name(house: House) -> None:
    """Another registration of the mailbox of u3, which nobody confirmed, is erased: the entry names that one."""

    def erase(session: Session) -> None:
        other = people.identity(session, "shop", "another")
        assert other is not None
        person = session.get_one(Person, other.person_id)
        erasing.erase(session, house.ring, person, how="api", now=clock.now(), by="cli")

    fence.perform_now(house, erase)


def _another_topic(house: House) -> None:
    """A no to another topic for the mailbox, which names nobody: it takes this letter back, and the gate lets it through again."""

    def add(session: Session) -> None:
        suppressions.add(
            session,
            make.address_hash(house.ring, "u3@example.org"),
            scope="topic",
            cause="withdrawal",
            origin="import",
            subject=None,
            topic_id=make.the_topic(session, "updates").id,
            now=clock.now(),
            by="cli",
        )

    fence.perform_now(house, add)


@pytest.mark.parametrize(
    ("take", "skipped"),
    [
        (_bounced_elsewhere, {"bounced": 1}),
        (_erased_by_another_name, {"do_not_mail": 1}),
        (_another_topic, {}),
    ],
)
def test_std_b9_a_no_for_a_mailbox_holds_for_a_letter_in_hand_whomever_it_names(
    post: Post, take: Callable[[House], None], skipped: dict[str, int]
) -> None:
    """Said while the server asks for that very letter: what departs afterwards has passed the gate anew."""

    async def run() -> None:
        held: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        reached = asyncio.Event()

        def hold(message: Message) -> asyncio.Future[None] | None:
            if message.rcpt != "u3@example.org" or held.done():
                return None
            reached.set()
            return held

        async with Sink(SinkSettings(keep=True, hold=hold)) as sink:
            house = post.house(sink.port)
            post.sign_up(8)
            with transaction(post.engine) as session:
                make.register(
                    session, post.ring, "u3@example.org", external_id="another", attest=False, now=clock.now()
                )
            announcement = await asyncio.to_thread(post.announce, house)
            until = 0

            async def say_no() -> None:
                nonlocal until
                await reached.wait()
                await asyncio.to_thread(take, house)
                with reading(post.engine) as session:
                    until = ledger.tail(session)[0]
                asyncio.get_running_loop().call_later(0.05, held.set_result, None)

            await send_all(post, house, meanwhile=say_no)
            report = post.report(announcement)
            assert outcomes(report) == report["planned"] == 8
            assert report["outcomes"]["skipped"] == skipped
            assert received(sink)["u3@example.org"] == (0 if skipped else 1)
            assert report["outcomes"]["sent"] == 8 - len(skipped)
            with post.engine.connect() as connection:
                claims = connection.execute(text("SELECT claimed_seq FROM batch WHERE positions IS NOT NULL"))
                assert claims.scalar_one() >= until, "it was claimed anew"

    asyncio.run(run())


def test_std_b9_a_letter_to_the_old_address_does_not_depart_once_the_button_for_the_new_one_is_answered(
    post: Post,
) -> None:
    """An important notice is half on its way to the old mailbox: what was claimed before the press departs no more."""

    async def run() -> None:
        held: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        reached, holds = asyncio.Event(), asyncio.Event()

        def hold(message: Message) -> asyncio.Future[None] | None:
            if message.rcpt != "u3@example.org" or not holds.is_set():
                return None
            reached.set()
            return held

        async with Sink(SinkSettings(keep=True, hold=hold)) as sink:
            house = post.house(sink.port)
            post.sign_up(8)
            with transaction(post.engine) as session:
                mover = people.by_address(session, post.ring, addresses.parse("u3@example.org"))[0]
                new = addresses.parse("new@example.org")
                access.change_email(session, post.ring, mover, new, now=clock.now(), by="cli")
                [button] = make.buttons(session, mover)
            await send_all(post, house)
            assert received(sink) == {"u3@example.org": 1, "new@example.org": 1}, "told, and asked"
            holds.set()
            notice = await asyncio.to_thread(post.warn, house)

            async def press() -> None:
                await reached.wait()
                done = await fence.perform(
                    house, lambda session: make.press(session, post.ring, button, now=clock.now())
                )
                assert done.settled
                asyncio.get_running_loop().call_later(0.05, held.set_result, None)

            await send_all(post, house, meanwhile=press)
            report = post.report_of_notice(notice)
            assert outcomes(report) == report["planned"] == 8
            assert received(sink)["u3@example.org"] == 1
            assert report["outcomes"]["skipped"] == {"address_changed": 1}

    asyncio.run(run())
