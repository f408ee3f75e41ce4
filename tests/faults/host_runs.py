"""The fault runs F03, F09 and F16 to F19: what the machine can do to processes and their disks.

What is broken here is broken by the kernel: a call that fails or kills, a disk that is full, a limit. What the checker cannot
know is asserted by each run: who had to stop, and what an answer had to say.
"""

import json
import random
import signal
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial

import httpx2

from tests.faults import machine
from tests.faults.database_runs import PATIENT, Noes, goes_on, home, say_no
from tests.faults.long_runs import Doors, links_of_an_earlier_mail
from tests.faults.net_runs import QUIET_AFTER, SOON
from tests.faults.runs import Seen, Trial, again
from tests.faults.town import SERVICE_TIME, SLOWLY, SUPERVISED, Town, has_begun, wait_for

LAST_PAGE = 4096 // 60  # messages whose two lines the journal still has room for on a full disk, at most
# For each kind of call as many as one thread of a sender surely makes for 240 people: two lines of the journal each, one letter.
CALLS = {"write": 450, "writev": 200}
CALLS_OF = {"sqlite": {"pwrite64": 25, "fdatasync": 3}, "postgres": {"sendto": 150}}
LIMITS = ({"nofile": 40}, {"nofile": 22}, {"as": 400_000_000}, {"as": 200_000_000})


# F03, F09


def at_call(town: Town, chance: random.Random, calls: str, most: int, kind: str) -> Seen:
    """F03: the sender is killed at the n-th system call of a kind, which it surely makes while there is mail."""
    with town.mailing(kind, *SERVICE_TIME) as made:
        sender = town.sender(under=machine.inject(calls, f"signal=KILL:when={chance.randint(1, most)}"))
        town.launch(made)
        assert town.dies(made, sender), "it was not killed"
        again(town)
        return home(town, made)


def stands_still(town: Town, chance: random.Random, who: str, seconds: float) -> Seen:
    """F09: web or the mail server is stopped for a while, and goes on."""
    with town.mailing("marketing", *SLOWLY, people=700) as made, ThreadPoolExecutor(6) as doors:
        town.sender()
        town.launch(made)
        wait_for(has_begun(made))
        process = town.web if who == "web" else made.sink
        assert process is not None
        people = chance.sample(list(made.people.values()), 12)
        process.send_signal(signal.SIGSTOP)
        waiting = [doors.submit(town.withdraw, made, person) for person in people[:6]]
        time.sleep(seconds)
        process.send_signal(signal.SIGCONT)
        goes_on(town, made)
        assert {one.result() for one in waiting} <= {200, 202}
        say_no(town, made, people[6:]).check(200, 202)
        return home(town, made)


# F16: SQLite and another writer


def another_writer(town: Town, chance: random.Random, seconds: float) -> Seen:
    """F16: another process writes for a while and lets nobody else. Noes by every way are settled or clearly refused."""
    early = frozenset(range(580, 598))
    with (
        town.mailing("marketing", *SLOWLY, people=600, early=early) as made,
        httpx2.Client(timeout=20) as client,
        closing(sqlite3.connect(town.directory / "data" / "bidden.db", isolation_level=None)) as other,
    ):
        town.sender()
        links = links_of_an_earlier_mail(town, made)
        town.serve(made, *SLOWLY)
        town.launch(made)
        wait_for(has_begun(made))
        other.execute("BEGIN EXCLUSIVE")
        with ThreadPoolExecutor(1) as meanwhile:
            asked = meanwhile.submit(_by_every_way, Doors(town, made, links, client), sorted(links)[:9])
            time.sleep(seconds)
            other.execute("ROLLBACK")
            noes = asked.result()
        noes.check(*(PATIENT if seconds > 5 else (200, 202)))
        assert seconds < 5 or 503 in {code for code, _ in noes.told}, "nobody had to wait"
        goes_on(town, made)
        _by_every_way(Doors(town, made, links, client), sorted(links)[9:]).check(200, 202)
        return home(town, made)


def _by_every_way(doors: Doors, addresses: list[str]) -> Noes:
    """All at once, by one click, page and API in turn."""

    def one(number: int) -> tuple[int | None, float]:
        began = time.monotonic()
        return doors.say_no(addresses[number], number), time.monotonic() - began

    with ThreadPoolExecutor(len(addresses)) as pool:
        return Noes(list(pool.map(one, range(len(addresses)))))


