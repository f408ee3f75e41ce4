"""Where connections go: the servers in their order, a breaker for each, and how many are tried at once.

The first server whose breaker is closed gets them; while it is open, the next one does, and one letter tries from time to time
whether the first is back. Made by the sender, which asks before every connection. Moments are given.
"""

import random
from dataclasses import dataclass, field
from typing import Any

from service.kit.pacing import Breaker
from service.mail import transport
from service.mail.transport import Server, Timeouts, Wire

COHORT = 5  # failures in a row after which a server is left alone
FIRST, LONGEST = 1.0, 300.0  # seconds it is left alone
# What no further try mends: a login tried too often is locked, so these wait for somebody to look.
STUBBORN = {"auth_failed", "tls_required", "tls_failed"}
STUBBORN_FIRST, STUBBORN_LONGEST = 60.0, 3600.0
WITH_ANOTHER = 30.0  # seconds for each step before the payload while another server could take over
LETTERS_PER_WIRE = 10  # a further connection is opened for each so many letters waiting
SLOW = 1.0  # seconds at one letter after which others no longer wait for that connection


@dataclass(eq=False)
class Place:
    """One server as this sender sees it."""

    server: Server
    breaker: Breaker
    timeouts: Timeouts
    trying: int = 0
    wires: set[Wire] = field(default_factory=set)

    @property
    def name(self) -> str:
        """Host and port, without login."""
        return f"{self.server.host}:{self.server.port}"


class Carriers:
    """The servers of one sender."""

    def __init__(self, servers: list[Server], chance: random.Random) -> None:
        short = Timeouts(greeting=WITH_ANOTHER, mail=WITH_ANOTHER, rcpt=WITH_ANOTHER, data=WITH_ANOTHER)
        timeouts = short if len(servers) > 1 else Timeouts()
        self.places = [Place(server, Breaker(COHORT, chance.random), timeouts) for server in servers]
        self.asked: dict[Wire, float] = {}  # when a connection under way last asked for a letter

    @property
    def connections(self) -> int:
        """How many tasks carry: as many as a server takes, and one that tries whether an earlier one is back."""
        return max(place.server.connections for place in self.places) + (len(self.places) > 1)

    def choose(self, moment: float) -> Place | None:
        """Where a further connection may be tried now; None: nowhere, or not before others have come through.

        As many are tried at once as already stand, at least one, so a server that dies is found out by few.
        """
        for place in self.places:
            state = place.breaker.state(moment)
            if state == "closed":
                room = place.server.connections - len(place.wires) - place.trying
                return place if room > 0 and place.trying < max(1, len(place.wires)) else None
            if state == "half_open" and not place.trying and not place.wires:
                return place
        return None

    def wanted(self, letters: int, moment: float) -> bool:
        """Whether so many letters that wait deserve one connection more than will soon ask for them: a connection that is held
        up by its letter will not, nor does one that tries whether a server is back."""
        soon = 0
        for place in self.places:
            if not place.breaker.reason:
                asking = sum(moment < self.asked.get(wire, moment) + SLOW for wire in place.wires)
                soon += place.trying + asking
        return letters > soon * LETTERS_PER_WIRE

    def shut(self, moment: float) -> bool:
        """Whether every server is left alone now, so that nothing should be taken up."""
        return all(place.breaker.state(moment) == "open" for place in self.places)

    def better(self, place: Place) -> bool:
        """Whether a server before this one is back, so that letters should go there."""
        return place is not self.places[0] and any(
            not one.breaker.reason for one in self.places[: self.places.index(place)]
        )

    def yields(self, place: Place, wire: Wire, moment: float) -> bool:
        """The same, asked before each letter; so it is heard here that a server which was left alone has answered one: only
        then is it back. (One that stalls greets well enough.)"""
        self.asked[wire] = moment
        if wire.carried and place.breaker.reason:
            place.breaker.served()
        return self.better(place)

    def rests(self, wire: Wire) -> None:
        """It has no letter in hand, and takes the next one that comes."""
        self.asked.pop(wire, None)

    def wires(self) -> list[Wire]:
        """Every connection that stands."""
        return [wire for place in self.places for wire in place.wires]

    async def connect(self, place: Place, *, ehlo_name: str) -> Wire:
        """A connection to it. Raises `transport.ConnectFailed`; the caller then says `failed`."""
        place.trying += 1
        try:
            wire = await transport.connect(place.server, ehlo_name=ehlo_name, timeouts=place.timeouts)
        finally:
            place.trying -= 1
        place.wires.add(wire)
        return wire

    def failed(self, place: Place, reason: str, moment: float) -> None:
        """No connection came about, or one ended before it had carried anything."""
        if any(wire.carried for wire in place.wires):
            place.breaker.served()
        stubborn = reason in STUBBORN
        place.breaker.failed(
            moment,
            reason,
            first=STUBBORN_FIRST if stubborn else FIRST,
            longest=STUBBORN_LONGEST if stubborn else LONGEST,
            whole_cohort=stubborn or reason == "timeout",
        )

    def ended(self, place: Place, wire: Wire, moment: float, *, by_them: bool) -> None:
        """A connection is over."""
        place.wires.discard(wire)
        self.rests(wire)
        if wire.carried:
            place.breaker.served()
        elif by_them and not wire.given_up:
            self.failed(place, "timeout" if wire.stalled else "closed", moment)

    def says(self, moment: float) -> list[dict[str, Any]]:
        """Each server's state, for whoever looks: no login, no address of anybody."""
        return [
            {
                "server": place.name,
                "state": place.breaker.state(moment),
                "reason": place.breaker.reason,
                "seconds": max(0, round(place.breaker.until - moment)) if place.breaker.reason else 0,
            }
            for place in self.places
        ]
