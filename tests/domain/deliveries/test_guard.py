"""The guard that halts a mailing by itself: its figures, and its word in real conversations on both databases."""

import asyncio
import random
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Engine

from scheduler.sender import Sender
from service.db.session import transaction
from service.domain.announcements import actions as announcements
from service.domain.deliveries import claims, guard, rules
from service.domain.deliveries.rules import Result, Waits
from service.domain.senders import actions as senders
from service.kit import clock
from service.kit.signing import Keyring
from service.web.staff.announcements import reason_words
from tests.scheduler.conftest import Post, Sink, SinkSettings, send_all


@pytest.fixture
def post(engine: Engine, ring: Keyring, tmp_path: Any) -> Post:
    return Post(engine, ring, tmp_path)


@pytest.mark.parametrize(
    ("total", "seen", "reason"),
    [
        ({"sent": 95, "policy": 5}, {}, None),
        ({"sent": 94, "policy": 6}, {}, "policy_refusals"),
        ({"sent": 90, "policy": 9}, {}, None),  # 99 answers are too few to say
        ({"sent": 194, "bounced": 6}, {}, None),
        ({"sent": 193, "bounced": 7}, {}, "hard_bounces"),
        ({"sent": 190, "bounced": 9}, {}, None),
        ({"sent": 300, "policy": 30, "bounced": 30}, {"sent": 300, "policy": 30, "bounced": 30}, None),
        ({"sent": 390, "policy": 40}, {"sent": 300, "policy": 30}, "policy_refusals"),
        ({"sent": 1000}, {}, None),
        ({"sent": 1001}, {}, "doubled"),
        ({"sent": 1001}, {"sent": 1001}, None),
        ({"sent": 2, "doubled": 1}, {}, "doubled"),
        ({"not_made": 1}, {}, None),
        ({"not_made": 2}, {}, "render_errors"),
        ({"not_made": 3}, {"not_made": 2}, None),
        ({"too_large": 10}, {}, None),
        ({"too_large": 11}, {}, "too_large"),
        ({"too_large": 21}, {"too_large": 11}, None),
        ({"too_large": 1, "not_made": 1}, {}, None),
    ],
)
def test_what_halts_a_mailing_of_a_thousand(
    total: dict[str, int], seen: dict[str, int], reason: str | None
) -> None:
    assert rules.alarm(total, seen, 1000) == reason


async def _until_halted(post: Post, house: Any, announcement: str) -> dict[str, Any]:
    stop = asyncio.Event()
    sender = asyncio.create_task(Sender(house, "one").run(stop))
    async with asyncio.timeout(30):
        while (await asyncio.to_thread(post.report, announcement))["state"] != "halted":
            await asyncio.sleep(0.05)
    stop.set()
    await sender
    return post.report(announcement)


async def _refused(post: Post, fault: str, share: float) -> None:
    """The first letters are refused; somebody looks, resumes, and the others get theirs once."""
    bad = int(400 * share) + 1
    async with Sink(SinkSettings(keep=True, fault=lambda n: fault if n < bad else None)) as sink:
        house = post.house(sink.port)
        post.sign_up(850)
        announcement = await asyncio.to_thread(post.announce, house)
        report = await _until_halted(post, house, announcement)
        assert report["outcomes"]["bounced"] == bad
        assert report["waiting"] >= 50, "there was something left to halt"
        with transaction(post.engine) as session:
            announcements.resume(session, announcement, now=clock.now(), by="staff:s_ana")
        await send_all(post, house)
        after = post.report(announcement)
        assert (after["state"], after["outcomes"]["sent"]) == ("sent", 850 - bad)
        assert len({message.rcpt for message in sink.kept}) == len(sink.kept) == 850 - bad
    assert report["reason"] == ("policy_refusals" if "5.7." in fault else "hard_bounces")


@pytest.mark.parametrize(
    ("fault", "share"), [("dot:550 5.7.1 not you", 0.05), ("rcpt:550 5.1.1 nobody", 0.03)]
)
def test_too_many_refusals_halt_until_a_person_goes_on(post: Post, fault: str, share: float) -> None:
    asyncio.run(_refused(post, fault, share))


