"""The sender: claims batches, composes, hands letters to the wire, records what came of them; heeds every no at once.

One process, one event loop. The database is reached through an executor (a parameter), the wire is async. What was taken
away is read every 50 ms and published for the fence (design.md 5, step 6); the check before each dot is memory only.
Run by `bidden send`, one incarnation per name.
"""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

from scheduler import journal
from service.db.session import reading, transaction
from service.domain.deliveries import actions as deliveries
from service.domain.deliveries.compose import Composer
from service.domain.deliveries.queries import Member, due_batches
from service.domain.deliveries.rules import RECLAIM_AFTER, Result
from service.domain.ledger import queries as ledger
from service.domain.senders import actions as senders
from service.domain.senders import queries as leases
from service.kit import clock, logs, pacing
from service.mail import transport
from service.mail.headers import HeaderInjection
from service.mail.render import RenderError
from service.mail.replies import Reply, classify
from service.mail.transport import Letter, Outcome, Wire
from service.ops.house import House

log = logging.getLogger("bidden.sender")
Value = TypeVar("Value")

WATCH_EVERY = 0.05  # seconds between two looks at what was taken away
HEARTBEAT = 1.0  # seconds between two renewals of the lease when nothing was
IDLE = 0.25  # seconds to wait when nothing is due
AHEAD = 2  # batches in hand at most
SINGLES = 64  # single mails in hand at most
REST = 0.02  # seconds a connection waits before it looks again
LETTERS_PER_WIRE = 10  # a further connection is opened for each so many letters waiting


@dataclass(eq=False)
class Work:
    """A claimed batch in hand: who is still to be sent, and what came of the others."""

    claimed: deliveries.Claimed
    composer: Composer
    until: float  # monotonic: after that its permissions are too old to send on
    waiting: deque[Member] = field(default_factory=deque)
    results: list[Result] = field(default_factory=list)
    out: int = 0

    @property
    def done(self) -> bool:
        """Whether every position has its result."""
        return not self.waiting and not self.out


