"""Receipts of what imports made: taken back by the controller, and a registration that was no consent."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Engine

import verify_ledger
from service.db.session import transaction
from service.domain.ledger import checkpoints
from service.domain.people import queries as people
from service.domain.reports import receipts
from service.domain.transfers import rules
from service.kit import addresses, clock
from service.kit.signing import Keyring
from service.ops import imports
from service.ops.house import House
from tests import builders as make
from tests.domain.privacy.schemas import SCHEMAS, faults, published
from tests.domain.transfers import files


def _receipt(house: House) -> dict[str, Any]:
    now = clock.now()
    with transaction(house.engine) as session:
        checkpoints.sign(session, house.ring, now=now)
    with transaction(house.engine) as session:
        [ana] = people.by_address(session, house.ring, addresses.parse("ana@example.org"))
        found = receipts.of_person(session, house.ring, ana, now=now)
        [one] = [one for one in found if one["purpose"] == "new-products"]
    assert faults(published("receipt"), one) == []
    return one


def test_what_an_import_gave_and_staff_took_back_is_revoked(
    engine: Engine, ring: Keyring, tmp_path: Path
) -> None:
    house = make.a_house(engine, ring, tmp_path)
    content = files.MAILCHIMP.replace(b'"2020-05-05 05:05:05",,,,,', b'"2020-05-05 05:05:05",192.0.2.9,,,,')
    done = files.imported(house, files.job(content, files.GRANT, attested=True))
    imports.take_back(house, done.row.public_id, reason="the words were others", by=make.STAFF)
    one = _receipt(house)
    assert (one["state"], one["status"]) == ("invalidated", "ConsentRevoked")


def test_a_legacy_registration_has_no_legal_basis(engine: Engine, ring: Keyring, tmp_path: Path) -> None:
    house = make.a_house(engine, ring, tmp_path)
    grant = rules.Grant("new-products", "old terms", text="Registering means agreeing.", basis=rules.LEGACY)
    files.imported(house, files.job(files.simple("ana@example.org"), grant))
    one = _receipt(house)
    assert (one["basis"], one["legal_basis"]) == (rules.LEGACY, None)


@pytest.mark.parametrize("basis", sorted(receipts.BASES))
def test_every_ground_is_one_the_schema_and_the_context_know(basis: str) -> None:
    legal = receipts.BASES[basis]
    assert legal in published("receipt")["properties"]["legal_basis"]["enum"]
    assert legal in json.loads((SCHEMAS / "receipt.context.jsonld").read_text())["@context"]


def test_words_of_another_system_were_not_shown_with_our_policy(
    engine: Engine, ring: Keyring, tmp_path: Path
) -> None:
    """Asked here, under our words and our policy, and then given by a file that brought words of its own."""
    house = make.a_house(engine, ring, tmp_path)
    with transaction(house.engine) as session:
        now = clock.now()
        said = [make.an_answer("updates", at=now, confirmed=True), make.an_answer(at=now)]
        make.register(session, ring, "ana@example.org", said, now=now)
    asked = _receipt(house)
    assert asked["policy"]["id"].startswith("privacy-")
    content = files.MAILCHIMP.splitlines(keepends=True)
    files.imported(house, files.job(b"".join(content[:2]), files.GRANT, attested=True))
    one = _receipt(house)
    assert (one["state"], one["notice"]["id"], one["policy"]) == ("given", None, None)
    (tmp_path / "receipt.json").write_text(json.dumps(one))
    [key] = checkpoints.keys(ring)
    assert verify_ledger.main([str(tmp_path / "receipt.json"), "--key", key]) == 0
    (tmp_path / "receipt.json").write_text(json.dumps(one | {"policy": asked["policy"]}))
    assert verify_ledger.main([str(tmp_path / "receipt.json"), "--key", key]) == 1
