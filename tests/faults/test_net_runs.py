"""A sender cut off from the database, in seconds; the others of these runs are `make faults`."""

import os
from pathlib import Path

import pytest

from tests.faults import net_runs, play, roads
from tests.faults.town import Town

pytestmark = pytest.mark.journey
COMPLETE = os.environ.get("BIDDEN_TEST_COMPLETE") == "1"


def test_faults_over_roads(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    if why := roads.missing():
        assert not (COMPLETE and "not installed" in why), why
        pytest.skip(f"roads that fail are left out: {why}")
    with roads.found(tmp_path) as made:
        played = play.play(
            lambda name: Town(tmp_path / name, made.new_database()),
            net_runs.small(made),
            database="postgres",
            seed=3,
            say=print,
        )
    wrong = [f"{one.name}: {finding.name}, {finding.where}" for one in played for finding in one.findings]
    assert wrong == []
