"""The command as people type it, on a database of the test's own."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from service.cli.main import app
from service.kit import keyfile
from service.kit.signing import Keyring

Run = Callable[..., "Done"]


class Done:
    """What a command answered."""

    def __init__(self, done: Result) -> None:
        self.code, self.out, self.err = done.exit_code, done.stdout, done.stderr

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def environment(database_url: str, tmp_path: Path, ring: Keyring) -> dict[str, str]:
    """What a process of its own would be started with; the ring is the one the database was made with."""
    keyfile.replace(tmp_path / "secret.key", ring)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BIDDEN_")}
    own = {"BIDDEN_DATABASE_URL": database_url, "BIDDEN_DATA_DIR": str(tmp_path), "BIDDEN_LOG_LEVEL": "ERROR"}
    return {**kept, **own}


@pytest.fixture
def bidden(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in os.environ:
        if name.startswith("BIDDEN_"):
            monkeypatch.delenv(name)

    def run(*arguments: str, **more: str) -> Done:
        return Done(CliRunner().invoke(app, arguments, env={**environment, **more}, catch_exceptions=False))

    return run
