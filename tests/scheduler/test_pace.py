"""The pace of recipient domains: on a clock of the test's own, and in real conversations."""

import asyncio
import itertools
import random
from collections import Counter

import pytest
from sqlalchemy import text

from scheduler.pace import HORIZON, LONGEST_PAUSE, PAUSED, Later, Pace
from service.db.session import transaction
from service.domain.brands import actions as brands
from service.kit import clock
from service.mail.replies import Reply, throttles
from tests.faults.sink import Message
from tests.scheduler.conftest import Post, Sink, SinkSettings, send_all

BUSY = "busy.example.org"


def a_pace(first: float = 60.0, ceiling: int = 8) -> Pace:
    return Pace(ceiling, first, random.Random(7))


@pytest.mark.parametrize(
    ("line", "asks"),
    [
        ("421 4.7.28 unusual rate of mail", True),
        ("421 closing", True),
        ("451 4.7.500 server busy", True),
        ("450 4.7.1 rate limit reached", True),
        ("452 4.7.0 too many mails", True),
        ("450 4.7.1 come back later", False),
        ("451 4.7.1 greylisted", False),
        ("421 4.7.0 Greylisting in action", False),
        ("450 4.2.0 greylisted", False),
        ("450 4.2.1 mailbox busy", False),
        ("550 5.7.1 refused", False),
        ("250 2.0.0 rate limit", False),
    ],
)
def test_std_f4_which_answers_ask_for_less(line: str, asks: bool) -> None:
    assert throttles(Reply.of(int(line[:3]), line[4:])) is asks


def test_a_domain_in_trouble_waits_longer_each_time_up_to_an_hour_and_others_do_not() -> None:
    pace, moment, waits = a_pace(), 1000.0, []
    for _ in range(9):
        assert pace.throttled(BUSY, moment)
        word = pace.admit(BUSY, moment)
        assert isinstance(word, Later)
        assert word.reason == PAUSED
        assert pace.admit("example.org", moment) is True
        waits.append(word.seconds)
        moment = pace.lanes[BUSY].until + 0.001
    assert all(60 * 2**n <= waits[n] <= 66.1 * 2**n + 1 for n in range(6))
    assert all(LONGEST_PAUSE <= wait <= LONGEST_PAUSE * 1.1 + 1 for wait in waits[6:])


def test_std_f11_a_421_halves_what_is_out_at_once_and_it_recovers_one_by_one() -> None:
    pace, moment = a_pace(ceiling=8), 0.0

    def at_once() -> int:
        count = 0
        while pace.admit(BUSY, moment) is True:
            count += 1
        for _ in range(count):
            pace.release(BUSY)
        return count

    sizes = []
    for _ in range(4):
        pace.throttled(BUSY, moment)
        assert not pace.throttled(BUSY, moment + 1), "what was out already says nothing new"
        moment = pace.lanes[BUSY].until + 1
        sizes.append(at_once())
    assert sizes == [4, 2, 1, 1]
    taken = 0
    while BUSY in pace.lanes:
        assert pace.admit(BUSY, moment) is True
        pace.answered(BUSY)
        moment, taken = moment + 0.1, taken + 1
        if BUSY in pace.lanes:
            now = at_once()
            assert now - sizes[-1] in (0, 1)
            sizes.append(now)
    assert 20 < taken < 60, "slowly, but all the way"


def test_std_f11_an_hours_amount_is_never_exceeded_whatever_comes() -> None:
    """Three hours on a virtual clock, two senders of one installation, everybody asking all the time."""
    paces = [a_pace(), a_pace()]
    for pace in paces:
        pace.retune({"gmail.com": {"per_hour": 100, "connections": 2}}, 2)
    left: list[float] = []
    for tick in range(3 * 3600):
        for pace in paces:
            if pace.admit("gmail.com", float(tick)) is True:
                left.append(float(tick))
                pace.answered("gmail.com")
    assert 290 <= len(left) <= 302
    assert max(sum(at <= one < at + 3600 for one in left) for at in left) <= 102


