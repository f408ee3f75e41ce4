"""Where connections go: breakers on a clock of the test's own, and real servers that are away, come back, or will not have us."""

import asyncio
import itertools
import random
import time
from collections import Counter
from typing import Any

import pytest

from scheduler.carriers import COHORT, LETTERS_PER_WIRE, SLOW, WITH_ANOTHER, Carriers
from scheduler.sender import Sender
from service.db.session import reading
from service.domain.senders import queries as senders
from service.kit import clock
from service.kit.pacing import Breaker
from service.mail.transport import parse_smtp_urls
from service.ops import health, metrics
from tests.scheduler.conftest import Post, Sink, SinkSettings, send_all
from tests.stack import free_port

TWO = "smtp://one.example.org:25?connections=20,smtp://two.example.org:25?connections=20"
ONE = TWO.partition(",")[0]


def some(urls: str, seed: int = 1) -> Carriers:
    return Carriers(parse_smtp_urls(urls), random.Random(seed))


def tries(carriers: Carriers, seconds: float, *, away: set[str], reason: str = "unreachable") -> list[float]:
    """When connections are tried, if twenty tasks ask every 50 ms and each try of a server that is away fails at once."""
    tried = []
    for moment in (tick / 20 for tick in range(int(seconds * 20))):
        for _ in range(20):
            place = carriers.choose(moment)
            if place is not None and place.server.host in away:
                tried.append(moment)
                carriers.failed(place, reason, moment)
    return tried


@pytest.mark.parametrize("seed", range(5))
def test_rel_f24_twenty_minutes_of_refusal_are_at_most_sixty_tries(seed: int) -> None:
    """Of two senders together (reliability 5, last line)."""
    both = [tries(some(ONE, seed + n), 1200, away={"one.example.org"}) for n in (0, 100)]
    assert sum(map(len, both)) <= 60
    assert all(len(one) > COHORT + 5 for one in both), "it goes on asking"
    gaps = [b - a for a, b in itertools.pairwise(both[0][COHORT - 1 :])]
    assert all(0.99 * 2**n <= gap <= 1.11 * 2**n + 0.1 for n, gap in enumerate(gaps[:8]))
    assert max(gaps) <= 331
    assert both[0][COHORT:] != both[1][COHORT:], "not both at once"


def test_a_breaker_that_never_opens_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Breaker, "state", lambda self, now: "closed")
    assert len(tries(some(ONE), 60, away={"one.example.org"})) > 60


@pytest.mark.parametrize("reason", ["auth_failed", "tls_required", "tls_failed"])
def test_rel_h77_what_no_try_mends_is_tried_once_a_minute_and_less(reason: str) -> None:
    tried = tries(some(ONE), 7200, away={"one.example.org"}, reason=reason)
    assert len(tried) <= 8
    assert all(b - a >= 60 for a, b in itertools.pairwise(tried))


class Answered:
    """A connection that has carried so many letters."""

    def __init__(self, carried: int, *, given_up: bool = False, stalled: bool = False) -> None:
        self.carried, self.given_up, self.stalled = carried, given_up, stalled
        self.busy = False


def test_rel_f24_one_letter_tries_whether_it_is_back_and_then_all_may() -> None:
    carriers = some(ONE)
    [place] = carriers.places
    tries(carriers, 0.05, away={"one.example.org"})
    assert place.breaker.state(0.5) == "open"
    assert carriers.shut(0.5)
    assert not carriers.shut(2.0)
    assert carriers.choose(2.0) is place
    place.trying = 1
    assert carriers.choose(2.0) is None, "one that tries is enough"
    place.trying = 0
    wire: Any = Answered(0)
    place.wires.add(wire)
    assert carriers.choose(2.1) is None, "it greets; whether it takes letters is still to be seen"
    carriers.ended(place, wire, 2.2, by_them=True)
    assert place.breaker.state(2.3) == "open", "it greeted, and took nothing"
    place.wires.add(wire)
    wire.carried = 1
    assert not carriers.yields(place, wire, 2.3)
    assert carriers.choose(2.3) is place, "it has answered one, so others may try"
    place.wires.clear()
    carriers.failed(place, "unreachable", 5.0)
    assert place.breaker.state(5.1) == "closed", "a new cohort"


