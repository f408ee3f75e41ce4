"""The fault runs over roads that fail: a sender cut off from the database, and F25 (loss, delay, reorder, resets, partitions).

Trials as in runs.py, in a town whose database is at the far end (roads.py). `play` plays them for `make faults` and says in one
line when this machine cannot; `test_net_runs.py` plays the small ones.
"""

import random
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import psycopg

from tests.faults import checker
from tests.faults.long_runs import at_most
from tests.faults.roads import DROP, RESET, Road, Roads
from tests.faults.runs import Seen, Trial
from tests.faults.town import CONNECTIONS, PEOPLE, SLOWLY, Mailing, Town, has_begun, wait_for
from tests.stack import free_port, until

# Seconds for a mailing over a lossy line to begin, and to end: where of ten packets three are lost either way, a connection to the database
# is made when the dice fall well, and each took 30 to 150. What is promised there is what is not sent, and that it ends.
BY_CHANCE = 600.0
QUIET_AFTER = 3.0  # seconds without the database after which a sender writes no dot (reliability.md, F25)
SOON = 0.15  # seconds for what was written to arrive and be logged, on a machine that has other work
PATIENCE = 2.5  # seconds after which a no is answered 202, with what the answer itself takes
RELEASED = 8.0  # seconds after which the database has let go of what a sender that cannot be reached held
AGAIN = 10.0  # seconds after which all goes on where a road is well again
TAIL_HELD = """
SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted AND client_addr = %(near)s::inet AND state = 'idle in transaction'
"""


@dataclass
class Cut:
    """When a road was cut and when it was well again."""

    began: float = 0.0
    ended: float = 0.0


@contextmanager
def cut(roads: Roads, road: Road, what: str = DROP) -> Iterator[Cut]:
    """The road is spoilt in here."""
    one = Cut()
    roads.spoil(road, what)
    one.began = time.monotonic()
    try:
        yield one
    finally:
        one.ended = time.monotonic()
        roads.mend()


@contextmanager
def _given(town: Town, roads: Roads, **by: Road) -> Iterator[None]:
    """Each of these processes (`one`, `web`) reaches the database by that road of its own."""
    database = town.stack.environment["BIDDEN_DATABASE_URL"].partition("?")[0].rpartition("/")[2]
    for name, road in by.items():
        town.apart.setdefault(name, {})["BIDDEN_DATABASE_URL"] = roads.url(database, road)
    try:
        yield
    finally:
        for name in by:
            town.apart.pop(name)


def cut_off(
    town: Town, chance: random.Random, roads: Roads, people: int, rate: float, seconds: float
) -> Seen:
    """Two senders on one database, one of them cut off from it in mid-send, while people say no."""
    with (
        at_most(town, rate),
        town.mailing("marketing", *SLOWLY, people=people) as made,
        _on_a_road(town, roads, made, "one") as road,
        ThreadPoolExecutor(8) as doors,
    ):
        other = _its_own_server(town, made, "two")
        town.sender("one")
        town.sender("two")
        town.launch(made)
        wait_for(has_begun(made))
        wait_for(has_begun(other))
        with cut(roads, road) as gap:
            said = _noes(town, made, chance, doors, seconds)
        for one in said:
            one.result()
        person = chance.choice(sorted(made.people.values()))
        until("a no that both senders have heard of", lambda: town.withdraw(made, person) == 200, 30)
        settled = time.monotonic()
        evidence = _with(town.evidence(made), other)
        _quiet(made, gap)
        _truthful(evidence, gap)
        assert evidence.report["outcomes"]["unknown"] == 0, "no connection to a mail server was touched"
        return Seen(evidence, [], 0, notes=_figures(evidence, made, gap, settled))


def _its_own_server(town: Town, made: Mailing, sender: str) -> Mailing:
    """A second mail server for this sender alone, so that it can be told whose dot it was."""
    other = Mailing(made.kind, made.people, made.log.with_suffix(f".{sender}.jsonl"), free_port(), made.plans)
    town.serve(other, *SLOWLY)
    town.apart.setdefault(sender, {})["BIDDEN_SMTP_URL"] = (
        f"smtp://127.0.0.1:{other.port}?starttls=never&connections=8"
    )
    return other


