"""The fault runs F12 to F15, and F09 and F17 of a PostgreSQL server: what a database can do to those who lean on it.

PostgreSQL's trials play in a second town on a server of their own, which is made once for a town and closed with it. Each run
asserts what the checker cannot know: how long a no was kept waiting, and by what answer.
"""

import random
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import Any

import httpx2
import psycopg

from tests.faults import machine
from tests.faults.machine import Postgres, Proxy
from tests.faults.runs import Seen, Trial
from tests.faults.town import SLOWLY, TOPICS, Mailing, Town, has_begun, wait_for
from tests.stack import until

LIMIT = 6.0  # seconds a no may take, by yes or by 503: five of waiting, and what this machine needs besides
KINDS = ("marketing", "important")
PATIENT = (200, 202, 503)
CUTS = ("before", "after", "terminated")
LEVELS = ("read committed", "serializable")
EVERYTHING = "preference, outcome, batch, mailing, sender, ledger_entry"
TAIL_LOCK = 0x6C656467  # the advisory lock on the ledger's tail, by its documented number


@dataclass
class Beside:
    """A town on a PostgreSQL server of its own, and that server."""

    town: Town
    server: Postgres

    def close(self) -> None:
        """Both."""
        self.town.close()
        self.server.close()


def beside(town: Town) -> Beside:
    """The town on a server of its own that belongs to this one."""
    found = [one for one in town.beside if isinstance(one, Beside)]
    if found:
        return found[0]
    server = Postgres()
    with server.connect() as connection:
        connection.execute("CREATE DATABASE town")
    made = Beside(Town(town.directory / "beside", server.url("town")), server)
    town.beside.append(made)
    return made


def home(town: Town, made: Mailing, **notes: float) -> Seen:
    """What the trial brought home."""
    return Seen(town.evidence(made), made.recoveries(), len(made.deaths), notes=notes)


@dataclass
class Noes:
    """People saying no one after the other while something is wrong: what each was told, and after how long."""

    told: list[tuple[int | None, float]]

    @property
    def longest(self) -> float:
        """Seconds the one waited who waited longest."""
        return max(seconds for _, seconds in self.told)

    def check(self, *allowed: int) -> None:
        """Each had one of these answers, in time."""
        codes = {code for code, _ in self.told}
        assert codes <= set(allowed), f"answered {self.told}"
        assert self.longest <= LIMIT, f"a no waited {self.longest:.1f} s: {self.told}"


def say_no(town: Town, made: Mailing, people: list[str]) -> Noes:
    """All of them at once."""

    def one(person: str) -> tuple[int | None, float]:
        began = time.monotonic()
        return town.withdraw(made, person), time.monotonic() - began

    with ThreadPoolExecutor(len(people)) as doors:
        return Noes(list(doors.map(one, people)))


def goes_on(town: Town, made: Mailing, seconds: float = 10.0) -> None:
    """From now on it must take no longer until mail leaves again, or the mailing has ended."""
    grown = has_begun(made, made.log.stat().st_size + 1)
    until("mail that leaves again", lambda: grown() or town.ended(made), seconds, 0.02)


# F09, F12, F17: the server


def stands_still(town: Town, chance: random.Random, seconds: float) -> Seen:
    """F09: every process of the server is stopped for a while, and goes on."""
    own = beside(town)
    with own.town.mailing("marketing", *SLOWLY, people=600) as made, ThreadPoolExecutor(6) as doors:
        own.town.sender()
        own.town.launch(made)
        wait_for(has_begun(made))
        people = chance.sample(list(made.people.values()), 12)
        own.server.signal_all(signal.SIGSTOP)
        waiting = [doors.submit(own.town.withdraw, made, person) for person in people[:6]]
        time.sleep(seconds)
        own.server.signal_all(signal.SIGCONT)
        goes_on(own.town, made)
        codes = {one.result() for one in waiting}
        assert codes <= set(PATIENT), codes
        say_no(own.town, made, people[6:]).check(200, 202)
        return home(own.town, made)


def restarted(town: Town, chance: random.Random, kind: str, times: int = 3) -> Seen:
    """F12: the server is restarted at once, again and again, while mail leaves and people say no."""
    own = beside(town)
    with own.town.mailing(kind, *SLOWLY, people=900) as made:
        own.town.sender()
        own.town.launch(made)
        wait_for(has_begun(made))
        for _ in range(times):
            time.sleep(chance.uniform(0.05, 0.8))
            own.server.restart_at_once()
            if kind == "marketing":
                people = chance.sample(list(made.people.values()), 3)
                say_no(own.town, made, people).check(*PATIENT)
            goes_on(own.town, made)
        return home(own.town, made)


