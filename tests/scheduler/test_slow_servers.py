"""Servers that are slow or silent (F23), a sender and real connections: who is kept waiting by them, and who is not."""

import asyncio
import itertools
import time
from typing import Any

import pytest

from scheduler.carriers import COHORT
from scheduler.sender import Sender
from service.domain.deliveries.rules import BATCH
from service.mail.transport import Timeouts
from tests.faults.stall import Stall
from tests.scheduler.conftest import Post, Sink, SinkSettings


async def _sent(post: Post, sender: Sender, announcement: str, *, meanwhile: Any = None) -> dict[str, Any]:
    """Run the sender until the mailing has ended; its report."""
    stop = asyncio.Event()
    running = asyncio.create_task(sender.run(stop))
    async with asyncio.timeout(30):
        while await asyncio.to_thread(post.open_batches):
            if meanwhile:
                meanwhile()
            await asyncio.sleep(0.02)
    stop.set()
    await running
    return post.report(announcement)


def _dots(sink: Sink) -> list[float]:
    return sorted(message.t_dot for message in sink.kept)


def test_rel_f23_silence_after_the_dot_opens_the_breaker_and_is_unknown(post: Post) -> None:
    """Ten minutes in service, half a second here."""
    opened: list[str] = []

    async def story() -> None:
        async with Sink(SinkSettings(keep=True, fault=lambda n: None if opened else "hang:dot")) as sink:
            house = post.house(sink.port, connections=COHORT + 1)
            post.sign_up(100)
            announcement = await asyncio.to_thread(post.announce, house)
            sender = Sender(house, "one")
            [place] = sender.carriers.places
            place.timeouts = Timeouts(dot=0.5)

            def look() -> None:
                if place.breaker.state(time.monotonic()) == "open":
                    opened.append(place.breaker.reason)

            said = (await _sent(post, sender, announcement, meanwhile=look))["outcomes"]
            assert set(opened) == {"closed"}
            assert said["unknown"] + said["sent"] == 100
            assert said["unknown"] == sum(one.fault is not None for one in sink.messages) > COHORT

    asyncio.run(story())


@pytest.mark.parametrize("way", ["drip", "mute"])
def test_rel_f23_a_server_that_stalls_does_not_keep_letters_from_the_next(post: Post, way: str) -> None:
    """While the first stalls again and again, all letters go by the second, and none waits for a try at the first."""

    async def story() -> None:
        with Stall(way) as first:
            async with Sink(SinkSettings(keep=True, delay=0.05)) as second:
                urls = [
                    f"smtp://127.0.0.1:{one}?starttls=never&connections=3"
                    for one in (first.port, second.port)
                ]
                house = post.house(9, smtp_url=",".join(urls))
                post.sign_up(480)
                announcement = await asyncio.to_thread(post.announce, house)
                sender = Sender(house, "one")
                short = Timeouts(greeting=1.0, mail=1.0, rcpt=1.0, data=1.0)
                sender.carriers.places[0].timeouts = short
                said = await _sent(post, sender, announcement)
                assert said["outcomes"]["sent"] == len(second.kept) == 480
                at_first = 3 if way == "drip" else 1
                assert first.met >= at_first + 2, "it was tried again, and again"
                dots = _dots(second)
                assert max(b - a for a, b in itertools.pairwise(dots)) < 0.9, "somebody waited for the first"

    asyncio.run(story())


def test_rel_f23_a_few_letters_do_not_wait_for_one_that_tries_whether_the_first_is_back(post: Post) -> None:
    """The connection that tries is the only one then, and five letters alone would be no reason for another. The second server
    takes none before the first has one in hand."""
    held = 4.0

    async def story() -> None:
        in_hand: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with Stall() as first:
            async with Sink(SinkSettings(keep=True, hold=lambda _: in_hand)) as second:
                urls = [f"smtp://127.0.0.1:{one}?starttls=never" for one in (first.port, second.port)]
                house = post.house(9, smtp_url=",".join(urls))
                post.sign_up(6)
                announcement = await asyncio.to_thread(post.announce, house)
                sender = Sender(house, "one")
                place = sender.carriers.places[0]
                place.timeouts = Timeouts(greeting=held, mail=held, rcpt=held, data=held)
                place.breaker.failed(0.0, "timeout", first=0, longest=0, whole_cohort=True)
                began = time.monotonic()

                def look() -> None:
                    if not in_hand.done() and any(wire._announced for wire in place.wires):
                        in_hand.set_result(None)

                said = await _sent(post, sender, announcement, meanwhile=look)
                assert said["outcomes"]["sent"] == len(second.kept) == 6
                assert first.met == 1
                *others, last = _dots(second)
                assert others[-1] - began < held / 2 < held <= last - began, (
                    "only the letter that tried waited"
                )

    asyncio.run(story())


def test_rel_f23_silence_after_a_dot_keeps_no_other_letter_and_no_other_batch(post: Post) -> None:
    """One letter of each of the two batches in hand is never answered: the few left beside it, and the third batch, leave."""
    silent = 5.0

    async def story() -> None:
        async with Sink(
            SinkSettings(keep=True, fault=lambda n: "hang:dot" if n in (0, BATCH + 20) else None)
        ) as sink:
            house = post.house(sink.port, connections=3)
            post.sign_up(2 * BATCH + 5)
            announcement = await asyncio.to_thread(post.announce, house)
            sender = Sender(house, "one")
            sender.carriers.places[0].timeouts = Timeouts(dot=silent)
            began = time.monotonic()
            said = (await _sent(post, sender, announcement))["outcomes"]
            assert (said["unknown"], said["sent"]) == (2, 2 * BATCH + 3)
            late = [dot - began for dot in _dots(sink) if dot - began > silent]
            assert len(late) <= 2, "each has one more that was announced behind it"
            assert time.monotonic() - began > silent

    asyncio.run(story())
