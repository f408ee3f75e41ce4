"""The command as people type it: a process of its own, on a database of the test's own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., "Done"]


class Done:
    """What a command answered."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def environment(database_url: str, tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BIDDEN_")}
    own = {"BIDDEN_DATABASE_URL": database_url, "BIDDEN_DATA_DIR": str(tmp_path), "BIDDEN_LOG_LEVEL": "ERROR"}
    return {**kept, **own}


@pytest.fixture
def bidden(environment: dict[str, str]) -> Run:
    def run(*arguments: str, **more: str) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "service", *arguments],
            env={**environment, **more},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Done(done)

    return run
