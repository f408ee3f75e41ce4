"""How fast mail leaves: the installation's rate, and for each recipient domain what staff allow and what its answers say.

A domain that asks for less is left alone for a while, then gets half as many letters at once, and more again one by one; the
domains of one mailbox provider are one lane, named by the best known of them. Kept in the memory of one sender; the sender asks
before each letter (`Work.next`) and says what came of it. Time and chance are given. While no domain is limited or in trouble
there is no lane, and nothing is asked.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from scheduler.providers import provider
from service.domain.deliveries.rules import PACED_TOGETHER
from service.kit.pacing import Bucket

FIRST_PAUSE = 60.0  # seconds, and no longer than a refused letter itself waits
LONGEST_PAUSE = 3600.0
HORIZON = (
    PACED_TOGETHER.total_seconds()
)  # seconds' worth of letters that a lane keeps in hand; the others wait in the database
PAUSED, LIMITED = "domain_paused", "domain_limit"


class Later(NamedTuple):
    """A letter goes back to its batch, due in so many seconds."""

    seconds: float
    reason: str


@dataclass(slots=True)
class Lane:
    """One recipient domain, or all of a provider. `cap`: letters at once, its whole part counts."""

    ceiling: int
    step: float  # seconds between two letters; 0 is no limit
    limited: bool  # by staff: then it stays when all is well
    cap: float
    strikes: int = 0
    until: float = 0.0  # paused
    next_at: float = 0.0
    out: int = 0
    held: int = 0
    booked: float = 0.0


class Pace:
    """The lanes of one sender."""

    def __init__(self, ceiling: int, first_pause: float, chance: random.Random) -> None:
        self.ceiling, self.first_pause, self.chance = ceiling, min(FIRST_PAUSE, first_pause), chance
        self.lanes: dict[str, Lane] = {}
        self.limits: Mapping[str, Any] = {}
        self.live = 1

    def retune(self, limits: Mapping[str, Any], live: int) -> None:
        """What staff allow now; an hour's amount is shared by the live senders, connections are each sender's."""
        if (limits, live) == (self.limits, self.live):
            return
        self.limits, self.live = limits, live
        for lane in self.lanes.values():
            lane.ceiling, lane.step, lane.limited = self.ceiling, 0.0, False
            lane.out = 0  # what is out now may come back by another lane's name
        for domain, limit in limits.items():
            lane = self._lane(domain)
            lane.limited = True
            lane.ceiling = min(self.ceiling, limit.get("connections") or self.ceiling)
            lane.step = 3600 / limit["per_hour"] * live if limit.get("per_hour") else 0.0
            lane.cap = min(lane.cap, lane.ceiling)
        self._forget_the_well()

    def lane_of(self, address: str) -> str:
        """The name of the lane that an address goes by: its own domain's where staff have set that one a limit, else its
        provider's."""
        domain = domain_of(address)
        return domain if domain in self.limits else provider(domain)

    def paused(self, moment: float) -> int:
        """How many lanes are left alone now."""
        return sum(moment < lane.until for lane in self.lanes.values())

    def admit(self, domain: str, moment: float, *, held: bool = False) -> Later | bool:
        """Whether a letter may go now (it then counts as out), has to be held for a moment (False), or waits for longer.

        `held`: it asks again.
        """
        lane = self.lanes.get(domain)
        if lane is None:
            return True
        if moment < lane.until:
            return Later(lane.until - moment, PAUSED)
        if lane.out < int(lane.cap) and moment >= lane.next_at:
            lane.next_at = max(moment, lane.next_at) + lane.step
            lane.out += 1
            return True
        if held or lane.held * lane.step < HORIZON:
            return False
        # Each that goes back gets a place of its own behind the others, or all would come back at once.
        lane.booked = max(lane.booked, moment + HORIZON) + lane.step
        return Later(lane.booked - moment, LIMITED)

    def hold(self, domain: str, count: int) -> None:
        """So many letters more (or fewer) are held for this domain."""
        if lane := self.lanes.get(domain):
            lane.held = max(0, lane.held + count)

    def release(self, domain: str) -> None:
        """A letter that was let go did not leave, or nobody knows what became of it."""
        if lane := self.lanes.get(domain):
            lane.out = max(0, lane.out - 1)

    def answered(self, domain: str) -> None:
        """It said yes or no and did not ask for less: one strike is forgiven, and a little more may be out at once."""
        lane = self.lanes.get(domain)
        if lane is None:
            return
        lane.out = max(0, lane.out - 1)
        lane.strikes = max(0, lane.strikes - 1)
        lane.cap = min(lane.ceiling, lane.cap + 1 / lane.cap)
        if lane.cap >= lane.ceiling:
            self._forget_the_well()

    def throttled(self, domain: str, moment: float) -> bool:
        """It asks for less. Letters that were out when a pause began say nothing new; whether this one did."""
        lane = self._lane(domain)
        lane.out = max(0, lane.out - 1)
        if moment < lane.until:
            return False
        pause = min(LONGEST_PAUSE, self.first_pause * 2**lane.strikes)
        lane.strikes = min(lane.strikes + 1, 16)
        lane.cap = max(1.0, int(lane.cap) // 2)
        lane.until = moment + pause * (1 + self.chance.random() / 10)
        return True

    def _lane(self, domain: str) -> Lane:
        if domain not in self.lanes:
            self.lanes[domain] = Lane(self.ceiling, 0.0, False, float(self.ceiling))
        return self.lanes[domain]

    def _forget_the_well(self) -> None:
        well = [
            domain
            for domain, lane in self.lanes.items()
            if not (lane.limited or lane.strikes or lane.held) and lane.cap >= lane.ceiling
        ]
        for domain in well:
            del self.lanes[domain]


class Turn:
    """The rate of the whole installation (SEND_RATE), shared by the live senders. A place once taken in the queue is kept until a
    letter has used it."""

    def __init__(self, rate: float) -> None:
        self.rate, self.at = rate, 0.0  # monotonic: when the place taken comes; 0: none is taken
        self.bucket = Bucket(rate, burst=max(1.0, rate / 20))

    def has_come(self, moment: float, live: int) -> bool:
        """Whether the rate allows a letter now."""
        if not self.rate:
            return True
        self.bucket.retune(self.rate / live)
        self.at = self.at or moment + self.bucket.take(moment)
        return moment >= self.at

    def used(self) -> None:
        """A letter has taken its turn."""
        self.at = 0.0

    def wait(self, moment: float, otherwise: float) -> float:
        """Seconds until it comes."""
        return self.at - moment if self.at else otherwise


def domain_of(address: str) -> str:
    """The recipient domain, in small letters."""
    return address.rpartition("@")[2].lower()
