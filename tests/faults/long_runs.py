"""The two long runs of `make faults FAULTS="--size long"`: noes while a large mailing leaves at full speed (L1), and kill -9
again and again over one that takes minutes (L2).

The checker judges both as it judges every trial. What it cannot know is asserted here: that the noes came before the mail for
enough people, that every aimed one was held, that every unknown is listed. `test_long_runs.py` plays a small size of each.
"""

import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from email import message_from_bytes
from functools import partial
from pathlib import Path
from typing import Any

import httpx2

from tests.faults.aim import HELD, UNREAD, Aim
from tests.faults.checker import Evidence
from tests.faults.runs import Seen, Trial
from tests.faults.town import (
    SERVICE_TIME,
    SLOWLY,
    SUPERVISED,
    TOPICS,
    Mailing,
    Process,
    Town,
    has_begun,
    wait_for,
)
from tests.stack import until

WAYS = ("one click", "page", "api")  # taken in turn
FORMS = {"one click": {"List-Unsubscribe": "One-Click"}, "page": {"confirm": "stop"}}
NOES = 50  # a second
DOORS = 16  # noes at one moment, at most
CLEARLY = 0.3  # seconds a held message stays held after the answer
LONG = 1_800.0  # seconds after which a long mailing counts as one that never ends
BOTH = ("one", "two")


def trials(people: int) -> list[Trial]:
    """The long size: L1 with so many people, L2 with what three minutes take."""
    killed = partial(
        killed_again_and_again, people=min(people, 18_000), kills=30, pauses=(2.0, 6.0), seconds=180
    )
    return [
        Trial("L1", f"{people} people", partial(noes_at_full_speed, people=people)),
        Trial("L2", "30 kills", killed),
    ]


def small() -> list[Trial]:
    """The same in seconds, so that the long runs stay alive from change to change."""
    killed = partial(killed_again_and_again, people=90, kills=3, pauses=(0.5, 1.0), seconds=7)
    return [
        Trial("L1", "small", partial(noes_at_full_speed, people=500, behaviour=SLOWLY)),
        Trial("L2", "small", killed),
    ]


# L1


@dataclass
class Doors:
    """Every way to say no, for people whose links are known."""

    town: Town
    made: Mailing
    links: dict[str, str]  # address → stop link
    client: httpx2.Client

    def say_no(self, address: str, number: int) -> int | None:
        """The n-th no, by the way whose turn it is; the answer's code, None when none came."""
        way, person = WAYS[number % len(WAYS)], self.made.people[address]
        ask: Callable[[], httpx2.Response]
        if way == "api":
            ask = partial(self.town.by_api, self.client, person, TOPICS[self.made.kind])
        else:
            ask = partial(self.client.post, self.links[address], data=FORMS[way])
        return self.town.withdraw(self.made, person, ask)