def test_as_many_are_tried_at_once_as_stand() -> None:
    carriers = some(ONE)
    place = carriers.choose(0.0)
    assert place is carriers.places[0]
    place.trying = 1
    assert carriers.choose(0.0) is None
    place.trying, place.wires = 2, {object(), object(), object()}  # type: ignore[arg-type]
    assert carriers.choose(0.0) is place
    place.trying = 3
    assert carriers.choose(0.0) is None


def test_the_second_is_used_while_the_first_is_left_alone() -> None:
    carriers = some(TWO)
    first, second = carriers.places
    tries(carriers, 0.05, away={"one.example.org"})
    assert carriers.choose(0.5) is second
    assert not carriers.better(second)
    assert carriers.choose(2.0) is first, "one tries"
    first.trying = 1
    assert carriers.choose(2.0) is second, "the others do not wait for it"
    first.trying = 0
    greeted: Any = Answered(0)
    first.wires.add(greeted)
    assert carriers.choose(2.1) is second, "nor for one that has greeted"
    assert not carriers.yields(first, greeted, 2.1)
    assert not carriers.better(second), "it may stall all the same"
    greeted.carried = 1
    assert not carriers.yields(first, greeted, 2.1)
    assert carriers.better(second)


def test_rel_f23_who_does_not_answer_after_the_dot_is_left_alone() -> None:
    """A letter written and never answered is none that was served; and whoever ends a connection for a no of its own is not
    the server."""
    carriers = some(ONE)
    [place] = carriers.places
    for _ in range(2 * COHORT):
        ours: Any = Answered(0, given_up=True)
        carriers.ended(place, ours, 1.0, by_them=True)
    assert place.breaker.state(1.0) == "closed"
    for _ in range(COHORT):
        assert place.breaker.state(1.0) == "closed"
        silent: Any = Answered(0)
        carriers.ended(place, silent, 1.0, by_them=True)
    assert place.breaker.state(1.0) == "open"
    for _ in range(15):  # the others that stood then
        carriers.ended(place, silent, 1.1, by_them=True)
    assert place.breaker.state(2.2) == "half_open", "they are no further tries"


def test_rel_f23_one_connection_that_stalls_before_its_letter_says_enough() -> None:
    """The letters that come back from it would else be tried there again, and their people wait twice as long."""
    carriers = some(TWO)
    first, second = carriers.places
    wires: list[Any] = [Answered(0, stalled=True) for _ in range(8)]
    first.wires.update(wires)
    assert carriers.choose(30.0) is first
    carriers.ended(first, wires[0], 30.0, by_them=True)
    assert (first.breaker.state(30.0), first.breaker.reason) == ("open", "timeout")
    assert carriers.choose(30.0) is second
    for n, wire in enumerate(wires[1:]):
        carriers.ended(first, wire, 30.0 + n / 100, by_them=True)
    assert carriers.choose(32.0) is first, "they stood then: one tries as soon as after the first"


def test_several_addresses_by_comma() -> None:
    found = parse_smtp_urls("smtp://u:p,w@one.example.org, smtps://two.example.org?connections=3")
    assert [(one.host, one.port, one.password, one.connections) for one in found] == [
        ("one.example.org", 25, "p,w", 20),
        ("two.example.org", 465, None, 3),
    ]


def test_rel_f24_the_second_server_takes_over_and_the_first_again(post: Post) -> None:
    """The first is away, so the second takes letters; then the first is there, and the rest goes to it. Nobody twice."""

    async def story() -> None:
        first, port = Sink(SinkSettings(keep=True, delay=0.002)), free_port()
        async with Sink(SinkSettings(keep=True, delay=0.02)) as second:
            urls = [f"smtp://127.0.0.1:{one}?starttls=never&connections=2" for one in (port, second.port)]
            house = post.house(9, smtp_url=",".join(urls))
            post.sign_up(390)
            announcement = await asyncio.to_thread(post.announce, house)

            async def back() -> None:
                while len(second.kept) < 30:
                    await asyncio.sleep(0.01)
                assert first.kept == []
                await first.start(port=port)

            await send_all(post, house, meanwhile=back)
            assert post.report(announcement)["outcomes"]["sent"] == 390
            got = Counter(message.rcpt for message in [*first.kept, *second.kept])
            assert (len(got), set(got.values())) == (390, {1})
            assert len(second.kept) >= 30
            assert len(first.kept) > 50
            await first.stop()

    asyncio.run(story())


