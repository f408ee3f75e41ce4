"""The guard that halts a mailing by itself: its figures, and its word in real conversations on both databases."""

import asyncio
import json
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Engine
from sqlmodel import col, select

from scheduler import jobs
from scheduler.sender import Sender
from service.db.session import reading, transaction
from service.domain.announcements import actions as announcements
from service.domain.announcements import queries as announcement_queries
from service.domain.brands import actions as brands
from service.domain.deliveries import claims, freeze, guard, rules
from service.domain.deliveries.rules import Result, Waits
from service.domain.ledger import queries as ledger
from service.domain.mailings.rules import TimeRanOut
from service.domain.mailings.tables import Mailing
from service.domain.notices import actions as notices
from service.domain.notices import queries as notice_queries
from service.domain.people import queries as people
from service.domain.reports import queries as reports
from service.domain.senders import actions as senders
from service.kit import addresses, clock
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


async def _until_halted(house: Any, report: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    stop = asyncio.Event()
    sender = asyncio.create_task(Sender(house, "one").run(stop))
    async with asyncio.timeout(30):
        while (await asyncio.to_thread(report))["state"] != "halted":
            await asyncio.sleep(0.05)
    stop.set()
    await sender
    return report()


async def _refused(post: Post, fault: str, share: float) -> None:
    """The first letters are refused; somebody looks, resumes, and the others get theirs once."""
    bad = int(400 * share) + 1
    async with Sink(SinkSettings(keep=True, fault=lambda n: fault if n < bad else None)) as sink:
        house = post.house(sink.port)
        post.sign_up(850)
        announcement = await asyncio.to_thread(post.announce, house)
        report = await _until_halted(house, lambda: post.report(announcement))
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
            report = await _until_halted(house, lambda: post.report(announcement))
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


def _mail_a_notice(post: Post, house: Any) -> str:
    """An important notice to everybody, frozen; two of the first batch have a zone that is none, and no mail can be made."""
    now = clock.now()
    with transaction(post.engine) as session:
        brands.set_fields(session, "default", {"postal_address": "Street 1, Berlin"}, now=now, by="cli")
        for n in (0, 1):
            person = people.by_address(session, post.ring, addresses.parse(f"u{n}@example.org"))[0]
            person.zone = "Nowhere/Land"
            session.add(person)
        content = {"en": {"title": "Keys expire", "preheader": "", "body": "Renew them by Friday."}}
        row = notices.create(
            session, house.settings, topic="important-notices", content=content, mail=True, now=now, by="cli"
        )
        notices.publish(session, house.settings, row.public_id, now=now, by="cli")
        public_id = row.public_id
    jobs.freeze(house, now)
    return public_id


def _notice_report(post: Post, notice: str) -> dict[str, Any]:
    with reading(post.engine) as session:
        return reports.of_notice(session, notice_queries.by_public_id(session, notice))


def _entries(post: Post, prefix: str) -> list[tuple[str, str]]:
    with reading(post.engine) as session:
        found = [json.loads(entry.text) for entry, _ in ledger.stored(session)]
    return [(one["kind"], one["actor"]) for one in found if one["kind"].startswith(prefix)]


def test_a_halted_notice_goes_on_when_a_person_says_so(post: Post) -> None:
    """Two letters that cannot be made halt it; who resumes has seen them, and all the others get theirs once."""

    async def story() -> list[str]:
        async with Sink(SinkSettings(keep=True)) as sink:
            house = post.house(sink.port)
            post.sign_up(850)
            notice = await asyncio.to_thread(_mail_a_notice, post, house)
            report = await _until_halted(house, lambda: _notice_report(post, notice))
            assert (report["reason"], report["outcomes"]["skipped"]) == ("render_errors", {"render_error": 2})
            assert report["waiting"] >= 50, "there was something left to halt"
            with transaction(post.engine) as session:
                notices.resume(session, notice, now=clock.now(), by="staff:s_ana")
            await send_all(post, house)
            after = _notice_report(post, notice)
            assert (after["state"], after["outcomes"]["sent"]) == ("sent", 848)
            return [message.rcpt for message in sink.kept]

    got = asyncio.run(story())
    assert len(set(got)) == len(got) == 848
    assert _entries(post, "notice.")[-2:] == [("notice.halted", "system"), ("notice.resumed", "staff:s_ana")]
    assert _entries(post, "announcement.") == []


def _halted(post: Post, kind: str) -> tuple[str, Any]:
    """A frozen mailing of nine, halted before anything left; nobody's public id, the mailing's row number."""
    house = post.house(9)
    post.sign_up(9)
    public_id = post.announce(house) if kind == "announcement" else _mail_a_notice(post, house)
    with transaction(post.engine) as session:
        mailing = session.scalars(select(Mailing).where(col(Mailing.kind) == kind)).one()
        freeze.halt(session, mailing, "render_errors", now=clock.now())
        return public_id, mailing.id


@pytest.mark.parametrize("kind", ["announcement", "notice"])
def test_what_is_halted_until_its_time_runs_out_ends_and_never_leaves(post: Post, kind: str) -> None:
    public_id, mailing_id = _halted(post, kind)
    house, late = post.house(9), clock.now() + timedelta(days=9)
    jobs.finish(house, clock.now())
    step = announcements.resume if kind == "announcement" else notices.resume
    with pytest.raises(TimeRanOut), transaction(post.engine) as session:
        step(session, public_id, now=late, by="staff:s_ana")
    jobs.expire(house, late)
    jobs.settle(house, late)
    jobs.finish(house, late)
    with reading(post.engine) as session:
        mailing = session.get_one(Mailing, mailing_id)
        assert (mailing.state, mailing.finished_at is not None) == ("expired", True)
        if kind == "announcement":
            assert announcement_queries.by_public_id(session, public_id).state == "expired"
    assert _entries(post, f"{kind}.")[-1][0] == (
        "announcement.expired" if kind == "announcement" else "notice.halted"
    )
    assert _entries(post, "mailing.")[-1] == ("mailing.expired", "system")


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
