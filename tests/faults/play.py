"""Playing trials one after the other, judging each by the checker, and what they come to together."""

import json
import os
import random
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.faults import checker
from tests.faults.machine import Missing
from tests.faults.runs import Seen, Trial
from tests.faults.town import Town

COMPLETE = os.environ.get("BIDDEN_TEST_COMPLETE") == "1"  # then nothing may be left out for want of a tool
QUICK = 5.0  # seconds from a crash to sending again, at most (reliability 5)
ALONE = ("F28",)  # a dozen processes start at once: whatever a trial beside it measures would be that

turn, _place = (
    threading.Lock(),
    threading.Semaphore(2),
)  # as many places as databases are played beside each other


@dataclass
class Played:
    """What one trial came to."""

    database: str
    trial: Trial
    seconds: float = 0.0
    findings: list[checker.Finding] = field(default_factory=list)
    unknown: int = 0
    doubled: int = 0
    deaths: int = 0
    recoveries: list[float] = field(default_factory=list)
    reached: str = ""
    left_out: str = ""
    notes: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What `--only` takes to play it again."""
        return f"{self.trial.run} {self.trial.name} {self.database}"


def play(
    found: Callable[[str], Town], trials: list[Trial], *, database: str, seed: int, say: Callable[[str], None]
) -> list[Played]:
    """Each trial in turn in one town; after one that does not hold, in a new town, and the old one's directory is kept."""
    played: list[Played] = []
    town: Town | None = None
    try:
        for number, trial in enumerate(trials):
            town = town or found(f"{database}-{number}")
            with room(trial.run):
                one = _play(town, trial, database, seed)
            played.append(one)
            say(_line(one))
            if one.findings:
                say(f"    kept: {town.directory}")
                say(f"    again: python -m tests.faults --seed {seed} --only '{one.name}'")
                town.close()
                town = None
    finally:
        if town is not None:
            town.close()
    return played


@contextmanager
def room(run: str) -> Iterator[None]:
    """A place on the machine; for some trials the whole of it. Who waits for the whole keeps others from beginning."""
    places = 2 if run in ALONE else 1
    with turn:
        for _ in range(places):
            _place.acquire()
    try:
        yield
    finally:
        _place.release(places)


def _play(town: Town, trial: Trial, database: str, seed: int) -> Played:
    one = Played(database, trial)
    chance = random.Random(f"{seed} {one.name}")
    began = time.monotonic()
    try:
        seen = trial.do(town, chance)
        _judge(one, seen)
    except Missing as missing:
        one.left_out = str(missing)
        if COMPLETE:
            one.findings.append(checker.Finding("left_out", one.left_out))
    except Exception as error:  # whatever went wrong, the others are still to be played
        last = traceback.extract_tb(error.__traceback__)[-1]
        one.findings.append(
            checker.Finding("not_as_expected", f"{last.name}: {error or type(error).__name__}")
        )
    else:
        if one.findings:
            kept = town.directory / f"evidence-{town.trials}.json"
            kept.write_text(json.dumps(asdict(seen.evidence), default=repr, indent=1))
    one.seconds = time.monotonic() - began
    return one


def _judge(one: Played, seen: Seen) -> None:
    evidence = seen.evidence
    one.findings = checker.check(evidence)
    one.unknown = evidence.report["outcomes"]["unknown"]
    one.doubled = sum(max(0, len(messages) - 1) for messages in evidence.committed.values())
    one.recoveries, one.reached, one.deaths = seen.recoveries, seen.reached, seen.deaths
    one.notes = seen.notes
    if one.trial.expects not in ("", seen.reached):
        one.findings.append(checker.Finding("not_reached", one.trial.expects))


def _line(one: Played) -> str:
    if one.left_out:
        return f"left out {one.name}: {one.left_out}"
    again = f", sending again after {max(one.recoveries):.1f} s" if one.recoveries else ""
    wrong = "".join(f"\n    {finding.name}: {finding.where}" for finding in one.findings[:10])
    wrong += "".join(f"\n    {name}: {value:g}" for name, value in one.notes.items())
    return (
        f"{'holds ' if not one.findings else 'BROKEN'} {one.name}: unknown {one.unknown}, doubled {one.doubled}"
        f"{again} ({one.seconds:.1f} s){wrong}"
    )


def figures(played: list[Played], places: int | None) -> dict[str, dict[str, Any]]:
    """The table: trials by run, then the promises over all of them. `places`: how many failpoints are to be reached."""
    rows: dict[str, dict[str, Any]] = {}

    def note(name: str, value: float, unit: str, bar: float | None = None, *, least: bool = False) -> None:
        holds = bar is None or (value >= bar if least else value <= bar)
        rows[name] = {"value": round(value, 2), "unit": unit, "bar": bar, "holds": holds}

    for run in sorted({one.trial.run for one in played}):
        trials = [one for one in played if one.trial.run == run and not (one.left_out and not one.findings)]
        note(
            f"{run} trials that hold",
            sum(not one.findings for one in trials),
            "trials",
            len(trials),
            least=True,
        )
    findings = Counter(finding.name for one in played for finding in one.findings)
    for name in ("lost", "doubled", "false_accepted", "silent", "departed_after_no", "without_warrant"):
        note(name.replace("_", " "), findings[name], "people", 0)
    note(
        "second copies after an unknown on record",
        sum(one.doubled for one in played) - findings["doubled"],
        "mails",
    )
    note("unknown on record", sum(one.unknown for one in played), "people")
    beside = sum(findings[name] for name in checker.BESIDE)
    note("unknown beside journals and script", beside, "people", 0)
    note("processes that died", sum(one.deaths for one in played), "deaths")
    reached = {one.reached for one in played if one.reached}
    note("failpoints reached", len(reached), "places", places, least=True)
    for one in played:
        for name, value in one.notes.items():
            what, _, unit = name.rpartition(", ")
            note(f"{one.trial.run} {one.database} {what}", value, unit)
    killed = [one for one in played if one.trial.run == "F01"]
    slow = [moment for one in killed if not _twice(one) for moment in one.recoveries]
    if slow:
        note("crash to sending again, median", sorted(slow)[len(slow) // 2], "s")
        note("crash to sending again, longest", max(slow), "s", QUICK)
    if twice := [moment for one in killed if _twice(one) for moment in one.recoveries]:
        note("two crashes to sending again, longest", max(twice), "s", 2 * QUICK)
    return rows


def _twice(one: Played) -> bool:
    """Whether the trial kills the successor, too, in the middle of its recovery."""
    return "recover." in one.trial.name


def table(rows: dict[str, dict[str, Any]]) -> str:
    """The figures as lines."""
    width = max(map(len, rows))
    lines = []
    for name, row in rows.items():
        bar = "" if row["bar"] is None else f"  bar {row['bar']:g} {'holds' if row['holds'] else 'MISSED'}"
        lines.append(f"{name:<{width}}  {row['value']:>8g} {row['unit']}{bar}")
    return "\n".join(lines)


def write(rows: dict[str, dict[str, Any]], path: Path) -> None:
    """The same for programs."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(rows, indent=1, ensure_ascii=False))
