"""The fault run F23: a mail server that is slow or stands still, at every step.

One that reads an octet a second or says nothing leaves its mail to the next server; one that is silent after the dot keeps its own
connection and no other; one that reads no further cannot keep a mail that was taken back. And a sender stops when it is told to,
whatever the server does. Trials as in runs.py; the product's time-outs are its own, of minutes where nothing else helps.
"""

import itertools
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx2

from tests.faults import checker
from tests.faults.aim import UNREAD, Aim
from tests.faults.database_runs import home
from tests.faults.long_runs import unread_and_unknown
from tests.faults.runs import Seen, Trial
from tests.faults.town import CONNECTIONS, SLOWLY, Mailing, Process, Town, has_begun, wait_for
from tests.stack import until

STOPS = 30.0 + 5.0  # seconds from SIGTERM to the end: what is on the wire has thirty of them
PATIENCE = 30.0  # seconds for a step before the payload while another server could take over
PAUSE = 1.5  # seconds between two letters at most, while nothing holds them up
SOON = 10.0  # seconds for all else
MANY = 400  # people, so that there is time to try the first server again
SILENT = 3  # messages whose dot is never answered
ONCE = 12  # people who say no while their mail is unread


@contextmanager
def stalling(town: Town, made: Mailing, way: str) -> Iterator[tuple[int, Path]]:
    """A server that stalls, of this mailing; its port and its log. It has met a sender at the end, or the trial showed nothing."""
    log = made.log.with_suffix(f".{way}.jsonl")
    command = [sys.executable, "-m", "tests.faults.stall", "--way", way, "--log", str(log)]
    server = subprocess.Popen([*command, "--max-seconds", "300"], stdout=subprocess.PIPE)
    town.running.append(server)
    assert server.stdout is not None
    with server.stdout as said:
        port = int(said.readline().split()[0])
    yield port, log
    town.end(server)
    assert checker.read_lines(log), "nobody has met it"


def _url(port: int, scheme: str = "smtp") -> str:
    options = "&starttls=never" if scheme == "smtp" else ""
    return f"{scheme}://127.0.0.1:{port}?connections={CONNECTIONS}{options}"


def stalls(town: Town, chance: random.Random, way: str) -> Seen:
    """F23: the first server stalls, at TLS or from MAIL on: nobody waits longer than for its first time-out. After that all
    leave by the second one without a pause, but for one letter at a time that tries whether the first is back."""
    scheme = "smtps" if way == "mute" else "smtp"
    with town.mailing("marketing", *SLOWLY, people=MANY) as made, stalling(town, made, way) as (port, log):
        both = f"{_url(port, scheme)},{_url(made.port)}"
        alone = town.sender(BIDDEN_SMTP_URL=_url(port, scheme))
        town.launch(made)
        until(
            "a connection of the sender's", lambda: log.exists() and checker.read_lines(log), 2 * SOON, 0.05
        )
        time.sleep(1)  # its connections are in the middle of it by then
        took = _stops(town, alone)
        most = SOON if way == "mute" else STOPS  # letters that are announced count as on the wire
        assert took < most, f"it took {took:.1f} s to stop"
        town.sender(BIDDEN_SMTP_URL=both)
        began = time.monotonic()
        wait_for(has_begun(made), PATIENCE + SOON)
        assert time.monotonic() - began > PATIENCE / 2, "it was not kept waiting"
        said = [town.withdraw(made, one) for one in chance.sample(sorted(made.people.values()), 6)]
        assert set(said) == {200}
        seen = home(town, made)
    assert seen.evidence.report["outcomes"]["unknown"] == 0, "no dot was on its way to the server that stalls"
    dots = {line["rcpt"]: line["t_dot"] for line in seen.evidence.sink if line["t_dot"]}
    first = min(dots.values())
    tried = [line for line in checker.read_lines(log) if "rcpt" in line and line["t"] > first]
    assert tried or way == "mute", "the first was not tried again"
    _one_by_one(tried, dots)
    return Seen(seen.evidence, [], 0, notes={f"{way} first mail after, s": round(first - began, 1)})


def _one_by_one(tried: list[dict[str, Any]], dots: dict[str, float]) -> None:
    """Once mail had begun to go by the second server, one letter at a time tried the first and left soon after its time-out;
    nobody else was kept waiting."""
    apart = [after["t"] - before["t"] for before, after in itertools.pairwise(tried)]
    assert all(one > PATIENCE for one in apart), f"two tried at once: {apart}"
    kept = [dots[line["rcpt"]] - line["t"] for line in tried if line["rcpt"] in dots]
    assert all(one < PATIENCE + PAUSE for one in kept), f"a letter that tried left only after {kept}"
    those = {line["rcpt"] for line in tried}
    others = sorted(moment for rcpt, moment in dots.items() if rcpt not in those)
    held = max(after - before for before, after in itertools.pairwise(others))
    assert held < PAUSE, f"the second server waited {held:.1f} s for the first"


