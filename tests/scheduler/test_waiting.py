"""Quiet hours and the weekly cap: who waits is not sent to, not dropped, and gets it when the wait is over."""

import random
import threading
import time as time_of_day
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from sqlalchemy import text
from sqlmodel import Session, select

from scheduler import jobs
from service.db.session import transaction
from service.domain.brands import actions as brands
from service.domain.deliveries import claims, rules, waiting
from service.domain.mailings.tables import Mailing
from service.domain.senders import actions as senders
from service.kit import clock
from tests.scheduler.conftest import Post

ZONES = some.sampled_from(
    ["Europe/Berlin", "Asia/Kathmandu", "America/New_York", "UTC", "Pacific/Kiritimati"]
)
HOURS = some.times().map(lambda at: at.replace(second=0, microsecond=0))


@given(some.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)), ZONES, HOURS, HOURS)  # noqa: DTZ001
def test_the_end_of_quiet_hours_is_the_first_moment_that_is_not_quiet(
    moment: datetime, zone: str, start: time, end: time
) -> None:
    if start == end:
        return
    now = moment.replace(tzinfo=UTC)
    awake = waiting.awake_at(now, zone, start, end)
    assert now <= awake <= now + timedelta(hours=25)
    assert waiting.awake_at(awake, zone, start, end) == awake, "and it is not quiet then"
    between = now + (awake - now) / 2
    assert waiting.awake_at(between, zone, start, end) in (between, awake), "a skipped end may come early"


@pytest.mark.parametrize(
    ("at", "hours", "awake"),
    [
        ("19:59", ("20:00", "08:00"), None),
        ("20:00", ("20:00", "08:00"), "2026-12-02T08:00"),
        ("07:59", ("20:00", "08:00"), "2026-12-01T08:00"),
        ("08:00", ("20:00", "08:00"), None),
        ("13:00", ("12:00", "14:00"), "2026-12-01T14:00"),
    ],
)
def test_quiet_hours_run_over_midnight(at: str, hours: tuple[str, str], awake: str | None) -> None:
    now = datetime.fromisoformat(f"2026-12-01T{at}+00:00")
    found = waiting.awake_at(now, "UTC", time.fromisoformat(hours[0]), time.fromisoformat(hours[1]))
    assert found == (datetime.fromisoformat(f"{awake}+00:00") if awake else now)


def set_to(post: Post, name: str, value: Any) -> None:
    with transaction(post.engine) as session:
        brands.set_setting(session, name, value, now=clock.now(), by="cli")


def claimed(post: Post, now: datetime) -> list[claims.Claimed]:
    """What a sender gets of all that is due then."""
    with transaction(post.engine) as session:
        lease = senders.begin(session, "one", boot_id="b", seen_seq=0, now=now)
        assert lease.id is not None
        return claims.claim(session, post.ring, lease.id, now=now, limit=50, system=False)


def sent(post: Post, batches: list[claims.Claimed], now: datetime) -> list[int]:
    """All of these left; their positions."""
    house = post.house(1)
    for one in batches:
        results = [rules.Result(member.pos, member.attempt, "sent", code=250) for member in one.members]
        with transaction(post.engine) as session:
            claims.record(session, one, results, waits=house.waits, now=now, chance=random.Random(1))
    return sorted(member.pos for one in batches for member in one.members)


def test_who_is_in_quiet_hours_waits_for_their_end_and_then_gets_it(post: Post) -> None:
    post.sign_up(3, zone="UTC")
    post.sign_up(2, zone="Etc/GMT-12")
    now = clock.now().replace(hour=12, minute=0, second=0, microsecond=0) + timedelta(days=1)
    set_to(post, "quiet_hours", "23:00-06:00")  # midnight for the last two
    announcement = post.announce(post.house(1), now=now)
    assert sent(post, claimed(post, now), now) == [1, 2, 3]
    report = post.report(announcement)
    assert (report["state"], report["waiting"], report["outcomes"]["sent"]) == ("sending", 2, 3)
    assert report["next_at"] == (now + timedelta(hours=6)).isoformat()
    assert claimed(post, now + timedelta(hours=5, minutes=59)) == []
    assert sent(post, claimed(post, now + timedelta(hours=6)), now) == [4, 5]
    assert post.report(announcement)["outcomes"]["sent"] == 5


def test_who_has_had_enough_this_week_waits_until_it_has_passed(post: Post) -> None:
    post.sign_up(3)
    set_to(post, "weekly_cap", 1)
    now, house = clock.now(), post.house(1)
    post.announce(house, now=now)
    assert sent(post, claimed(post, now), now) == [1, 2, 3]
    post.sign_up(1)  # u3 has had none yet
    second = post.announce(house, now=now + timedelta(hours=1))
    later = now + timedelta(hours=1)
    assert sent(post, claimed(post, later), later) == [4]
    assert post.report(second)["waiting"] == 3
    week = now + timedelta(days=7)
    assert claimed(post, week - timedelta(minutes=1)) == []
    assert sent(post, claimed(post, week), week) == [1, 2, 3]
    assert post.report(second)["outcomes"] | {"skipped": {}} == {
        "sent": 4, "bounced": 0, "deferred": 0, "cancelled": 0, "expired": 0, "unknown": 0, "skipped": {},
    }  # fmt: skip


