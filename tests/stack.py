"""A whole installation in processes of its own, as journeys and the bench see it: commands, HTTP, SMTP, nothing else.

Imports nothing of `service` or `scheduler`.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

# Reads commands, and prints of each its exit code and what it said; ends with the first that has another code than the first.
ONE_AFTER_THE_OTHER = """
import contextlib, io, json, sys
from service.cli.main import app
said = []
for words in json.loads(sys.stdin.read()):
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            app(words)
        except SystemExit as end:
            code = end.code or 0
    said.append([code, out.getvalue(), err.getvalue()])
    if code != said[0][0]:
        break
print(json.dumps(said))
"""


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Stack:
    """One installation in `directory`; commands run with its environment."""

    def __init__(self, directory: Path, **environment: str) -> None:
        self.directory = directory
        self.port, self.inbox_port = free_port(), free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("BIDDEN_")
        } | {
            "BIDDEN_DATA_DIR": str(directory / "data"),
            "BIDDEN_LISTEN": f"127.0.0.1:{self.port}",
            "BIDDEN_INBOX_LISTEN": f"127.0.0.1:{self.inbox_port}",
            "BIDDEN_HOLD_SECONDS": "1",
            "BIDDEN_RETRY_SECONDS": "1,1,1",
            "BIDDEN_UNKNOWN_RETRY_SECONDS": "1",
            "BIDDEN_LOG_LEVEL": "WARNING",
            **environment,
        }
        self.processes: list[subprocess.Popen[str]] = []
        self.key = ""

    def run(self, *arguments: str, refused: bool = False) -> str:
        """One command of `bidden`, to its end; its standard output."""
        done = subprocess.run(
            [sys.executable, "-m", "service", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if (done.returncode != 0) != refused:
            raise AssertionError(
                f"bidden {' '.join(arguments)} ended with {done.returncode}: {done.stdout}{done.stderr}"
            )
        return done.stdout if not refused else done.stdout + done.stderr

    def run_all(self, *commands: Sequence[str], refused: bool = False) -> list[str]:
        """Commands one after the other in one process, which costs one start: what each said on its standard output, and on its
        standard error where it had to be refused."""
        done = subprocess.run(
            [sys.executable, "-c", ONE_AFTER_THE_OTHER],
            env=self.environment,
            input=json.dumps(commands),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        said = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else []
        for words, (code, out, err) in zip(commands, said, strict=False):
            if (code != 0) != refused:
                raise AssertionError(f"bidden {' '.join(words)} ended with {code}: {out}{err}")
        assert len(said) == len(commands), done.stdout + done.stderr
        return [out + (err if refused else "") for _, out, err in said]

    def json(self, *arguments: str) -> Any:
        """The same with --json, read."""
        return json.loads(self.run(*arguments, "--json"))

    def start(self, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
        """A command that stays (`up`, `web`, `clock`, `send`, …), with more in its environment."""
        command = [sys.executable, "-m", "service", *arguments]
        with (self.directory / f"{'-'.join(arguments)}-{len(self.processes)}.log").open("w") as log:
            process = subprocess.Popen(
                command, env=self.environment | environment, stdout=log, stderr=subprocess.STDOUT, text=True
            )
        self.processes.append(process)
        return process

    def ready(self, seconds: float = 60) -> None:
        """Wait until the web process answers that it is ready."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if httpx2.get(f"{self.base_url}/readyz", timeout=2).status_code == 200:
                    return
            except httpx2.HTTPError:
                pass
            if any(process.poll() is not None for process in self.processes):
                break
            time.sleep(0.05)
        raise AssertionError("not ready: " + self.logs())

    def logs(self) -> str:
        """What the processes said, the last of it."""
        return "\n".join(
            f"{path.name}: {path.read_text()[-3000:]}" for path in sorted(self.directory.glob("*.log"))
        )

    def prepare(self) -> None:
        """Database, brand and one key that may do everything."""
        brand = ("title=Acme", "postal_address=Street 1, 10115 Berlin", "from_domain=acme.example.org")
        *_, made = self.run_all(
            ("db", "upgrade"),
            ("brand", "set", "default", *brand),
            ("keys", "create", "--name", "journey", "--source", "site", "--scope", "all", "--json"),
        )
        self.key = json.loads(made)["key"]

    def client(self) -> httpx2.Client:
        """An HTTP client of the API with the key."""
        return httpx2.Client(
            base_url=f"{self.base_url}/api/v1", headers={"Authorization": f"Bearer {self.key}"}, timeout=60
        )

    def stop(self) -> None:
        """End everything that was started, politely, then surely."""
        for process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def stack(directory: Path, **environment: str) -> Iterator[Stack]:
    """An installation with its database made; whatever it starts is ended."""
    made = Stack(directory, **environment)
    try:
        made.prepare()
        yield made
    finally:
        made.stop()


def until(what: str, question: Any, seconds: float = 60, every: float = 0.1) -> Any:
    """Ask until the answer is true; then that answer."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := question():
            return answer
        time.sleep(every)
    raise AssertionError(f"never came: {what}")