def noes_at_full_speed(
    town: Town, chance: random.Random, people: int, behaviour: tuple[str, ...] = ()
) -> Seen:
    """L1: two senders as fast as they can, 50 noes a second all the while, and aimed ones at a held 354."""
    aimed = min(200, people // 50)
    early = frozenset(chance.sample(range(people // 2, people), aimed + max(60, people // 16)))
    with (
        town.mailing("marketing", *behaviour, people=people, early=early, fsync=False) as made,
        httpx2.Client(timeout=20) as client,
    ):
        for name in BOTH:
            town.sender(name)
        links = links_of_an_earlier_mail(town, made)
        addresses = chance.sample(sorted(links), len(links))
        aim = Aim(town.directory / f"aim-{town.trials}", addresses[:aimed])
        town.serve(made, *behaviour, "--hold", str(aim.directory))
        town.launch(made)
        wait_for(has_begun(made), LONG)
        evidence = _meanwhile(Doors(town, made, links, client), aim, addresses[aimed:])
        assert aim.known == aimed, f"{aim.known} of {aimed} were held"
        notes = _figures(evidence, set(addresses[:aimed])) | {
            "aimed at an unread mail, people": unread_and_unknown(evidence, aim)
        }
        return Seen(evidence, [], 0, notes=notes)


def unread_and_unknown(evidence: Evidence, aim: Aim) -> int:
    """How many said no while their mail lay in the sender's kernel: reset before the answer, never read, unknown on record."""
    told = {one["person"]: one["status"] for one in evidence.withdrawals}
    unread = [evidence.people[address] for address, way in aim.ways.items() if way == UNREAD]
    for person in unread:
        assert told[person] == 200, f"{person} was told {told[person]}"
        assert person not in evidence.committed, f"{person} has got the mail"
        assert evidence.rows[person]["state"] == "unknown", f"{person} is {evidence.rows[person]['state']}"
    return len(unread)


def links_of_an_earlier_mail(town: Town, made: Mailing) -> dict[str, str]:
    """Write to the early ones alone; their stop links, as a mail program finds them."""
    assert made.sink is not None
    town.end(made.sink)
    kept = town.directory / f"kept-{town.trials}"
    kept.mkdir()
    earlier = Mailing(made.kind, {}, made.log.with_suffix(".early.jsonl"), made.port, made.plans[1:], False)
    town.serve(earlier, "--keep", str(kept))
    town.launch(earlier)
    until("the end of the earlier mail", lambda: town.ended(earlier), LONG, 0.5)
    assert earlier.sink is not None
    town.end(earlier.sink)
    return {path.name.removesuffix(".eml"): _stop_link(path) for path in kept.glob("*.eml")}


def _stop_link(path: Path) -> str:
    field = str(message_from_bytes(path.read_bytes())["List-Unsubscribe"])
    found = re.search(r"<(http[^>]+)>", "".join(field.split()))
    assert found, f"no stop link in {path}"
    return found[1]


def _meanwhile(doors: Doors, aim: Aim, sayers: list[str]) -> Evidence:
    """Noes at their pace, aimed ones when they are held, until the mailing has ended."""
    over = threading.Event()
    with ThreadPoolExecutor(DOORS) as pool, ThreadPoolExecutor(1) as watch:
        held = watch.submit(_say_no_when_held, doors, aim, over)
        try:
            _say_no_at_pace(doors, sayers, pool)
            evidence = doors.town.evidence(doors.made, LONG)
        finally:
            over.set()
        held.result()
    return evidence


def _say_no_at_pace(doors: Doors, sayers: list[str], pool: ThreadPoolExecutor) -> None:
    began = time.monotonic()
    asked: list[Future[None]] = []
    for number, address in enumerate(sayers):
        time.sleep(max(0.0, began + number / NOES - time.monotonic()))
        if number % (2 * NOES) == 2 * NOES - 1 and doors.town.ended(doors.made):
            break
        asked.append(pool.submit(doors.say_no, address, number))
    for one in asked:
        one.result()


def _say_no_when_held(doors: Doors, aim: Aim, over: threading.Event) -> None:
    """Whoever is held says no, and is let go clearly after the answer."""

    def one(address: str, number: int) -> None:
        try:
            doors.say_no(address, number)
            # What is read again only later would hide a connection that was reset only later.
            time.sleep(CLEARLY if aim.ways[address] == HELD else 0.0)
        finally:
            aim.free(address)

    number = 0
    asked: list[Future[None]] = []
    with ThreadPoolExecutor(DOORS) as pool:
        while not over.wait(0.01):
            for address in aim.held():
                asked.append(pool.submit(one, address, number))
                number += 1
    for each in asked:
        each.result()


def _figures(seen: Evidence, aimed: set[str]) -> dict[str, float]:
    """How the noes were answered, and when they came; too few that came before the mail prove nothing."""
    settled = [one for one in seen.withdrawals if one["status"] == 200]
    assert settled, "no withdrawal was answered"
    answers = sorted(one["t_ack"] - one["t_sent"] for one in settled)
    dots = [message for message in seen.sink if message["t_dot"]]
    left = {seen.people[message["rcpt"]]: message["t_dot"] for message in dots}
    before = sum(left.get(one["person"], one["t_ack"]) >= one["t_sent"] for one in settled)
    assert before >= min(500, len(seen.people) // 400), f"only {before} said no before their mail"
    held = {seen.people[address] for address in aimed}
    began, ended = min(one["t_mail"] for one in seen.sink), max(one["t_dot"] for one in dots)
    said = [one["t_sent"] for one in seen.withdrawals if one["person"] not in held]
    return {
        "messages, /s": round(len(dots) / (ended - began), 1),
        "length of the send, s": round(ended - began, 1),
        "noes went on for, s": round(max(said) - min(said), 1),
        "noes, people": len(seen.withdrawals),
        "noes answered 200, people": len(settled),
        "noes answered 202, people": sum(one["status"] == 202 for one in seen.withdrawals),
        "noes before their mail, people": before,
        "aimed noes answered 200, people": sum(one["person"] in held for one in settled),
        "aimed that left all the same, people": len(held & left.keys()),
        "answer p50, ms": round(1_000 * answers[len(answers) // 2], 1),
        "answer p99, ms": round(1_000 * answers[len(answers) * 99 // 100], 1),
        "answer longest, ms": round(1_000 * answers[-1], 1),
    }


# L2


def killed_again_and_again(
    town: Town, chance: random.Random, people: int, kills: int, pauses: tuple[float, float], seconds: float
) -> Seen:
    """L2: kill -9 of whoever is drawn, two thirds of the time a sender, each started again as a supervisor does."""
    senders = [BOTH[number % 2] for number in range(kills * 2 // 3)]
    victims = senders + [chance.choice((*BOTH, "web", "clock")) for _ in range(kills - len(senders))]
    chance.shuffle(victims)
    with at_most(town, people / seconds), town.mailing("marketing", *SERVICE_TIME, people=people) as made:
        running = {name: town.sender(name) for name in BOTH}
        town.launch(made)
        wait_for(has_begun(made), LONG)
        for name in victims:
            time.sleep(chance.uniform(*pauses))
            assert not town.ended(made), "the mailing ended before the last kill"
            _kill(town, made, name, running)
        evidence = town.evidence(made, LONG)
        _all_listed(town, made, evidence)
        again = _sending_again(made)
        began, ended = made.lines()[0]["t_mail"], made.lines()[-1]["t_mail"]
        notes = {
            "length of the send, s": round(ended - began, 1),
            "senders killed, deaths": len(made.deaths),
            "web and clock killed, deaths": kills - len(made.deaths),
        }
        if again:
            notes["crash to sending again median, s"] = round(sorted(again)[len(again) // 2], 2)
            notes["crash to sending again longest, s"] = round(max(again), 2)
        return Seen(evidence, again, kills, notes=notes)


@contextmanager
def at_most(town: Town, rate: float) -> Iterator[None]:
    """So many messages a second, in all; the clock cuts its batches by it."""
    town.stack.environment["BIDDEN_SEND_RATE"] = f"{rate:.1f}"
    town.again("clock")
    try:
        yield
    finally:
        del town.stack.environment["BIDDEN_SEND_RATE"]
        town.again("clock")


def _kill(town: Town, made: Mailing, name: str, running: dict[str, Process]) -> None:
    process: Process = running[name] if name in running else getattr(town, name)
    process.kill()
    process.wait()
    if name in running:
        town.bury(made, name)
    time.sleep(SUPERVISED)
    if name in running:
        running[name] = town.sender(name)
    else:
        town.again(name)


def _all_listed(town: Town, made: Mailing, evidence: Evidence) -> None:
    """Whoever asks for the unknown ones is given each of them."""
    accept = {"Accept": "application/x-ndjson"}
    lines = town.http.get(f"{made.path}/deliveries", params={"state": "unknown"}, headers=accept).text
    listed = lines.count('"pos":')
    recorded = sum(row["state"] == "unknown" for row in evidence.deliveries)
    assert listed == recorded == evidence.report["outcomes"]["unknown"], f"{listed} of {recorded} are listed"


def _sending_again(made: Mailing) -> list[float]:
    """Seconds from each sender's death to the first message on a connection opened since: the other one sent all the while.

    A connection that the other opened anew just then would count as well; nothing but a fault makes it do so."""
    lines: list[dict[str, Any]] = sorted(made.lines(), key=lambda line: line["t_mail"])
    firsts = [
        next((line["t_mail"] for line in lines if line["t_open"] > death), None) for death in made.deaths
    ]
    return [first - death for first, death in zip(firsts, made.deaths, strict=True) if first is not None]