def cannot_sync(town: Town, chance: random.Random, nth: int) -> Seen:
    """F17: from its n-th sync on the server's disk fails: it stops, nobody is told anything good, and it comes back whole."""
    own = beside(town)
    with own.town.mailing("marketing", *SLOWLY) as made, ThreadPoolExecutor(1) as launcher:
        own.server.stop()
        own.server.settings |= {"fsync": "on", "restart_after_crash": "off"}  # else it comes back by itself
        own.server.start(machine.inject("fdatasync", f"error=EIO:when={nth}+"))
        launched = launcher.submit(_launch_patiently, own.town, made)
        own.town.sender()
        until("the server's end", lambda: own.server.process.poll() is not None, 60, 0.05)
        say_no(own.town, made, list(made.people.values())[:3]).check(503)
        own.server.settings |= {"fsync": "off", "restart_after_crash": "on"}
        own.server.start()
        launched.result()
        return home(own.town, made)


def _launch_patiently(town: Town, made: Mailing) -> None:
    until("the launch", lambda: _launched(town, made), 60, 0.5)


def _launched(town: Town, made: Mailing) -> bool:
    try:
        town.launch(made)
    except (AssertionError, httpx2.HTTPError):
        return False
    return True


# F13: a connection that ends at its COMMIT


def cut_at_commit(town: Town, chance: random.Random, how: str, kind: str) -> Seen:
    """F13: the sender's connections end at COMMIT: before it arrives, after it is done, or by the server's own end of them."""
    own = beside(town)
    left, dice = 8, threading.Lock()
    began = threading.Event()

    def at_commit(backend: int) -> str:
        nonlocal left
        with dice:
            if not (began.is_set() and left and chance.random() < 0.4):
                return "pass"
            left -= 1
        if how != "terminated":
            return how
        with own.server.connect() as connection:
            connection.execute("SELECT pg_terminate_backend(%s, 1000)", (backend,))
        return "pass"

    proxy = Proxy(own.server, at_commit)
    try:
        with own.town.mailing(kind, *SLOWLY, people=700) as made:
            own.town.sender(BIDDEN_DATABASE_URL=own.server.url("town", proxy.port))
            wait_for(lambda: bool(list(own.town.journals.glob("*.journal"))))
            began.set()
            own.town.launch(made)
            seen = home(own.town, made)
        assert left < 8, "no connection was ended"
        return seen
    finally:
        proxy.close()


# F14: locked tables, no connection left


def tables_locked(town: Town, chance: random.Random, tables: str, seconds: float) -> Seen:
    """F14: somebody holds tables for themselves: a no is answered in time all the same, and afterwards mail leaves on."""
    own = beside(town)
    with own.town.mailing("marketing", *SLOWLY, people=600) as made:
        own.town.sender()
        own.town.launch(made)
        wait_for(has_begun(made))
        with own.server.connect("town") as connection:
            connection.autocommit = False
            connection.execute(f"LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE")  # type: ignore[arg-type]
            people = chance.sample(list(made.people.values()), 9)
            with ThreadPoolExecutor(1) as meanwhile:
                asked = meanwhile.submit(say_no, own.town, made, people[:6])
                time.sleep(seconds)
                connection.rollback()
                asked.result().check(*PATIENT)
        goes_on(own.town, made)
        say_no(own.town, made, people[6:]).check(200, 202)
        return home(own.town, made)


def no_connection_left(town: Town, chance: random.Random) -> Seen:
    """F14: others have taken every connection of the server."""
    own = beside(town)
    with own.town.mailing("marketing", *SLOWLY, people=600) as made:
        own.town.sender()
        own.town.launch(made)
        wait_for(has_begun(made))
        people = chance.sample(list(made.people.values()), 9)
        taken: list[psycopg.Connection[tuple[object, ...]]] = []
        with own.server.connect() as connection:
            _take_all(own.server, connection, taken)
            noes = say_no(own.town, made, people[:6])
        for one in taken:
            one.close()
        noes.check(*PATIENT)
        assert 503 in {code for code, _ in noes.told}, "there was a connection left"
        goes_on(own.town, made)
        say_no(own.town, made, people[6:]).check(200, 202)
        return home(own.town, made)


def _take_all(
    server: Postgres,
    connection: "psycopg.Connection[tuple[object, ...]]",
    taken: "list[psycopg.Connection[tuple[object, ...]]]",
) -> None:
    """Take connections until none is left, end the town's, and take theirs."""
    for _ in range(3):
        try:
            while True:
                taken.append(server.connect())
        except psycopg.OperationalError:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'town'"
            )


# F15: serialisation failures and deadlocks


