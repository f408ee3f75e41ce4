"""The time, in one place. Edges call `now`; everything below takes `now` as a parameter."""

import time
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now() -> datetime:
    """The current instant, aware, in UTC."""
    return datetime.now(UTC)


def to_micros(at: datetime) -> int:
    """Whole microseconds since 1970, exact (a float would lose the last digits)."""
    return (at - EPOCH) // timedelta(microseconds=1)


def from_micros(micros: int) -> datetime:
    """The instant `to_micros` came from."""
    return EPOCH + timedelta(microseconds=micros)


def since_boot() -> float:
    """Seconds since this machine started, sleep included: a lease on it survives any change of the wall clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
