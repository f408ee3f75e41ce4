"""Many seeds, on as many processors as there are, and what they come to together. Called by `__main__`, `make faults`, tests."""

import multiprocessing
import multiprocessing.util
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from tests.sim.run import Result, play
from tests.sim.town import Town

PORTION = 20  # seeds that a worker takes at a time
ORDINARY = 10_000
FIRST = 1_000_000  # the ordinary size plays these seeds and those after them


@dataclass
class Campaign:
    """What is known of all seeds played so far."""

    seeds: int = 0
    broken: dict[int, list[str]] = field(default_factory=dict)
    ended: Counter[str] = field(default_factory=Counter)
    edges: Counter[str] = field(default_factory=Counter)
    reached: Counter[str] = field(default_factory=Counter)
    virtual: float = 0.0
    real: float = 0.0

    def add(self, one: Result) -> None:
        """One seed more."""
        self.seeds += 1
        self.ended[one.ended] += 1
        self.edges += one.edges
        self.reached += one.reached
        self.virtual += one.seconds
        if one.findings:
            self.broken[one.seed] = [f"{name}: {where}" for name, where in one.findings]


def _portion(seeds: list[int]) -> list[Result]:
    """In a worker: these seeds, without their traces."""
    results = []
    for seed in seeds:
        one = play(_town(), seed)
        one.trace = []
        results.append(one)
    return results


_made: list[Town] = []


def _town() -> Town:
    """This process' own, made when first asked for."""
    if not _made:
        _made.append(Town())
        multiprocessing.util.Finalize(None, _made[0].close, exitpriority=1)
    return _made[0]


def results(seeds: Iterable[int], workers: int) -> Iterator[Result]:
    """Each seed's result, as they come."""
    wanted = list(seeds)
    portions = [wanted[start : start + PORTION] for start in range(0, len(wanted), PORTION)]
    with multiprocessing.get_context("spawn").Pool(workers, maxtasksperchild=50) as pool:
        for several in pool.imap_unordered(_portion, portions):
            yield from several
        pool.close()
        pool.join()


def run(seeds: Iterable[int], *, workers: int = 0, say: Callable[[str], None] = print) -> Campaign:
    """Play them all; says each that does not hold, and now and then how far it is."""
    campaign, began = Campaign(), time.monotonic()
    look = began
    for one in results(seeds, workers or os.cpu_count() or 1):
        campaign.add(one)
        if one.findings:
            say(f"BROKEN seed {one.seed} ({one.ended}): " + "; ".join(campaign.broken[one.seed][:4]))
            say(f"    again: python -m tests.sim --seed {one.seed}")
        if time.monotonic() > look + 30:
            look = time.monotonic()
            say(f"{campaign.seeds} seeds, {campaign.seeds / (look - began):.1f} a second")
    campaign.real = time.monotonic() - began
    return campaign