def test_what_does_not_fit_gets_places_behind_each_other() -> None:
    pace = a_pace()
    pace.retune({BUSY: {"per_hour": 360}}, 1)
    assert pace.admit(BUSY, 0.0) is True
    held = 0
    while pace.admit(BUSY, 0.0) is False:
        pace.hold(BUSY, 1)
        held += 1
    assert held * 10 == pytest.approx(HORIZON, abs=10)
    places = [pace.admit(BUSY, 0.0) for _ in range(20)]
    seconds = [place.seconds for place in places if isinstance(place, Later)]
    assert [round(b - a) for a, b in itertools.pairwise(seconds)] == [10] * 19


async def _one_domain_is_busy(post: Post) -> None:
    """Everybody of one domain is told to come later; nobody of the other domain waits for that."""
    refusals, paused_at = 0, 0.0

    def answer(message: Message) -> None:
        nonlocal refusals, paused_at
        if message.rcpt.endswith(BUSY) and refusals < 1:
            refusals, paused_at = refusals + 1, message.t_dot
            message.fault = "dot:451 4.7.650 too much at once"

    async with Sink(SinkSettings(keep=True, on_dot=answer)) as sink:
        house = post.house(sink.port, retry_seconds="2,2,2,2,2,2")
        post.sign_up(20, domain=BUSY)
        post.sign_up(20)
        announcement = await asyncio.to_thread(post.announce, house)
        seen: list[dict[str, int]] = []

        async def look() -> None:
            while not paused_at or len(sink.kept) < 20:
                await asyncio.sleep(0.01)
            while not (found := await asyncio.to_thread(post.report, announcement))["waits"]:
                await asyncio.sleep(0.05)
            seen.append(found["waits"])

        await send_all(post, house, meanwhile=look)
        report = post.report(announcement)
        assert (report["state"], report["outcomes"]["sent"], report["waits"]) == ("sent", 40, {})
        assert 17 <= seen[0][PAUSED] <= 19, "all of it but what was refused and what was under way"
        times = {message.rcpt: message.t_dot for message in sink.kept}
        assert max(at for rcpt, at in times.items() if not rcpt.endswith(BUSY)) < paused_at + 2
        late = [at - paused_at for rcpt, at in times.items() if rcpt.endswith(BUSY) and at > paused_at + 0.5]
        assert len(late) >= 18
        assert min(late) >= 2
        assert set(Counter(message.rcpt for message in sink.kept).values()) == {1}
    with post.engine.connect() as connection:
        tried = connection.execute(text("SELECT attempt, count(*) FROM outcome GROUP BY attempt")).all()
    assert sorted(tuple(row) for row in tried) == [(1, 40), (2, 1)], "waiting is no attempt"


def test_std_d3_letters_of_a_busy_domain_wait_and_keep_nobody_else(post: Post) -> None:
    asyncio.run(_one_domain_is_busy(post))


def test_std_d3_a_greylisted_letter_comes_back_alone_on_the_schedule(post: Post) -> None:
    """450 with a text about greylisting: that letter waits RETRY_SECONDS and up to a tenth more, all others go on."""

    async def story() -> None:
        faults = {0: "rcpt:450 4.7.1 greylisted", 1: "rcpt:450 4.2.0 greylisted, come back"}
        async with Sink(SinkSettings(keep=True, fault=faults.get)) as sink:
            house = post.house(sink.port, retry_seconds="1,30")
            post.sign_up(12)
            announcement = await asyncio.to_thread(post.announce, house)
            await send_all(post, house)
            assert post.report(announcement)["outcomes"]["sent"] == 12
            refused = max(message.t_mail for message in sink.messages if not message.committed)
            began = sorted(message.t_mail for message in sink.kept)
            assert began[9] < refused + 0.9, "ten did not wait"
            assert began[10] >= refused + 1 - 0.1

    asyncio.run(story())
    with post.engine.connect() as connection:
        reasons = connection.execute(text("SELECT DISTINCT reason FROM batch")).scalars().all()
    assert list(reasons) == [""], "no pause of the domain"