# F17: a disk that does not sync


def cannot_sync(town: Town, chance: random.Random, who: str, nth: int) -> Seen:
    """F17: from its n-th sync on, each one of web or of the sender fails: no good answer, no mail, until it is started anew."""
    broken = machine.inject("fsync,fdatasync", f"error=EIO:when={nth}+")
    with town.mailing("marketing", *SLOWLY) as made:
        people = chance.sample(list(made.people.values()), 12)
        if who == "web":
            town.sender()
            town.launch(made)
            wait_for(has_begun(made))
            town.again("web", under=broken)
            for person in people:  # one after the other: each thread of the process counts its own
                town.withdraw(made, person)
            codes = [one["status"] for one in made.said]
            assert set(codes) <= set(PATIENT), codes
            assert codes[-1] == 503, codes
            town.again("web")
            say_no(town, made, people).check(200, 202)
        else:
            sender = town.sender(under=broken)
            town.launch(made)
            wait_for(lambda: b"did not answer" in town.words_of(sender) or sender.poll() is not None)
            time.sleep(
                QUIET_AFTER + SOON
            )  # what it had claimed before may leave for as long as its lease holds
            before = made.log.stat().st_size if made.log.exists() else 0
            say_no(town, made, people).check(200, 202)
            assert before == (made.log.stat().st_size if made.log.exists() else 0)
            town.kill(made, sender)
            again(town)
        return home(town, made)


# F18: disks that are full


def journal_full(town: Town, chance: random.Random, kind: str) -> Seen:
    """F18: no room for the journal: the sender stops with words, no dot without its line, and with room it goes on."""
    with machine.small_disk(town.directory / "small", 1) as disk, town.mailing(kind, *SLOWLY) as made:
        sender = town.sender(BIDDEN_JOURNAL_DIR=str(disk))
        town.launch(made)
        wait_for(has_begun(made))
        before = sum(bool(line["t_dot"]) for line in made.lines())
        ballast = machine.fill(disk)
        code = sender.wait(60)
        assert code == 1, town.said(code)
        assert b"Not done: The journal" in town.words_of(sender), town.said(code)
        dots = sum(bool(line["t_dot"]) for line in made.lines())
        assert dots <= before + LAST_PAGE, f"{dots - before} dots on a full disk"
        ballast.unlink()
        made.deaths.append(time.monotonic())
        town.running.remove(sender)
        time.sleep(SUPERVISED)
        town.sender(BIDDEN_JOURNAL_DIR=str(disk))
        return home(town, made)


def log_full(town: Town, chance: random.Random, where: str) -> Seen:
    """F18: no room for what processes say, or for temporary files: nothing comes of it."""
    with machine.small_disk(town.directory / "small", 1) as disk, town.mailing("marketing", *SLOWLY) as made:
        machine.fill(disk)
        logs, town.logs = town.logs, disk if where == "log" else town.logs
        try:
            small = {"TMPDIR": str(disk)} if where == "tmp" else {"BIDDEN_LOG_LEVEL": "DEBUG"}
            town.again("web", **small)
            town.again("clock", **small)
            town.sender(**small)
            town.launch(made)
            wait_for(has_begun(made))
            say_no(town, made, chance.sample(list(made.people.values()), 6)).check(200, 202)
            seen = home(town, made)
        finally:
            town.logs = logs
            town.again("web")
            town.again("clock")
        return seen


def safe_full(town: Town, chance: random.Random) -> Seen:
    """F18: no room for the withdrawal file: a no is not called done, and once there is room it stands there."""
    with machine.small_disk(town.directory / "small", 1) as disk, town.mailing("marketing", *SLOWLY) as made:
        town.again("web", BIDDEN_SAFE_DIR=str(disk))
        town.again("clock", BIDDEN_SAFE_DIR=str(disk))
        town.sender()
        town.launch(made)
        wait_for(has_begun(made))
        people = chance.sample(list(made.people.values()), 12)
        say_no(town, made, people[:3]).check(200, 202)
        ballast = machine.fill(disk)
        for person in people[3:9]:
            town.withdraw(made, person)
        codes = [one["status"] for one in made.said[3:]]
        assert set(codes) <= {200, 202, 503}, codes
        ballast.unlink()
        say_no(town, made, people[3:]).check(200, 202)
        kept = [json.loads(line) for line in (disk / "withdrawals.jsonl").read_bytes().splitlines()]
        seen = home(town, made)
        town.again("web")
        town.again("clock")
    told = {seen.evidence.persons[one["person"]] for one in made.said if one["status"] == 200}
    assert told <= {one["subject"] for one in kept}, "an acknowledged no is not in the withdrawal file"
    return seen


