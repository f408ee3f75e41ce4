"""Servers that answer and take nothing: a no that is about us uses nobody up, many put off leave the server alone, and whoever
is refused for themselves keeps nobody else."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from scheduler import carriers
from scheduler.carriers import ALONE, MOST_PUT_OFF, WINDOW, Carriers, Place
from scheduler.sender import Sender
from service.db.session import reading
from service.domain.senders import queries as senders
from service.kit import clock
from service.mail.replies import Phase, Reply
from service.mail.transport import Outcome, parse_smtp_urls
from service.ops import health
from tests.scheduler.conftest import Post, Sink, SinkSettings, send_all

Fault = Callable[[int], str | None]


def away(post: Post) -> list[senders.Away]:
    """The servers that the sender says it leaves alone."""
    with reading(post.engine) as session:
        return senders.away(session)


def tries(post: Post) -> Counter[tuple[str, str]]:
    """Outcome rows by state and reason."""
    with post.engine.connect() as connection:
        return Counter(tuple(row) for row in connection.execute(text("SELECT state, reason FROM outcome")))


async def _left_alone(post: Post, sink: Sink, people: int, **more: Any) -> dict[str, Any]:
    """Send until the only server is left alone, and a second longer; the mailing's report."""
    house = post.house(sink.port, connections=4, retry_seconds="600,600", **more)
    post.sign_up(people)
    announcement = await asyncio.to_thread(post.announce, house)
    stop = asyncio.Event()
    sender = asyncio.create_task(Sender(house, "one").run(stop))
    async with asyncio.timeout(20):
        while not (await asyncio.to_thread(away, post) or sender.done()):
            await asyncio.sleep(0.02)
    until = time.monotonic() + 1
    while time.monotonic() < until:
        await asyncio.sleep(0.1)
    [fact] = [one for one in (await _facts(house)) if one.name == "mail servers"]
    stop.set()
    await sender
    return {**post.report(announcement), "fact": fact}


async def _facts(house: Any) -> list[Any]:
    return list((await asyncio.to_thread(health.readiness, house, now=clock.now())).facts)


@pytest.mark.parametrize(
    ("answer", "reason", "fix"),
    [
        ("mail:530 5.7.0 Authentication required", "not_authenticated", "BIDDEN_SMTP_URL"),
        ("rcpt:530 5.7.1 Client was not authenticated", "not_authenticated", "BIDDEN_SMTP_URL"),
        ("mail:538 5.7.11 Encryption required", "not_authenticated", "BIDDEN_SMTP_URL"),
    ],
)
def test_rel_h77_a_server_that_wants_a_login_uses_nobody_up(
    post: Post, answer: str, reason: str, fix: str
) -> None:
    async def story() -> None:
        async with Sink(SinkSettings(fault=lambda n: answer)) as sink:
            report = await _left_alone(post, sink, 60)
            assert sum(tries(post).values()) == 0, "nobody's try"
            assert report["waiting"] == 60
            assert sink.began <= 8, "and it is not asked on"
            assert reason in report["fact"].says
            assert fix in report["fact"].fix

    asyncio.run(story())


@pytest.mark.parametrize(
    "answer",
    [
        "mail:554 5.7.1 Relay access denied",
        "mail:550 5.7.1 Sender not allowed",
        "mail:553 sender refused",
        "mail:550 5.1.8 bad sender",
        "mail:503 5.5.1 AUTH first",
    ],
)
def test_rel_f22_a_server_that_refuses_the_sender_bounces_nobody(post: Post, answer: str) -> None:
    """The first of them come again later, as after any no that may pass; nobody else is tried."""

    async def story() -> None:
        async with Sink(SinkSettings(fault=lambda n: answer)) as sink:
            report = await _left_alone(post, sink, 60)
            assert set(tries(post)) == {("deferred", "sender_refused")}
            assert sum(tries(post).values()) <= 16
            assert report["waiting"] + report["outcomes"]["deferred"] == 60
            assert report["outcomes"]["bounced"] == 0
            assert "sender_refused" in report["fact"].says
            assert "bounce domain" in report["fact"].fix

    asyncio.run(story())


