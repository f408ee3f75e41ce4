"""Token bucket for the sending rate, breaker for what is away. Pure: the caller brings the clock; senders and limits use it."""

from collections.abc import Callable


class Bucket:
    """Lets `rate` takings a second pass on average, and up to `burst` of them at once.

    A rate of 0 means no limit. Takings are reservations: whoever takes is in the queue, and the wait it is
    told already counts everybody before it. Times are seconds of any one monotonic clock.
    """

    __slots__ = ("_burst", "_rate", "_ready_at")

    def __init__(self, rate: float, burst: float = 1.0) -> None:
        """A full bucket. Raises ValueError for a negative rate or a burst below one."""
        if rate < 0 or burst < 1:
            raise ValueError("A rate cannot be negative, and a burst holds at least one.")
        self._rate = rate
        self._burst = burst
        self._ready_at: float | None = None

    @property
    def rate(self) -> float:
        """Takings per second; 0 is no limit."""
        return self._rate

    def retune(self, rate: float) -> None:
        """Change the rate from the next taking on (the installation's rate is shared by the live senders)."""
        if rate < 0:
            raise ValueError("A rate cannot be negative.")
        self._rate = rate

    def take(self, now: float) -> float:
        """Take one and say how many seconds to wait before using it (0.0: at once).

        A clock that steps back never earns tokens.
        """
        if self._rate == 0:
            return 0.0
        step = 1.0 / self._rate
        # `_ready_at` is the instant at which the bucket will be full again (the generic cell rate algorithm).
        ready_at = now if self._ready_at is None else max(self._ready_at, now)
        wait = ready_at - now - (self._burst - 1.0) * step
        self._ready_at = ready_at + step
        return wait if wait > 1e-9 else 0.0


class Breaker:
    """Whether something that fails is still asked: closed, open for a while, then half open for one that tries.

    It opens after `cohort` failures without a success between them. Each time it opens again before it has closed it stays
    open twice as long, up to `longest` seconds, and up to a tenth more by `chance`, so that many do not come back as one.
    It closes after as many successes, over all its tries, as the failure that opened it asks for.
    """

    __slots__ = ("_chance", "_cohort", "_failures", "_opened", "_owed", "reason", "until")

    def __init__(self, cohort: int, chance: Callable[[], float]) -> None:
        self._cohort, self._chance = cohort, chance
        self._failures = self._opened = self._owed = 0
        self.reason = ""  # of the last failure, while it is not closed
        self.until = 0.0

    def state(self, now: float) -> str:
        """closed, open or half_open."""
        return "closed" if not self.reason else "open" if now < self.until else "half_open"

    def failed(
        self,
        now: float,
        reason: str,
        *,
        first: float,
        longest: float,
        whole_cohort: bool = False,
        successes: int = 1,
    ) -> None:
        """One more failure; `whole_cohort`: it alone says enough; `successes`: how many close what it opens."""
        self._failures += 1
        if not (self.reason or whole_cohort or self._failures >= self._cohort):
            return
        if self.state(now) == "open":  # of those that stood when it opened: no further try has failed
            self.until = max(self.until, now + first)
            return
        wait = min(longest, first * 2.0 ** min(self._opened, 30))
        self._opened += 1
        self._owed = self._owed or successes
        self.reason, self.until = reason, now + wait * (1 + self._chance() / 10)

    def served(self) -> None:
        """It did what it is there for; unless more is asked for, all is forgotten."""
        self._owed = max(0, self._owed - 1)
        if not self._owed:
            self.reason, self._failures, self._opened = "", 0, 0
