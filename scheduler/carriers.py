"""Where connections go: the servers in their order, a breaker for each, and how many are tried at once.

The first server whose breaker is closed gets them; while it is open, the next one does, and one letter tries from time to time
whether the first is back. Made by the sender, which asks before every connection and says each answer. Moments are given, but for
those of `between`.
"""

import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from scheduler.pace import domain_of
from scheduler.providers import provider
from service.kit.pacing import Breaker
from service.mail import transport
from service.mail.replies import NOT_AUTHENTICATED, SENDER_REFUSED, Phase, Reply, classify, throttles
from service.mail.transport import Letter, Outcome, Server, Timeouts, Wire

COHORT = 5  # failures in a row after which a server is left alone
WINDOW, MOST_PUT_OFF = (
    40,
    20,
)  # of the last so many answers so many 4xx, and the server is left alone (reliability 2.4)
DEFERRING = "deferring"


class Alone(NamedTuple):
    """How long a server is left alone, by what it did: seconds at first and at most, whether once says enough, and how many
    letters it has to take before others follow."""

    first: float = 1.0
    longest: float = 300.0
    at_once: bool = False
    letters: int = 1


# What no further try mends: a login tried too often is locked, so these wait for somebody to look.
_STUBBORN = Alone(60.0, 3600.0, at_once=True)
ALONE = {
    **dict.fromkeys(("auth_failed", "tls_required", "tls_failed", NOT_AUTHENTICATED), _STUBBORN),
    SENDER_REFUSED: _STUBBORN._replace(
        at_once=False
    ),  # of five in a row none may be one letter's own bad luck
    DEFERRING: Alone(30.0, 1800.0, at_once=True, letters=5),
    "timeout": Alone(at_once=True),
}
# What it answered to letters; a letter is then what shows that it is well, not that a connection came about.
REFUSALS = {NOT_AUTHENTICATED, SENDER_REFUSED, DEFERRING}
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
    leaving: set[Wire] = field(
        default_factory=set
    )  # of these, those that stood when it refused us: they carry no more
    answers: "deque[str | None]" = field(
        default_factory=lambda: deque(maxlen=WINDOW)
    )  # who put off; None: no 4xx

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

    def leaves(self, place: Place, wire: Wire) -> bool:
        """Whether a connection is to be ended: what it would carry goes elsewhere, or nowhere now."""
        return wire in place.leaving or self.better(place)

    def yields(self, place: Place, wire: Wire, moment: float) -> bool:
        """The same, asked before each letter; so it is heard here that a server which was left alone has answered one: only
        then is it back. (One that stalls greets well enough.) Until then one letter at a time tries it."""
        self.asked[wire] = moment
        self._came_through(place, wire)
        tried = bool(place.breaker.reason) and wire.busy
        return tried or self.leaves(place, wire)

    def between(
        self,
        place: Place,
        wire: Wire,
        next_letter: Callable[[], Letter | None],
        done: Callable[[Letter, Outcome], None],
    ) -> tuple[Callable[[], Letter | None], Callable[[Letter, Outcome], None]]:
        """The sender's two functions for a connection, with what the server's state makes of each letter and each answer."""

        def asked() -> Letter | None:
            return None if self.yields(place, wire, time.monotonic()) else next_letter()

        def told(letter: Letter, outcome: Outcome) -> None:
            done(letter, self.heard(place, wire, letter.rcpt, outcome, time.monotonic()))

        return asked, told

    def heard(self, place: Place, wire: Wire, rcpt: str, outcome: Outcome, moment: float) -> Outcome:
        """What an answer says of the server, and what is left of it for the letter: a server that wants a login has not judged
        the letter, which goes back as if it had never been offered."""
        reply, phase = outcome.reply, outcome.phase
        if outcome.kind != "replied" or reply is None:
            return outcome
        verdict = classify(reply, phase)
        if wire not in place.leaving:
            if verdict.server:
                self._fail(place, verdict.reason, moment)
            elif reply.code // 100 != 4:
                place.answers.append(None)
                self._served(place)
            else:
                self._put_off(place, _who_puts_off(reply, phase, rcpt), moment)
        unsent = verdict.reason == NOT_AUTHENTICATED and phase != "dot"
        return Outcome("not_sent", None, phase) if unsent else outcome

    def _put_off(self, place: Place, who: str, moment: float) -> None:
        """A 4xx. What speaks of a reader counts once for each recipient domain (or provider): half of all letters may be for
        one that greylists everybody, which is no fault of the server's, and would stop all other mail again and again for as
        long as any of those is due. Twenty domains that do it are the server: they have nothing else in common. Whoever has
        counted before says nothing more while one letter tries, either, so others get their turn."""
        if who and who in place.answers:
            return
        place.answers.append(who)
        if (
            place.breaker.reason == DEFERRING
            or len(place.answers) - place.answers.count(None) >= MOST_PUT_OFF
        ):
            self._fail(place, DEFERRING, moment)

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
        self._came_through(place, *place.wires)
        self._fail(place, reason, moment)

    def ended(self, place: Place, wire: Wire, moment: float, *, by_them: bool) -> None:
        """A connection is over."""
        place.wires.discard(wire)
        self.rests(wire)
        if wire.carried:
            self._came_through(place, wire)
        elif by_them and not wire.given_up and wire not in place.leaving:
            self.failed(place, "timeout" if wire.stalled else "closed", moment)
        place.leaving.discard(wire)

    def _came_through(self, place: Place, *wires: Wire) -> None:
        """Connections that have carried a letter speak for a server that was away, not for one that refuses."""
        if place.breaker.reason not in REFUSALS and any(
            one.carried for one in wires if one not in place.leaving
        ):
            self._served(place)

    def _served(self, place: Place) -> None:
        was = place.breaker.reason
        place.breaker.served()
        if was and not place.breaker.reason:
            place.answers.clear()

    def _fail(self, place: Place, reason: str, moment: float) -> None:
        alone = ALONE.get(reason, Alone())
        place.breaker.failed(
            moment,
            reason,
            first=alone.first,
            longest=alone.longest,
            whole_cohort=alone.at_once,
            successes=alone.letters,
        )
        if reason in REFUSALS and place.breaker.reason:
            place.leaving |= place.wires

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


def _who_puts_off(reply: Reply, phase: Phase, rcpt: str) -> str:
    """The recipient domain or provider of a 4xx; "" for the server itself: it says so (4.3.x is the mail system, 4.4.x its
    network), or nobody had been named yet. What asks a domain for less mail is that domain's, whatever its code."""
    its_own = phase == "mail" or (reply.enhanced or "").startswith(("4.3.", "4.4."))
    return "" if its_own and not (throttles(reply) and phase != "mail") else provider(domain_of(rcpt))
