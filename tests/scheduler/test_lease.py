"""The sender's lease on its own: what it lets depart when the database answers late or not at all."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from scheduler import lease
from scheduler.database import Database


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
