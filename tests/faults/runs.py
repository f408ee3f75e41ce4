"""The fault runs F01 to F29 of this machine: what is broken, when, and how the installation is brought up again.

A trial takes a town and chance, does its worst to one mailing, lets it end and returns it; the checker then judges. What a run
expects beyond the checker (an exit code, no unknown) it asserts itself.
"""

import json
import random
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from tests.faults.checker import AMBIGUOUS, PERHAPS, Evidence
from tests.faults.town import (
    CONNECTIONS,
    PEOPLE,
    SERVICE_TIME,
    SLOWLY,
    SUPERVISED,
    Mailing,
    Process,
    Town,
    has_begun,
    wait_for,
)
from tests.stack import free_port

LETTER = (
    "mail",
    "rcpt",
    "data",
    "mark.before",
    "mark.after",
    "dot",
    "dot.after",
    "reply.before",
    "reply.after",
)
STEPWISE = ("mail", "rcpt", "data")  # hit for each letter by a server without pipelining only
BATCH = (
    "claim.before_commit",
    "claim.after_commit",
    "record.before",
    "record.before_commit",
    "record.after_commit",
)
RECOVERY = ("recover.before_commit", "recover.after_commit")
CLOCK = (
    "start.before_commit",
    "freeze.in_chunk",
    "freeze.between",
    "freeze.at_close",
    "finish.before_commit",
)
DOOR = ("withdrawal.before_commit", "withdrawal.after_commit", "withdrawal.before_answer")

CUTS = ("drop:mail", "drop:rcpt", "drop:data", *AMBIGUOUS[:6], *PERHAPS, "bye:dot")
CODES = (
    *(f"{phase}:{code}" for phase in ("mail", "rcpt", "data", "dot") for code in (421, 450, 451, 452, 550, 552, 554)),
    "mail:699", "rcpt:699", "data:699", "dot:299", "dot:699", "rcpt:550 5.1.1 gone", "rcpt+data:550",
)  # fmt: skip

ENDS = ("mail:699", "rcpt:699", "rcpt:450", "drop:mail", "rcpt:550 5.1.1 gone")

FEW = 190  # fewer than the answers after which so many refusals would halt the mailing


@dataclass
class Seen:
    """What a trial brought home: the evidence, how long it took to send again, which failpoint was reached."""

    evidence: Evidence
    recoveries: list[float]
    deaths: int
    reached: str = ""
    notes: dict[str, float] = field(default_factory=dict)  # what was measured besides, by name and unit


@dataclass(frozen=True)
class Trial:
    """One trial by its name, which says everything about it but chance."""

    run: str
    name: str
    do: Callable[[Town, random.Random], Seen]
    expects: str = ""  # the failpoint it must reach


def _home(town: Town, made: Mailing, reached: str = "") -> Seen:
    return Seen(town.evidence(made), made.recoveries(), len(made.deaths), reached)


def again(town: Town, failpoint: str = "") -> Process:
    """As a supervisor starts a sender again."""
    time.sleep(SUPERVISED)
    return town.sender(failpoint=failpoint)


# F01, F02, F06, F07, F08, F10: senders


def at_failpoint(town: Town, chance: random.Random, place: str, nth: int, kind: str, people: int) -> Seen:
    """F01: the sender dies at the n-th hit of a failpoint; with a recovery's failpoint its successor does, too."""
    server = [*SERVICE_TIME, *(["--no-pipelining"] if place in STEPWISE else [])]
    with town.mailing(kind, *server, people=people) as made:
        first = "reply.before:120" if place in RECOVERY else f"{place}:{nth}"
        sender = town.sender(failpoint=first)
        town.launch(made)
        reached = town.dies(made, sender)
        if reached and place in RECOVERY:
            reached = town.dies(made, again(town, failpoint=f"{place}:{nth}"))
        if reached:
            again(town)
        seen = _home(town, made, place if reached else "")
    if place in BATCH and people == PEOPLE:  # no dot was on its way
        assert seen.evidence.report["outcomes"]["unknown"] == 0
    return seen


