"""An installation whose brand may mail, for stories in which mails leave."""

from pathlib import Path

import pytest
from sqlalchemy import Engine

from service.db.session import transaction
from service.domain.brands import actions as brands
from service.kit import clock
from service.kit.signing import Keyring
from tests.scheduler.conftest import Post


@pytest.fixture
def post(engine: Engine, ring: Keyring, tmp_path: Path) -> Post:
    made = Post(engine, ring, tmp_path)
    with transaction(engine) as session:
        fields = {"postal_address": "Kettle Works, Mill Lane 1, 12345 Riverton"}
        brands.set_fields(session, "default", fields, now=clock.now(), by="cli")
    return made
