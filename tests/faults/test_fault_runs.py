"""The small size of `make faults`: over both databases every failpoint once, and a few of the other faults.

The ordinary size is `make faults`; a failing trial says how to play it again.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.kit import failpoints
from tests.faults import play, runs, sizes
from tests.faults.town import Town

pytestmark = pytest.mark.journey
SEED = 3


def test_the_small_size_reaches_every_failpoint() -> None:
    expected = [one.expects for half in (0, 1) for one in runs.small(half) if one.expects]
    assert sorted(expected) == sorted(failpoints.NAMES)


def test_the_names_of_trials_are_their_own() -> None:
    for database in sizes.DATABASES:
        names = [f"{one.run} {one.name}" for one in sizes.ordinary(database)]
        assert len(names) == len(set(names))


def test_a_trial_that_fills_the_machine_has_it_alone() -> None:
    begun, go, seen = threading.Event(), threading.Event(), []

    def usual() -> None:
        with play.room("F01"):
            begun.set()
            assert go.wait(20)
            seen.append("over")

    def crowd() -> None:
        with play.room("F28"):
            seen.append("alone")

    with ThreadPoolExecutor(3) as both:
        first = both.submit(usual)
        assert begun.wait(20)
        second = both.submit(crowd)
        while not play.turn.locked():  # the crowd stands at the door, and nobody begins before it
            assert not second.done()
        third = both.submit(crowd)
        assert seen == []
        go.set()
        for one in (first, second, third):
            one.result(20)
    assert seen == ["over", "alone", "alone"]


def _play(directory: Path, database: str, new_database: Callable[[], str], part: int) -> list[str]:
    """A half of one database's small size; what does not hold."""
    trials = sizes.small(database)[part::2]
    played = play.play(
        lambda name: Town(directory / name, new_database()), trials, database=database, seed=SEED, say=print
    )
    return [f"{one.name}: {finding.name}, {finding.where}" for one in played for finding in one.findings]


@pytest.mark.parametrize("part", [0, 1])
def test_faults_on_sqlite(tmp_path: Path, part: int) -> None:
    assert _play(tmp_path, "sqlite", str, part) == []


@pytest.mark.parametrize("part", [0, 1])
def test_faults_on_postgresql(tmp_path: Path, new_postgres_database: Callable[[], str], part: int) -> None:
    assert _play(tmp_path, "postgres", new_postgres_database, part) == []
