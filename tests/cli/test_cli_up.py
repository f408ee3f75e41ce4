"""`bidden up` as an operator meets it: all of it runs, what dies comes back, nothing outlives it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


class Up:
    """A running `bidden up`."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        own = {
            "BIDDEN_LISTEN": self.url.partition("//")[2],
            "BIDDEN_INBOX_LISTEN": f"127.0.0.1:{free_port()}",
        }
        self.log = log.open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "service", "up", "--json"],
            env={**environment, **own, "BIDDEN_SENDERS": "2"},
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        assert self.process.stdout is not None
        self.said: dict[str, Any] = json.loads(self.process.stdout.readline())

    def children(self) -> dict[str, int]:
        """Each child's command and process id."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                    command = (entry / "cmdline").read_bytes().decode().split("\0")
                except (OSError, IndexError):
                    continue
                if parent == self.process.pid and "service" in command:
                    found[" ".join(command[command.index("service") + 1 :]).strip()] = int(entry.name)
        return found

    def end(self) -> int:
        self.process.terminate()
        return self.process.wait(30)


@pytest.fixture
def up(environment: dict[str, str], tmp_path: Path) -> Iterator[Up]:
    started = Up(environment, tmp_path / "up.log")
    yield started
    if started.process.poll() is None:
        started.end()
    assert started.process.stdout is not None
    started.process.stdout.close()
    started.log.close()


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_all_of_it_runs_comes_back_and_ends(up: Up) -> None:
    assert up.said["url"] == up.url
    assert up.said["inbox"] == f"{up.url}/inbox"
    assert httpx2.get(up.url + "/readyz").status_code == 200
    assert httpx2.get(up.said["sign_in"]).status_code == 200
    first = up.children()
    host = socket.gethostname()
    assert set(first) == {"web", "clock", "inbox", f"send --name {host}-1", f"send --name {host}-2"}
    os.kill(first["web"], signal.SIGKILL)
    os.kill(first[f"send --name {host}-1"], signal.SIGKILL)
    until(lambda: len(up.children()) == 5 and not set(first.values()) >= set(up.children().values()))

    def answers() -> bool:
        try:
            return httpx2.get(up.url + "/readyz").status_code == 200
        except httpx2.TransportError:
            return False

    until(answers)
    last = up.children()
    assert up.end() == 0
    assert all(gone(pid) for pid in last.values())


def test_nothing_outlives_it(up: Up) -> None:
    children = up.children().values()
    up.process.kill()
    up.process.wait()
    until(lambda: all(gone(pid) for pid in children))


def test_the_module_is_the_command(environment: dict[str, str]) -> None:
    def run(*arguments: str) -> int:
        command = [sys.executable, "-m", "service", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, check=False).returncode

    assert [run("ledger", "verify"), run("announce", "report", "a_0"), run("nonsense")] == [0, 1, 2]


def test_rel_f08_a_sender_that_stands_still_is_ended_and_comes_back(up: Up) -> None:
    name = next(command for command in up.children() if command.startswith("send"))
    frozen = up.children()[name]
    os.kill(frozen, signal.SIGSTOP)
    until(lambda: gone(frozen), 30)
    until(lambda: name in up.children())