@pytest.mark.parametrize("answer", ["mail:530 5.7.0 log in first", "mail:550 5.7.1 relaying denied"])
def test_rel_f24_the_next_server_takes_what_the_first_will_not_have_from_us(post: Post, answer: str) -> None:
    async def story() -> None:
        async with (
            Sink(SinkSettings(keep=True, fault=lambda n: answer)) as first,
            Sink(SinkSettings(keep=True)) as second,
        ):
            urls = [f"smtp://127.0.0.1:{one.port}?starttls=never&connections=2" for one in (first, second)]
            house = post.house(9, smtp_url=",".join(urls))
            post.sign_up(120)
            announcement = await asyncio.to_thread(post.announce, house)
            await send_all(post, house)
            assert post.report(announcement)["outcomes"]["sent"] == 120
            got = Counter(message.rcpt for message in second.kept)
            assert (len(got), set(got.values())) == (120, {1})

    asyncio.run(story())


@pytest.mark.parametrize(
    "answer",
    [
        "mail:552 5.3.4 too big",
        "mail:552 message size exceeds the maximum",
        "mail:555 5.5.4 unknown option",
        "mail:553 5.6.7 no UTF-8 here",
        "mail:550 5.6.3 will not convert",
    ],
)
def test_a_no_to_one_letters_own_making_concerns_that_letter_alone(post: Post, answer: str) -> None:
    async def story() -> None:
        async with Sink(SinkSettings(keep=True, fault=lambda n: answer if n % 10 == 0 else None)) as sink:
            house = post.house(sink.port)
            post.sign_up(60)
            announcement = await asyncio.to_thread(post.announce, house)
            await send_all(post, house)
            outcomes = post.report(announcement)["outcomes"]
            assert (outcomes["bounced"], outcomes["sent"]) == (6, 54)

    asyncio.run(story())


def test_a_sender_refused_now_and_then_keeps_nobody(post: Post) -> None:
    """One letter in ten, in between others that are taken: each comes again, and the server is not left alone."""

    async def story() -> None:
        fault: Fault = lambda n: "mail:550 5.7.1 not you" if n % 10 == 0 else None  # noqa: E731
        async with Sink(SinkSettings(keep=True, fault=fault)) as sink:
            house = post.house(sink.port, retry_seconds="0,0,0,0,0")
            post.sign_up(60)
            announcement = await asyncio.to_thread(post.announce, house)
            await send_all(post, house)
            assert post.report(announcement)["outcomes"]["sent"] == 60

    asyncio.run(story())


@pytest.mark.parametrize(
    "answer", ["mail:452 4.3.1 no room", "rcpt:451 4.3.0 try later", "dot:451 4.3.2 not now"]
)
def test_rel_f22_a_server_that_puts_off_half_of_all_is_left_alone(post: Post, answer: str) -> None:
    """Every second letter: twenty of them, and what was on its way then, have used a try."""

    async def story() -> None:
        async with Sink(SinkSettings(fault=lambda n: answer if n % 2 else None)) as sink:
            report = await _left_alone(post, sink, 300)
            assert "deferring" in report["fact"].says
            assert 20 <= tries(post)["deferred", "temporary"] <= 30
            assert report["waiting"] > 200

    asyncio.run(story())


def test_rel_f22_many_domains_that_put_off_are_the_server(post: Post) -> None:
    async def story() -> None:
        async with Sink(SinkSettings(fault=lambda n: "rcpt:450 4.2.0 later")) as sink:
            for n in range(29):
                post.sign_up(2, domain=f"d{n}.example.org")
            report = await _left_alone(post, sink, 2)
            assert "deferring" in report["fact"].says
            assert sum(tries(post).values()) < 58

    asyncio.run(story())


def test_std_d3_a_domain_that_greylists_everybody_stops_nobody_else(post: Post) -> None:
    """Sixty of one domain are put off, one after the other; the server goes on with the others, and with them."""
    seen: set[str] = set()

    async def story() -> None:
        async with Sink(SinkSettings(keep=True)) as sink:

            def greylist(n: int) -> str | None:
                return None if n >= 60 else "rcpt:450 4.7.1 greylisted, come back"

            sink.settings.fault = greylist
            house = post.house(sink.port)
            post.sign_up(60, domain="slow.example.org")
            post.sign_up(60, domain="quick.example.org")
            announcement = await asyncio.to_thread(post.announce, house)
            await send_all(post, house, meanwhile=lambda: _note(post, seen))
            assert post.report(announcement)["outcomes"]["sent"] == 120
            assert not seen, "never left alone"

    asyncio.run(story())


