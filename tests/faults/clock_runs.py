"""The fault runs F26 and F27: the wall clock jumps, stands or leaps, for some or all processes, and clocks of readers change.

libfaketime gives processes their time of day from a file, while what counts since the start stays real. A person's word that the
time is right is `bidden send on`, as for everybody. Trials as in runs.py; what they assert themselves is that nothing leaves early,
that a jump is held and said, and that a schedule fires at the instant that was shown.
"""

import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx2

from tests.faults import machine
from tests.faults.checker import Evidence
from tests.faults.database_runs import home
from tests.faults.long_runs import Doors, links_of_an_earlier_mail
from tests.faults.runs import Seen, Trial
from tests.faults.town import SLOWLY, TOPICS, WORDS, Mailing, Town, has_begun, wait_for
from tests.stack import until

HOUR, DAY = 3_600, 86_400
ALL = ("web", "clock", "one")
SOON = 10.0  # seconds
LOOKED = 1.1  # seconds after which every process has looked at the hands of the false clock
SETTLED = 2.5  # seconds without a word against the time: clock and senders look every second
ZONES = ("Europe/Berlin", "America/New_York", "America/Santiago", "Australia/Lord_Howe", "Pacific/Auckland",
         "Atlantic/Azores")  # fmt: skip
ANOTHER_RULE = (
    "Asia",
    "Kathmandu",
)  # what a zone's file says after the change: an offset that nobody else has


class Hands:
    """The hands of the false clock."""

    def __init__(self, file: Path) -> None:
        self.file, self.off = file, 0
        self.set(0)

    def set(self, seconds: int) -> None:
        """From now on the wall clock shows so much more than is true."""
        self.off = seconds
        self._say(f"{seconds:+d}")

    def freeze(self) -> None:
        """The wall clock stands."""
        self._say(time.strftime("%Y-%m-%d %H:%M:%S"))

    def _say(self, line: str) -> None:
        draft = self.file.with_suffix(".draft")
        draft.write_text(line + "\n")
        draft.replace(self.file)


@contextmanager
def false_time(town: Town, *who: str, **more: str) -> Iterator[Hands]:
    """These processes go by a false clock in here, set right at first; afterwards all is as it was."""
    machine.needs("faketime")
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        raise machine.Missing("libfaketime is not installed")
    hands = Hands(town.directory / "false-time")
    given = {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME_TIMESTAMP_FILE": str(hands.file),
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_CACHE_DURATION": "1",  # seconds; looked at for each call, the file would cost more than all else
    }
    for one in who:
        town.apart[one] = given | more
    restart(town, *who)
    try:
        yield hands
        if hands.off:
            hands.set(0)
            held(town)
            trusted(town)
    finally:
        for one in who:
            town.apart.pop(one, None)
    restart(town, *who)  # by then both clocks show the same


def restart(town: Town, *who: str) -> None:
    """Web and clock anew, where they are among these, both at once; until both are at work."""
    roles = [role for role in ("web", "clock") if role in who]
    town.end(*[getattr(town, role) for role in roles])
    for role in roles:
        setattr(town, role, town.start(role, BIDDEN_LOG_LEVEL="INFO"))
    town.ready()
    if "clock" in roles:  # it has no door to ask at
        until("the clock process", lambda: b"clock started" in town.words_of(town.clock), 60, 0.05)


def sending_is_on(town: Town) -> bool:
    """What the metrics say of it."""
    return "bidden_sending_on 1" in town.http.get(f"{town.stack.base_url}/metrics").text


def held(town: Town) -> None:
    """Wait until a process has seen the jump."""
    until("sending that is switched off", lambda: not sending_is_on(town), SOON, 0.05)


def shows(town: Town, seconds: int) -> None:
    """Wait until the web process has looked at the hands, and goes by a time that is so much off."""

    def off() -> float:
        said = town.http.get("/announcements").headers["date"]
        return parsedate_to_datetime(said).timestamp() - time.time()

    until("a web process that goes by that time", lambda: abs(off() - seconds) < 60, SOON, 0.05)


def trusted(town: Town) -> None:
    """A person says that the time is right, until nobody objects any more."""
    time.sleep(LOOKED)
    since = time.monotonic()
    while time.monotonic() - since < SETTLED:
        if not sending_is_on(town):
            town.stack.run("send", "on")
            since = time.monotonic()
        time.sleep(0.1)


def draft(town: Town, made: Mailing) -> str:
    """A further announcement to the same people, approved; its path."""
    said = {
        "content": {"en": {"subject": "Another planner", **WORDS}},
        "template": "letter",
        "topic": TOPICS[made.kind],
        "audience": {"attributes": {"plan": made.plans}},
    }
    kept = town._post("/announcements", said)
    path = f"/announcements/{kept['id']}"
    town._post(f"{path}/submit", {})
    town._post(f"{path}/approve", {"content_hash": kept["content_hash"]})
    return path