def test_a_person_may_want_fewer_than_the_house_allows(post: Post) -> None:
    post.sign_up(2)
    with post.engine.begin() as connection:
        connection.execute(text("UPDATE person SET max_per_week = 1 WHERE id = (SELECT min(id) FROM person)"))
    now, house = clock.now(), post.house(1)
    for hours, expected in ((0, [1, 2]), (1, [2])):
        at = now + timedelta(hours=hours)
        post.announce(house, now=at)
        assert sent(post, claimed(post, at), at) == expected


def test_a_doubt_of_an_earlier_try_is_not_forgotten_when_the_mailing_expires(post: Post) -> None:
    """A notice whose first try ended unknown and whose second was put off by a 451: the reader may have it, and the report says so."""
    post.sign_up(1)
    house = post.house(9)
    announcement, now = post.announce(house), clock.now()
    with transaction(post.engine) as session:
        session.execute(text("UPDATE mailing SET unknown_rule = 'at_least_once'"))

    def ends(state: str, reason: str, at: datetime) -> None:
        [one] = claimed(post, at)
        results = [rules.Result(member.pos, member.attempt, state, reason) for member in one.members]
        with transaction(post.engine) as session:
            claims.record(
                session, one, results, waits=rules.Waits([300, 900], 900), now=at, chance=random.Random(1)
            )

    ends("unknown", "no_reply", now)
    ends("deferred", "temporary", now + timedelta(minutes=30))
    with transaction(post.engine) as session:
        mailing = session.exec(select(Mailing)).one()
        mailing.valid_until = now + timedelta(minutes=31)
        session.add(mailing)
    for job in (jobs.expire, jobs.settle):
        job(house, now + timedelta(hours=1))
    outcomes = post.report(announcement)["outcomes"]
    assert (outcomes["unknown"], outcomes["expired"]) == (1, 0)


def test_the_weekly_cap_counts_what_is_in_hand(post: Post) -> None:
    """Two announcements due at once: nobody gets the second because the first is not recorded yet. Who was refused the first gets
    the second soon, the others a week later."""
    post.sign_up(3)
    set_to(post, "weekly_cap", 1)
    house = post.house(9)
    first, _ = post.announce(house), post.announce(house)
    now = clock.now()
    batches = claimed(post, now)
    assert [len(one.members) for one in batches] == [3, 0]
    results = [
        rules.Result(member.pos, member.attempt, state)
        for member, state in zip(batches[0].members, ("sent", "unknown", "bounced"), strict=True)
    ]
    for one, theirs in ((batches[0], results), (batches[1], [])):
        with transaction(post.engine) as session:
            claims.record(session, one, theirs, waits=house.waits, now=now, chance=random.Random(1))
    assert post.report(first)["outcomes"]["sent"] == 1
    soon = claimed(post, now + waiting.IN_HAND + timedelta(minutes=1))
    assert [len(one.members) for one in soon] == [1], "the bounced one has had nothing"
    week = claimed(post, now + waiting.WEEK + timedelta(minutes=10))
    assert [len(one.members) for one in week] == [2]


def test_two_who_claim_at_once_count_one_after_the_other(post: Post) -> None:
    """Each takes another announcement to the same person, with one a week allowed: whoever comes second sees what the first has
    taken, though that was not committed when it asked."""
    post.sign_up(1)
    set_to(post, "weekly_cap", 1)
    house = post.house(9)
    post.announce(house)
    post.announce(house)
    now, asked = clock.now(), threading.Event()
    with transaction(post.engine) as session:
        one, other = (
            senders.begin(session, name, boot_id="b", seen_seq=0, now=now, incarnation=name).id or 0
            for name in ("one", "two")
        )

    def take(session: Session, lease: int, name: str) -> int:
        found = claims.claim(session, post.ring, lease, now=now, limit=1, system=False, incarnation=name)
        return len(found[0].members)

    def take_second() -> int:
        asked.set()
        with transaction(post.engine) as session:
            return take(session, other, "two")

    with ThreadPoolExecutor(1) as second:
        with transaction(post.engine) as session:
            assert take(session, one, "one") == 1
            taken = second.submit(take_second)
            asked.wait(20)
            while not (taken.done() or _somebody_waits(post)):
                time_of_day.sleep(0.01)
        assert taken.result(20) == 0


def _somebody_waits(post: Post) -> bool:
    """On PostgreSQL, for a lock; on SQLite whoever writes has the whole database."""
    if post.engine.dialect.name == "sqlite":
        return True
    with post.engine.connect() as connection:
        waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        return bool(connection.execute(text(waits)).scalar_one())
