"""The sender's lease on its own: what it lets depart when the database answers late or not at all."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from scheduler import lease
from scheduler.database import Database
from service.domain.ledger.queries import Taken


class Slow:
    """A database that commits at once and whose answer to a write comes `late` seconds after."""

    def __init__(self) -> None:
        self.late, self.clock, self.writes = 0.0, 100.0, 0

    async def read(self, query: object) -> list[Any]:
        return []

    async def write(self, action: object) -> Any:
        self.writes += 1
        self.clock += self.late
        return (1, 0) if self.writes == 1 else 1


def _held(monkeypatch: pytest.MonkeyPatch) -> tuple[lease.Lease, Slow]:
    slow = Slow()
    monkeypatch.setattr(lease, "time", SimpleNamespace(monotonic=lambda: slow.clock))
    return lease.Lease(cast(Database, slow), "one", dict), slow


def test_rel_f25_a_renewal_whose_answer_comes_late_is_as_old_as_its_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Meanwhile the lease may have ended and a no been called settled: an old answer must not let anything depart."""
    held, slow = _held(monkeypatch)
    slow.late = 40.0
    asyncio.run(held.begin(lease.clock.now()))
    assert not held.permits(slow.clock)
    slow.late = 0.0
    asyncio.run(held._publish())
    assert held.permits(slow.clock)
    slow.late = 40.0
    asyncio.run(held._publish())
    assert not held.permits(slow.clock)


def test_rel_f25_three_seconds_without_the_database_and_nothing_departs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held, slow = _held(monkeypatch)
    asyncio.run(held.begin(lease.clock.now()))
    assert held.permits(slow.clock + 2.9)
    assert not held.permits(slow.clock + 3.0)


def test_p1_an_answer_in_hand_does_not_depart_once_its_message_was_erased(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody is registered there: the entry names the mails."""
    held, _ = _held(monkeypatch)
    body = {"how": "staff", "answers": ["m_1", "m_2"]}
    held._heed(Taken(7, "contact.erased", "q_1", lease.clock.now(), body, ""))
    assert held.took("", "h", "m_2", 6)
    assert not held.took("", "h", "m_2", 7)
    assert not held.took("", "h", "m_3", 6)
