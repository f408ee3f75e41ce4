"""The long runs in seconds, each on one database: what they prove takes `make faults FAULTS="--size long"`."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults import long_runs, play
from tests.faults.runs import Trial
from tests.faults.town import Town

pytestmark = pytest.mark.journey
SEED = 3


AT_FULL_SPEED, KILLED = long_runs.small()


def _play(directory: Path, database: str, new_database: Callable[[], str], trial: Trial) -> list[str]:
    """One trial in a town of its own; what does not hold."""
    played = play.play(
        lambda name: Town(directory / name, new_database()), [trial], database=database, seed=SEED, say=print
    )
    return [f"{one.name}: {finding.name}, {finding.where}" for one in played for finding in one.findings]


def test_noes_at_full_speed_on_sqlite(tmp_path: Path) -> None:
    assert _play(tmp_path, "sqlite", str, AT_FULL_SPEED) == []


def test_killed_again_and_again_on_postgresql(
    tmp_path: Path, new_postgres_database: Callable[[], str]
) -> None:
    assert _play(tmp_path, "postgres", new_postgres_database, KILLED) == []
