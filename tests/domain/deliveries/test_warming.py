"""The warm-up plan on a calendar of the test's own: what a day's amount leaves, whoever sends, and what waits for the next."""

import asyncio
import random
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Engine

from scheduler import jobs
from scheduler.sender import Sender
from service.db.session import reading, transaction
from service.domain.brands import actions as brands
from service.domain.deliveries import actions as deliveries
from service.domain.deliveries import claims, warming
from service.domain.deliveries.rules import Result, Waits
from service.domain.mailings import queries as mailings
from service.domain.notices import actions as notices
from service.domain.senders import actions as senders
from service.kit import clock
from service.kit.signing import Keyring
from tests.scheduler.conftest import Post, Sink, SinkSettings


@pytest.fixture
def post(engine: Engine, ring: Keyring, tmp_path: Any) -> Post:
    return Post(engine, ring, tmp_path)


def _plan(post: Post, *amounts: int) -> None:
    plan = {"from": clock.now().date().isoformat(), "amounts": list(amounts)}
    with transaction(post.engine) as session:
        brands.set_setting(session, "warm_up", plan, now=clock.now(), by="cli")


def _day(post: Post, now: datetime, *, back: int = 0) -> int:
    """Two senders take turns until nothing is due; `back` letters of the first batch come back unsent. How many were sent."""
    leases = []
    for name in ("one", "two"):
        with transaction(post.engine) as session:
            leases.append(senders.begin(session, name, boot_id="b", seen_seq=0, now=now).id or 0)
    sent = 0
    for turn in range(40):
        with transaction(post.engine) as session:
            found = claims.claim(session, post.ring, leases[turn % 2], now=now, limit=2, system=False)
        for claimed in found:
            ready = [one for one in claimed.members if one.refusal is None]
            unsent, back = ready[:back], 0
            results = [
                Result(one.pos, one.attempt, "reclaim" if one in unsent else "sent", code=250)
                for one in ready
            ]
            sent += len(ready) - len(unsent)
            with transaction(post.engine) as session:
                claims.record(
                    session, claimed, results, waits=Waits([1], 1), now=now, chance=random.Random(1)
                )
    return sent


def _waits(post: Post, now: datetime) -> dict[str, int]:
    with reading(post.engine) as session:
        return mailings.waits(session, now=now)


def test_std_f11_each_day_its_amount_and_nobody_is_dropped(post: Post) -> None:
    post.sign_up(1000)
    post.announce(post.house(9))
    _plan(post, 100, 250, 300)
    now = clock.now()
    assert _day(post, now) == 100
    assert _waits(post, now) == {"warm_up": 900}
    assert _day(post, now + timedelta(minutes=1)) == 0, "today's amount is used up"
    tomorrow = warming.next_day(now)
    assert _day(post, tomorrow) == 250
    with transaction(post.engine) as session:
        assert deliveries.expire(session, now=tomorrow + timedelta(hours=20)) == 0, "the plan costs no time"
    assert _day(post, tomorrow + timedelta(days=1)) == 300
    assert _waits(post, tomorrow + timedelta(days=1)) == {"warm_up": 350}
    assert _day(post, tomorrow + timedelta(days=2)) == 350, "after the plan there is no limit"
    with post.engine.connect() as connection:
        rows = connection.execute(
            text("SELECT count(*), count(DISTINCT pos), max(attempt) FROM outcome")
        ).one()
    assert tuple(rows) == (1000, 1000, 1)


def _mail_important_news(post: Post) -> None:
    """A notice that people cannot refuse, to everybody, frozen."""
    house, now = post.house(9), clock.now()
    content = {"en": {"title": "Keys expire", "preheader": "", "body": "Renew them by Friday."}}
    with transaction(post.engine) as session:
        given = {"topic": "important-notices", "content": content, "mail": True}
        row = notices.create(session, house.settings, **given, now=now, by="cli")
        notices.publish(session, house.settings, row.public_id, now=now, by="cli")
    jobs.freeze(house, now)


def test_what_must_be_said_goes_first_within_the_days_amount(post: Post) -> None:
    """An announcement was due before it, and neither is dropped."""
    post.sign_up(300)
    post.announce(post.house(9))
    _mail_important_news(post)
    _plan(post, 200, 200, 200)
    now = clock.now()

    def sent() -> dict[str, int]:
        counted = "SELECT kind, count(*) FROM outcome JOIN mailing ON id = mailing_id WHERE outcome.state = 'sent' GROUP BY kind"
        with post.engine.connect() as connection:
            return {kind: people for kind, people in connection.execute(text(counted))}

    assert (_day(post, now), sent()) == (200, {"notice": 200})
    tomorrow = warming.next_day(now)
    assert (_day(post, tomorrow), sent()) == (200, {"notice": 300, "announcement": 100})
    assert (_day(post, tomorrow + timedelta(days=1)), sent()) == (200, {"notice": 300, "announcement": 300})


def test_what_came_back_unsent_is_put_back(post: Post) -> None:
    post.sign_up(300)
    post.announce(post.house(9))
    _plan(post, 200)
    assert _day(post, clock.now(), back=30) == 200


def test_a_plan_of_other_days_changes_nothing(post: Post) -> None:
    post.sign_up(30)
    post.announce(post.house(9))
    with transaction(post.engine) as session:
        for start in ("2020-01-01: 1 2 3", "2999-01-01: 1"):
            brands.set_setting(session, "warm_up", start, now=clock.now(), by="cli")
    assert _day(post, clock.now()) == 30
    with post.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM warm_up_day")).scalar_one() == 0


def test_two_senders_at_once_share_one_amount(post: Post) -> None:
    """Over real connections."""

    async def story() -> None:
        async with Sink(SinkSettings(keep=True)) as sink:
            house = post.house(sink.port)
            post.sign_up(900)
            announcement = await asyncio.to_thread(post.announce, house)
            _plan(post, 120)
            stop = asyncio.Event()
            both = [asyncio.create_task(Sender(house, name).run(stop)) for name in ("one", "two")]
            async with asyncio.timeout(30):
                while (now := await asyncio.to_thread(post.report, announcement))["outcomes"][
                    "sent"
                ] < 120 or (now["waits"] != {"warm_up": 780}):
                    await asyncio.sleep(0.05)
            stop.set()
            await asyncio.gather(*both)
            report = post.report(announcement)
            assert (report["outcomes"]["sent"], report["waiting"], len(sink.kept)) == (120, 780, 120)

    asyncio.run(story())


def test_an_amount_nobody_counts_would_be_seen(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warming, "take", lambda *_: None)
    post.sign_up(900)
    post.announce(post.house(9))
    _plan(post, 100)
    assert _day(post, clock.now()) > 100