def _with(evidence: checker.Evidence, other: Mailing) -> checker.Evidence:
    evidence.sink += other.lines()
    evidence.__post_init__()
    return evidence


def _noes(
    town: Town, made: Mailing, chance: random.Random, doors: ThreadPoolExecutor, seconds: float
) -> "list[Future[int | None]]":
    """Two noes a second for so long."""
    people = chance.sample(sorted(made.people.values()), int(2 * seconds))
    said = []
    began = time.monotonic()
    for number, person in enumerate(people):
        time.sleep(max(0.0, began + number / 2 - time.monotonic()))
        said.append(doors.submit(town.withdraw, made, person))
    time.sleep(max(0.0, began + seconds - time.monotonic()))
    return said


def _quiet(made: Mailing, gap: Cut) -> None:
    """Whoever was cut off for so long wrote no further dot, though it had letters in hand."""
    dots = [line["t_dot"] for line in made.lines() if line["t_dot"]]
    late = [dot - gap.began for dot in dots if gap.began + QUIET_AFTER + SOON < dot < gap.ended]
    assert not late, f"{len(late)} dots of the sender cut off, the last {max(late):.1f} s after"
    assert any(gap.began < dot for dot in dots), "it had no letter in hand, so its silence says nothing"


def _truthful(evidence: checker.Evidence, gap: Cut) -> None:
    """A no that one sender cannot have heard of is never called settled; all of them are answered."""
    early, late = gap.began, gap.ended - PATIENCE
    during = [one for one in evidence.withdrawals if early < one["t_sent"] < late]
    statuses = {one["status"] for one in during}
    assert statuses == {202}, f"while one sender was cut off noes were answered {statuses}"
    assert {one["status"] for one in evidence.withdrawals} <= {200, 202}


def _figures(evidence: checker.Evidence, made: Mailing, gap: Cut, settled: float) -> dict[str, float]:
    dots = sorted(line["t_dot"] for line in made.lines() if line["t_dot"])
    waits = [one["t_ack"] - one["t_sent"] for one in evidence.withdrawals if one["t_ack"]]
    held = [dot for dot in dots if dot < gap.ended]
    again = next((dot - gap.ended for dot in dots if dot > gap.ended), -1.0)
    return {
        "cut off for, s": round(gap.ended - gap.began, 1),
        "last dot of the sender cut off after, s": round(max(held) - gap.began, 2),
        "noes answered 200 again after, s": round(settled - gap.ended, 2),
        "sending again after, s": round(again, 2),
        "noes answered 202, people": sum(one["status"] == 202 for one in evidence.withdrawals),
        "answer longest, s": round(max(waits), 2),
    }


def holding_the_tail(town: Town, chance: random.Random, roads: Roads, seconds: float) -> Seen:
    """A sender far from the database is cut off just when it holds the ledger's tail: others must not wait for it for long."""
    with (
        town.mailing("marketing", *SLOWLY) as made,
        roads.long_road(delay=0.1) as road,
        _given(town, roads, one=road),
        ThreadPoolExecutor(8) as doors,
    ):
        town.sender("one")
        town.launch(made)
        with psycopg.connect(town.stack.environment["BIDDEN_DATABASE_URL"], autocommit=True) as watch:
            wait_for(lambda: _holds_the_tail(watch, road))
            with cut(roads, road) as gap:
                said = [doors.submit(town.withdraw, made, one) for one in _some(made, chance, 8)]
                waits = [one.result() for one in said]
                time.sleep(max(0.0, gap.began + seconds - time.monotonic()))
        assert set(waits) == {202}, f"with its tail held the ledger took no word: {set(waits)}"
        evidence = town.evidence(made)
        longest = max(one["t_ack"] - one["t_sent"] for one in evidence.withdrawals)
        assert longest < RELEASED + PATIENCE, f"a no waited {longest:.1f} s"
        return Seen(evidence, [], 0, notes={"answer longest, s": round(longest, 2)})


