"""The sender: claims batches, composes, hands letters to the wire, records what came of them; heeds every no at once.

One process, one event loop. The database is reached through an executor (a parameter), the wire is async. What was taken
away is read every 20 ms and published for the fence (design.md 5, step 6); the check before each dot is memory only.
Run by `bidden send`, one incarnation per name.
"""

import asyncio
import logging
import random
import secrets
import time
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Any

from sqlmodel import Session

from scheduler import journal
from scheduler.carriers import Carriers, Place
from scheduler.database import Database
from scheduler.lease import Lease
from scheduler.pace import Pace, Turn
from scheduler.recovery import give_back, recover_all
from scheduler.wall import Wall
from scheduler.work import LATER, Work, result, take_up
from service.domain.deliveries import claims
from service.domain.deliveries.queries import Member, due_batches
from service.domain.deliveries.rules import RECLAIM_AFTER, Result
from service.domain.ledger import queries as entries
from service.kit import clock, failpoints
from service.mail import transport
from service.mail.headers import HeaderInjection
from service.mail.render import RenderError
from service.mail.replies import throttles
from service.mail.transport import Letter, Outcome, Wire
from service.ops.house import House

log = logging.getLogger("bidden.sender")

IDLE = 0.25  # seconds to wait when nothing is due
AHEAD = 2  # batches in hand at most
MOST_HELD = 30  # batches more of which only letters are left that wait for others
SINGLES = 64  # single mails in hand at most
RETRY = 0.1  # seconds between two tries to reach a server that has not been given up
REST = 0.02  # seconds a connection waits before it looks again


