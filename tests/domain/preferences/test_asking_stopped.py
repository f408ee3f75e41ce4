"""A round of questions that is stopped: none of its mails departs once that is acknowledged, and who was not asked was not asked (P1)."""

import asyncio
import threading
from typing import Any

import pytest
from sqlalchemy import update
from sqlmodel import Session, col, select

from scheduler import jobs
from scheduler.sender import Sender
from service import fence
from service.db.session import transaction
from service.domain.brands import actions as brands
from service.domain.deliveries import claims
from service.domain.ledger import actions as ledger
from service.domain.ledger import queries as entries
from service.domain.mailings.rules import ASK_AGAIN, ASK_ANEW
from service.domain.mailings.tables import Mailing, Outcome
from service.domain.preferences import reasking
from service.domain.preferences.rules import RENEWAL
from service.domain.preferences.tables import Asked
from service.domain.senders import actions as senders
from service.kit import clock
from tests import builders as make
from tests import checks
from tests.domain.preferences import test_older_words as words
from tests.domain.preferences.test_reasking import TOPIC, _begin, _registered, _sent, _tick
from tests.faults.sink import Message
from tests.scheduler.conftest import Post, Sink, SinkSettings, send_all


def _stop(post: Post, about: str = "registered") -> int:
    house = post.house(9)
    done = fence.perform_now(
        house, lambda session: reasking.stop(session, TOPIC, about, now=clock.now(), by="staff:u_1")
    )
    assert done.settled
    jobs.settle(house, clock.now())
    return done.value


def _states(post: Post, purpose: str = ASK_AGAIN) -> list[str]:
    with Session(post.engine) as session:
        return sorted(session.exec(select(Mailing.state).where(col(Mailing.purpose) == purpose)))


def _outlook(post: Post) -> tuple[int, dict[str, int]]:
    with Session(post.engine) as session:
        seen = reasking.outlook(session, make.the_topic(session), now=clock.now())
        return seen.people, seen.left_out


def test_what_waits_when_a_round_is_stopped_does_not_leave(post: Post) -> None:
    _registered(post, ana="us", ben="us", eva="us")
    _begin(post)
    _tick(post)
    assert _stop(post) == 3
    assert _sent(post) == {}
    assert _states(post) == ["cancelled"] * 3
    with Session(post.engine) as session:
        assert {row.state for row in session.exec(select(Outcome))} == {"cancelled"}
    assert checks.chain(post.engine) == []


def test_a_stop_is_what_the_senders_heed_and_the_door_waits_for(post: Post) -> None:
    _registered(post, ana="us")
    _begin(post)
    with transaction(post.engine) as session:
        reasking.stop(session, TOPIC, now=clock.now(), by="staff:u_1")
        said = ledger.appended(session)[-1]
        assert session.info["fence_seq"] == said.seq


def test_who_was_kept_back_was_not_asked_and_may_be_another_time(post: Post) -> None:
    _registered(post, ana="us", ben="us")
    _begin(post)
    _tick(post)
    assert _outlook(post) == (0, {"asked_before": 2})
    _stop(post)
    assert _outlook(post) == (2, {})
    with Session(post.engine) as session:
        row = reasking.last(session, make.the_topic(session))
        assert row is not None
        assert (row.state, row.asked) == ("stopped", 0)
    _begin(post)
    _tick(post)
    assert set(_sent(post)) == {"ana", "ben"}


@pytest.mark.parametrize("emptied", [False, True])
def test_who_may_have_been_asked_is_not_asked_again(post: Post, emptied: bool) -> None:
    """A server put one off: that one waits for a second try, which does not come, and has had the first; also where an erasure has
    emptied what the mail had to say."""
    _registered(post, ana="us")
    _begin(post)
    _tick(post)

    async def story() -> None:
        async with Sink(SinkSettings(fault=lambda n: "rcpt:451 4.7.1 later")) as sink:
            house = post.house(sink.port, retry_seconds="3600")
            stop = asyncio.Event()
            sending = asyncio.create_task(Sender(house, "one").run(stop))
            while not await asyncio.to_thread(_tried, post):
                await asyncio.sleep(0.02)
            stop.set()
            await sending

    asyncio.run(story())
    if emptied:
        with transaction(post.engine) as session:
            session.connection().execute(update(Mailing).values(facts={}))
    assert _stop(post) == 1
    assert _outlook(post) == (0, {"asked_before": 1})
    assert _states(post) == ["cancelled"]


def _tried(post: Post) -> bool:
    with Session(post.engine) as session:
        return session.exec(select(Outcome)).first() is not None


def test_a_round_that_is_through_can_be_stopped_while_its_mails_wait(post: Post) -> None:
    _registered(post, ana="us", ben="us")
    _begin(post)
    _tick(post)
    _tick(post)  # the round ends; its mails have not left
    assert _stop(post) == 2
    assert _sent(post) == {}
    with transaction(post.engine) as session, pytest.raises(reasking.NothingAsked):
        reasking.stop(session, TOPIC, now=clock.now(), by="staff:u_1")


