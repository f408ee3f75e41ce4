"""The engine's own sizes and waits, turned smaller for a run: what it promises may not depend on them. Entered by `world`."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from scheduler import carriers, jobs, journal, lease, sender
from service import fence
from service.cli import up
from service.domain.deliveries import rules
from service.domain.senders import queries as leases
from tests.sim.machine import replaced
from tests.sim.plan import Plan


@contextmanager
def turned(plan: Plan) -> Iterator[None]:
    """For the length of a run."""
    places: list[tuple[Any, str, Any]] = [
        (rules, "BATCH", plan.batch),
        (rules, "SMALLEST_BATCH", plan.batch),
        (rules, "CHUNK", plan.chunk),
        (sender, "RECLAIM_AFTER", timedelta(seconds=plan.reclaim)),
        (carriers, "LETTERS_PER_WIRE", 2),
        (sender, "IDLE", plan.idle),
        (lease, "WATCH_EVERY", plan.watch),
        (fence, "POLL", plan.watch / 4),
        (leases, "STALE_AFTER", timedelta(seconds=plan.stale)),
        (up, "FROZEN_AFTER", 4.0),
        (jobs, "rest", lambda engine: 0.0),  # real seconds, in which nothing of a run would happen
        (journal, "ROOM", 1_000),  # octets: a few letters, and a batch in hand has a file of its own
    ]
    if plan.strict:
        places += [(rules, "POLICY_AFTER", 4), (rules, "BOUNCES_AFTER", 6)]
    with replaced(places):
        yield
