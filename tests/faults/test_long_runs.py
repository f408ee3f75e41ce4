"""The long runs in seconds, on both databases: what they prove takes `make faults FAULTS="--size long"`."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults import long_runs, play
from tests.faults.runs import Trial
from tests.faults.town import Town

pytestmark = pytest.mark.journey
SEED = 3


RUNS = pytest.mark.parametrize("trial", long_runs.small(), ids=lambda trial: trial.run)


def _play(directory: Path, database: str, new_database: Callable[[], str], trial: Trial) -> list[str]:
    """One trial in a town of its own; what does not hold."""
    played = play.play(
        lambda name: Town(directory / name, new_database()), [trial], database=database, seed=SEED, say=print
    )
    return [f"{one.name}: {finding.name}, {finding.where}" for one in played for finding in one.findings]


@RUNS
def test_long_runs_on_sqlite(tmp_path: Path, trial: Trial) -> None:
    assert _play(tmp_path, "sqlite", str, trial) == []


@RUNS
def test_long_runs_on_postgresql(
    tmp_path: Path, new_postgres_database: Callable[[], str], trial: Trial
) -> None:
    assert _play(tmp_path, "postgres", new_postgres_database, trial) == []