def database_full(town: Town, chance: random.Random) -> Seen:
    """F18: no room for the database: sending waits, a no is refused clearly, and with room all goes on without repair."""
    with machine.small_disk(town.directory / "small", 24) as disk:
        own = Town(town.directory / "full", f"sqlite:///{disk}/bidden.db")
        try:
            with own.mailing("marketing", *SLOWLY, people=500) as made:
                own.sender()
                own.launch(made)
                wait_for(has_begun(made))
                people = chance.sample(list(made.people.values()), 12)
                ballast = machine.fill(disk)
                noes = [say_no(own, made, [person]) for person in people[:8]]
                time.sleep(0.5)
                ballast.unlink()
                for one in noes:
                    one.check(*PATIENT)
                assert 503 in {one["status"] for one in made.said}, "there was room"
                goes_on(own, made)
                say_no(own, made, people).check(200, 202)
                seen = home(own, made)
            own.stack.run("ledger", "verify", "--projection")
            return seen
        finally:
            own.close()


# F19: limits


def limited(town: Town, chance: random.Random, who: str, limits: dict[str, int]) -> Seen:
    """F19: too few open files, or too little memory: it works, or it says what is wrong and leaves nothing half done."""
    under = machine.limited(**limits)
    with town.mailing("marketing", *SLOWLY) as made:
        people = chance.sample(list(made.people.values()), 6)
        if who == "web":
            town.sender()
            town.launch(made)
            town.end(town.web)
            town.web = town.start("web", under=under)
            time.sleep(3)
            for person in people:
                town.withdraw(made, person)
            assert {one["status"] for one in made.said} <= {None, *PATIENT}
            town.again("web")
        else:
            sender = town.sender(under=under)
            town.launch(made)
            deadline = time.monotonic() + 8
            wait_for(lambda: town.ended(made) or sender.poll() is not None or time.monotonic() > deadline)
            assert sender.returncode in (None, 1), town.said(sender.returncode or 0)
            if sender.poll() is not None:
                assert town.words_of(sender).strip(), "it ended without a word"
            if not town.ended(made):
                town.kill(made, sender)
                again(town)
        say_no(town, made, people).check(200, 202)
        return home(town, made)


def ordinary(database: str) -> list[Trial]:
    """Every trial of these runs on one database."""
    sqlite = database == "sqlite"
    made: list[Trial] = []
    for kind in ("marketing", "important"):
        for call, most in (CALLS | CALLS_OF[database]).items():
            at = partial(at_call, calls=call, most=most, kind=kind)
            made += [Trial("F03", f"{call} {kind} {n}", at) for n in range(3)]
    made += [
        Trial("F09", f"{who} 2 s", partial(stands_still, who=who, seconds=2.0)) for who in ("web", "sink")
    ]
    made += [
        Trial("F18", "journal marketing", partial(journal_full, kind="marketing")),
        Trial("F18", "journal important", partial(journal_full, kind="important")),
        Trial("F18", "log", partial(log_full, where="log")),
        Trial("F18", "tmp", partial(log_full, where="tmp")),
        Trial("F18", "withdrawal file", safe_full),
    ]
    for who in ("web", "sender"):
        for one in LIMITS:
            words = ", ".join(f"{name} {most}" for name, most in one.items())
            made.append(Trial("F19", f"{who} {words}", partial(limited, who=who, limits=one)))
    if sqlite:
        made += [
            Trial("F17", f"{who} {nth}", partial(cannot_sync, who=who, nth=nth))
            for who in ("web", "sender")
            for nth in (1, 3)
        ]
        made.append(Trial("F18", "database", database_full))
        made += [Trial("F16", f"{n} s", partial(another_writer, seconds=float(n))) for n in (1, 6, 30)]
    return made


def small(database: str) -> list[Trial]:
    """One of them that takes seconds."""
    call, most = (
        ("writev", CALLS["writev"]) if database == "sqlite" else ("sendto", CALLS_OF[database]["sendto"])
    )
    return [Trial("F03", f"{call} marketing 0", partial(at_call, calls=call, most=most, kind="marketing"))]
