"""Real mail servers as the next hop: Postfix and Exim take a mailing of ours, and the checker says whether each mail came once.

    python -m tests.faults.relays --people 5000          # what is installed; says what it left out

Run as root (both change their user). Debian's packages `postfix` and `exim4-daemon-light` exclude each other; EXIM may name a
binary unpacked elsewhere. Postfix hands on to our sink, Exim keeps its queue, which is read as it lies there.
"""

import argparse
import os
import re
import shutil
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar

from tests.faults import checker
from tests.faults.__main__ import new_database, server
from tests.faults.town import CONNECTIONS, Mailing, Town
from tests.stack import free_port, until

PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/lib/postfix/sbin"])
SERVICES = """\
{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
MAIN = """\
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
maillog_file = {directory}/mail.log
maillog_file_prefixes = {directory}
myhostname = relay.example.org
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
relayhost = [127.0.0.1]:{downstream}
smtp_tls_security_level = none
smtp_destination_concurrency_limit = 20
smtpd_client_connection_rate_limit = 0
smtpd_error_sleep_time = 0
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions = {moods}permit_mynetworks, reject
"""
EXIM_CONF = """\
primary_hostname = relay.example.org
spool_directory = {directory}/spool
log_file_path = {directory}/%slog
pid_file_path = {directory}/pid
local_interfaces = <; 127.0.0.1
daemon_smtp_ports = {port}
tls_advertise_hosts =
queue_only = true
smtp_accept_max = 50
acl_smtp_rcpt = take
begin acl
take:
  accept
