"""Leases, and the fence that waits for them (design.md 5, step 6)."""

import asyncio
import os
import time
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import update
from sqlalchemy.engine import Engine
from sqlmodel import Session, col

from service import fence
from service.db.engine import make_engine
from service.db.session import reading, transaction
from service.domain.ledger import actions as ledger
from service.domain.ledger import safe
from service.domain.senders import actions, queries
from service.domain.senders.tables import Sender
from service.kit import clock
from service.kit.signing import Keyring
from service.ops.house import House
from tests import builders as make


@pytest.fixture
def house(engine: Engine, ring: Keyring, tmp_path: Path) -> House:
    return make.a_house(engine, ring, tmp_path)


def _begin(session: Session, name: str = "one", *, seen: int = 0, now: datetime | None = None) -> Sender:
    return actions.begin(session, name, boot_id="b", seen_seq=seen, now=now or clock.now())


def _unheard(session: Session, seconds: int) -> None:
    """Each was last heard of so many seconds earlier, by every clock."""
    for lease in queries.live(session):
        lease.renewed_at -= timedelta(seconds=seconds)
        lease.pace = {**lease.pace, "beat": lease.pace["beat"] - seconds}
    session.flush()


def _take(session: Session) -> int:
    return ledger.append(
        session, "consent.withdrawn", subject="p_a", body={"topic": "x"}, by="cli", now=clock.now()
    )


def _give(session: Session) -> int:
    return ledger.append(
        session, "consent.given", subject="p_a", body={"topic": "x"}, by="cli", now=clock.now()
    )


# --- leases ---


def test_a_lease_is_renewed_by_its_own_process_until_it_ends(session: Session, now: datetime) -> None:
    lease = _begin(session, now=now)
    assert actions.renew(session, lease.id or 0, seen_seq=7, now=now + timedelta(seconds=1))
    assert queries.seen_by_all(session) == 7
    actions.begin(session, "two", boot_id="b", seen_seq=5, now=now)
    assert queries.seen_by_all(session) == 5
    assert actions.end(session, "two", now=now)
    assert queries.seen_by_all(session) == 7
    assert actions.end(session, "one", now=now)
    assert not actions.end(session, "one", now=now)
    assert not actions.renew(session, lease.id or 0, seen_seq=9, now=now)
    assert queries.seen_by_all(session) is None


def test_a_lease_of_another_process_is_not_ours_to_renew(session: Session, now: datetime) -> None:
    lease = _begin(session, now=now)
    session.connection().execute(update(Sender).values(pid=os.getpid() + 1))
    assert not actions.renew(session, lease.id or 0, seen_seq=9, now=now)


def test_a_running_sender_s_name_is_taken_and_a_dead_one_s_is_free(session: Session, now: datetime) -> None:
    _begin(session, now=now)
    session.connection().execute(update(Sender).values(pid=1))  # a process that is surely there
    with pytest.raises(actions.SenderRuns):
        _begin(session, now=now)
    session.expire_all()
    session.connection().execute(update(Sender).values(pid=2**22 + 1))  # and one that cannot be
    assert _begin(session, now=now).pid == os.getpid()
    session.connection().execute(update(Sender).values(pid=1, host="elsewhere"))
    session.expire_all()
    for later in (29, 31, 86_400):  # it may only be cut off, with a letter half on its way (P1)
        with pytest.raises(actions.SenderRuns):
            _begin(session, now=now + timedelta(seconds=later))
    _unheard(session, 86_400)
    actions.lose(session, "one", now=now + timedelta(seconds=31))
    session.expire_all()
    _begin(session, now=now + timedelta(seconds=31))


def test_a_machine_that_was_started_anew_has_no_process_of_before(session: Session, now: datetime) -> None:
    _begin(session, now=now)
    session.connection().execute(update(Sender).values(pid=1))  # which somebody has now, too
    session.expire_all()
    assert actions.begin(session, "one", boot_id="another", seen_seq=0, now=now).boot_id == "another"


def test_a_lease_belongs_to_one_incarnation(session: Session, now: datetime) -> None:
    """Two containers of one name, each with process 7: neither renews, claims under or ends the other's."""
    first = actions.begin(session, "one", boot_id="b", seen_seq=0, now=now, incarnation="aaa").id or 0
    assert actions.holds(session, first, "aaa")
    actions.begin(session, "one", boot_id="c", seen_seq=5, now=now, incarnation="bbb")
    assert not actions.renew(session, first, seen_seq=9, now=now, incarnation="aaa")
    assert not actions.holds(session, first, "aaa")
    assert not actions.end(session, "one", now=now, incarnation="aaa")
    assert not actions.end(session, "one", now=now, pid=os.getpid() + 1)
    assert queries.seen_by_all(session) == 5
    assert actions.renew(session, first, seen_seq=9, now=now, incarnation="bbb")
    assert actions.end(session, "one", now=now, incarnation="bbb")


