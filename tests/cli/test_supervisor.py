"""The supervisor when the database is away: what died is started again all the same, its lease ended first. And how a process
that was told to stop ends."""

import asyncio
import signal
import subprocess
import sys
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


SLOW_TO_END = """
import asyncio
from service.cli import parent

async def main():
    stop = asyncio.Event()
    parent.until_told(stop)
    print("runs", flush=True)
    await stop.wait()
    print("told", flush=True)
    await asyncio.sleep({seconds})

asyncio.run(main())
"""


def _slow(seconds: float) -> list[str]:
    return ["-c", SLOW_TO_END.format(seconds=seconds)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_a_process_at_once(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, *_slow(60)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for word in (b"runs\n", b"told\n"):
            assert process.stdout.readline() == word
            process.send_signal(number)
        assert process.wait(20) == -number


@pytest.mark.parametrize(("lease", "code"), [("one", 0), (None, -9)])
def test_a_sender_is_given_the_time_that_its_answers_may_take(
    monkeypatch: pytest.MonkeyPatch, lease: str | None, code: int
) -> None:
    """Its servers may take thirty seconds to answer what is on the wire: whoever kills it before makes them `unknown`."""
    monkeypatch.setattr(up, "GRACE", 0.2)
    assert up.SENDERS_GRACE > 30

    async def run() -> int | None:
        role = up.Role("sender", [], 2, lease=lease)
        role.process = await asyncio.create_subprocess_exec(sys.executable, *_slow(2), stdout=subprocess.PIPE)
        assert role.process.stdout is not None
        await role.process.stdout.readline()
        await up.Supervisor(None, [])._end(role)  # type: ignore[arg-type]
        return role.process.returncode

    assert asyncio.run(run()) == code