begin routers
"""


class _Moods(socketserver.StreamRequestHandler):
    """Postfix's policy protocol: of each seven recipients one is greylisted, of each fifty one is cut off, each the first time.

    Who is cut off is asked for less mail, so the sender leaves that domain alone for a second each time: more of them were a
    trial of patience.
    """

    met: ClassVar[set[str]] = set()

    def handle(self) -> None:
        facts: dict[str, str] = {}
        for line in self.rfile:
            name, mark, value = line.decode().rstrip("\n").partition("=")
            if mark:
                facts[name] = value
                continue
            self.wfile.write(f"action={self._action(facts.get('recipient', ''))}\n\n".encode())
            facts = {}

    def _action(self, rcpt: str) -> str:
        number = int((re.search(r"(\d+)@", rcpt) or ["", "0"])[1])
        cut = number % 50 == 0
        if rcpt in self.met or (number % 7 and not cut):
            return "DUNNO"
        self.met.add(rcpt)
        return "421 4.7.0 too busy, come again" if cut else "450 4.2.0 greylisted, come again"


@contextmanager
def postfix(directory: Path, downstream: int, *, moody: bool) -> Iterator[int]:
    """A Postfix of its own that hands everything to `downstream`; its port. `moody`: it greylists and cuts, by its settings."""
    directory.mkdir()
    for name in ("queue", "data"):
        (directory / name).mkdir()
    shutil.chown(directory / "data", "postfix")
    port = free_port()
    with ExitStack() as ends:
        moods = ""
        if moody:
            _Moods.met = set()
            policy = ends.enter_context(socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Moods))
            policy.daemon_threads = True
            threading.Thread(target=policy.serve_forever, daemon=True).start()
            ends.callback(policy.shutdown)
            moods = f"check_policy_service inet:127.0.0.1:{policy.server_address[1]}, "
        (directory / "master.cf").write_text(SERVICES.format(port=f"127.0.0.1:{port}"))
        (directory / "main.cf").write_text(
            MAIN.format(directory=directory, downstream=downstream, moods=moods)
        )
        run = [shutil.which("postfix", path=PATH) or "postfix", "-c", str(directory)]
        subprocess.run([*run, "start"], check=True, capture_output=True)
        ends.callback(subprocess.run, [*run, "stop"], check=False, capture_output=True)
        yield port


@contextmanager
def exim(directory: Path) -> Iterator[int]:
    """An Exim of its own that queues everything; its port."""
    (directory / "spool").mkdir(parents=True)
    port = free_port()
    conf = directory / "exim.conf"
    conf.write_text(EXIM_CONF.format(directory=directory, port=port))
    subprocess.run(["chown", "-R", "Debian-exim", str(directory / "spool"), str(directory)], check=True)
    shutil.chown(conf, "root")
    daemon = subprocess.Popen(
        [_exim() or "exim4", "-C", str(conf), "-bdf"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield port
    finally:
        daemon.terminate()
        daemon.wait()


def _exim() -> str | None:
    return os.environ.get("EXIM") or shutil.which("exim4", path=PATH)


def exim_queue(directory: Path) -> Iterator[dict[str, Any]]:
    """What lies in that queue, as the lines a sink would have written."""
    for path in (directory / "spool" / "input").rglob("*-H"):
        head = path.read_text(errors="replace")
        rcpt = re.search(r"^XX\n1\n(.+)$", head, re.MULTILINE)
        found = re.search(r"^\d+I? *Message-ID: *(<[^>]+>)", head, re.MULTILINE | re.IGNORECASE)
        assert rcpt, path
        assert found, path
        now = time.monotonic()
        yield {"rcpt": rcpt[1], "message_id": found[1], "body_sha256": "", "fault": None, "committed": True} | {
            "t_mail": now, "t_dot": now,
        }  # fmt: skip


def through_postfix(town: Town, people: int, *, moody: bool) -> checker.Evidence:
    """A mailing by way of Postfix, until the last of it has come out at the other end."""
    with (
        town.mailing("marketing", people=people) as made,
        postfix(town.directory / f"postfix-{town.trials}", made.port, moody=moody) as port,
    ):
        _by_way_of(town, made, port)
        until("what Postfix took", lambda: len(made.lines()) >= people, 300, 0.2)
        time.sleep(1)  # a second copy would follow now
        return town.evidence(made)


def through_exim(town: Town, people: int) -> checker.Evidence:
    """A mailing by way of Exim, into its queue."""
    directory = town.directory / f"exim-{town.trials}"
    with town.mailing("marketing", people=people) as made, exim(directory) as port:
        _by_way_of(town, made, port)
        seen = town.evidence(made)
        seen.sink = list(exim_queue(directory))
        seen.__post_init__()
        return seen


def _by_way_of(town: Town, made: Mailing, port: int) -> None:
    url = f"smtp://127.0.0.1:{port}?starttls=never&connections={CONNECTIONS}"
    town.stack.environment["BIDDEN_SMTP_URL"] = url
    town.sender()
    town.launch(made)
    until("the end of the mailing", lambda: town.ended(made), 300, 0.2)


def main(argv: list[str] | None = None) -> int:
    """Play what is installed on both databases; 1 when anything does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.relays", description="Real relays.")
    parser.add_argument("--people", type=int, default=5_000)
    people = parser.parse_args(argv).people
    here = {"Postfix": shutil.which("postfix", path=PATH), "Exim": _exim()}
    for name, found in here.items():
        if found is None:
            print(f"left out: {name} is not installed")
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="bidden-relays-") as temporary:
        directory = Path(temporary)
        directory.chmod(0o755)
        with server(directory) as url:
            for database in ("sqlite", "postgres"):
                town = Town(
                    directory / f"{database}-town", new_database(url) if database == "postgres" else ""
                )
                try:
                    wrong += _all(town, database, people, here)
                finally:
                    town.close()
    return int(bool(wrong))


def _all(town: Town, database: str, people: int, here: dict[str, str | None]) -> int:
    trials: list[tuple[str, Any]] = []
    if here["Postfix"]:
        trials += [
            ("Postfix", lambda: through_postfix(town, people, moody=False)),
            ("Postfix that greylists and cuts", lambda: through_postfix(town, people, moody=True)),
        ]
    if here["Exim"]:
        trials += [("Exim", lambda: through_exim(town, people))]
    wrong = 0
    for name, play in trials:
        began = time.monotonic()
        seen = play()
        findings = checker.check(seen)
        wrong += len(findings)
        print(
            f"{'holds ' if not findings else 'BROKEN'} {name}, {database}: {seen.report['outcomes']['sent']} sent, "
            f"{sum(map(len, seen.committed.values()))} arrived, {seen.report['outcomes']['unknown']} unknown, "
            f"{_again(seen)} tried again ({time.monotonic() - began:.0f} s)"
            + "".join(f"\n    {finding.name}: {finding.where}" for finding in findings[:10]),
            flush=True,
        )
    return wrong


def _again(seen: checker.Evidence) -> int:
    return sum(len(row["attempts"]) > 1 for row in seen.deliveries)


if __name__ == "__main__":
    sys.exit(main())