class Sender:
    """One incarnation. `run` returns when `stop` is set and everything on the wire has been answered and recorded."""

    def __init__(self, house: House, name: str, *, executor: Executor | None = None, chance: random.Random | None = None) -> None:
        self.house, self.name = house, name
        self.server = transport.parse_smtp_url(house.settings.wire_url)
        self.executor = executor or ThreadPoolExecutor(2, thread_name_prefix="database")
        self.chance = chance or random.Random()  # noqa: S311 - spreads retries, guards nothing
        self.bucket: pacing.Bucket | None = None
        if rate := house.settings.send_rate:
            self.bucket = pacing.Bucket(rate, burst=max(1.0, rate / 20))
        self.turn_at: float | None = None  # monotonic: when the place taken in the bucket comes
        self.journal: journal.Journal
        self.lease_id = 0
        self.seen = 0
        self.taken: dict[str, int] = {}  # person or mailing by opaque id → the last entry that took something away
        self.taken_all = 0
        self.lease_until = 0.0
        self.works: list[Work] = []
        self.letters: dict[int, tuple[Work, Member, str]] = {}
        self.wires: set[Wire] = set()
        self.next_key = 0
        self.wake = asyncio.Event()  # something ended or came: look again
        self.more = asyncio.Event()  # letters wait
        self.stopping = False

    async def run(self, stop: asyncio.Event) -> None:
        """Send until told to stop."""
        await self._begin()
        watcher = asyncio.create_task(self._watch())
        carriers = [asyncio.create_task(self._carry(n)) for n in range(self.server.connections)]
        stopper = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                await self._claim()
                await self._settle()
                waits = [asyncio.create_task(self.wake.wait()), stopper]
                await asyncio.wait(waits, timeout=IDLE, return_when=asyncio.FIRST_COMPLETED)
                waits[0].cancel()
                self.wake.clear()
                for task in (watcher, *carriers):
                    if task.done():
                        task.result()
        finally:
            await self._end(watcher, carriers)

    # Beginning and ending

    async def _begin(self) -> None:
        self.journal = journal.Journal.open(self.house.settings.journals, self.name)
        now = clock.now()

        def begin(session: Session) -> tuple[int, int]:
            seen = ledger.tail(session)[0]
            lease = senders.begin(session, self.name, boot_id=journal.boot_id(), seen_seq=seen, now=now)
            assert lease.id is not None
            return lease.id, seen

        self.lease_id, self.seen = await self._write(begin)
        for path in journal.unlocked(self.house.settings.journals):
            await self._recover(path)
        self.lease_until = time.monotonic() + leases.STALE_AFTER.total_seconds() / 2
        log.info("sender started", extra={"facts": {"sender": self.name}})

    async def _recover(self, path: Path) -> None:
        """Settle what a dead sender had in hand, by its journal: reply known, dot without reply, or never sent."""
        with journal.claim(path) as mine:
            if not mine:
                return
            contents = journal.read(path)
            known, unnamed = journal.fates(contents), journal.unnamed(contents, journal.boot_id())

            def fate(mailing: int, pos: int, attempt: int) -> Result:
                return _fate(pos, attempt, known.get((mailing, pos, attempt), unnamed))

            ring, retries, now = self.house.ring, self.house.settings.retries, clock.now()
            for batch in await self._read(lambda session: deliveries.orphaned(session, contents.name)):

                def settle(session: Session, batch: int = batch) -> None:
                    deliveries.recover(session, ring, batch, fate, retries=retries, now=now, chance=self.chance)

                await self._write(settle)
            path.unlink(missing_ok=True)

    async def _end(self, watcher: asyncio.Task[None], carriers: list[asyncio.Task[None]]) -> None:
        """No new letters; what is on the wire gets its answer (30 s at most), everything is recorded, the lease ends."""
        self.stopping = True
        for work in self.works:
            self._give_back(work)
        deadline = time.monotonic() + 30
        while any(work.out for work in self.works) and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        for task in (*carriers, watcher):
            task.cancel()
        await asyncio.gather(*carriers, watcher, return_exceptions=True)
        for work in self.works:  # what came back unsent from connections that were just ended
            self._give_back(work)
        await self._settle()
        await self._write(lambda session: senders.end(session, self.name, now=clock.now()))
        self.journal.close(remove=not self.works)

    def _give_back(self, work: Work) -> None:
        while work.waiting:
            member = work.waiting.popleft()
            work.results.append(Result(member.pos, member.attempt, "reclaim"))

    # What was taken away

    async def _watch(self) -> None:
        """Look, heed, publish: the sender's half of the fence."""
        beat = 0.0
        while True:
            taken = await self._read(lambda session: ledger.taken_since(session, self.seen))
            reset = [wire for one in taken for wire in self._heed(one)]
            for wire in reset:
                await wire.wait_closed()
            if taken or time.monotonic() - beat >= HEARTBEAT:
                beat = time.monotonic()
                await self._publish()
            await asyncio.sleep(WATCH_EVERY)

    def _heed(self, one: ledger.Taken) -> list[Wire]:
        """From this step on no dot is written for what was taken away; one still in our own hands is thrown away.

        Returns the connections that were reset for it; nothing may be published before they are gone.
        """
        mailing = one.body.get("mailing")
        if one.kind.startswith(("announcement.", "notice.")) and isinstance(mailing, str):
            self.taken[mailing] = one.seq
        elif one.kind.startswith(("settings.", "topic.")):
            self.taken_all = one.seq
        elif one.subject:
            self.taken[one.subject] = one.seq
        self.seen = max(self.seen, one.seq)
        reset = [wire for wire in self.wires if wire.unsent_bytes() and any(map(self._is_taken, wire.in_flight()))]
        for wire in reset:
            wire.abort()
        return reset

    def _is_taken(self, letter: Letter) -> bool:
        work, member, _ = self.letters[letter.pos]
        named = (self.taken.get(member.subject, 0), self.taken.get(work.claimed.mailing.public_id, 0), self.taken_all)
        return max(named) > work.claimed.seen_seq

    async def _publish(self) -> None:
        now, seen = clock.now(), self.seen

        def publish(session: Session) -> int:
            return len(leases.live(session)) if senders.renew(session, self.lease_id, seen_seq=seen, now=now) else 0

        live = await self._write(publish)
        if not live:
            raise RuntimeError("This sender's lease was ended by somebody else.")
        if self.bucket is not None:
            self.bucket.retune(self.house.settings.send_rate / live)
        self.lease_until = time.monotonic() + leases.STALE_AFTER.total_seconds() / 2

    # Claiming and recording

    async def _claim(self) -> bool:
        """Take what is due: single mails always, batches while fewer than two are in hand. Whether anything is in hand."""
        await self._claim_some(system=True, limit=SINGLES - len(self.works))
        await self._claim_some(system=False, limit=AHEAD - len(self.works))
        return bool(self.works)

    async def _claim_some(self, *, system: bool, limit: int) -> None:
        now = clock.now()
        if self.stopping or limit < 1:
            return
        due = await self._read(lambda session: session.scalars(due_batches(now=now, limit=1, system=system)).first())
        if due is None:
            return
        ring, lease = self.house.ring, self.lease_id
        claimed = await self._write(lambda session: deliveries.claim(session, ring, lease, now=now, limit=limit, system=system))
        for one in claimed:
            self._take_up(one, first=system)

    def _take_up(self, claimed: deliveries.Claimed, *, first: bool) -> None:
        composer = self._composer(claimed)
        until = time.monotonic() + RECLAIM_AFTER.total_seconds()
        work = Work(claimed, composer, until, deque(one for one in claimed.members if one.refusal is None))
        self.works.insert(0 if first else len(self.works), work)
        self.more.set()
        if work.done:
            self.wake.set()

    def _composer(self, claimed: deliveries.Claimed) -> Composer:
        house = self.house
        return Composer(house.settings, house.ring, claimed.mailing, claimed.topic, claimed.names, claimed.brand, claimed.contents)

    async def _settle(self) -> None:
        """Record every batch whose positions all have their result (T2); repeated until the database takes it."""
        done = [work for work in self.works if work.done]
        if done:
            retries, chance, now = self.house.settings.retries, self.chance, clock.now()

            def record(session: Session) -> None:
                for work in done:
                    deliveries.record(session, work.claimed, work.results, retries=retries, now=now, chance=chance)

            await self._write(record)
            self.works = [work for work in self.works if work not in done]
        if done and not self.works:
            self.journal.settle()

    # The wire

    async def _carry(self, number: int) -> None:
        """One connection's life: wait for enough letters, connect, carry them, back off when the server is away."""
        failures = 0
        while True:
            await self.more.wait()
            if self._pending() <= number * LETTERS_PER_WIRE:
                await self._rest()
                continue
            try:
                wire = await transport.connect(self.server, ehlo_name=self._ehlo())
            except transport.ConnectFailed as failed:
                failures += 1
                log.warning("no connection to the mail server", extra={"facts": {"reason": failed.reason}})
                self._reclaim_old()
                await asyncio.sleep(min(30.0, 0.5 * 2**failures))
                continue
            failures = 0
            await self._use(wire)

    async def _use(self, wire: Wire) -> None:
        self.wires.add(wire)
        try:
            while not wire.closed and not self.stopping:
                await transport.deliver(wire, self._next_letter, may_depart=self._may_depart, marked=self._marked, done=self._done)
                if not wire.closed and not await self._wait_for_letters():
                    break
        finally:
            self.wires.discard(wire)
            if wire.closed:
                await wire.wait_closed()
            else:
                await wire.close()

    async def _wait_for_letters(self) -> bool:
        """Keep the connection for a moment, in case more comes; with a rate set, wait for the next token."""
        for _ in range(40):
            if self._pending():
                await self._rest()
                return True
            await asyncio.sleep(0.05)
        return False

    async def _rest(self) -> None:
        """Let others go first; with a rate set, as long as the bucket says."""
        if not self._pending():
            self.more.clear()
        wait = self.turn_at - time.monotonic() if self.turn_at else REST
        await asyncio.sleep(min(REST, max(0.001, wait)))

    def _pending(self) -> int:
        return sum(len(work.waiting) for work in self.works)

    def _ehlo(self) -> str:
        return self.works[0].composer.sender.address.rpartition("@")[2] if self.works else "bidden.invalid"

    def _reclaim_old(self) -> None:
        for work in self.works:
            if time.monotonic() > work.until:
                self._give_back(work)
        self.wake.set()

    def _next_letter(self) -> Letter | None:
        """Compose the next letter that may go; None when there is none now."""
        if self.stopping:
            return None
        for work in self.works:
            while work.waiting:
                if time.monotonic() > work.until:
                    self._give_back(work)
                    break
                if not self._is_my_turn():
                    return None
                letter = self._compose(work, work.waiting.popleft())
                if letter is not None:
                    return letter
        self.more.clear()
        self.wake.set()
        return None

    def _is_my_turn(self) -> bool:
        """Whether the rate allows a letter now; a place once taken in the bucket is kept until its time comes."""
        if self.bucket is None:
            return True
        moment = time.monotonic()
        if self.turn_at is None:
            self.turn_at = moment + self.bucket.take(moment)
        if moment < self.turn_at:
            return False
        self.turn_at = None
        return True

    def _compose(self, work: Work, member: Member) -> Letter | None:
        try:
            made = work.composer.compose(member, now=clock.now())
        except (RenderError, HeaderInjection) as refused:
            return self._skip(work, member, refused.code)
        except Exception as wrong:  # whatever it is, it is this member's alone, and keeps nobody else from their mail
            facts = {"mailing": work.claimed.mailing.public_id, "pos": member.pos, "error": type(wrong).__name__}
            log.error("a mail could not be made", extra={"facts": facts})
            return self._skip(work, member, "render_error")
        self.next_key += 1
        work.out += 1
        self.letters[self.next_key] = (work, member, made.message_id)
        return Letter(self.next_key, made.mail_from, made.rcpt, made.data)

    def _skip(self, work: Work, member: Member, reason: str) -> None:
        work.results.append(Result(member.pos, member.attempt, "skipped", reason))
        self.wake.set()

    def _may_depart(self, letter: Letter) -> bool:
        """The last look, in the same step as the write of the dot: memory only."""
        work = self.letters[letter.pos][0]
        moment = time.monotonic()
        return not self._is_taken(letter) and moment < work.until and moment < self.lease_until

    def _marked(self, letter: Letter) -> None:
        work, member, _ = self.letters[letter.pos]
        assert work.claimed.mailing.id is not None
        self.journal.sent_mark(work.claimed.mailing.id, member.pos, member.attempt, work.claimed.token)

    def _done(self, letter: Letter, outcome: Outcome) -> None:
        work, member, message_id = self.letters.pop(letter.pos)
        work.out -= 1
        if outcome.kind == "replied" and outcome.reply is not None:
            assert work.claimed.mailing.id is not None
            self.journal.reply(work.claimed.mailing.id, member.pos, member.attempt, outcome.reply.code, outcome.reply.enhanced)
        elif outcome.kind == "not_sent" and outcome.reply is None:
            work.waiting.appendleft(member)
            self.more.set()
            return
        work.results.append(_result(member, message_id, outcome))
        if work.done:
            self.wake.set()

    # The database

    async def _read(self, query: Callable[[Session], Value]) -> Value:
        def run() -> Value:
            with reading(self.house.engine) as session:
                return query(session)

        return await self._patiently(run)

    async def _write(self, action: Callable[[Session], Value]) -> Value:
        def run() -> Value:
            with transaction(self.house.engine) as session:
                return action(session)

        return await self._patiently(run)

    async def _patiently(self, run: Callable[[], Value]) -> Value:
        """Every transaction here may be repeated, so a database that is away or busy is waited for."""
        loop = asyncio.get_running_loop()
        wait = 0.05
        while True:
            try:
                return await loop.run_in_executor(self.executor, run)
            except SQLAlchemyError as away:
                log.warning("the database did not answer", extra={"facts": {"error": type(away).__name__}})
                await asyncio.sleep(wait)
                wait = min(2.0, wait * 2)


