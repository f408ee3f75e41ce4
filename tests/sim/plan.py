"""What a seed has in store: how many senders, which roads, what goes wrong and when. Drawn once, before the run begins.

Everything here is a number or a word, so that a plan can be read in a trace. Made and read by `world` and `events`.
"""

import random
from dataclasses import dataclass, field

from service.kit import failpoints
from tests.faults.checker import AMBIGUOUS, PERHAPS
from tests.faults.runs import CODES
from tests.sim.network import Road

CHOSEN, FIRES = 0.25, 0.25  # a failpoint is chosen for a run, and a chosen one fires when it is reached
PHASES = ("mail", "rcpt", "data")
SINGLE = (
    *(f"drop:{phase}" for phase in (*PHASES, "payload", "dot", "kept")),
    *(one for one in AMBIGUOUS if one != "unread:dot"),  # here roads have windows of their own
    *PERHAPS, "bye:dot", *CODES,
    "dot:451 4.7.1 try later", "dot:550 5.7.1 policy", "dot:421 4.7.0 slow down", "mail:421 4.3.2 closing",
)  # fmt: skip


@dataclass
class Event:
    """Something that happens at a moment (virtual seconds from the launch). `what` is a name of `events`."""

    at: float
    what: str
    given: tuple[float, ...] = ()


@dataclass
class Plan:
    """One run."""

    kind: str  # marketing | important
    groups: int
    senders: int  # one or two on the first machine
    far: bool  # one more on a machine of its own
    clocks: int
    connections: int
    pipelining: bool
    delay: float
    close_after: int
    letter_faults: float  # share of letters with a fault of their own
    greylisted: float
    nobody: float
    full: float
    busy: bool
    send_rate: float
    road: Road
    slow: float  # share of transactions that take long
    away: float  # share of transactions that fail before they begin, and
    unanswered: float  # of those done whose answer is lost
    failpoints: tuple[str, ...]
    deaths: int  # at most so many by failpoints
    batch: int
    chunk: int
    watch: float
    idle: float
    reclaim: float  # seconds after which a claim is too old to send on
    stale: float
    strict: bool = False  # the guard's figures mean something from a few answers on, so mailings halt
    events: list[Event] = field(default_factory=list)
    calm: float = 5.0  # from then on nothing new goes wrong


def draw(seed: int) -> Plan:
    """The plan of a seed."""
    chance = random.Random(f"plan {seed}")
    often = chance.random() < 0.75
    plan = Plan(
        kind="important" if chance.random() < 0.4 else "marketing",
        groups=chance.choice((1, 1, 2, 3)),
        senders=chance.choice((1, 1, 1, 2)),
        far=chance.random() < 0.25,
        clocks=chance.choice((1, 1, 1, 2)),
        connections=chance.choice((1, 2, 3, 4)),
        pipelining=chance.random() < 0.7,
        delay=chance.choice((0.0, 0.002, 0.02, 0.1)),
        close_after=chance.choice((0, 0, 0, 3, 7)),
        letter_faults=chance.choice((0.0, 0.0, 0.02, 0.1, 0.3)),
        greylisted=chance.choice((0.0, 0.0, 0.0, 0.3)),
        nobody=chance.choice((0.0, 0.0, 0.05)),
        full=chance.choice((0.0, 0.0, 0.0, 0.0, 0.1)),
        busy=chance.random() < 0.15,
        send_rate=chance.choice((0.0, 0.0, 0.0, 0.0, 40.0)),
        road=_road(chance),
        slow=chance.choice((0.0, 0.0, 0.05, 0.3)) if often else 0.0,
        away=chance.choice((0.0, 0.0, 0.02, 0.1)) if often else 0.0,
        unanswered=chance.choice((0.0, 0.0, 0.02, 0.1)) if often else 0.0,
        failpoints=tuple(name for name in failpoints.NAMES if often and chance.random() < CHOSEN),
        deaths=chance.choice((0, 1, 2, 3)),
        batch=chance.choice((4, 8, 15, 30)),
        chunk=chance.choice((11, 5000, 5000)),
        watch=chance.choice((0.05, 0.15, 0.3, 0.3)),
        idle=chance.choice((0.5, 1.0)),
        reclaim=chance.choice((60.0, 60.0, 1.0)),
        stale=30.0 if chance.random() < 0.05 else 3.0,
    )
    strict = random.Random(f"strict {seed}")
    plan.strict = strict.random() < 0.2
    if plan.strict:  # and then there has to be something for the guard to count
        plan.nobody = strict.choice((plan.nobody, 0.1, 0.3))
    plan.events = sorted(_events(chance, plan, often), key=lambda one: one.at)
    plan.calm = max([2.5, *(one.at + 0.5 for one in plan.events)])
    return plan


def _road(chance: random.Random) -> Road:
    road = Road(
        latency=chance.choice((0.0005, 0.003, 0.02)),
        spread=chance.choice((0.0005, 0.005, 0.03)),
        pieces=chance.choice((0.0, 0.0, 0.1, 0.5)),
    )
    if chance.random() < 0.25:
        road.kernel = chance.choice((700, 3_000, 20_000))
        road.window = chance.choice((500, 2_000, 8_000))
        road.reading = chance.choice((0.001, 0.01, 0.05))
    if chance.random() < 0.15:
        road.stalls = (chance.uniform(0.05, 0.8), chance.uniform(0.5, 6.0))
    return road


def _events(chance: random.Random, plan: Plan, often: bool) -> list[Event]:
    """Noes in most runs; the rest a few at a time."""
    found = []

    def some(what: str, most: int, share: float, until: float = 2.5, *given: tuple[float, float]) -> None:
        if chance.random() < share:
            for _ in range(chance.randint(1, most)):
                drawn = tuple(chance.uniform(*bounds) for bounds in given)
                found.append(Event(chance.uniform(0.1, until), what, drawn))

    some("withdraw", 8, 0.8, 2.5, (0, 1))
    some("aimed", 4, 0.5, 2.5, (0, 1))
    some("do_not_mail", 2, 0.15, 2.5, (0, 1))
    if not often:
        return found
    some("kill", 2, 0.35, 2.5, (0, 1))
    some("kill_and_aim", 3, 0.7 if plan.road.stalls[1] or plan.road.reading else 0.0, 2.0, (0, 1))
    some("stop", 2, 0.15, 2.5, (0, 1))
    some("freeze", 2, 0.25, 2.5, (0, 1), (0.2, 5.5))
    if plan.far and not plan.road.reading and not plan.road.stalls[1] and plan.stale < 10:
        some("freeze_far", 1, 0.4, 2.0, (4.5, 9.0))
    some("power_cut", 1, 0.12, 2.5, (0, 1), (0, 1))
    some("cut", 3, 0.2, 2.5)
    some("server_down", 1, 0.12, 2.0, (0.2, 2.5))
    some("database_away", 1, 0.15, 2.0, (0.2, 2.5))
    some("journal_full", 1, 0.06, 2.0, (0.1, 2.0))
    some("wall_step", 1, 0.12, 2.0, (0, 1), (0.5, 3.0))
    some("day_passes", 1, 0.03, 2.5)
    some("kill_web", 1, 0.08, 2.5)
    some("kill_clock", 1, 0.1, 2.0)
    some("retire", 1, 0.04, 2.5)
    if plan.kind == "marketing":
        some("pause", 2, 0.2, 2.5, (0.2, 2.0))
    some("cancel", 1, 0.1, 2.5)
    return found
