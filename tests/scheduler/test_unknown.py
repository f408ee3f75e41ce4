"""What nobody knows the end of: never again for marketing, twice more at most for what must not be lost."""

import asyncio
from collections.abc import Callable

import pytest
from sqlalchemy import text

from scheduler import jobs
from service.db.session import reading, transaction
from service.domain.announcements import actions as announcements
from service.domain.announcements import queries
from service.domain.deliveries.queries import unknown_ends
from service.domain.preferences import actions as preferences
from service.kit import clock
from service.ops.house import House
from tests.scheduler.conftest import Post, Sink, SinkSettings, send_all

Row = tuple[int, str, str, bool]


def never_lost(post: Post) -> None:
    """From now on the mailing follows the rule of important notices."""
    with post.engine.begin() as connection:
        connection.execute(text("UPDATE mailing SET unknown_rule = 'at_least_once'"))


def rows(post: Post) -> list[Row]:
    """Attempt, state, reason and whether it is the last word, of the one member."""
    with post.engine.connect() as connection:
        found = connection.execute(text("SELECT attempt, state, reason, final FROM outcome ORDER BY attempt"))
        return [(row[0], row[1], row[2], bool(row[3])) for row in found]


async def _send(
    post: Post, fault: Callable[[int], str | None], *, rule: Callable[[Post], None] = never_lost
) -> tuple[Sink, str]:
    async with Sink(SinkSettings(keep=True, fault=fault)) as sink:
        house = post.house(sink.port, unknown_retry_seconds=0)
        post.sign_up(1)
        announcement = await asyncio.to_thread(post.announce, house)
        rule(post)
        await send_all(post, house)
        return sink, announcement


def test_marketing_is_not_sent_again(post: Post) -> None:
    sink, announcement = asyncio.run(_send(post, {0: "drop:kept"}.get, rule=lambda post: None))
    assert len(sink.messages) == 1
    assert rows(post) == [(1, "unknown", "no_reply", True)]
    assert post.report(announcement)["outcomes"]["unknown"] == 1


def test_what_must_not_be_lost_comes_again_as_the_same_message(post: Post) -> None:
    sink, announcement = asyncio.run(_send(post, {0: "drop:dot"}.get))
    assert rows(post) == [(1, "unknown", "no_reply", False), (2, "sent", "", True)]
    assert len({(one.message_id, one.mail_from, one.body_sha256) for one in sink.messages}) == 1
    report = post.report(announcement)
    assert report["state"] == "sent"
    assert (report["outcomes"]["sent"], report["outcomes"]["unknown"]) == (1, 0)


def test_after_two_more_tries_it_stays_unknown(post: Post) -> None:
    sink, announcement = asyncio.run(_send(post, lambda n: "drop:dot"))
    assert len(sink.messages) == 3
    assert [row[1] for row in rows(post)] == ["unknown"] * 3
    assert [row[3] for row in rows(post)] == [False, False, True]
    assert post.report(announcement)["outcomes"]["unknown"] == 1


@pytest.mark.parametrize("answer", ["rcpt:550 5.1.1 gone", "dot:554 5.7.1 no"])
def test_a_no_to_the_second_try_says_nothing_of_the_first(post: Post, answer: str) -> None:
    _, announcement = asyncio.run(_send(post, {0: "drop:kept", 1: answer}.get))
    assert [row[1] for row in rows(post)] == ["unknown", "unknown"]
    assert rows(post)[-1][3] is True
    outcomes = post.report(announcement)["outcomes"]
    assert (outcomes["unknown"], outcomes["bounced"]) == (1, 0)


async def _between(post: Post, act: Callable[[House, str], None]) -> str:
    """A first try of unknown end; `act`; then what is due is sent."""
    async with Sink(SinkSettings(keep=True, fault={0: "drop:kept"}.get)) as sink:
        post.sign_up(1)
        slow = post.house(sink.port, unknown_retry_seconds=3600)
        announcement = await asyncio.to_thread(post.announce, slow)
        never_lost(post)

        async def until_unknown() -> None:
            while not await asyncio.to_thread(rows, post):
                await asyncio.sleep(0.02)
            await asyncio.to_thread(act, slow, announcement)

        await send_all(post, slow, meanwhile=until_unknown)
        assert len(sink.messages) == 1
        return announcement


def _due_now(post: Post) -> None:
    with post.engine.begin() as connection:
        connection.execute(text("UPDATE batch SET due_at = '2026-01-01 00:00:00' WHERE state = 'open'"))


def test_a_no_in_between_is_heeded_and_what_was_unknown_stays_so(post: Post) -> None:
    def stop(house: House, announcement: str) -> None:
        with transaction(post.engine) as session:
            preferences.stop(
                session, post.ring, post.stop_link("u0"), how="link", evidence={}, now=clock.now()
            )
        _due_now(post)

    announcement = asyncio.run(_between(post, stop))
    assert rows(post) == [(1, "unknown", "no_reply", False), (2, "unknown", "withdrawn", True)]
    assert post.report(announcement)["outcomes"]["unknown"] == 1


def test_a_cancelled_mailing_does_not_forget_who_may_have_it(post: Post) -> None:
    def cancel(house: House, announcement: str) -> None:
        with transaction(post.engine) as session:
            announcements.cancel(session, announcement, now=clock.now(), by="cli")
        while jobs.settle(house, clock.now()):
            pass
        with post.engine.begin() as connection:
            connection.execute(text("UPDATE batch SET state = 'closed' WHERE state = 'open'"))

    announcement = asyncio.run(_between(post, cancel))
    outcomes = post.report(announcement)["outcomes"]
    assert (outcomes["unknown"], outcomes["cancelled"]) == (1, 0)
    with reading(post.engine) as session:
        mailing = queries.mailing_of(session, queries.by_public_id(session, announcement))
        assert mailing is not None
        assert mailing.id is not None
        assert unknown_ends(session, mailing.id, [1]) == {1: 2}