def test_no_question_departs_once_the_stop_in_the_middle_is_acknowledged(post: Post) -> None:
    async def run() -> None:
        held: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        reached = asyncio.Event()
        arrived: list[str] = []

        def hold(message: Message) -> asyncio.Future[None] | None:
            """From the fifth on nobody's mail is let in before the stop is answered."""
            arrived.append(message.rcpt)
            if len(arrived) < 5:
                return None
            reached.set()
            return held

        async with Sink(SinkSettings(keep=True, hold=hold)) as sink:
            house = post.house(sink.port)
            await asyncio.to_thread(lambda: _registered(post, **{f"u{n}": "us" for n in range(40)}))
            await asyncio.to_thread(_begin, post)
            await asyncio.to_thread(_tick, post)
            kept_back = 0

            async def stop() -> None:
                nonlocal kept_back
                await reached.wait()
                done = await fence.perform(
                    house, lambda session: reasking.stop(session, TOPIC, now=clock.now(), by="cli")
                )
                assert done.settled
                kept_back = done.value
                asyncio.get_running_loop().call_later(0.05, held.set_result, None)

            sender, end = Sender(house, "one"), asyncio.Event()
            sending = asyncio.create_task(sender.run(end))
            await stop()
            while await asyncio.to_thread(post.batches_in_hand):
                await asyncio.sleep(0.02)
            end.set()
            await sending
            assert len(sink.kept) == 4, "the four that had left"
            await asyncio.to_thread(jobs.finish, house, clock.now())
            await asyncio.to_thread(jobs.settle, house, clock.now())
            with Session(post.engine) as session:
                ends = sorted(row.state for row in session.exec(select(Outcome)))
            assert ends == ["cancelled"] * 36 + ["sent"] * 4
            assert 0 <= kept_back <= 36

    asyncio.run(run())
    assert checks.chain(post.engine) == []


def test_a_later_round_is_not_held_up_by_the_stop_of_an_earlier_one(post: Post) -> None:
    """Nor are other single mails that are in hand meanwhile."""
    _registered(post, ana="us")
    _begin(post)
    _stop(post)

    async def run() -> dict[str, Any]:
        async with Sink(SinkSettings(keep=True)) as sink:
            house = post.house(sink.port)

            async def again() -> None:
                await asyncio.to_thread(_begin, post)
                await asyncio.to_thread(_tick, post)
                while not sink.kept:
                    await asyncio.sleep(0.02)

            await send_all(post, house, meanwhile=again)
            return {message.rcpt: message for message in sink.kept}

    assert set(asyncio.run(run())) == {"ana@example.org"}


def test_nobody_is_asked_while_sending_is_off(post: Post) -> None:
    """Their mail would wait, and run out: they would count as asked for ever, and have had no question."""
    _registered(post, ana="us")
    _begin(post)
    with transaction(post.engine) as session:
        brands.set_setting(session, "sending_on", False, now=clock.now(), by="cli")
    _tick(post)
    with Session(post.engine) as session:
        assert session.exec(select(Asked)).all() == []
    with transaction(post.engine) as session:
        brands.set_setting(session, "sending_on", True, now=clock.now(), by="cli")
    _tick(post)
    assert set(_sent(post)) == {"ana"}


def test_newer_words_keep_back_the_questions_about_older_ones(post: Post) -> None:
    """Who waits to be asked about words that are not the newest any more is asked about the newest, once."""
    with transaction(post.engine) as session:
        brands.set_fields(session, "default", {"postal_address": "Mill Lane 1"}, now=clock.now(), by="cli")
    words._agree(post, "ana")
    words._publish(post)
    words._tick(post)
    newer = {
        code: type(text)(text.title, text.frequency, text.text + " More.")
        for code, text in words.MORE.items()
    }
    words._publish(post, newer)
    jobs.settle(post.house(9), clock.now())
    words._tick(post)
    assert "More." in " ".join(words._sent(post)["ana"].replace("=\r\n", "").split())
    assert _states(post, ASK_ANEW) == ["cancelled", "sent"]


def test_a_stopped_renewal_leaves_what_stands(post: Post) -> None:
    with transaction(post.engine) as session:
        brands.set_fields(session, "default", {"postal_address": "Mill Lane 1"}, now=clock.now(), by="cli")
    words._agree(post, "ana")
    words._publish(post)
    words._tick(post)
    assert _stop(post, RENEWAL) == 1
    assert words._sent(post) == {}
    assert words._stands(post, "ana") == ("given", 1)


def test_a_stop_beside_a_claim_waits_for_it_and_neither_keeps_the_other(post: Post) -> None:
    """A sender that is about to take two of three holds them, and wants the ledger last; so does the stop."""
    if post.engine.dialect.name == "sqlite":
        pytest.skip("one writer at a time")
    _registered(post, ana="us", ben="us", eva="us")
    _begin(post)
    _tick(post)
    with transaction(post.engine) as session:
        lease = senders.begin(session, "one", boot_id="b", seen_seq=0, now=clock.now()).id or 0
    kept_back: list[int] = []

    def stop() -> None:
        with transaction(post.engine) as session:
            kept_back.append(reasking.stop(session, TOPIC, now=clock.now(), by="staff:u_1"))

    other = threading.Thread(target=stop)
    with transaction(post.engine) as session:
        taken = claims.claim(session, post.ring, lease, now=clock.now(), limit=2, system=True)
        other.start()
        other.join(0.5)
        assert other.is_alive(), "it waits for the claim"
        ledger.append(session, "test.noted", subject=None, body={}, by="cli", now=clock.now())
    other.join(10)
    assert kept_back == [1]
    assert len(taken) == 2
    with Session(post.engine) as session:
        [said] = entries.of_kinds(session, ("asking.cancelled",))
        assert all(one.seen_seq < said.seq for one in taken), "so the sender heeds it for these"
        assert len(session.exec(select(Asked)).all()) == 2, "who was in hand may have been asked"