def at_random(town: Town, chance: random.Random, kind: str) -> Seen:
    """F02: the sender dies at a random moment, while three people say no."""
    server = chance.choice([SERVICE_TIME, SLOWLY])
    with town.mailing(kind, *server) as made, ThreadPoolExecutor(3) as doors:
        town.launch(made)
        sender = town.sender()
        if chance.random() < 0.15:
            time.sleep(chance.uniform(0, 1.5))
        else:
            wait_for(has_begun(made))
            time.sleep(chance.uniform(0, 1.5 if server is SLOWLY else 0.3))
        noes = []
        if kind == "marketing":
            some = chance.sample(list(made.people.values()), 3)
            noes = [doors.submit(town.withdraw, made, person) for person in some]
            time.sleep(chance.uniform(0, 0.1))
        sender.kill()
        sender.wait()
        town.bury(made)
        again(town)
        for no in noes:
            no.result()
        return _home(town, made)


def everything(town: Town, chance: random.Random, kind: str) -> Seen:
    """F06: every process dies at one moment, and all are started again."""
    with town.mailing(kind, *SLOWLY) as made:
        sender = town.sender()
        town.launch(made)
        if chance.random() < 0.7:
            wait_for(has_begun(made))
        time.sleep(chance.uniform(0, 1.5))
        for process in (town.web, town.clock, sender):
            process.kill()
        for process in (town.web, town.clock, sender):
            process.wait()
        town.bury(made)
        again(town)
        town.again("clock")
        town.again("web")
        return _home(town, made)


def crash_loop(town: Town, chance: random.Random, kind: str, people: int = 2_000) -> Seen:
    """F07: the sender is killed again and again; the mailing ends all the same."""
    with town.mailing(kind, *SLOWLY, people=people) as made:
        town.launch(made)
        while not town.ended(made) and len(made.deaths) < 12:
            sender, octets = town.sender(), made.log.stat().st_size if made.log.exists() else 0
            began = time.monotonic()
            grown = has_begun(made, octets + 1)
            wait_for(lambda grown=grown, began=began: grown() or time.monotonic() > began + 2)
            time.sleep(chance.uniform(0, 1.0))
            sender.kill()
            sender.wait()
            town.bury(made)
        town.sender()
        return _home(town, made)


def frozen(town: Town, chance: random.Random, seconds: float, noes: int) -> Seen:
    """F08: a sender stands still while people say no; it goes on, and nothing departs that must not."""
    with town.mailing("marketing", *SLOWLY) as made, ThreadPoolExecutor(noes) as doors:
        sender = town.sender()
        town.launch(made)
        wait_for(has_begun(made))
        time.sleep(chance.uniform(0, 0.5))
        people = chance.sample(list(made.people.values()), 2 * noes)
        sender.send_signal(signal.SIGSTOP)
        waiting = [doors.submit(town.withdraw, made, person) for person in people[:noes]]
        time.sleep(seconds)
        sender.send_signal(signal.SIGCONT)
        waiting += [doors.submit(town.withdraw, made, person) for person in people[noes:]]
        assert {one.result() for one in waiting} <= {200, 202}
        return _home(town, made)


def told_to_stop(town: Town, chance: random.Random, kind: str) -> Seen:
    """F10: SIGTERM at a random moment: exit 0, nothing unknown."""
    with town.mailing(kind, *SLOWLY) as made:
        sender = town.sender()
        town.launch(made)
        if chance.random() < 0.8:
            wait_for(has_begun(made))
        else:
            wait_for(lambda: any(town.journals.glob("*.journal")))  # it is up, the mailing perhaps not
        time.sleep(chance.uniform(0, 1.5))
        sender.terminate()
        assert sender.wait(35) == 0, town.said(sender.returncode)
        town.sender()
        seen = _home(town, made)
    assert seen.evidence.report["outcomes"]["unknown"] == 0
    return seen


# F04, F05: web and clock


def door_dies(town: Town, chance: random.Random, place: str) -> Seen:
    """F04: web dies at the third no; the person asks again, and there is one entry."""
    with town.mailing("marketing", "--delay", "0.1") as made:
        web = town.again("web", failpoint=f"{place}:3")
        town.launch(made)
        town.sender()
        wait_for(has_begun(made))
        people = chance.sample(list(made.people.values()), 6)
        assert [town.withdraw(made, person) for person in people[:3]] == [200, 200, None]
        assert web.wait(10) == -signal.SIGKILL
        town.again("web")
        assert [town.withdraw(made, person) for person in people[2:]] == [200] * 4
        return _home(town, made, place)