def test_rel_h77_a_login_that_fails_is_not_repeated_and_is_said(post: Post) -> None:
    async def story() -> None:
        async with Sink(SinkSettings()) as sink:  # it offers no AUTH
            house = post.house(
                9, smtp_url=f"smtp://u:secret@127.0.0.1:{sink.port}?starttls=never&connections=5"
            )
            post.sign_up(60)
            announcement = await asyncio.to_thread(post.announce, house)
            stop = asyncio.Event()
            sender = asyncio.create_task(Sender(house, "one").run(stop))
            async with asyncio.timeout(20):
                while not await asyncio.to_thread(_away, post):
                    await asyncio.sleep(0.05)
            until = time.monotonic() + 1
            while time.monotonic() < until:
                await asyncio.sleep(0.1)
            assert sink.connections == 1
            [away] = _away(post)
            assert (away.reason, away.state, away.server) == ("auth_failed", "open", f"127.0.0.1:{sink.port}")
            facts = await asyncio.to_thread(health.readiness, house, now=clock.now())
            fact = {one.name: one for one in facts.facts}["mail servers"]
            assert not fact.ok
            assert "auth_failed" in fact.says
            assert "user and password" in fact.fix
            page = await asyncio.to_thread(metrics.text, house, now=clock.now())
            assert 'bidden_smtp_servers{state="open"} 1' in page
            assert "secret" not in page + fact.says
            stop.set()
            await sender
            assert post.report(announcement)["waiting"] == 60, "nothing is lost, nothing was tried"

    asyncio.run(story())


def _away(post: Post) -> list[senders.Away]:
    with reading(post.engine) as session:
        return senders.away(session)


def test_a_server_that_takes_connections_and_no_letter_is_left_alone(post: Post) -> None:
    """Each connection is ended at its first MAIL: not asked in a circle, and nobody's try is used up."""

    async def story() -> None:
        async with Sink(
            SinkSettings(keep=True, fault=lambda n: "drop:mail" if n < COHORT + 1 else None)
        ) as sink:
            house = post.house(sink.port)
            post.sign_up(10)
            announcement = await asyncio.to_thread(post.announce, house)
            began = time.monotonic()
            await send_all(post, house)
            assert post.report(announcement)["outcomes"]["sent"] == 10
            assert time.monotonic() - began > 1, "it waited in between"

    asyncio.run(story())


def test_a_connection_that_is_held_up_is_not_waited_for() -> None:
    """Nor one that tries whether a server is back; one that rests takes the next letter."""
    carriers = some(TWO)
    first, second = carriers.places
    assert carriers.wanted(1, 0.0)
    first.trying = 1
    assert not carriers.wanted(LETTERS_PER_WIRE, 0.0)
    assert carriers.wanted(LETTERS_PER_WIRE + 1, 0.0)
    first.breaker.failed(0.0, "timeout", first=1, longest=1, whole_cohort=True)
    assert carriers.wanted(1, 2.0), "it only tries"
    wire: Any = Answered(0)
    second.wires.add(wire)
    assert not carriers.wanted(1, 2.0)
    assert not carriers.yields(second, wire, 2.0)
    assert not carriers.wanted(1, 2.0 + SLOW / 2)
    assert carriers.wanted(1, 2.0 + SLOW)
    carriers.rests(wire)
    assert not carriers.wanted(1, 99.0)
    assert not carriers.wanted(0, 99.0)


def test_rel_f23_with_another_server_nobody_waits_five_minutes_for_an_answer_to_mail() -> None:
    both, alone = some(TWO).places[0].timeouts, some(ONE).places[0].timeouts
    assert (both.greeting, both.mail, both.rcpt, both.data) == (WITH_ANOTHER,) * 4
    assert (both.dot, both.block) == (alone.dot, alone.block) == (600.0, 180.0), (
        "after the dot nothing is cut short"
    )
    assert alone.mail == 300.0