def _holds_the_tail(watch: "psycopg.Connection[tuple[int]]", road: Road) -> bool:
    held = watch.execute(TAIL_HELD, {"near": road.near}).fetchone()
    return bool(held and held[0])


def _some(made: Mailing, chance: random.Random, number: int) -> list[str]:
    """People who say no; an important notice is owed to everybody, so nobody does."""
    return chance.sample(sorted(made.people.values()), number) if made.kind == "marketing" else []


def far_from_the_database(town: Town, chance: random.Random, roads: Roads, kind: str, **line: float) -> Seen:
    """A sender and web by long, lossy lines to the database; people say no, and get an answer."""
    with (
        town.mailing(kind, *SLOWLY) as made,
        roads.long_road(**line) as road,
        _given(town, roads, one=road),
        ThreadPoolExecutor(4) as doors,
    ):
        town.sender("one")
        town.launch(made)
        wait_for(has_begun(made), BY_CHANCE)
        said = [doors.submit(town.withdraw, made, one) for one in _some(made, chance, 8)]
        statuses = {one.result() for one in said}
        assert statuses <= {200, 202}, f"answered {statuses}"
        seen = Seen(town.evidence(made, BY_CHANCE), [], 0)
        assert seen.evidence.report["outcomes"]["unknown"] == 0, "no connection to a mail server was touched"
        return seen


def resets(town: Town, chance: random.Random, roads: Roads, kind: str, which: str) -> Seen:
    """Every connection on the road is reset, again and again: to the database, or to the mail server."""
    with (
        town.mailing(kind, *SLOWLY, people=2 * PEOPLE) as made,
        _on_a_road(town, roads, made, which) as road,
        ThreadPoolExecutor(4) as doors,
    ):
        town.sender("one")
        town.launch(made)
        wait_for(has_begun(made))
        said = []
        for _ in range(3):
            time.sleep(chance.uniform(0.1, 0.4))
            with cut(roads, road, RESET):
                said += [doors.submit(town.withdraw, made, one) for one in _some(made, chance, 2)]
                time.sleep(0.3)
            made.cuts += CONNECTIONS if which == "mail" else 0
        assert {one.result() for one in said} <= {200, 202}
        return _judged(town, made, which)


def partition(town: Town, chance: random.Random, roads: Roads, kind: str, which: str, seconds: float) -> Seen:
    """A road is cut in mid-send, for so long, while people say no: what the answer promises holds, and all goes on by itself."""
    with (
        town.mailing(kind, *SLOWLY, people=2 * PEOPLE) as made,
        _on_a_road(town, roads, made, which) as road,
        ThreadPoolExecutor(8) as doors,
    ):
        town.sender("one")
        town.launch(made)
        wait_for(has_begun(made))
        time.sleep(chance.uniform(0.1, 0.5))
        with cut(roads, road) as gap:
            said = [doors.submit(_until_answered, town, made, one) for one in _some(made, chance, 8)]
            time.sleep(seconds)
        assert {one.result() for one in said} <= {200, 202}
        answered = time.monotonic() - gap.ended
        assert answered < AGAIN, f"answered {answered:.1f} s after the road was well again"
        seen = _judged(town, made, which)
        seen.notes = _gap_figures(seen.evidence, gap)
        return seen


def _until_answered(town: Town, made: Mailing, person: str) -> int:
    """A person asks again until there is a success."""
    return int(until("an answer", lambda: _success(town.withdraw(made, person)), 90))


def _success(status: int | None) -> int:
    return status if status in (200, 202) else 0


def _gap_figures(evidence: checker.Evidence, gap: Cut) -> dict[str, float]:
    again = [line["t_mail"] for line in evidence.sink if line["t_mail"] > gap.ended]
    return {
        "cut for, s": round(gap.ended - gap.began, 1),
        "sending again after, s": round(min(again, default=gap.ended) - gap.ended, 2),
    }