async def _note(post: Post, seen: set[str]) -> None:
    while await asyncio.to_thread(post.open_batches):
        seen |= {one.reason for one in await asyncio.to_thread(away, post)}
        await asyncio.sleep(0.02)


# On a clock of the test's own


class Held:
    """A connection, as far as `carriers` asks."""

    def __init__(self) -> None:
        self.carried, self.given_up, self.stalled, self.busy = 0, False, False, False


def one_server() -> tuple[Carriers, Place]:
    made = Carriers(parse_smtp_urls("smtp://one.example.org:25"), random.Random(1))
    return made, made.places[0]


def connected(made: Carriers, place: Place, moment: float) -> Any:
    """One more connection, if it may be tried."""
    assert made.choose(moment) is place
    wire: Any = Held()
    place.wires.add(wire)
    return wire


def says(
    made: Carriers, place: Place, wire: Any, line: str, moment: float, n: int = 0, phase: Phase = "rcpt"
) -> None:
    """It answers a letter to the n-th domain so."""
    outcome = Outcome("replied", Reply.of(int(line[:3]), line[4:]), phase)
    made.heard(place, wire, f"a@d{n}.example.org", outcome, moment)


def opened(made: Carriers, place: Place) -> None:
    """Twenty domains have put off at second 0."""
    wire = connected(made, place, 0.0)
    for n in range(MOST_PUT_OFF):
        assert place.breaker.state(0.0) == "closed"
        says(made, place, wire, "450 4.2.0 later", 0.0, n)
    assert (place.breaker.state(0.0), place.breaker.reason) == ("open", "deferring")
    assert made.leaves(place, wire), "nor is more said on a connection that stands"
    made.ended(place, wire, 0.1, by_them=False)


def test_rel_f22_after_half_of_forty_one_letter_at_a_time_tries_and_five_close() -> None:
    made, place = one_server()
    opened(made, place)
    assert made.choose(29.0) is None
    wire = connected(made, place, 34.0)
    assert made.choose(34.0) is None
    assert not made.yields(place, wire, 34.0)
    wire.busy = True
    assert made.yields(place, wire, 34.0), "one at a time"
    wire.busy = False
    for n in range(5):
        assert place.breaker.reason
        assert not made.yields(place, wire, 34.0)
        says(made, place, wire, "250 ok", 34.0, n, "dot")
    assert place.breaker.state(34.0) == "closed"
    says(made, place, wire, "450 4.2.0 later", 34.1, 99)
    assert place.breaker.state(34.1) == "closed", "forty new answers"


def test_rel_f22_a_try_that_is_put_off_waits_twice_as_long_and_what_was_taken_is_not_forgotten() -> None:
    made, place = one_server()
    opened(made, place)
    moment, waits = 34.0, []
    for n in range(5):
        wire = connected(made, place, moment)
        says(made, place, wire, "250 ok", moment, phase="dot")
        if n < 4:
            says(made, place, wire, "451 4.3.0 later", moment)
            made.ended(place, wire, moment, by_them=False)
            waits.append(place.breaker.until - moment)
            moment = place.breaker.until
    assert [60 * 2**n <= wait <= 66 * 2**n for n, wait in enumerate(waits)] == [True] * 4
    assert place.breaker.state(moment) == "closed", "one of two taken closes it in the end"


def test_std_d3_who_has_put_off_before_is_no_try() -> None:
    made, place = one_server()
    opened(made, place)
    wire = connected(made, place, 34.0)
    for _ in range(50):
        says(made, place, wire, "450 4.2.0 later", 34.0, 3)
    assert place.breaker.state(34.0) == "half_open"
    assert not made.yields(place, wire, 34.0), "the next has its turn"


