"""A sender whose ring has not the master of somebody's key: nobody was erased, and nobody's mail is given up for it."""

import asyncio
import json

from sqlalchemy import text

from service.kit.signing import Keyring
from tests.scheduler.conftest import Post, Sender, Sink, SinkSettings, send_all


def test_who_cannot_be_opened_with_this_ring_waits_for_the_right_one(post: Post) -> None:
    """The file of this machine lacks the new master; another machine's does not."""

    async def run() -> None:
        former = post.ring
        post.sign_up(2)
        post.ring = Keyring({**former.secrets, 2: b"n" * 32}, former.installation)
        post.sign_up(3)
        async with Sink(SinkSettings(keep=True)) as sink:
            right = post.house(sink.port)
            announcement = post.announce(right)
            stop = asyncio.Event()
            post.ring = former
            sender = asyncio.create_task(Sender(post.house(sink.port), "one").run(stop))
            async with asyncio.timeout(30):
                while await asyncio.to_thread(waiting, post) != 3:
                    assert not sender.done()
                    assert post.open_batches(), post.report(announcement)
                    await asyncio.sleep(0.02)
            stop.set()
            await sender
            outcomes = post.report(announcement)["outcomes"]
            assert (outcomes["sent"], outcomes["skipped"]) == (2, {})
            with post.engine.begin() as connection:  # a minute later
                connection.execute(text("UPDATE batch SET due_at = '2026-01-01' WHERE state = 'open'"))
            await send_all(post, right)
            outcomes = post.report(announcement)["outcomes"]
            assert (outcomes["sent"], outcomes["skipped"]) == (5, {})

    asyncio.run(run())


def waiting(post: Post) -> int:
    """How many positions are back in a batch of their own."""
    with post.engine.connect() as connection:
        found = connection.execute(text("SELECT positions FROM batch WHERE state = 'open'")).scalars()
        return sum(len(_list(one)) for one in found if one)


def _list(positions: object) -> list[object]:
    return json.loads(positions) if isinstance(positions, str) else list(positions)  # type: ignore[call-overload]