def fifty_writers(town: Town, chance: random.Random, level: str) -> Seen:
    """F15: two hundred breaks of one person, by fifty at once. Each success has its entry, nothing else has two, and what holds
    in the end is the last. Where transactions are `serializable`, the server refuses what it cannot put in order (40001)."""
    own = beside(town)
    days = [str(date.today() + timedelta(days=n)) for n in range(10, 210)]  # noqa: DTZ011
    chance.shuffle(days)
    with own.town.mailing("marketing", *SLOWLY, people=20) as made:
        person = chance.choice(list(made.people.values()))
        _isolation(own, level)
        with ThreadPoolExecutor(50) as writers:
            told = list(writers.map(partial(_take_a_break, own.town, person), days))
        _isolation(own, "read committed")
        codes = Counter(code for code, _ in told)
        assert set(codes) <= {200, 503}, codes
        assert codes[200] >= 20, codes
        subject = own.town.http.get(f"/people/{person}").json()["person"]
        entries = [one for one in own.town.entries() if one["subject"] == subject]
        now = own.town.http.get(f"/people/{person}/preferences").json()["topics"]
        breaks = [one for one in entries if one["kind"] == "preference.break_set"]
        check_serial(breaks, {one["break_until"] for one in now}, told)
        until("the end of the break", lambda: _take_a_break(own.town, person, None)[0] == 200)
        own.town.sender()
        own.town.launch(made)
        return home(own.town, made, **{"writes that came through, writes": codes[200]})


def _isolation(own: Beside, level: str) -> None:
    """What transactions of new connections are; the old ones are ended."""
    with own.server.connect() as connection:
        connection.execute(f"ALTER DATABASE town SET default_transaction_isolation = '{level}'".encode())
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'town'")
    own.town.ready()


def _take_a_break(town: Town, person: str, day: str | None) -> tuple[int, str | None]:
    topic = {"topic": TOPICS["marketing"], "break_until": day}
    with town.stack.client() as client:
        return client.put(f"/people/{person}/preferences", json={"topics": [topic]}).status_code, day


def check_serial(
    entries: list[dict[str, Any]], holds: set[str | None], told: list[tuple[int, str | None]]
) -> None:
    """One person's breaks as the ledger has them, against what the writers were told and what holds now."""
    kept = [one["body"]["until"][:10] for one in entries]
    times = Counter(kept)
    untold = [day for code, day in told if code == 200 and not times[str(day)]]
    assert not untold, f"acknowledged without an entry: {untold[:3]}"
    assert max(times.values()) == 1, "one write made two entries"
    assert kept[-1] in holds, f"{holds} holds, the last entry says {kept[-1]}"


def deadlock(town: Town, chance: random.Random) -> Seen:
    """F15: somebody locks what a no needs, in the wrong order; the no is the victim (40P01), and clearly so."""
    own = beside(town)
    with own.town.mailing("marketing", *SLOWLY, people=20) as made, ThreadPoolExecutor(1) as door:
        person = chance.choice(list(made.people.values()))
        with own.server.connect("town") as connection, own.server.connect() as watch:
            connection.autocommit = False
            connection.execute("SET LOCAL deadlock_timeout = '60s'")
            connection.execute("SELECT 1 FROM preference FOR UPDATE")
            answer = door.submit(own.town.withdraw, made, person)
            waits = "SELECT 1 FROM pg_stat_activity WHERE datname = 'town' AND wait_event_type = 'Lock'"
            wait_for(lambda: watch.execute(waits).fetchone() is not None)
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (TAIL_LOCK,))
            connection.rollback()
        assert answer.result() in (200, 503), answer.result()
        assert own.town.withdraw(made, person) == 200
        own.town.sender()
        own.town.launch(made)
        return home(own.town, made)


def ordinary(database: str) -> list[Trial]:
    """Every trial of these runs on one database."""
    if database == "sqlite":
        return []
    made = [Trial("F09", "postgres 3 s", partial(stands_still, seconds=3.0))]
    for kind in KINDS:
        made += [Trial("F12", f"{kind} {n}", partial(restarted, kind=kind)) for n in range(2)]
        made += [Trial("F13", f"{how} {kind}", partial(cut_at_commit, how=how, kind=kind)) for how in CUTS]
    made += [
        Trial("F14", "ledger locked", partial(tables_locked, tables="ledger_entry", seconds=8.0)),
        Trial("F14", "all locked", partial(tables_locked, tables=EVERYTHING, seconds=30.0)),
        Trial("F14", "no connection left", no_connection_left),
    ]
    made += [Trial("F15", f"{level} 50", partial(fifty_writers, level=level)) for level in LEVELS]
    made += [Trial("F15", "deadlock", deadlock)]
    return [*made, *(Trial("F17", f"postgres {n}", partial(cannot_sync, nth=n)) for n in (3, 12))]
