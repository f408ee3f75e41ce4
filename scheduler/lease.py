"""The sender's half of the fence: its lease, what was taken away since it looked, and the word that it has seen it.

One per sender incarnation. Every 20 ms it reads what was taken away, resets whatever of it is still in our own hands, and
publishes how far it has seen; doors wait for that (`service/fence.py`). Without renewal the lease lets nothing depart.
"""

import asyncio
import time
from collections.abc import Callable, Sequence, Set
from datetime import datetime
from typing import Any, Protocol

from sqlmodel import Session

from scheduler import journal
from scheduler.database import Database
from service.domain.brands import actions as brands
from service.domain.brands import queries as settings
from service.domain.ledger import queries as ledger
from service.domain.mailings.rules import questions
from service.domain.senders import actions as senders
from service.domain.senders import queries as leases
from service.kit import clock
from service.kit.errors import Conflict

WATCH_EVERY = 0.02  # seconds between two looks at what was taken away
HEARTBEAT = 1.0  # seconds between two renewals when nothing was
MANY = 10_000  # taken away at once: then nothing in hand leaves before it is claimed anew, and nobody is remembered singly
GOOD_FOR = 3.0  # seconds of a renewal: a sender cut off from the database for longer writes no dot (reliability 2.3, F25)


class Connection(Protocol):
    """What a reset returns: a connection that says when it is gone."""

    async def wait_closed(self) -> None: ...


class LeaseLost(Conflict):
    """This sender's lease was ended by somebody else; it must not send any more."""


class Lease:
    """What this sender may still do. `live` is how many senders share the installation's rate; `says` is published with it."""

    def __init__(
        self, database: Database, name: str, says: Callable[[], dict[str, Any]], incarnation: str = ""
    ) -> None:
        self.database, self.name, self.says, self.incarnation = database, name, says, incarnation
        self.id = 0
        self.live = 1
        self.seen = 0
        self.known = 0  # an entry that is in the ledger for certain
        self.restores: Set[str] = frozenset()  # that were before this lease: a later one has ended it
        self.on_copy = False  # an older copy has taken the database's place under us
        self.until = 0.0
        # person or mailing by opaque id, mailbox by its keyed hash, questions by their name → the last entry that took something away
        self._taken: dict[str, int] = {}
        self._taken_all = 0

    async def begin(self, now: datetime) -> None:
        """Take the lease before the first claim, so that a later no is either in that claim or read here."""

        def begin(session: Session) -> tuple[int, int]:
            seen = ledger.tail(session)[0]
            boot, mine = journal.boot_id(), self.incarnation
            lease = senders.begin(session, self.name, boot_id=boot, seen_seq=seen, now=now, incarnation=mine)
            assert lease.id is not None
            return lease.id, seen

        began = time.monotonic()
        self.id, self.seen = await self.database.write(begin)
        self.saw(self.seen)
        self.restores = await self.database.read(settings.restores)
        self.until = began + GOOD_FOR

    async def end(self) -> None:
        """Give the lease back: nobody waits for this sender any more."""
        now, mine = clock.now(), self.incarnation
        await self.database.write(lambda session: senders.end(session, self.name, now=now, incarnation=mine))

    def saw(self, seq: int) -> None:
        """The ledger goes at least so far: one that ends before it is an older copy."""
        self.known = max(self.known, seq)

    def is_behind(self, session: Session) -> bool:
        """Whether the ledger has ended before what was in it for certain, so that this is an older copy; it is noted as such
        unless it was merged since.

        Once is for ever: what is written to the copy, that note first, makes it longer, and this sender would skip it as seen.
        """
        known = max(self.seen, self.known)  # before the look: it goes on
        if brands.is_behind(session, ledger.tail(session)[0], known, self.restores, now=clock.now()):
            self.on_copy = True
        return self.on_copy

    def permits(self, moment: float) -> bool:
        """Whether the lease was renewed lately, on the clock that never steps."""
        return moment < self.until

    def took(self, subject: str, mailbox: str, mailing: str, since: int) -> bool:
        """Whether anything was taken from this person, mailbox or mailing after entry `since`."""
        if self._taken_all > since:
            return True
        taken = self._taken
        return (
            bool(taken) and max(taken.get(subject, 0), taken.get(mailbox, 0), taken.get(mailing, 0)) > since
        )

    def forget(self, seq: int) -> None:
        """Nothing in hand was claimed before entry `seq`: what was taken up to there was known to every claim."""
        if len(self._taken) >= MANY:
            self._taken = {who: when for who, when in self._taken.items() if when > seq}

    async def watch(self, reset: Callable[[], Sequence[Connection]]) -> None:
        """Look, heed, publish, for ever. `reset` aborts the connections that still hold what was taken away.

        Nothing is published before those connections are gone.
        """
        beat = 0.0
        while True:
            taken = await self.database.read(lambda session: ledger.taken_since(session, self.seen, MANY))
            for one in taken:
                self._heed(one)
            if len(taken) == MANY:
                self._taken_all = self.seen
            for wire in reset() if taken else []:
                await wire.wait_closed()
            if taken or time.monotonic() - beat >= HEARTBEAT:
                beat = time.monotonic()
                await self._publish()
            await asyncio.sleep(WATCH_EVERY)

    def _heed(self, one: ledger.Taken) -> None:
        mailing = one.body.get("mailing")
        if one.kind.startswith(("announcement.", "notice.")) and isinstance(mailing, str):
            self._taken[mailing] = one.seq
        elif one.kind.startswith("asking."):
            self._taken[questions(one.body["topic"], one.body["about"])] = one.seq
        elif one.kind.startswith(("settings.", "topic.")):
            self._taken_all = one.seq
        else:
            if one.subject:
                self._taken[one.subject] = one.seq
            if one.kind == "contact.erased":
                self._taken |= dict.fromkeys(one.body.get("answers", []), one.seq)
            # It may name nobody, or another registration, and holds for everybody there. Whether it concerns the mailing, the
            # gate says at the new claim.
            if one.kind == "suppression.added":
                self._taken[one.body["address_hash"]] = one.seq
        self.seen = max(self.seen, one.seq)

    async def _publish(self) -> None:
        now, seen, says = clock.now(), self.seen, self.says()
        began = (
            time.monotonic()
        )  # not when the answer comes: on a bad road that may be long after the renewal

        def publish(session: Session) -> int:
            if self.is_behind(session):
                return 0
            return (
                len(leases.live(session))
                if senders.renew(
                    session, self.id, seen_seq=seen, says=says, now=now, incarnation=self.incarnation
                )
                else 0
            )

        self.live = await self.database.write(publish)
        if not self.live:
            raise LeaseLost
        self.until = began + GOOD_FOR