def _result(member: Member, message_id: str, outcome: Outcome) -> Result:
    """What the wire said of a letter, as the outcome row will say it. The server's words are kept without addresses."""
    if outcome.kind == "withheld":
        return Result(member.pos, member.attempt, "reclaim")
    if outcome.kind == "unknown":
        return Result(member.pos, member.attempt, "unknown", "no_reply", message_id=message_id)
    verdict = classify(outcome.reply, outcome.phase)
    reply: Reply | None = outcome.reply
    return Result(
        member.pos,
        member.attempt,
        verdict.state,
        "" if verdict.state == "sent" else verdict.reason,
        code=reply.code if reply else None,
        reply=logs.mask(reply.text) if reply else "",
        suppress=verdict.suppress,
        message_id=message_id,
    )


def _fate(pos: int, attempt: int, known: journal.Answer | str) -> Result:
    """What a journal's word on a position makes of it."""
    if isinstance(known, journal.Answer):
        verdict = classify(Reply(known.code, known.enhanced, ""), "dot")
        return Result(pos, attempt, verdict.state, "" if verdict.state == "sent" else verdict.reason, known.code, suppress=verdict.suppress)
    if known == "unknown":
        return Result(pos, attempt, "unknown", "sender_died")
    return Result(pos, attempt, "reclaim")


async def run(house: House, name: str, *, stop: asyncio.Event, **parameters: Any) -> None:
    """Send as `name` until `stop` is set. Raises `NameTaken` when a sender of that name runs on this machine."""
    await Sender(house, name, **parameters).run(stop)
