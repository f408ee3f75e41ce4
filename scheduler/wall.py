"""Whether the wall clock can be believed: compared at every use with the clock that only counts since the machine started.

Where the two part by more than a minute, nobody here knows which time is right: sending is switched off, and what goes by the
hour waits, until a person has seen to the clock and switches it on again (reliability 2.4). Asked by clock and sender, each for
itself; what is right is kept in the database, so that a change while nobody ran is noticed as well.
"""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session

from scheduler import journal
from service.domain.brands import actions as brands
from service.domain.brands import queries as known
from service.kit import clock

log = logging.getLogger("bidden.clock")
TOLERATED = 60.0  # seconds between the two clocks
CREEP = 0.001  # of the time that passes: a wall clock may run so much slower or faster, as time services set it right


class Wall:
    """The wall clock as one process sees it. `wall` and `boot` are the two clocks."""

    def __init__(
        self,
        wall: Callable[[], datetime] | None = None,
        boot: Callable[[], float] | None = None,
        boot_id: str | None = None,
    ) -> None:
        self.wall, self.boot = wall or clock.now, boot or clock.since_boot
        self.boot_id = boot_id or journal.boot_id()
        self.told = (
            False  # this process has switched sending off, and nobody has said since that the time is right
        )
        self.believe()

    def believe(self) -> None:
        """The wall clock is right as it stands."""
        self.looked = self.boot()
        self.start = self.wall() - timedelta(seconds=self.looked)
        self.told = False

    def jumped(self) -> float:
        """Seconds by which the wall clock has left its course; 0 while it is believed."""
        boot = self.boot()
        drift = (self.wall() - timedelta(seconds=boot) - self.start).total_seconds()
        if abs(drift) > TOLERATED:
            return drift
        most = CREEP * max(0.0, boot - self.looked)
        self.start += timedelta(seconds=max(-most, min(most, drift)))
        self.looked = boot
        return 0.0

    def now(self) -> datetime:
        """The time: the wall clock's while it is believed, else what it would be without the jump."""
        if not self.jumped():
            return self.wall()
        return self.start + timedelta(seconds=self.boot())

    # What is kept

    def begin(self, session: Session) -> None:
        """Go on from what was right when somebody last looked: since the machine started, or else at least not earlier."""
        kept = known.noted_clock(session)
        if kept.get("boot") == self.boot_id:
            self.start = datetime.fromisoformat(kept["start"])
        elif kept and self.wall() < (last := datetime.fromisoformat(kept["at"])) - timedelta(
            seconds=TOLERATED
        ):
            self.start = last - timedelta(seconds=self.boot())

    def note(self, session: Session) -> None:
        """Keep what is right, while it is, for whoever looks next."""
        if not self.jumped() and known.setting(session, "sending_on"):
            brands.note_clock(session, self._facts(), now=self.now())

    def hold(self, session: Session) -> bool:
        """Called when the clock has jumped: switch sending off and say why. False once a person has switched it on again, or
        another process knows that one has: the time is then right as it is."""
        drift, kept = self.jumped(), known.noted_clock(session)
        if not drift:
            return False
        on = known.setting(session, "sending_on")
        told = self.told or abs(kept.get("jumped", 0.0) - drift) < TOLERATED
        if on and (told or self._right_elsewhere(kept)):
            self.believe()
            brands.note_clock(session, self._facts(), now=self.wall())
            log.warning("the wall clock is believed again")
            return False
        if on:
            log.error(
                "the wall clock has jumped; sending is switched off", extra={"facts": {"seconds": drift}}
            )
            now = self.now()
            brands.set_setting(session, "sending_on", False, now=now, by=brands.SYSTEM, reason="clock")
        if on or not kept.get("jumped"):
            brands.note_clock(session, {**(kept or self._facts()), "jumped": drift}, now=self.now())
        self.told = True
        return True

    def _right_elsewhere(self, kept: dict[str, Any]) -> bool:
        """Whether another process of this machine believes the time that our wall clock shows."""
        if kept.get("boot") != self.boot_id:
            return False
        theirs = datetime.fromisoformat(kept["start"]) + timedelta(seconds=self.boot())
        return abs((self.wall() - theirs).total_seconds()) < TOLERATED

    def _facts(self) -> dict[str, Any]:
        return {"boot": self.boot_id, "start": self.start.isoformat(), "at": self.wall().isoformat()}