def clock_dies(town: Town, chance: random.Random, place: str, kind: str) -> Seen:
    """F05: the clock dies while it starts, freezes or finishes: one audience, one send."""
    with town.mailing(kind, *SERVICE_TIME) as made:
        clock = town.again("clock", failpoint=place)
        town.sender()
        town.launch(made)
        assert clock.wait(60) == -signal.SIGKILL, town.said(clock.returncode)
        town.again("clock")
        return _home(town, made, place)


# F21, F22, F24: the mail server


def misbehaving(town: Town, chance: random.Random, faults: tuple[str, ...], each: int, kind: str) -> Seen:
    """F21, F22: the server cuts or refuses messages at every phase, by a script."""
    numbers = chance.sample(range(FEW), len(faults) * each)
    script = {number: faults[place % len(faults)] for place, number in enumerate(numbers)}
    greetings = ["--greeting", "421 busy", "--greeting", "554 no"] if faults is CODES else []
    return _scripted(town, script, kind, *greetings)


def doubted(town: Town, chance: random.Random, ends: str) -> Seen:
    """F22: one letter's fate is unknown, and so it is tried again; then the server says `ends` until nobody tries again."""
    script = {chance.randrange(FEW): "dot:299"} | dict.fromkeys(range(FEW, FEW + 9), ends)
    return _scripted(town, script, "important")


def _scripted(town: Town, script: dict[int, str], kind: str, *behaviour: str) -> Seen:
    """A mailing to a server that has a fault for the n-th message."""
    with town.mailing(kind, *SERVICE_TIME, people=FEW) as made:
        town.end(*[made.sink] if made.sink else [])
        path = made.log.with_suffix(".script.json")
        path.write_text(json.dumps(script))
        town.serve(made, *SERVICE_TIME, "--script", str(path), *behaviour)
        town.sender()
        town.launch(made)
        return _home(town, made)


def server_dies(town: Town, chance: random.Random, kind: str) -> Seen:
    """F24: the mail server is killed, is away for a while, and comes back."""
    with town.mailing(kind, *SLOWLY) as made:
        town.sender()
        town.launch(made)
        wait_for(has_begun(made))
        time.sleep(chance.uniform(0, 1.0))
        assert made.sink is not None
        town.end(made.sink, how=signal.SIGKILL)
        made.cuts += CONNECTIONS
        time.sleep(chance.uniform(0.5, 3.0))
        town.serve(made, *SLOWLY)
        return _home(town, made)


# F28, F29: many


def all_at_once(town: Town, chance: random.Random, kind: str) -> Seen:
    """F28: four of each process start at one moment over a mailing that is due: one freeze, nobody twice."""
    with town.mailing(kind, *SLOWLY) as made:
        town.end(town.clock)
        town.launch(made)
        town.end(town.web)
        ports = [int(town.stack.base_url.rpartition(":")[2]), *(free_port() for _ in range(3))]
        clocks = [town.start("clock") for _ in range(4)]
        webs = [town.start("web", BIDDEN_LISTEN=f"127.0.0.1:{port}") for port in ports]
        for number in range(4):
            town.sender(f"many-{number}")
        town.clock, town.web = clocks[0], webs[0]
        town.ready()
        return _home(town, made)


def two_senders(town: Town, chance: random.Random, kind: str) -> Seen:
    """F29: a second sender of one name is refused; two names in one journal directory, of which one dies."""
    with town.mailing(kind, *SLOWLY) as made:
        first, _ = town.sender("one"), town.sender("two")
        wait_for(lambda: len(list(town.journals.glob("*.journal"))) == 2)
        refused = town.sender("one")
        assert refused.wait(60) == 1, "a second sender of the same name ran"
        town.launch(made)
        wait_for(has_begun(made))
        time.sleep(chance.uniform(0, 0.7))
        first.kill()
        first.wait()
        town.bury(made)
        again(town)
        return _home(town, made)


