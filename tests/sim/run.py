"""One seed from beginning to end: launch, suffer, calm down, end, be judged. Called by `campaign`, `__main__` and the tests."""

import contextlib
import io
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlmodel import Session

from service.db.session import transaction
from service.domain.announcements import actions as announcements
from service.domain.mailings.rules import ENDED
from service.domain.notices import actions as notices
from service.kit import clock
from tests.faults.checker import Finding
from tests.sim import events, knobs, oracle
from tests.sim.plan import Plan, draw
from tests.sim.supervised import supervise
from tests.sim.town import BY, Town
from tests.sim.world import World

LOOK = 0.1  # virtual seconds between two looks whether all is over
SEEN = 0.1  # share of them at which staff, too, notice a halt: the clock has time to write it down first
AFTER = 0.1  # how long the world goes on then
LONG = 60.0  # seconds of calm after which nothing can be left but what waits for its time
NEVER = 240.0  # seconds after the launch at which a mailing counts as one that never ends


@dataclass
class Result:
    """What a seed came to."""

    seed: int
    plan: Plan
    findings: list[Finding]
    digest: str
    ended: str
    seconds: float  # virtual
    steps: int
    reached: Counter[str] = field(default_factory=Counter)
    edges: Counter[str] = field(default_factory=Counter)
    trace: list[tuple[float, str, str]] = field(default_factory=list)


def play(town: Town, seed: int, plan: Plan | None = None) -> Result:
    """Play a seed (with its own plan, unless another is given)."""
    plan = plan or draw(seed)
    town.begin()
    world = World(town, seed, plan)
    town.beginning, town.committing, town.returning = world.beginning, world.committing, world.returning
    try:
        with world.machine.running(), knobs.turned(plan), contextlib.redirect_stderr(io.StringIO()):
            _open(world)
            world.loop.run(until=world.began_at + NEVER)
            findings = oracle.judge(world)
            world.loop.bury()
    finally:
        world.machine.close_files()
    return Result(
        seed,
        plan,
        findings,
        world.digest(),
        world.state()[0] or world.state()[1],
        world.since,
        world.loop.steps,
        world.reached,
        _edges(world),
        world.trace,
    )


def _open(world: World) -> None:
    """Houses, the launch, everybody who works here, and what will happen."""
    plan, town = world.plan, world.town
    url = f"smtp://mail.example.org:25?starttls=never&connections={plan.connections}"
    for name in world.hosts:
        world.houses[name] = town.house(
            name, smtp_url=url, retry_seconds="1,1,1,2", unknown_retry_seconds=1, send_rate=plan.send_rate
        )
    (world.tail,) = town.query("SELECT max(seq) FROM ledger_entry")[0]
    world.loop.outside.run(_launch, world)
    world.began_at = world.loop.moment
    world.unwatched = partial(events.far_again, world)
    supervise(world)
    if plan.far:
        events.begin_far(world)
    for event in plan.events:
        world.loop.later(event.at, partial(events.KINDS[event.what], world, *event.given))
    world.loop.later(plan.calm, _calm, world)
    world.loop.later(1.0, _look, world)


def _launch(world: World) -> None:
    """It is sent off."""
    plan, town, now = world.plan, world.town, clock.now()
    place = plan.groups - 1

    def publish(session: Session) -> Any:
        return notices.publish(
            session, world.houses["a"].settings, world.public_id, hold_seconds=0, now=now, by=BY
        )

    def schedule(session: Session) -> Any:
        return announcements.schedule(session, world.public_id, at="now", hold_seconds=0, now=now, by=BY)

    important = plan.kind == "important"
    world.public_id = (town.notices if important else town.announcements)[place]
    with transaction(town.engine) as session:
        (publish if important else schedule)(session)
    world.note("staff", f"sends off {plan.kind} to {len(world.readers)}")


def _calm(world: World) -> None:
    """Nothing new goes wrong any more; what was stopped for a while goes on."""
    world.note("world", "calms down")
    world.calm = True
    world.server.down = False
    world.away_until = 0.0
    world.road.reading, world.road.stalls, world.road.window = 0.0, (0.0, 0.0), 1 << 20


def _look(world: World) -> None:
    """Whether it is over; while it is not, whether staff have to do something, or time has to pass."""
    mailing, shown, finished = world.state()
    if (finished and (shown in ENDED or world.plan.kind == "important")) or (
        mailing is None and shown in ENDED
    ):
        world.loop.later(AFTER, setattr, world.loop, "stopped", True)
        return
    if mailing == "halted" and world.loop.chance.random() < SEEN:
        events.judge(world)
    if world.calm:
        quiet = world.since - world.plan.calm
        if shown == "paused" or mailing == "paused":
            given_up = any(one["what"] == "retire" for one in world.halts)
            events.cancel(world) if given_up else events.resume(world)
        if world.town.query("SELECT 1 FROM setting WHERE name = 'sending_on' AND value = 'false'"):
            events.believe(world)
        if quiet > LONG / 4 and int(quiet / LOOK) % 40 == 0:
            _let_time_pass(world)
    world.loop.later(LOOK, _look, world)


def _let_time_pass(world: World) -> None:
    """What was put off by a clock that was a day ahead, or begun anew by it, is due in a day: it comes."""
    rows = world.town.query(
        "SELECT min(due_at) FROM (SELECT due_at FROM batch WHERE state = 'open'"
        " UNION ALL SELECT due_at FROM announcement WHERE state = 'scheduled')"
    )
    if rows[0][0] is None:
        return
    due = datetime.fromisoformat(rows[0][0]).replace(tzinfo=UTC)
    wait = (due - world.machine.now()).total_seconds()
    if wait > 5:
        world.note("world", f"waits for {wait:.0f} s")
        for host in world.hosts.values():
            host.wall, host.slept = host.wall + wait, host.slept + wait


def _edges(world: World) -> Counter[str]:
    """Every change of state there was, of mailings, batches, announcements and deliveries."""
    found: Counter[str] = Counter()
    for kind, was, became in world.town.query("SELECT kind, was, became FROM sim_edge"):
        found[f"{kind}: {was} → {became}"] += 1
    last: dict[int, str] = {}
    rows = world.town.query("SELECT pos, state, reason FROM outcome ORDER BY pos, attempt")
    for pos, state, _reason in rows:
        found[f"delivery: {last.get(pos, 'planned')} → {state}"] += 1
        last[pos] = state
    return found