def shown(town: Town, path: str) -> Any:
    """An announcement as the API shows it."""
    return town.http.get(path).json()


def in_true_time(evidence: Evidence, after: int, seconds: int) -> Evidence:
    """What a process wrote down by the false clock, after that entry, is put back to when it was: the checker has one clock."""
    for entry in evidence.ledger:
        at = datetime.fromisoformat(entry["at"])
        if entry["seq"] > after and abs(at.timestamp() - time.time()) > 20 * 60:
            entry["at"] = (at - timedelta(seconds=seconds)).isoformat()
    return evidence


# F26


def jumps(
    town: Town, chance: random.Random, who: tuple[str, ...], seconds: int, *, stays: bool = False
) -> Seen:
    """F26: in mid-send the wall clock jumps. Nothing further leaves, nothing begins; noes are settled, links work; it is said.
    Then it is set back, or a person says that it is right (`stays`), and all goes on."""
    early = frozenset(range(6))
    with (
        town.mailing("marketing", *SLOWLY, people=700, early=early) as made,
        httpx2.Client(timeout=20) as client,
    ):
        town.sender()
        links = links_of_an_earlier_mail(town, made)
        town.end(*[one for one in town.running if one not in (town.web, town.clock)])
        with false_time(town, *who) as hands:
            town.serve(made, *SLOWLY)
            ahead = min(abs(seconds) // 2, 2 * HOUR)
            later = draft(town, made)
            due = datetime.now(UTC) + timedelta(seconds=ahead)
            town._post(f"{later}/schedule", {"at": due.isoformat()})
            town.sender()
            town.launch(made)
            wait_for(has_begun(made))
            tail = town.entries()[-1]["seq"]
            hands.set(seconds)
            held(town)
            assert not town.ended(made), "it had left before"
            doors = Doors(town, made, links, client)
            said = [doors.say_no(address, number) for number, address in enumerate(sorted(links))]
            assert set(said) == {200}, f"noes and links were answered {said}"
            _quiet(made)
            assert shown(town, later)["state"] == "scheduled", "it began by the wrong hour"
            _said(town, tail)
            if not stays:
                hands.set(0)
            trusted(town)
            if stays:
                until("a late one that waits", lambda: shown(town, later)["state"] == "paused", SOON, 0.1)
                assert shown(town, later)["reason"] == "late"
            seen = home(town, made)
            assert shown(town, later)["state"] == ("paused" if stays else "scheduled")
            town._post(f"{later}/cancel", {})
    assert seen.evidence.report["outcomes"]["unknown"] == 0
    in_true_time(seen.evidence, tail, seconds)
    return seen


def _quiet(made: Mailing) -> None:
    """Nothing leaves any more."""
    time.sleep(0.5)  # what was on the wire has its answer
    before = made.log.stat().st_size
    time.sleep(0.8)
    assert made.log.stat().st_size == before, "mail left by a clock that had jumped"


def _said(town: Town, tail: int) -> None:
    kinds = [(one["kind"], one["body"].get("reason")) for one in town.entries() if one["seq"] > tail]
    assert ("settings.sending_off", "clock") in kinds, "nobody has said why"


def missed(town: Town, chance: random.Random, seconds: int) -> Seen:
    """F26: a schedule is made by a clock that is hours slow: it is due long ago, so it waits for a person, and says so."""
    with town.mailing("marketing", *SLOWLY) as made, false_time(town, "web") as hands:
        town.sender()
        tail = town.entries()[-1]["seq"]
        hands.set(seconds)
        shows(town, seconds)
        town.launch(made)
        until("a late one that waits", lambda: shown(town, made.path)["state"] == "paused", SOON, 0.05)
        assert shown(town, made.path)["reason"] == "late"
        time.sleep(0.5)
        assert not made.log.exists() or not made.lines()
        hands.set(0)
        shows(town, 0)
        town._post(f"{made.path}/resume", {})
        seen = home(town, made)
        in_true_time(seen.evidence, tail, seconds)
        return seen


def leaps(town: Town, chance: random.Random, way: str) -> Seen:
    """F26: a second comes twice and one is left out, or the clock stands: nobody notices, and nothing is held."""
    with town.mailing("marketing", *SLOWLY, people=800) as made, false_time(town, *ALL) as hands:
        town.sender()
        town.launch(made)
        wait_for(has_begun(made))
        for seconds in (-1, 0, 1, 0):
            if way == "frozen":
                hands.freeze()
            else:
                hands.set(seconds)
            time.sleep(LOOKED)
            assert sending_is_on(town), "it was taken for a jump"
        said = [town.withdraw(made, one) for one in chance.sample(sorted(made.people.values()), 6)]
        assert set(said) == {200}
        seen = home(town, made)
    assert seen.evidence.report["outcomes"]["unknown"] == 0
    return seen


# F27


def change_of(zone: str, gap: bool) -> datetime:
    """The next instant, a month or more from now, at which clocks there are put forward (`gap`) or back."""
    place = ZoneInfo(zone)
    moment = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(days=30)
    for _ in range(2 * 24 * 366):
        after = moment + timedelta(minutes=30)
        before_it, after_it = (one.astimezone(place).utcoffset() or timedelta() for one in (moment, after))
        if before_it != after_it and (after_it > before_it) is gap:
            return after
        moment = after
    raise AssertionError(f"{zone} never changes its clocks")


def at_a_change(town: Town, chance: random.Random, zone: str, gap: bool, changed: bool) -> Seen:
    """F27: an hour that does not exist, or comes twice, is refused with both readings; the one chosen fires once, at the instant
    that was shown, whatever has become of the zone's rules meanwhile (`changed`)."""
    machine.needs("faketime")
    instant = change_of(zone, gap)
    place = ZoneInfo(zone)
    before = (instant - timedelta(minutes=1)).astimezone(place).replace(tzinfo=None) + timedelta(minutes=1)
    local = before + timedelta(minutes=15) if gap else before - timedelta(minutes=15)
    with town.mailing("marketing", *SLOWLY, people=30) as made:
        made.path = draft(town, made)
        refused = town.http.post(f"{made.path}/schedule", json={"at": local.isoformat(), "zone": zone}).json()
        assert refused["code"] == ("time_does_not_exist" if gap else "time_is_ambiguous"), refused
        readings = re.findall(r"\d{4}-\d\d-\d\dT[\d:]{5,8}[+-]\d\d:\d\d", refused["fix"])
        assert len(readings) == 2, refused
        chosen = datetime.fromisoformat(chance.choice(readings))
        town._post(f"{made.path}/schedule", {"at": chosen.isoformat(), "zone": zone})
        promised = shown(town, made.path)
        assert datetime.fromisoformat(promised["due_at"]) == chosen
        rules = {"PYTHONTZPATH": str(_another_rule(town, zone))} if changed else {}
        tail = town.entries()[-1]["seq"]
        with false_time(town, *(ALL if changed else ALL[1:]), **rules) as hands:
            _fires(town, made, hands, chosen)
            now_shown = shown(town, made.path)
            seen = home(town, made)
            assert (now_shown["due_at"], now_shown["zone"]) == (promised["due_at"], promised["zone"])
            off = hands.off
        in_true_time(seen.evidence, tail, off)
        return seen


def _another_rule(town: Town, zone: str) -> Path:
    """A directory of zones in which this one has other rules."""
    directory = town.directory / "zones"
    file = directory / zone
    file.parent.mkdir(parents=True, exist_ok=True)
    area, name = ANOTHER_RULE
    file.write_bytes(files(f"tzdata.zoneinfo.{area}").joinpath(name).read_bytes())
    return directory


def _fires(town: Town, made: Mailing, hands: Hands, chosen: datetime) -> None:
    """The clock comes to that instant; nothing leaves before it, and all soon after."""
    hands.set(int(chosen.timestamp() - time.time()) - 50)
    held(town)
    trusted(town)
    town.sender()
    left = chosen.timestamp() - hands.off - time.time()
    if left > 4:
        hands.set(hands.off + int(left - 4))  # less than counts as a jump
    wait_for(has_begun(made), 30)
    first = min(line["t_mail"] for line in made.lines()) + time.time() - time.monotonic() + hands.off
    late = first - chosen.timestamp()
    assert 0 <= late < SOON, f"it fired {late:.1f} s after the instant that was shown"


def ordinary(database: str) -> list[Trial]:
    """Every trial of these runs on one database."""
    tried: list[tuple[str, Callable[..., Seen]]] = [
        (f"all {name}", partial(jumps, who=ALL, seconds=seconds))
        for name, seconds in (("+1 h", HOUR), ("-1 h", -HOUR), ("-1 d", -DAY), ("+400 d", 400 * DAY),
                              ("-400 d", -400 * DAY))
    ]  # fmt: skip
    tried += [
        ("clock alone +1 d", partial(jumps, who=("clock",), seconds=DAY)),
        ("all +23 h, and it is right", partial(jumps, who=ALL, seconds=23 * HOUR, stays=True)),
        ("web alone -20 h", partial(missed, seconds=-20 * HOUR)),
        ("leap seconds", partial(leaps, way="leap")),
        ("frozen", partial(leaps, way="frozen")),
    ]
    made = [Trial("F26", name, do) for name, do in tried]
    for zone in ZONES:
        for gap in (True, False):
            for changed in (False, True):
                words = f"{zone} {'gap' if gap else 'overlap'}{', rules changed' if changed else ''}"
                do = partial(at_a_change, zone=zone, gap=gap, changed=changed)
                made.append(Trial("F27", words, do))
    return made


def small(database: str) -> list[Trial]:
    """One jump on one database: each trial waits half a minute, for clocks and for a person's word."""
    return [Trial("F26", "all +1 h", partial(jumps, who=ALL, seconds=HOUR))] if database == "sqlite" else []