def test_std_d3_what_one_domain_says_counts_once_what_the_server_says_of_itself_each_time() -> None:
    for line, phase, opens in [
        ("450 4.7.1 greylisted", "rcpt", False),
        ("452 4.2.2 full", "dot", False),
        ("421 4.7.28 too fast", "rcpt", False),
        ("451", "rcpt", False),
        ("451 4.3.0 no space", "rcpt", True),
        ("451 4.4.1 nobody there", "dot", True),
        ("450", "mail", True),
    ]:
        made, place = one_server()
        wire = connected(made, place, 0.0)
        for _ in range(WINDOW):
            says(made, place, wire, line, 0.0, 1, phase)  # type: ignore[arg-type]
        assert (place.breaker.state(0.0) == "open") == opens, line


def test_rel_f22_fewer_than_half_are_borne() -> None:
    made, place = one_server()
    wire = connected(made, place, 0.0)
    for n in range(200):
        says(made, place, wire, "451 4.3.0 later" if n % 40 < 19 else "250 ok", 0.0, n, "dot")
        assert place.breaker.state(0.0) == "closed"


def test_rel_f22_five_refusals_of_the_sender_in_a_row_and_no_other_five() -> None:
    made, place = one_server()
    wire = connected(made, place, 0.0)
    for n in range(20):
        says(
            made, place, wire, "550 5.7.1 not you" if n % 5 else "250 ok", 0.0, n, "mail" if n % 5 else "dot"
        )
        assert place.breaker.state(0.0) == "closed"
    says(made, place, wire, "550 5.7.1 not you", 0.0, 0, "mail")
    assert (place.breaker.state(59.0), place.breaker.reason) == ("open", "sender_refused")


def test_a_connection_that_had_carried_does_not_speak_for_a_server_that_refuses() -> None:
    made, place = one_server()
    wire = connected(made, place, 0.0)
    wire.carried = 3
    says(made, place, wire, "530 5.7.0 log in", 0.0, phase="mail")
    assert made.yields(place, wire, 0.0)
    made.ended(place, wire, 0.1, by_them=True)
    assert (place.breaker.state(59.0), place.breaker.reason) == ("open", "not_authenticated")
    tries = connected(made, place, 67.0)
    tries.carried = 1
    assert not made.yields(place, tries, 67.0)
    assert place.breaker.reason, "it is the answer that counts"
    says(made, place, tries, "250 ok", 67.0, phase="dot")
    assert place.breaker.state(67.0) == "closed"


@pytest.mark.parametrize("answer", ["mail:530 5.7.0 log in", "mail:550 5.7.1 not you", "mail:452 4.3.1 full"])
def test_what_is_mended_at_the_servers_end_goes_by_itself(
    post: Post, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With waits of the test's own. Whoever was put off comes again, and everybody gets it once."""
    for reason in carriers.REFUSALS:
        monkeypatch.setitem(ALONE, reason, ALONE[reason]._replace(first=0.2, longest=0.4))
    bad = 30 if "452" in answer else 12

    async def story() -> None:
        async with Sink(SinkSettings(keep=True, fault=lambda n: answer if n < bad else None)) as sink:
            house = post.house(sink.port, connections=4, retry_seconds="0,0,0,0,0,0,0,0,0,0,0,0,0,0,0")
            post.sign_up(60)
            announcement = await asyncio.to_thread(post.announce, house)
            await send_all(post, house)
            assert post.report(announcement)["outcomes"]["sent"] == 60
            assert set(Counter(message.rcpt for message in sink.kept).values()) == {1}

    asyncio.run(story())


@pytest.mark.sabotage
def test_with_those_never_left_alone_a_mailing_is_used_up(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Carriers, "_fail", lambda *_: None)

    async def story() -> None:
        async with Sink(SinkSettings(fault=lambda n: "mail:550 5.7.1 not you")) as sink:
            house = post.house(sink.port, retry_seconds="600")
            post.sign_up(60)
            announcement = await asyncio.to_thread(post.announce, house)
            stop = asyncio.Event()
            sender = asyncio.create_task(Sender(house, "one").run(stop))
            async with asyncio.timeout(20):
                while (await asyncio.to_thread(post.report, announcement))["outcomes"]["deferred"] < 60:
                    await asyncio.sleep(0.05)
            stop.set()
            await sender

    asyncio.run(story())