def test_a_lease_that_stands_still_is_suspect(session: Session, now: datetime) -> None:
    actions.begin(session, "one", boot_id=clock.boot_id(), seen_seq=0, now=now)
    _unheard(session, 25)
    assert queries.suspect(session, now=now) == []
    _unheard(session, 6)
    assert [one.name for one in queries.suspect(session, now=now)] == ["one"]
    actions.end(session, "one", now=now)
    session.expire_all()
    assert queries.suspect(session, now=now + timedelta(hours=1)) == []


# --- the fence ---


LONG = 60.0  # seconds, where nothing may wait in vain: a machine that is busy shall not decide the test


def test_without_senders_nobody_waits(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fence, "PATIENCE", LONG)
    began = time.monotonic()
    assert fence.perform_now(house, _take).settled
    assert time.monotonic() - began < LONG / 2


def test_what_takes_nothing_away_does_not_wait(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fence, "PATIENCE", LONG)
    make.act(house, _begin)
    began = time.monotonic()
    assert fence.perform_now(house, _give).settled
    assert time.monotonic() - began < LONG / 2


def test_the_answer_waits_until_every_sender_has_seen_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fence, "PATIENCE", LONG)
    leases = [make.act(house, lambda session, name=name: _begin(session, name).id) for name in ("one", "two")]

    async def story() -> tuple[bool, float]:
        began = time.monotonic()
        asked = asyncio.create_task(fence.perform(house, _take))
        for n, lease in enumerate(leases):
            await asyncio.sleep(0.3)
            assert not asked.done()
            publish = partial(actions.renew, sender_id=lease, seen_seq=10**6, now=clock.now())
            await asyncio.to_thread(make.act, house, publish)
            assert n or not asked.done()
        return (await asked).settled, time.monotonic() - began

    settled, took = asyncio.run(story())
    assert settled
    assert 0.6 <= took < LONG


def test_a_sender_that_does_not_answer_makes_an_honest_answer(house: House) -> None:
    make.act(house, _begin)
    began = time.monotonic()
    done = fence.perform_now(house, _take)
    assert not done.settled
    assert fence.PATIENCE <= time.monotonic() - began < LONG / 2
    make.act(house, lambda session: actions.end(session, "one", now=clock.now()))
    assert fence.perform_now(house, _take).settled


def test_waiting_holds_no_connection(house: House) -> None:
    """Sixty doors waiting at once, on a pool of thirty."""
    make.act(house, _begin)

    async def story() -> list[bool]:
        return [
            done.settled for done in await asyncio.gather(*(fence.perform(house, _take) for _ in range(60)))
        ]

    assert not any(asyncio.run(story()))
    assert house.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


def test_what_was_taken_away_is_in_the_file_before_anybody_is_told(house: House) -> None:
    taken = fence.perform_now(house, _take).value
    assert [line["seq"] for line in safe.lines(house.settings.safe)] == [taken]
    fence.perform_now(house, _give)
    assert len(safe.lines(house.settings.safe)) == 1


def test_a_refused_action_writes_nothing_and_waits_for_nobody(house: House) -> None:
    make.act(house, _begin)

    def refuse(session: Session) -> None:
        _take(session)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fence.perform_now(house, refuse)
    with reading(house.engine) as session:
        assert session.get(Sender, 1) is not None
        assert queries.seen_by_all(session) is not None
    assert safe.lines(house.settings.safe) == []
    with transaction(house.engine) as session:
        assert (
            session.connection()
            .execute(update(Sender).where(col(Sender.name) == "one").values(state="ended"))
            .rowcount
            == 1
        )


def test_rel_f18_a_no_that_was_not_written_twice_is_not_called_done(house: House) -> None:
    """Not the first time, and not when it is said again and takes nothing away any more; then it stands in the file."""
    safe_dir = house.settings.safe
    safe_dir.parent.mkdir(parents=True, exist_ok=True)
    safe_dir.write_bytes(b"")  # no directory can be made here
    for act in (_take, lambda session: 0):
        with pytest.raises(fence.NotWrittenTwice):
            fence.perform_now(house, act)
    safe_dir.unlink()
    assert fence.perform_now(house, lambda session: 0).settled
    assert [line["kind"] for line in safe.lines(safe_dir)] == ["consent.withdrawn"]


def test_a_no_said_again_to_another_process_is_written_twice_before_it_is_called_done(house: House) -> None:
    """The first was killed after its commit: the file outside lacks it, and nobody who lives knows that."""
    with transaction(house.engine) as session:
        _take(session)
    assert safe.lines(house.settings.safe) == []
    engine = make_engine(house.engine.url.render_as_string(hide_password=False))
    try:
        other = House(house.settings, engine, house.ring)
        assert fence.perform_now(other, ledger.stands).settled
    finally:
        engine.dispose()
    assert [line["kind"] for line in safe.lines(house.settings.safe)] == ["consent.withdrawn"]