def test_as_many_as_that_do_not(post: Post) -> None:
    """20 of 400 by policy and 12 of 400 for good are exactly the shares allowed."""

    def fault(n: int) -> str | None:
        return "dot:550 5.7.1 no" if n < 20 else "rcpt:550 no" if n < 32 else None

    async def story() -> None:
        async with Sink(SinkSettings(fault=fault)) as sink:
            house = post.house(sink.port)
            post.sign_up(410)
            announcement = await asyncio.to_thread(post.announce, house)
            await send_all(post, house)
            assert post.report(announcement)["state"] == "sent"

    asyncio.run(story())


@pytest.mark.parametrize(
    ("size", "fault", "state"),
    [
        (900, None, "skipped"),
        (None, "mail:552 5.3.4 too big", "bounced"),
        (None, "dot:552 5.3.4 too big", "bounced"),
    ],
)
def test_std_d10_letters_too_large_halt_until_a_person_has_the_limit_raised(
    post: Post, size: int | None, fault: str | None, state: str
) -> None:
    """Whether the server names its limit beforehand, or refuses each: nobody after the first batches is used up."""

    async def story() -> None:
        async with Sink(SinkSettings(keep=True, size=size, fault=lambda n: fault)) as sink:
            house = post.house(sink.port)
            post.sign_up(850)
            announcement = await asyncio.to_thread(post.announce, house)
            report = await _until_halted(post, house, announcement)
            assert report["reason"] == "too_large"
            assert report["waiting"] >= 50, "there was something left to halt"
            used_up = 850 - report["waiting"]
            said = report["outcomes"]
            assert (said["skipped"], said["bounced"]) == (
                ({"message_too_large": used_up}, 0) if state == "skipped" else ({}, used_up)
            )
            assert "too large" in (reason_words(report["reason"]) or "")
            sink.settings.size, sink.settings.fault = None, lambda n: None
            with transaction(post.engine) as session:
                announcements.resume(session, announcement, now=clock.now(), by="staff:s_ana")
            await send_all(post, house)
            after = post.report(announcement)
            assert (after["state"], after["outcomes"]["sent"]) == ("sent", report["waiting"])

    asyncio.run(story())


def test_one_letter_too_large_halts_nothing(post: Post) -> None:
    """It may be one reader's long values."""

    async def story() -> None:
        async with Sink(SinkSettings(fault={3: "dot:552 5.3.4 too big"}.get)) as sink:
            house = post.house(sink.port)
            post.sign_up(60)
            announcement = await asyncio.to_thread(post.announce, house)
            await send_all(post, house)
            assert post.report(announcement)["state"] == "sent"

    asyncio.run(story())


def _send_a_position_twice(post: Post) -> str:
    """With the index gone that refuses it: position 1 is sent, and a further attempt at it is sent, too."""
    post.sign_up(405)
    announcement = post.announce(post.house(9))
    with transaction(post.engine) as session:
        lease = senders.begin(session, "one", boot_id="b", seen_seq=0, now=clock.now())
    with post.engine.execution_options(write=True).begin() as connection:
        connection.execute(text("DROP INDEX uq_outcome_sent"))
        connection.execute(
            text(
                "INSERT INTO outcome (mailing_id, pos, attempt, state, reason, reply, warrant_seq, at, final)"
                " SELECT mailing_id, pos, 7, 'sent', '', '', warrant_seq, due_at, true FROM audience WHERE pos = 1"
            )
        )
    with transaction(post.engine) as session:
        [claimed] = claims.claim(session, post.ring, lease.id or 0, now=clock.now(), limit=1, system=False)
    results = [Result(one.pos, one.attempt, "sent", code=250) for one in claimed.members]
    with transaction(post.engine) as session:
        assert claims.record(
            session, claimed, results, waits=Waits([1], 1), now=clock.now(), chance=random.Random(1)
        )
    return announcement


def test_a_position_sent_twice_halts_at_once(post: Post) -> None:
    report = post.report(_send_a_position_twice(post))
    assert (report["state"], report["reason"]) == ("halted", "doubled")


@pytest.mark.sabotage
def test_without_that_count_it_would_go_on(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_doubled", lambda *_: 0)
    assert post.report(_send_a_position_twice(post))["state"] == "sending"
