"""The supervisor when the database is away: what died is started again all the same, its lease ended first."""

import asyncio
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from service.cli import up


class Dead:
    """A process that has ended already."""

    pid, returncode = 1, -9

    async def wait(self) -> int:
        return -9


class Supervisor(up.Supervisor):
    """Starts processes that are dead; counts them."""

    started = 0

    async def _start(self, role: up.Role) -> Any:
        self.started += 1
        if self.started == 3:
            self.stopping.set()
        return Dead()


def test_rel_f12_a_lease_that_cannot_be_ended_now_is_ended_later(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def end(house: object, name: str, pid: int) -> None:
        asked.append(name)
        if len(asked) <= 2:
            raise OperationalError("UPDATE", None, Exception("the connection was lost"))

    monkeypatch.setattr(up, "_end_lease", end)
    monkeypatch.setattr(up, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(up, "WATCH_EVERY", 0.01)

    async def run() -> int:
        supervisor = Supervisor(None, [])  # type: ignore[arg-type]
        await asyncio.wait_for(supervisor._keep(up.Role("sender", ["send"], 2, lease="one")), 10)
        return supervisor.started

    assert asyncio.run(run()) == 3
    assert asked == ["one"] * 5