def ordinary(run: str = "") -> list[Trial]:
    """Every trial of the ordinary size on one database."""
    made: list[Trial] = []
    for kind in ("marketing", "important"):
        made += [_f01(place, nth, kind) for place in LETTER for nth in (1, PEOPLE // 2, PEOPLE)]
        made += [_batch(place, nth, kind) for place in BATCH for nth in (1, 2)]
        made += [_f01(place, 1, kind) for place in RECOVERY]
        made += [Trial("F02", f"{kind} {n}", partial(at_random, kind=kind)) for n in range(15)]
        made += [_f05(place, kind) for place in CLOCK if kind == "marketing" or place != CLOCK[0]]
        made += [Trial("F06", f"{kind} {n}", partial(everything, kind=kind)) for n in range(5)]
        made += [Trial("F07", kind, partial(crash_loop, kind=kind))]
        made += [Trial("F10", f"{kind} {n}", partial(told_to_stop, kind=kind)) for n in range(5)]
        made += [
            Trial("F21", f"{kind} {n}", partial(misbehaving, faults=CUTS, each=9, kind=kind))
            for n in range(2)
        ]
        made += [
            Trial("F22", f"{kind} {n}", partial(misbehaving, faults=CODES, each=5, kind=kind))
            for n in range(3)
        ]
        made += [Trial("F24", f"{kind} {n}", partial(server_dies, kind=kind)) for n in range(2)]
        made += [Trial("F28", f"{kind} {n}", partial(all_at_once, kind=kind)) for n in range(2)]
        made += [Trial("F29", f"{kind} {n}", partial(two_senders, kind=kind)) for n in range(2)]
    made += [Trial("F22", f"doubted, then {ends}", partial(doubted, ends=ends)) for ends in ENDS]
    made += [_f04(place, n) for place in DOOR for n in range(5)]
    made += [Trial("F08", f"{n}", partial(frozen, seconds=float(n), noes=10)) for n in range(1, 6)]
    return [one for one in made if run in ("", one.run)]


def small(half: int) -> list[Trial]:
    """The R1 size: over both halves (one for each database) every failpoint once, and a few of the others, each on one of the two:
    the ordinary size plays all on both."""
    made: list[Trial] = []
    kinds = ("marketing", "important")
    for number, place in enumerate(LETTER):
        nth = (1, PEOPLE // 2, PEOPLE)[number % 3]
        made.append(_f01(place, nth, kinds[number // 2 % 2]))
    made += [_batch(place, 1, kinds[number % 2]) for number, place in enumerate(BATCH)]
    made += [_f01(place, 1, kinds[number]) for number, place in enumerate(RECOVERY)]
    made += [_f05(place, "marketing") for place in CLOCK]
    made += [_f04(place, 0) for place in DOOR]
    kind = kinds[half]
    others = (
        [
            Trial("F02", f"{kind} 0", partial(at_random, kind=kind)),
            Trial("F08", "1", partial(frozen, seconds=1.0, noes=5)),
            Trial("F22", f"{kind} 0", partial(misbehaving, faults=CODES, each=5, kind=kind)),
        ],
        [
            Trial("F10", f"{kind} 0", partial(told_to_stop, kind=kind)),
            Trial("F21", f"{kind} 0", partial(misbehaving, faults=CUTS, each=9, kind=kind)),
            Trial("F22", f"doubted, then {ENDS[half]}", partial(doubted, ends=ENDS[half])),
        ],
    )
    return [*made[half::2], *others[half]]


def _f01(place: str, nth: int, kind: str, people: int = PEOPLE) -> Trial:
    do = partial(at_failpoint, place=place, nth=nth, kind=kind, people=people)
    return Trial("F01", f"{place}:{nth} {kind}", do, place if people == PEOPLE else "")


def _batch(place: str, nth: int, kind: str) -> Trial:
    """The second batch needs a thousand people; whether two are recorded in one transaction is not ours to say."""
    return _f01(place, nth, kind, PEOPLE if nth == 1 else 1_000)


def _f04(place: str, number: int) -> Trial:
    return Trial("F04", f"{place} {number}", partial(door_dies, place=place), place)


def _f05(place: str, kind: str) -> Trial:
    return Trial("F05", f"{place} {kind}", partial(clock_dies, place=place, kind=kind), place)
