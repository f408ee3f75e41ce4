"""`bidden prove --receipts`: each receipt is as its schema says, speaks DPV by the context beside it, and is checked offline."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Engine

from service.db.session import transaction
from service.domain.preferences.actions import stop
from service.kit import clock
from service.kit.signing import load_or_make
from tests import builders as make
from tests.cli.conftest import Run
from tests.cli.test_cli_ledger import read
from tests.domain.privacy.schemas import SCHEMAS, faults, published

DPV = "https://w3id.org/dpv#"


def _receipts(bidden: Run, engine: Engine, tmp_path: Path) -> dict[str, Path]:
    now, ring = clock.now(), load_or_make(tmp_path / "secret.key")
    with transaction(engine) as session:
        ana = make.a_person(session, ring, "ana@example.org", now=now - timedelta(days=2))
        stop(session, ring, make.a_link(session, ana, "updates"), how="link", evidence={}, now=now)
    bidden("prove", "ana@example.org", "--receipts", str(tmp_path / "receipts"))
    return {one.stem.removeprefix("receipt-"): one for one in (tmp_path / "receipts").iterdir()}


def _expanded(value: dict[str, Any]) -> dict[str, Any]:
    """The part of JSON-LD expansion that the context uses: terms to IRIs, and values of @vocab terms to IRIs."""
    terms = json.loads((SCHEMAS / "receipt.context.jsonld").read_text())["@context"]
    found: dict[str, Any] = {}
    for name, one in value.items():
        if name.startswith("@"):
            continue
        term = terms.get(name, terms["@vocab"] + name)
        term = {"@id": term} if isinstance(term, str) else term
        vocab = term.get("@type") == "@vocab" and one is not None
        found[term["@id"]] = terms[one] if vocab else one
    return found


def test_receipts_hold_and_a_changed_octet_does_not(bidden: Run, engine: Engine, tmp_path: Path) -> None:
    key = bidden("ledger", "checkpoint", "--key").out.strip()
    files = _receipts(bidden, engine, tmp_path)
    assert {"new-products", "updates"} <= set(files)
    states = {}
    for topic, file in files.items():
        receipt = json.loads(file.read_text())
        assert faults(published("receipt"), receipt) == []
        assert read(file, key)[0] == 0
        assert "ana@example.org" not in file.read_text()
        states[topic] = _expanded(receipt)[f"{DPV}hasConsentStatus"]
        for entry in receipt["proof"]["entries"]:
            whole, path = entry["text"], entry["path"]
            entry["text"] = whole.replace('"kind":"', '"kind":"x', 1)
            assert _broken(receipt, tmp_path, key)
            entry["text"] = whole
            for place, node in enumerate(path):
                path[place] = ("1" if node[0] == "0" else "0") + node[1:]
                assert _broken(receipt, tmp_path, key)
                path[place] = node
    assert (states["new-products"], states["updates"]) == (f"{DPV}ConsentGiven", f"{DPV}ConsentWithdrawn")


def _broken(receipt: dict[str, Any], tmp_path: Path, key: str) -> bool:
    file = tmp_path / "changed.json"
    file.write_text(json.dumps(receipt))
    return read(file, key)[0] == 1
