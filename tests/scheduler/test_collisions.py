"""What the database will not have is no database that is away: an outcome that stands against one on record halts its mailing and
is written down, all others are recorded, and nothing is asked for ever."""

import asyncio
import json
import logging
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from scheduler.database import Database
from scheduler.sender import Sender
from service.db.session import reading, transaction
from service.domain.announcements import actions as announcements
from service.domain.deliveries import claims
from service.domain.deliveries.rules import Result, Waits
from service.domain.preferences import actions as preferences
from service.domain.senders import actions as senders
from service.kit import clock
from service.ops import health
from tests.scheduler.conftest import Post, Sink, SinkSettings, send_all

ON_RECORD = text(
    "INSERT INTO outcome (mailing_id, pos, attempt, state, reason, reply, warrant_seq, at, final)"
    " SELECT mailing_id, pos, :attempt, :state, '', '', warrant_seq, due_at, true FROM audience"
    " WHERE pos = 2 AND mailing_id = (SELECT max(id) FROM mailing)"
)
COLLIDED = text("SELECT entry FROM ledger_entry WHERE kind = 'batch.collided'")


def _put_on_record(post: Post, attempt: int, state: str) -> None:
    """An outcome of the newest mailing's second reader that nobody here knows of."""
    with post.engine.execution_options(write=True).begin() as connection:
        connection.execute(ON_RECORD, {"attempt": attempt, "state": state})


def _said(post: Post) -> list[dict[str, Any]]:
    """The bodies of the entries on it."""
    with post.engine.connect() as connection:
        return [json.loads(row[0])["body"] for row in connection.execute(COLLIDED)]


@pytest.mark.parametrize(("attempt", "state"), [(7, "sent"), (1, "skipped")])
def test_an_outcome_that_is_on_record_already_halts_its_mailing_alone(
    post: Post, attempt: int, state: str, caplog: pytest.LogCaptureFixture
) -> None:
    """By either rule of the table: sent once, and one row for each attempt."""
    post.sign_up(5)
    well = post.announce(post.house(9))
    bad = post.announce(post.house(9))
    _put_on_record(post, attempt, state)

    async def run() -> tuple[list[str], list[Any]]:
        async with Sink(SinkSettings(keep=True)) as sink:
            house = post.house(sink.port)
            await asyncio.wait_for(send_all(post, house), 20)
            facts = (await asyncio.to_thread(health.readiness, house, now=clock.now())).facts
            return [message.rcpt for message in sink.kept], facts

    with caplog.at_level(logging.ERROR):
        readers, facts = asyncio.run(run())
    assert len(readers) == 10
    assert (post.report(well)["state"], post.report(well)["outcomes"]["sent"]) == ("sent", 5)
    report = post.report(bad)
    assert (report["state"], report["reason"]) == ("halted", "collided")
    outcomes = report["outcomes"]
    assert outcomes["sent"] + sum(outcomes["skipped"].values()) == 5, "the other four are on record"
    [body] = _said(post)
    assert body["outcomes"] == [[2, 1, "sent", ""]], "and so is what the fifth was answered"
    words = [record for record in caplog.records if "stands against" in record.message]
    assert len(words) == 1
    assert "example.org" not in str(words[0].__dict__)
    [fact] = [one for one in facts if one.name == "mailings"]
    assert (fact.ok, fact.value) == (False, 1)
    with transaction(post.engine) as session:
        announcements.resume(session, bad, now=clock.now(), by="staff:s_ana")


def test_whoever_has_an_end_on_record_is_not_tried_again(post: Post) -> None:
    """The second reader has the mail by the record, and is put off when this batch comes to them: a further try, once somebody has
    let the mailing go on, would be a second mail (P3)."""
    post.sign_up(3)
    announcement = post.announce(post.house(9))
    _put_on_record(post, 1, "sent")

    async def run() -> list[str]:
        async with Sink(SinkSettings(keep=True)) as sink:
            sink.settings.fault = lambda n: "dot:450 4.2.0 later" if n == 1 else None
            house = post.house(sink.port)
            stop = asyncio.Event()
            sending = asyncio.create_task(Sender(house, "one").run(stop))
            while (await asyncio.to_thread(post.report, announcement))["state"] != "halted":
                await asyncio.sleep(0.01)
            stop.set()
            await asyncio.wait_for(sending, 20)
            with transaction(post.engine) as session:
                announcements.resume(session, announcement, now=clock.now(), by="staff:s_ana")
            await asyncio.wait_for(send_all(post, house), 20)
            return [message.rcpt for message in sink.kept if message.committed]

    assert sorted(asyncio.run(run())) == ["u0@example.org", "u2@example.org"]
    report = post.report(announcement)
    assert (report["state"], report["outcomes"]["sent"]) == ("sent", 3)


