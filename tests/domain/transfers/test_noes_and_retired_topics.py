"""A no to everything counts for topics that rest, too: they may be taken into use again (P7)."""

from pathlib import Path

import pytest
from sqlalchemy.engine import Engine

from service.db.session import transaction
from service.domain.topics import actions as topics
from service.domain.transfers import rules
from service.kit import clock
from service.kit.signing import Keyring
from service.ops.house import House
from tests import builders as make
from tests.domain.transfers import files
from tests.domain.transfers.test_imports import holds, states

YES = rules.Grant("new-products", "shop", text=files.WORDS, on="2024-01-02", basis=rules.LEGACY)


@pytest.fixture
def house(engine: Engine, ring: Keyring, tmp_path: Path) -> House:
    return make.a_house(engine, ring, tmp_path)


@pytest.mark.parametrize("word", ["unsubscribed", "blocklisted", "complained"])
def test_p7_a_no_to_everything_ends_what_stands_for_a_retired_topic(house: House, word: str) -> None:
    files.imported(house, files.job(b"email\nana@example.org\n", YES))
    assert states(house) == ["given"]
    with transaction(house.engine) as session:
        topics.retire(session, "new-products", now=clock.now(), by="staff:t")
    done = files.imported(house, files.job(f"email,status\nana@example.org,{word}\n".encode()))
    assert done.examined.counts.as_json() == done.row.counts
    with transaction(house.engine) as session:
        topics.restore(session, "new-products", now=clock.now(), by="staff:t")
    assert states(house) == ["withdrawn"]
    holds(house)
