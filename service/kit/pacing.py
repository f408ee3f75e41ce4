"""Token bucket for the sending rate. Pure: the caller brings the clock; the sender and the limits use it."""


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
