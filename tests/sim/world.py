"""One seed's world: machines, processes, the database's moods, the mail server, and the trace of what happened.

It starts the product's own `Sender`, clock jobs, supervisor and fence, unchanged, as processes of the virtual loop. `events`
make it suffer, `oracle` judges what is left. Made by `run`.
"""

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError
from sqlmodel import Session

from scheduler import clock as alarm
from scheduler import jobs
from scheduler.sender import Sender
from scheduler.wall import Wall
from service import fence
from service.db.engine import AWAY
from service.db.session import reading
from service.kit.errors import DomainError
from service.mail.transport import Timeouts
from service.ops.house import House
from tests.faults import sink
from tests.faults.checker import without_reply
from tests.sim.loop import BEGINNING, Killed, Loop, Process, current
from tests.sim.machine import Host, Machine
from tests.sim.mailserver import Manners, Server
from tests.sim.network import Line, Network
from tests.sim.plan import FIRES, SINGLE, Plan
from tests.sim.town import BUSY, GROUPS, TOPICS, Reader, Town

PATIENCE = Timeouts(greeting=1.5, mail=1.0, rcpt=1.0, data=1.0, block=1.0, dot=1.5, quit=0.5)
OFTEN = 2.0  # seconds between two looks for what has expired; the timetable's twenty would make runs long
RESTS = 0.2  # share of transactions after which a job or a door does not go on at once
AT_THE_END = ("finish.before_commit",)  # a place that is mostly reached when all is calm


class Gone(OperationalError):
    """The database did not answer."""

    def __init__(self) -> None:
        super().__init__("a statement", None, Exception("the connection was lost"))