def test_a_no_of_somebody_who_has_an_end_on_record_stops_no_sender(post: Post) -> None:
    """The claim would write `skipped` where something is written already; nobody else's mail waits for that, and its batch is
    sealed over what is on record."""
    post.sign_up(3)
    announcement = post.announce(post.house(9))
    _put_on_record(post, 1, "sent")
    with transaction(post.engine) as session:
        preferences.stop(session, post.ring, post.stop_link("u1"), how="link", evidence={}, now=clock.now())

    async def run() -> list[str]:
        async with Sink(SinkSettings(keep=True)) as sink:
            await asyncio.wait_for(send_all(post, post.house(sink.port)), 20)
            return [message.rcpt for message in sink.kept]

    assert sorted(asyncio.run(run())) == ["u0@example.org", "u2@example.org"]
    report = post.report(announcement)
    assert (report["state"], report["outcomes"]["sent"]) == ("sent", 3)
    with post.engine.connect() as connection:
        [sealed] = connection.execute(text("SELECT entry FROM ledger_entry WHERE kind = 'batch.sealed'"))
    assert json.loads(sealed[0])["body"]["covers"] == "1,3"


def test_recovery_does_not_stumble_over_it_either(post: Post) -> None:
    post.sign_up(3)
    announcement = post.announce(post.house(9))
    _put_on_record(post, 7, "sent")
    with transaction(post.engine) as session:
        lease = senders.begin(session, "dead", boot_id="b", seen_seq=0, now=clock.now())
        [claimed] = claims.claim(session, post.ring, lease.id or 0, now=clock.now(), limit=1, system=False)

    def answered(_mailing: int, pos: int, attempt: int) -> Result:
        return Result(pos, attempt, "sent", code=250)

    with transaction(post.engine) as session:
        claims.recover(
            session,
            post.ring,
            claimed.batch_id,
            answered,
            waits=Waits([1], 1),
            now=clock.now(),
            chance=random.Random(1),
        )
    assert (post.open_batches(), post.report(announcement)["outcomes"]["sent"]) == (0, 3)
    assert [one["outcomes"] for one in _said(post)] == [[[2, 1, "sent", ""]]]


def _name(session: Session) -> None:
    session.connection().execute(
        text(
            "INSERT INTO sender (name, host, pid, boot_id, state, seen_seq, renewed_at, started_at, incarnation)"
            " VALUES ('one', 'h', 1, 'b', 'ended', 0, :now, :now, '')"
        ),
        {"now": clock.now()},
    )


def test_what_the_database_refuses_is_not_asked_for_ever(engine: Engine) -> None:
    with transaction(engine) as session:
        _name(session)
    with ThreadPoolExecutor(1) as executor, pytest.raises(IntegrityError):
        asyncio.run(asyncio.wait_for(Database(engine, executor).write(_name), 10))


def test_two_who_write_the_same_at_once_are_asked_again(engine: Engine) -> None:
    """The first of them is there when the second comes, and gone when it is asked again."""
    with transaction(engine) as session:
        _name(session)
    asked: list[int] = []

    def write(session: Session) -> None:
        asked.append(1)
        if len(asked) == 2:
            session.connection().execute(text("DELETE FROM sender"))
        _name(session)

    with ThreadPoolExecutor(1) as executor:
        asyncio.run(asyncio.wait_for(Database(engine, executor).write(write), 10))
    with reading(engine) as session:
        assert session.connection().execute(text("SELECT count(*) FROM sender")).scalar_one() == 1