@contextmanager
def _on_a_road(town: Town, roads: Roads, made: Mailing, which: str) -> Iterator[Road]:
    """The road from `one` (a sender) or web to the database, or from the sender to its mail server."""
    if which == "mail":
        log = made.log.with_suffix(".departed.jsonl")
        with roads.long_road(log=log) as road:
            _far_server(town, roads, made, road)
            yield road
        return
    road = roads.road()
    with _given(town, roads, **{which: road}):
        if which == "web":
            town.again("web")
        yield road
    if which == "web":
        town.again("web")


def _far_server(town: Town, roads: Roads, made: Mailing, road: Road) -> None:
    """The mail server at the far end of the road instead of here."""
    assert made.sink is not None
    town.end(made.sink)
    town.serve(made, *SLOWLY, "--host", road.far, within=roads.space)
    url = f"smtp://{road.far}:{made.port}?starttls=never&connections={CONNECTIONS}"
    town.stack.environment["BIDDEN_SMTP_URL"] = url


def _judged(town: Town, made: Mailing, which: str) -> Seen:
    """The evidence, with the moments at which dots departed where the line has noted them."""
    evidence = town.evidence(made)
    if which != "mail":
        assert evidence.report["outcomes"]["unknown"] == 0, "no connection to a mail server was touched"
        return Seen(evidence, [], 0)
    departed: dict[str, list[float]] = {}
    for one in checker.read_lines(made.log.with_suffix(".departed.jsonl")):
        departed.setdefault(one["message_id"], []).append(one["t"])
    for line in evidence.sink:
        if line["t_dot"]:
            line["t_dot"] = max(t for t in departed[line["message_id"]] if t <= line["t_dot"])
    _none_after_no(evidence, departed)
    return Seen(evidence, [], 0)


def _none_after_no(evidence: checker.Evidence, departed: dict[str, list[float]]) -> None:
    """What departed and was lost on the way is in no sink's log: it must not have been after a no, either."""
    told = {one["person"]: one["t_ack"] for one in reversed(evidence.withdrawals) if one["status"] == 200}
    for person, row in evidence.rows.items():
        late = [
            t
            for t in departed.get(row["message_id"] or "", [])
            if t > told.get(person, t) + checker.ON_THE_WAY
        ]
        assert not late, f"a dot for {person} departed after the no was settled"


def trials(roads: Roads) -> list[Trial]:
    """The ordinary size."""
    made = [("a sender cut off for 20 s", partial(cut_off, people=400, rate=20.0, seconds=20.0))]
    made += [("cut off with the ledger's tail", partial(holding_the_tail, seconds=15.0))]
    for kind, percent in (("marketing", 5.0), ("important", 15.0), ("marketing", 30.0)):
        far = partial(far_from_the_database, kind=kind, loss=percent)
        made += [(f"database {percent:g} % lost {kind}", far)]
    far = partial(far_from_the_database, kind="marketing", delay=0.1, spread=0.05)
    made += [("database 200 ms away", far)]
    for kind in ("marketing", "important"):
        made += [
            (f"{which} reset {kind}", partial(resets, kind=kind, which=which)) for which in ("one", "mail")
        ]
    for which, seconds in (
        ("one", 2.0),
        ("one", 10.0),
        ("web", 2.0),
        ("web", 10.0),
        ("mail", 2.0),
        ("mail", 10.0),
    ):
        made += [
            (
                f"{which} parted {seconds:g} s",
                partial(partition, kind="marketing", which=which, seconds=seconds),
            )
        ]
    return [Trial("F25", name, partial(do, roads=roads)) for name, do in made]


def small(roads: Roads) -> list[Trial]:
    """What `make test` plays."""
    do = partial(cut_off, roads=roads, people=200, rate=10.0, seconds=6.0)
    return [Trial("F25", "a sender cut off for 6 s", do)]