def _stops(town: Town, sender: Process) -> float:
    """Tell a sender to stop; seconds until it has, with code 0."""
    began = time.monotonic()
    sender.terminate()
    code = sender.wait(STOPS + SOON)
    town.running.remove(sender)
    assert code == 0, town.said(code)
    return time.monotonic() - began


def silent(town: Town, chance: random.Random, kind: str) -> Seen:
    """F23: a few dots are never answered: all others leave meanwhile, and a sender that is told to stop does, in time."""
    with town.mailing(kind, *SLOWLY) as made:
        assert made.sink is not None
        town.end(made.sink)
        script = made.log.with_suffix(".script.json")
        numbers = chance.sample(range(len(made.people) // 2), SILENT)
        script.write_text("{" + ",".join(f'"{number}": "hang:dot"' for number in numbers) + "}")
        town.serve(made, *SLOWLY, "--script", str(script))
        sender = town.sender()
        town.launch(made)
        rest = len(made.people) - SILENT  # each silent connection has one more that was announced behind
        until("all the others", lambda: len(made.lines()) >= rest, 2 * SOON, 0.1)
        took = _stops(town, sender)
        assert 20 < took < STOPS, f"it stopped after {took:.1f} s"
        town.sender()
        seen = home(town, made)
    unknown = seen.evidence.report["outcomes"]["unknown"]
    assert unknown == (SILENT if kind == "marketing" else 0), f"{unknown} unknown"
    return Seen(seen.evidence, [], 0, notes={f"silent {kind} stopped after, s": round(took, 1)})


def unread(town: Town, chance: random.Random) -> Seen:
    """F23: the server stops reading in the middle of a mail, and just then that person says no: the connection is reset, and
    only then the answer is given; the mail is unknown, and the others are not concerned."""
    with town.mailing("marketing", *SLOWLY) as made, ThreadPoolExecutor(ONCE) as doors:
        aim = _aimed(town, made, chance.sample(sorted(made.people), ONCE))
        sender = town.sender()
        town.launch(made)
        asked = []

        def say_no(address: str) -> None:
            town.withdraw(made, made.people[address])
            aim.free(address)

        def caught() -> bool:
            asked.extend(doors.submit(say_no, address) for address in aim.held())
            return len(asked) == ONCE

        until("mail that is not read, for each of them", caught, 3 * SOON, 0.01)
        for one in asked:
            one.result()
        seen = home(town, made)
        assert sender.poll() is None
    unread_and_unknown(seen.evidence, aim)
    return seen


def _aimed(town: Town, made: Mailing, addresses: list[str]) -> Aim:
    """A server that will not read the mail of these."""
    assert made.sink is not None
    town.end(made.sink)
    aim = Aim(town.directory / f"aim-{town.trials}", addresses, (UNREAD,))
    town.serve(made, *SLOWLY, "--hold", str(aim.directory))
    return aim


def reads_no_more(town: Town, chance: random.Random) -> Seen:
    """F23: the server reads nothing further on any connection: the sender, told to stop, does so in time; a no that comes
    first, for one of those mails, is not kept waiting."""
    with town.mailing("marketing", *SLOWLY) as made:
        made.cuts += CONNECTIONS + 1  # one on each connection, and that of the no was replaced
        aim = _aimed(town, made, sorted(made.people))
        sender = town.sender()
        town.launch(made)
        held: list[str] = []

        def caught() -> bool:
            held.extend(aim.held())
            return len(held) >= CONNECTIONS

        until("a mail that is not read on each connection", caught, SOON, 0.01)
        began = time.monotonic()
        assert town.withdraw(made, made.people[held[0]], partial(_by_api, town, made, held[0])) == 200
        assert time.monotonic() - began < 2, "it waited for the server"
        took = _stops(town, sender)
        assert took < STOPS, f"it stopped after {took:.1f} s"
        assert made.sink is not None
        town.end(made.sink)
        town.serve(made, *SLOWLY)
        town.sender()
        seen = home(town, made)
    unknown = seen.evidence.report["outcomes"]["unknown"]
    assert CONNECTIONS <= unknown <= CONNECTIONS + 1, f"{unknown} unknown"
    return Seen(seen.evidence, [], 0, notes={"unread stopped after, s": round(took, 1)})


def _by_api(town: Town, made: Mailing, address: str) -> httpx2.Response:
    return town.by_api(httpx2, made.people[address], "new-products")


def ordinary(database: str) -> list[Trial]:
    """Every trial of this run on one database."""
    return [
        Trial("F23", "an octet a second", partial(stalls, way="drip")),
        Trial("F23", "no word at TLS", partial(stalls, way="mute")),
        Trial("F23", "silence after the dot marketing", partial(silent, kind="marketing")),
        Trial("F23", "silence after the dot important", partial(silent, kind="important")),
        Trial("F23", "zero window and a no", unread),
        Trial("F23", "zero window everywhere", reads_no_more),
    ]


def small(database: str) -> list[Trial]:
    """One of them that takes seconds."""
    return [Trial("F23", "zero window and a no", unread)]
