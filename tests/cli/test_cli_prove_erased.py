"""`bidden prove` of somebody who was erased or restricted: what permitted before does so no more."""

import json
from datetime import timedelta
from pathlib import Path

from sqlalchemy.engine import Engine

from service.db.session import transaction
from service.domain.ledger import actions as ledger
from service.domain.preferences import rights
from service.kit import clock
from service.kit.signing import load_or_make
from service.ops import erasure
from tests import builders as make
from tests.cli.conftest import Run
from tests.cli.test_cli_ledger import read


def test_nothing_permits_mail_while_restricted(bidden: Run, engine: Engine, tmp_path: Path) -> None:
    key = bidden("ledger", "checkpoint", "--key").out.strip()
    now, ring = clock.now(), load_or_make(tmp_path / "secret.key")
    with transaction(engine) as session:
        ana = make.a_person(session, ring, "ana@example.org", now=now - timedelta(days=5)).public_id
    advertising = {"new-products"}
    for kind, stopped in (
        (rights.RESTRICTED, {"new-products", "updates"}), (rights.LIFTED, set()), (rights.OBJECTED, advertising)
    ):  # fmt: skip
        with transaction(engine) as session:
            ledger.append(session, kind, subject=ana, body={}, by="cli", now=clock.now())
        file = bidden("prove", ana).json
        assert {one["topic"] for one in file["standing"] if not one["permits"]} == stopped
        assert file["events"][-1]["kind"] == kind
        kept = tmp_path / "file.json"
        kept.write_text(json.dumps(file))
        assert read(kept, key)[0] == 0


def test_nothing_permits_mail_to_somebody_erased(bidden: Run, engine: Engine, tmp_path: Path) -> None:
    key = bidden("ledger", "checkpoint", "--key").out.strip()
    now, ring = clock.now(), load_or_make(tmp_path / "secret.key")
    with transaction(engine) as session:
        ana = make.a_person(session, ring, "ana@example.org", now=now - timedelta(days=5)).public_id
    with transaction(engine) as session:
        erasure.erase(session, ring, make.the_person(session, ana), how="staff", now=now, by="cli")
    before = bidden("prove", ana, "--on", (now - timedelta(days=2)).date().isoformat()).json
    today = bidden("prove", ana).json
    for file, permits in ((before, True), (today, False)):
        assert {one["permits"] for one in file["standing"]} == {permits}
        assert all(one.get("evidence") is None for one in file["events"])
        kept = tmp_path / "file.json"
        kept.write_text(json.dumps(file))
        assert read(kept, key)[0] == 0
