"""The time, in one place. Edges call `now`; everything below takes `now` as a parameter."""

import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
NO_BOOT_ID = "none-"  # begins the id where the system has none

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


def boot_id() -> str:
    """The running kernel's id; where there is none, a new one each time, so that nothing is assumed."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return f"{NO_BOOT_ID}{uuid.uuid4()}"
