"""`bidden prove --receipts`: each receipt is as its schema says, speaks DPV by the context beside it, and is checked offline."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from pyld import jsonld
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
TOLD = ("hasDataSubject", "hasDataController", "hasPurpose", "hasNotice", "hasLegalBasis", "hasConsentStatus")


def _receipts(bidden: Run, engine: Engine, tmp_path: Path) -> dict[str, Path]:
    now, ring = clock.now(), load_or_make(tmp_path / "secret.key")
    with transaction(engine) as session:
        ana = make.a_person(session, ring, "ana@example.org", now=now - timedelta(days=2))
        stop(session, ring, make.a_link(session, ana, "updates"), how="link", evidence={}, now=now)
    bidden("prove", "ana@example.org", "--receipts", str(tmp_path / "receipts"))
    return {one.stem.removeprefix("receipt-"): one for one in (tmp_path / "receipts").iterdir()}


def _expanded(receipt: dict[str, Any]) -> dict[str, Any]:
    """The receipt as a JSON-LD processor reads it, which is given the context by its name and fetches nothing."""

    def given(url: str, _: Any) -> dict[str, Any]:
        assert url == "urn:bidden:receipt-context:1", "nothing is fetched"
        context = json.loads((SCHEMAS / "receipt.context.jsonld").read_text())
        return {"contextUrl": None, "documentUrl": url, "document": context}

    [found] = jsonld.expand(receipt, {"documentLoader": given})
    return dict(found)


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
        read_by_others = _expanded(receipt)
        assert read_by_others.keys() >= {f"{DPV}{one}" for one in TOLD}
        assert [one["@id"] for one in read_by_others[f"{DPV}hasLegalBasis"]] == [f"{DPV}Consent"]
        assert read_by_others["http://purl.org/dc/terms/conformsTo"] == [{"@id": "urn:bidden:receipt:1"}]
        [states[topic]] = [one["@id"] for one in read_by_others[f"{DPV}hasConsentStatus"]]
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
