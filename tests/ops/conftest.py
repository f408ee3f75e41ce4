"""The house of one test."""

from pathlib import Path

import pytest
from sqlalchemy.engine import Engine

from service.config import Settings
from service.kit.signing import Keyring, load_or_make
from service.ops.house import House


@pytest.fixture
def house(engine: Engine, database_url: str, tmp_path: Path) -> House:
    settings = Settings(
        data_dir=tmp_path, database_url=database_url, smtp_url="", public_url="http://127.0.0.1:9"
    )
    ring: Keyring = load_or_make(settings.key_file)
    return House(settings, engine, ring)
