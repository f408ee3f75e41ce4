"""The evidence file of a yes that an import brought has the words that were shown elsewhere, and a checker holds them to their hash."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Engine

import verify_ledger
from service.db.session import transaction
from service.domain.ledger import checkpoints
from service.domain.people import queries as people
from service.domain.reports import evidence
from service.kit import addresses, clock
from service.kit.signing import Keyring
from service.ops.house import House
from tests import builders as make
from tests.domain.transfers import files


@pytest.fixture
def house(engine: Engine, ring: Keyring, tmp_path: Path) -> House:
    return make.a_house(engine, ring, tmp_path)


def written(house: House) -> dict[str, Any]:
    files.imported(house, files.job(files.simple("ana@example.org"), files.GRANT))
    now = clock.now()
    with transaction(house.engine) as session:
        [ana] = people.by_address(session, house.ring, addresses.parse("ana@example.org"))
        checkpoints.sign(session, house.ring, now=now)
        return evidence.of_person(session, house.ring, ana, on=now, now=now)


def fault(house: House, file: dict[str, Any]) -> str | None:
    keys = verify_ledger.read_keys([*checkpoints.keys(house.ring)])
    return verify_ledger.check(io.BytesIO(json.dumps(file).encode()), keys).fault


def test_the_words_of_an_import_are_in_the_file(house: House) -> None:
    file = written(house)
    [brought] = file["imports"]
    assert [(one["topic"], one["text"], one["said"]) for one in brought["grants"]] == [
        ("new-products", files.WORDS, "old shop, newsletter box")
    ]
    assert fault(house, file) is None


def test_other_words_or_another_import_do_not_hold(house: House) -> None:
    file = written(house)
    for change in (
        lambda one: one["grants"][0].update(text="Send me everything."),
        lambda one: one["grants"][0].update(said="somewhere else"),
        lambda one: one.update(id="i_other"),
        lambda one: one.update(actor="person"),
        lambda one: one.update(file_sha256="0" * 64),
        lambda one: one.update(at="2020-01-01T00:00:00+00:00"),
    ):
        document = json.loads(json.dumps(file))
        change(document["imports"][0])
        assert fault(house, document) == "retold_differs"
    assert fault(house, {**file, "imports": []}) == "retold_differs"