class World:
    """Everything of one run. `trace` holds (moment, who, what) in order."""

    def __init__(self, town: Town, seed: int, plan: Plan) -> None:
        self.town, self.seed, self.plan = town, seed, plan
        self.road = replace(plan.road)
        self.chance = random.Random(f"world {seed}")
        self.loop = Loop(random.Random(f"loop {seed}"))
        self.loop.plan, self.loop.connect = self._transaction, self._dial
        self.hosts = {name: Host(name, town.directory / name, f"{name}-boot-1") for name in ("a", "b")}
        self.machine = Machine(self.loop, seed, self.hosts["a"])
        self.machine.hit = self._failpoint
        self.network = Network(self.loop, random.Random(f"network {seed}"))
        self.machine.kernel_holds = self.network.ioctl
        self.houses: dict[str, House] = {}
        self.trace: list[tuple[float, str, str]] = []
        self.reached: Counter[str] = Counter()
        self.calm = False
        self.deaths = 0
        self.away_until = 0.0
        self.instants: dict[int, float] = {}  # of the ledger's entries, when they were committed
        self.tail = 0
        self.unwatched: Callable[[Process], None] = lambda process: (
            None
        )  # a sender ended that nobody watches over
        self.web: Process | None = None
        self.senders: dict[str, Process] = {}
        self.given_up: list[Process] = []
        self.stops: dict[str, asyncio.Event] = {}
        self.public_id = ""
        self.began_at = 0.0
        # What the oracle asks for afterwards.
        self.said: list[dict[str, Any]] = []  # noes of persons
        self.halts: list[dict[str, Any]] = []  # noes to everybody: pause, cancel, retire
        self.journals: list[bytes] = []
        self.doubtful: set[tuple[int, int]] = set()
        self.settled: set[tuple[int, int]] = (
            set()
        )  # recorded by a sender that then died, without a reply in its journal
        self.buried: set[tuple[int, int]] = set()  # without one in the journals so far
        self.stall = 0.0
        self.readers = [one for one in town.readers if one.group in GROUPS[: plan.groups]]
        self.server = self._server()

    # What happened

    def note(self, who: str, what: str) -> None:
        """A line of the trace."""
        self.trace.append((round(self.loop.moment - BEGINNING, 6), who, what))

    def digest(self) -> str:
        """The trace as one number: the same seed, the same digest."""
        return hashlib.sha256("\n".join(map(repr, self.trace)).encode()).hexdigest()[:16]

    @property
    def since(self) -> float:
        """Virtual seconds since the launch."""
        return self.loop.moment - self.began_at

    # The mail server and the roads to it

    def _server(self) -> Server:
        plan, chance = self.plan, random.Random(f"server {self.seed}")
        addresses = [one.address for one in self.readers]
        manners = Manners(
            frozenset(one for one in addresses if chance.random() < plan.greylisted),
            frozenset(one for one in addresses if chance.random() < plan.nobody),
            frozenset(one for one in addresses if chance.random() < plan.full),
            BUSY if plan.busy else "",
        )

        def fault(number: int) -> str | None:
            if self.calm and number % 3:  # what is left may still meet one now and then
                return None
            return chance.choice(SINGLE) if chance.random() < plan.letter_faults else None

        settings = sink.Settings(
            pipelining=plan.pipelining, delay=plan.delay, close_after=plan.close_after, fault=fault
        )
        server = Server(settings, manners, lambda: self.loop.moment)
        server.heard = lambda message: self.note(
            "server", f"{message.rcpt} {message.fault or ''} {'kept' if message.committed else 'not kept'}"
        )
        return server

    async def _dial(self, factory: Callable[[], Any], host: str, port: int) -> tuple[Line, Any]:
        await asyncio.sleep(self.road.latency * 2)
        if self.server.down:
            raise ConnectionRefusedError
        line = self.network.dial(factory, self.server.session, self.road)
        return line, line.protocol

    # The database

    def _transaction(
        self, process: Process | None, do: Callable[[], Any]
    ) -> tuple[float, Callable[[], Any], float]:
        """How long what is done in a thread waits for its turn, and for its answer to be heard."""
        chance, longest = self.loop.chance, 0.002
        if not self.calm and chance.random() < self.plan.slow:
            longest = 0.4
        return chance.uniform(0.0001, longest), do, chance.uniform(0.0001, longest)

    def beginning(self, connection: Connection) -> None:
        """Asked when a transaction has begun; it may turn out that nobody is there."""
        process = current.get()
        who = process.name if process is not None else "outside"
        writes = bool(connection.get_execution_options().get("write"))
        strikes = process is not None and not self.calm
        if strikes and (self.loop.moment < self.away_until or self.loop.chance.random() < self.plan.away):
            self.note(who, "finds no database")
            raise Gone
        self.note(who, "writes" if writes else "reads")

    def returning(self) -> None:
        """Asked when a connection is given back: whoever has another transaction to make may be slow to begin it."""
        if current.get() is not None and self.loop.chance.random() < RESTS:
            self.loop.rest(self.loop.chance.uniform(0.0, 0.4 if self.plan.slow and not self.calm else 0.01))

    def committing(self, connection: Connection) -> None:
        """Asked before a commit: which entries of the ledger it makes true, and whether its answer is heard."""
        raw: Any = connection.connection.dbapi_connection
        process = current.get()
        unanswered = (
            process is not None and not self.calm and self.loop.chance.random() < self.plan.unanswered
        )
        (tail,) = raw.execute("SELECT max(seq) FROM ledger_entry").fetchone()
        for seq in range(self.tail + 1, tail + 1):
            self.instants[seq] = self.loop.moment
        self.tail = tail
        if unanswered and process is not None:
            raw.execute("COMMIT")
            self.note(process.name, "hears no answer")
            raise Gone

    # Dying

    def _failpoint(self, name: str) -> None:
        self.reached[name] += 1
        process = current.get()
        if process is None or name not in self.plan.failpoints or self.deaths >= self.plan.deaths:
            return
        if self.calm and name not in AT_THE_END:
            return
        if self.chance.random() < FIRES:
            self.deaths += 1
            self.reached[f"{name} fired"] += 1
            self.note(process.name, f"dies at {name}")
            process.end(-9)
            raise Killed

    # Processes

    def start_sender(self, name: str, host: Host) -> Process:
        """A sender of that name on that host."""
        process = self.machine.spawn(name, host)
        self.senders[name] = process
        stop = self.stops[name] = process.context.copy().run(asyncio.Event)
        process.at_death.insert(0, lambda: self.bury(process))
        if host.name == "b":
            process.at_death.append(lambda: self.unwatched(process))
        process.start(self._send(process, stop))
        self.note(name, f"starts as {process.pid}")
        return process

    async def _send(self, process: Process, stop: asyncio.Event) -> None:
        code = 0
        try:
            chance = random.Random(self.chance.random())
            sender = Sender(self.houses[process.host.name], process.name, executor=_THREADS, chance=chance)
            for place in sender.carriers.places:
                place.timeouts = PATIENCE
            await sender.run(stop)
        except Exception as error:
            self.note(process.name, f"fails: {type(error).__name__}")
            code = 1
        process.end(code)

    def bury(self, process: Process) -> None:
        """Keep what a dead sender left behind."""
        if process.code == 0 or process.host.dark:
            return
        self.note(process.name, f"is gone ({process.code})")
        found = sorted(process.host.journals.glob(f"{process.name}.*.journal"))
        copies = [path.read_bytes() for path in found]
        self.journals += copies
        recorded = self.town.query(
            "SELECT pos, attempt FROM outcome JOIN mailing ON mailing.id = outcome.mailing_id"
            " WHERE mailing.kind NOT IN ('system', 'test') AND outcome.state <> 'unknown'"
        )
        pairs = set().union(*map(without_reply, copies))
        self.settled |= (pairs - self.buried) & set(recorded)
        self.buried |= pairs

    def start_clock(self, name: str, host: Host) -> Process:
        """The timetable, line by line."""
        process = self.machine.spawn(name, host)
        process.start(self._begin_ticking(process))
        return process

    async def _begin_ticking(self, process: Process) -> None:
        house, wall = self.houses[process.host.name], Wall()

        def begin() -> None:
            with reading(house.engine) as session:
                wall.begin(session)

        try:
            await self.loop.run_in_executor(None, begin)
        except AWAY as error:
            self.note(process.name, f"fails: {type(error).__name__}")
            process.end(1)
            return
        for job in [one for one in jobs.TIMETABLE if one.name != "forget"]:  # of sign-ins and kept answers
            process.start(self._tick(process, job, wall))

    async def _tick(self, process: Process, job: jobs.Job, wall: Wall) -> None:
        house, loop = self.houses[process.host.name], self.loop
        await asyncio.sleep(self.chance.random() * 0.3)
        while True:
            await loop.run_in_executor(None, alarm.tick, house, job, wall)
            await asyncio.sleep(
                min(job.every.total_seconds(), OFTEN) if job.name == "expire" else job.every.total_seconds()
            )

    def start_web(self, host: Host) -> Process:
        """Where noes arrive."""
        self.web = self.machine.spawn("web", host)
        fence._lookouts.pop(self.loop, None)  # the memory of its predecessor
        return self.web

    # Doors

    def ask(self, row: dict[str, Any], action: Callable[[Session], Any], then: Any = None) -> None:
        """Somebody asks the web process for something; `row` gets t_sent, t_ack and status."""
        row |= {"t_sent": self.loop.moment, "t_ack": None, "status": None}
        if self.web is None or not self.web.alive:
            return
        self.web.start(self._answer(row, action, then))

    async def _answer(self, row: dict[str, Any], action: Callable[[Session], Any], then: Any) -> None:
        try:
            done = await fence.perform(self.houses["a"], action)
            status = 200 if done.settled else 202
        except DomainError as refused:
            status = refused.status
        except AWAY:
            status = 503
        row["status"], row["t_ack"] = status, self.loop.moment
        self.note("web", f"answers {status} to {row['what']}")
        if then is not None:
            then(status)

    # The end

    def state(self) -> tuple[str | None, str, bool]:
        """Where the mailing and its announcement (or notice) stand, and whether the mailing's end is written down."""
        table = "notice" if self.plan.kind == "important" else "announcement"
        rows = self.town.query(
            f"SELECT mailing.state, {table}.state, mailing.finished_at IS NOT NULL"
            f" FROM {table} LEFT JOIN mailing ON mailing.id = {table}.mailing_id"
            f" WHERE {table}.public_id = ?",
            self.public_id,
        )
        return rows[0]

    def topic(self) -> str:
        """The slug of what is written about."""
        return TOPICS[self.plan.kind]

    def reader(self, share: float) -> Reader:
        """One of those who were to get it."""
        return self.readers[min(int(share * len(self.readers)), len(self.readers) - 1)]


class _Threads:
    """Stands where the sender has its threads; the loop does without."""


_THREADS: Any = _Threads()