class Sender:
    """One incarnation. `run` returns when `stop` is set and everything on the wire has been answered and recorded."""

    def __init__(
        self,
        house: House,
        name: str,
        *,
        executor: Executor | None = None,
        chance: random.Random | None = None,
    ) -> None:
        self.house, self.name = house, name
        executor = executor or ThreadPoolExecutor(2, thread_name_prefix="database")
        self.database = Database(house.engine, executor)
        self.chance = chance or random.Random()  # noqa: S311 - spreads retries, guards nothing
        self.incarnation = secrets.token_hex(6)
        self.turn = Turn(house.settings.send_rate)
        self.journals: journal.Files
        self.lease, self.wall = Lease(self.database, name, self._says, self.incarnation), Wall()
        self.carriers = Carriers(transport.parse_smtp_urls(house.settings.wire_url), self.chance)
        self.pace = Pace(self.carriers.connections, house.waits.refused[0], self.chance)
        self.works: list[Work] = []
        self.letters: dict[int, tuple[Work, Member, str]] = {}
        self.next_key = 0
        self.wake = asyncio.Event()  # something ended or came: look again
        self.more = asyncio.Event()  # letters wait
        self.stopping = False

    async def run(self, stop: asyncio.Event) -> None:
        """Send until told to stop."""
        await self._begin()
        # From the first moment of the lease every no is waited for, however long the recovery takes.
        watcher = asyncio.create_task(self.lease.watch(self._reset))
        stopper = asyncio.create_task(stop.wait())
        carriers: list[asyncio.Task[None]] = []
        try:
            await self._recover(watcher, stopper)
            carriers += [asyncio.create_task(self._carry()) for _ in range(self.carriers.connections)]
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
        first = journal.Journal.open(self.house.settings.journals, self.name, self.incarnation)
        self.journals = journal.Files(first)
        await self.lease.begin(clock.now())
        await self.database.read(self.wall.begin)

    async def _recover(self, *ends: asyncio.Task[Any]) -> None:
        """Settle what dead senders had in hand, before anything is taken up; given up when one of `ends` comes first."""
        own = self.journals.last()
        recovery = asyncio.create_task(recover_all(self.house, self.database, own, chance=self.chance))
        try:
            await asyncio.wait([recovery, *ends], return_when=asyncio.FIRST_COMPLETED)
            if recovery.done():
                recovery.result()
                log.info("sender started", extra={"facts": {"sender": self.name}})
        finally:
            recovery.cancel()
            await asyncio.gather(recovery, return_exceptions=True)

    async def _end(self, watcher: asyncio.Task[None], carriers: list[asyncio.Task[None]]) -> None:
        """No new letters; what is on the wire gets its answer (30 s at most), everything is recorded, the lease ends."""
        self.stopping = True
        for work in self.works:
            work.give_back(self.pace)
        deadline = time.monotonic() + 30
        while any(work.out for work in self.works) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        for task in (*carriers, watcher):
            task.cancel()
        await asyncio.gather(*carriers, watcher, return_exceptions=True)
        for work in self.works:  # what came back unsent from connections that were just ended
            work.give_back(self.pace)
        await self._settle()
        mine = {work.claimed.batch_id for work in self.works}
        await self.lease.end()  # waits for a claim in doubt; after it none can commit any more
        await give_back(self.house, self.lease, mine, ends=True, chance=self.chance)
        self.journals.close(remove=not self.works)

    def _says(self) -> dict[str, Any]:
        """How its servers and recipient domains are, for the lease to publish."""
        return {"servers": self.carriers.says(time.monotonic()), "paused": self.pace.paused(time.monotonic())}

    # What was taken away

    def _is_taken(self, letter: Letter) -> bool:
        work, member, _ = self.letters[letter.pos]
        return self.lease.took(member.subject, member.mailbox, work.named, work.claimed.seen_seq)

    def _reset(self) -> list[Wire]:
        """Give back what is left of a mailing paused or cancelled; of what was taken and is still in our own hands, reset
        the connection: its outcome is unknown."""
        for work in self.works:
            if self.lease.took("", "", work.named, work.claimed.seen_seq):
                work.give_back(self.pace)
        holding = [
            wire
            for wire in self.carriers.wires()
            if wire.unsent_bytes() and any(map(self._is_taken, wire.in_flight()))
        ]
        for wire in holding:
            wire.abort(given_up=True)
        return holding

    # Claiming and recording

    async def _claim(self) -> None:
        """Take what is due: single mails always, batches while fewer than two are in hand.

        A batch of which only letters are left that wait for busy domains, or on the wire for an answer, keeps no other from being
        taken, up to a point. While every server is left alone, what is in hand goes back. While the wall clock cannot be believed
        nothing is taken, and in an older copy of the database neither.
        """
        mine = {work.claimed.batch_id for work in self.works}
        await give_back(self.house, self.lease, mine, chance=self.chance)
        if self.wall.jumped() and await self.database.write(self.wall.hold):
            return
        if self.carriers.shut(time.monotonic()):
            for work in self.works:
                work.give_back(self.pace)
            return
        await self._claim_some(system=True, limit=SINGLES - len(self.works))
        held_up = sum(work.held_up for work in self.works)
        await self._claim_some(system=False, limit=AHEAD - len(self.works) + min(held_up, MOST_HELD))

    async def _claim_some(self, *, system: bool, limit: int) -> None:
        now = self.wall.now()
        if self.stopping or limit < 1:
            return
        due = await self.database.read(
            lambda session: session.scalars(due_batches(now=now, limit=1, system=system)).first()
        )
        if due is None:
            return

        def claim(session: Session) -> list[claims.Claimed]:
            if self.lease.is_behind(session):
                return []
            ring = self.house.look()  # at the key file from here, not from the event loop
            ours, mine = self.lease.id, self.incarnation
            return claims.claim(session, ring, ours, now=now, limit=limit, system=system, incarnation=mine)

        claimed = await self.database.write(claim)
        failpoints.hit("claim.after_commit")
        for one in claimed:
            self.lease.saw(one.seen_seq)
            self._take_up(one, first=system, now=now)

    def _take_up(self, claimed: claims.Claimed, *, first: bool, now: datetime) -> None:
        self.pace.retune(claimed.limits, self.lease.live)
        until = time.monotonic() + RECLAIM_AFTER.total_seconds()
        work = take_up(self.house, claimed, until, self.journals.last(), now=now)
        self.works.insert(0 if first else len(self.works), work)
        self.more.set()
        if work.done:
            self.wake.set()

    async def _settle(self) -> None:
        """Record every batch whose positions all have their result. Those of one mailing at a time, single mails all together:
        whoever has written to the ledger waits for no other mailing, which somebody may hold who waits for the ledger."""
        done = [work for work in self.works if work.done]
        for mailing in dict.fromkeys(work.mailing for work in done):
            await self._record([work for work in done if work.mailing == mailing])
        self.lease.forget(min((one.claimed.seen_seq for one in self.works), default=self.lease.seen))

    async def _record(self, done: list[Work]) -> None:
        """The second transaction of these batches (T2); repeated until the database takes it."""
        into = partial(claims.record, waits=self.house.waits, now=self.wall.now(), chance=self.chance)

        def record(session: Session) -> int:
            written = [into(session, work.claimed, work.results) for work in done]
            return entries.tail(session)[0] + sum(written)  # each is an entry behind what was there

        failpoints.hit("record.before")
        self.lease.saw(await self.database.write(record))
        failpoints.hit("record.after_commit")
        self.works = [work for work in self.works if work not in done]
        self.journals.settle({one.journal for one in self.works})

    # The wire

    async def _carry(self) -> None:
        """One connection after the other: wait for enough letters and for a server that takes them, connect, carry."""
        while not self.stopping:
            await self.more.wait()
            moment = time.monotonic()
            wanted = self.carriers.wanted(self._pending(), moment)
            place = self.carriers.choose(moment) if wanted else None
            if place is None:
                await self._rest()
                continue
            try:
                wire = await self.carriers.connect(place, ehlo_name=self._ehlo())
            except transport.ConnectFailed as failed:
                facts = {"server": place.name, "reason": failed.reason}
                log.warning("no connection to the mail server", extra={"facts": facts})
                self.carriers.failed(place, failed.reason, time.monotonic())
                self._reclaim_old()
                await asyncio.sleep(RETRY)
                continue
            await self._use(wire, place)

    async def _use(self, wire: Wire, place: Place) -> None:
        ask, tell = self.carriers.between(place, wire, self._next_letter, self._done)
        try:
            while not wire.closed and not self.stopping and not self.carriers.leaves(place, wire):
                await transport.deliver(
                    wire, ask, may_depart=self._may_depart, marked=self._marked, done=tell
                )
                self.carriers.rests(wire)
                if not wire.closed and not await self._wait_for_letters():
                    break
        finally:
            self.carriers.ended(place, wire, time.monotonic(), by_them=wire.closed and not self.stopping)
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
        await asyncio.sleep(min(REST, max(0.001, self.turn.wait(time.monotonic(), REST))))

    def _pending(self) -> int:
        return sum(len(work.waiting) + (1 if work.held else 0) for work in self.works)

    def _ehlo(self) -> str:
        return self.works[0].composer.sender.address.rpartition("@")[2] if self.works else "bidden.invalid"

    def _reclaim_old(self) -> None:
        for work in self.works:
            if time.monotonic() > work.until:
                work.give_back(self.pace)
        self.wake.set()

    def _next_letter(self) -> Letter | None:
        """Compose the next letter that may go; None when there is none now."""
        moment = time.monotonic()
        if self.stopping or not self.lease.permits(moment):
            return None  # a late renewal is waited for, with what is in hand
        for work in self.works:
            if moment > work.until:
                work.give_back(self.pace)
            while work.waiting or work.held:
                if not self.turn.has_come(moment, self.lease.live):
                    return None
                member = work.next(self.pace, moment)
                if member is None:
                    break
                letter = self._compose(work, member)
                if letter is not None:
                    self.turn.used()
                    return letter
        if not self._pending():
            self.more.clear()
            self.wake.set()
        return None

    def _compose(self, work: Work, member: Member) -> Letter | None:
        try:
            made = work.composer.compose(member)
        except (RenderError, HeaderInjection) as refused:
            self._skip(work, member, refused.code)
            return None
        except Exception as wrong:  # whatever it is, it keeps nobody else from their mail
            about = work.claimed.mailing.public_id
            facts = {"mailing": about, "pos": member.pos, "error": type(wrong).__name__}
            log.error("a mail could not be made", extra={"facts": facts})
            self._skip(work, member, "" if isinstance(wrong, MemoryError) else "render_error")
            return None
        self.next_key += 1
        work.out += 1
        self.letters[self.next_key] = (work, member, made.message_id)
        return Letter(self.next_key, made.mail_from, made.rcpt, made.data, dotted=made.dotted)

    def _skip(self, work: Work, member: Member, reason: str) -> None:
        """This one cannot be made, or without a `reason` not now; the others of the batch are not concerned."""
        state, wait = ("skipped", 0.0) if reason else ("reclaim", LATER)
        work.results.append(Result(member.pos, member.attempt, state, reason, wait=wait))
        self.pace.release(self.pace.lane_of(member.address))
        self.wake.set()

    def _may_depart(self, letter: Letter) -> bool:
        """The last look, in the same step as the write of the dot: memory only."""
        work, moment = self.letters[letter.pos][0], time.monotonic()
        return not self._is_taken(letter) and moment < work.until and self.lease.permits(moment)

    def _marked(self, letter: Letter) -> None:
        work, member, _ = self.letters[letter.pos]
        assert work.claimed.mailing.id is not None
        work.journal.sent_mark(work.claimed.mailing.id, member.pos, member.attempt, work.claimed.token)

    def _done(self, letter: Letter, outcome: Outcome) -> None:
        work, member, message_id = self.letters.pop(letter.pos)
        work.out -= 1
        self._heed(member, outcome)
        if outcome.kind == "not_sent" and outcome.reply is None:
            work.waiting.appendleft(member)
            self.more.set()
            return
        work.results.append(result(member, message_id, outcome))
        if work.done:
            self.wake.set()
        reply, mailing = outcome.reply, work.claimed.mailing.id or 0
        if outcome.kind == "replied" and reply is not None:  # last: all else is done where there is no room
            work.journal.reply(mailing, member.pos, member.attempt, reply.code, reply.enhanced)

    def _heed(self, member: Member, outcome: Outcome) -> None:
        """What an answer says of the recipient domain's pace. To MAIL nobody has been named yet: that is the server's own."""
        reply = outcome.reply
        asks_for_less = reply is not None and outcome.phase in ("rcpt", "data", "dot") and throttles(reply)
        if not (asks_for_less or self.pace.lanes):
            return
        lane, moment = self.pace.lane_of(member.address), time.monotonic()
        if asks_for_less and reply is not None:
            if self.pace.throttled(lane, moment):
                facts = {"code": reply.code, "enhanced": reply.enhanced}
                log.warning("a recipient domain asks for less mail", extra={"facts": facts})
        elif outcome.kind == "replied":
            self.pace.answered(lane)
        else:
            self.pace.release(lane)


async def run(house: House, name: str, *, stop: asyncio.Event, **parameters: Any) -> None:
    """Send as `name` until `stop` is set. Raises `NameTaken` when a sender of that name runs on this machine."""
    await Sender(house, name, **parameters).run(stop)