def test_with_that_pause_left_out_the_busy_domain_is_asked_on(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.sender.throttles", lambda reply: False)
    with pytest.raises((AssertionError, TimeoutError)):
        asyncio.run(asyncio.wait_for(_one_domain_is_busy(post), 6))


def test_std_f11_what_staff_allow_a_domain_is_heeded(post: Post) -> None:
    """One letter at once and two a second for one domain, as fast as it goes for the others; the setting is a row."""

    async def story() -> None:
        at_once = most = 0
        times: list[float] = []

        def hold(message: Message) -> asyncio.Future[None] | None:
            nonlocal at_once, most
            if not message.rcpt.endswith(BUSY):
                return None
            at_once, until = at_once + 1, asyncio.get_running_loop().create_future()
            most = max(most, at_once)
            times.append(message.t_mail)

            def go() -> None:
                nonlocal at_once
                at_once -= 1
                until.set_result(None)

            asyncio.get_running_loop().call_later(0.05, go)
            return until

        async with Sink(SinkSettings(keep=True, hold=hold)) as sink:
            house = post.house(sink.port, connections=4)
            post.sign_up(6, domain=BUSY)
            post.sign_up(60)
            with transaction(post.engine) as session:
                limit = f"{BUSY} per_hour=7200 connections=1"
                brands.set_setting(session, "domain_limits", limit, now=clock.now(), by="cli")
            announcement = await asyncio.to_thread(post.announce, house)
            await send_all(post, house)
            assert post.report(announcement)["outcomes"]["sent"] == 66
        assert most == 1
        assert len(times) == 6
        assert all(b - a >= 0.45 for a, b in itertools.pairwise(sorted(times)))
        others = [one.t_dot for one in sink.kept if not one.rcpt.endswith(BUSY)]
        assert max(others) < min(times) + 1.5, "they did not wait for it"

    asyncio.run(story())


@pytest.mark.parametrize(
    ("domain", "lane"),
    [
        ("gmail.com", "gmail.com"),
        ("googlemail.com", "gmail.com"),
        ("hotmail.fr", "outlook.com"),
        ("live.co.uk", "outlook.com"),
        ("live.com.au", "outlook.com"),
        ("yahoo.co.jp", "yahoo.com"),
        ("aol.com", "yahoo.com"),
        ("web.de", "gmx.net"),
        ("ya.ru", "yandex.ru"),
        ("live.example.org", "live.example.org"),
        ("mail.hotmail.example", "mail.hotmail.example"),
        ("aliveness.com", "aliveness.com"),
    ],
)
def test_std_f11_domains_of_one_provider_are_one_lane(domain: str, lane: str) -> None:
    assert a_pace().lane_of(f"Ana@{domain.upper()}") == lane


def test_a_domain_with_a_limit_of_its_own_leaves_its_providers_lane() -> None:
    pace = a_pace()
    pace.retune({"outlook.com": {"per_hour": 60}, "hotmail.com": {"connections": 1}}, 1)
    assert pace.lane_of("ana@hotmail.com") == "hotmail.com"
    assert pace.lane_of("ana@msn.com") == "outlook.com"
    assert pace.admit(pace.lane_of("ana@msn.com"), 1000.0) is True
    assert pace.admit(pace.lane_of("bo@live.fr"), 1000.0) is not True, "they share the hour's amount"


def test_std_f11_a_provider_that_asks_for_less_is_left_alone_under_all_its_names() -> None:
    pace = a_pace()
    assert pace.throttled(pace.lane_of("ana@googlemail.com"), 1000.0)
    assert isinstance(pace.admit(pace.lane_of("bo@gmail.com"), 1000.0), Later)
    assert pace.admit(pace.lane_of("bo@yahoo.com"), 1000.0) is True


def test_letters_that_were_out_when_a_domain_got_a_limit_of_its_own_block_no_lane() -> None:
    pace = a_pace()
    pace.throttled("outlook.com", 1000.0)
    moment = pace.lanes["outlook.com"].until + 1
    while pace.admit(pace.lane_of("ana@hotmail.com"), moment) is True:
        pass
    pace.retune({"hotmail.com": {"connections": 1}}, 1)
    pace.release(pace.lane_of("ana@hotmail.com"))
    assert pace.admit(pace.lane_of("ana@msn.com"), moment) is True
