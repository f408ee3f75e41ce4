"""`bidden prove` of what stood in the ledger and permitted no mail: its time was over, or nobody had ever said it."""

import json
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Engine

from service.db.session import transaction
from service.domain.ledger import actions as ledger
from service.kit import clock
from service.kit.signing import load_or_make
from tests import builders as make
from tests.cli.conftest import Run
from tests.cli.test_cli_ledger import read

DAY = timedelta(days=1)


@pytest.fixture
def ana(engine: Engine, tmp_path: Path) -> str:
    with transaction(engine) as session:
        ring, now = load_or_make(tmp_path / "secret.key"), clock.now() - 9 * DAY
        return make.a_person(session, ring, "ana@example.org", yes=(), now=now).public_id


def said(engine: Engine, subject: str, kind: str, at: datetime, **body: Any) -> int:
    what = {"topic": "new-products", "state": kind.partition(".")[2], "state_before": "unknown"}
    with transaction(engine) as session:
        return ledger.append(session, kind, subject=subject, body={**what, **body}, by="cli", now=at)


def permits(bidden: Run, key: str, tmp_path: Path, subject: str, day: datetime) -> bool:
    file = bidden("prove", subject, "--on", day.date().isoformat()).json
    kept = tmp_path / "file.json"
    kept.write_text(json.dumps(file))
    assert read(kept, key)[0] == 0, "the checker says the same"
    [one] = [one for one in file["standing"] if one["topic"] == "new-products"]
    one["permits"] = not one["permits"]
    kept.write_text(json.dumps(file))
    assert read(kept, key)[1]["fault"] == "retold_differs"
    return not one["permits"]


def test_what_a_purchase_permits_ends_at_its_instant(
    bidden: Run, engine: Engine, tmp_path: Path, ana: str
) -> None:
    """Whether or not the clock has written the entry of its end: the gate refuses from then on."""
    key, now = bidden("ledger", "checkpoint", "--key").out.strip(), clock.now()
    day = datetime.combine((now - 4 * DAY).date(), time.max, UTC)  # the very last instant of a day
    stood = said(
        engine, ana, "consent.given", now - 8 * DAY, basis="implied_purchase", valid_until=day.isoformat()
    )
    assert permits(bidden, key, tmp_path, ana, day - DAY)
    assert not permits(bidden, key, tmp_path, ana, day)
    assert not permits(bidden, key, tmp_path, ana, now)
    said(engine, ana, "consent.withdrawn", now - 3 * DAY, state="withdrawn")
    said(
        engine,
        ana,
        "consent.restored",
        now - 2 * DAY,
        state="given",
        basis="implied_purchase",
        restores=stood,
    )
    assert not permits(bidden, key, tmp_path, ana, now), "what is brought back has no longer time than it had"


def test_an_old_registration_permits_nothing(bidden: Run, engine: Engine, tmp_path: Path, ana: str) -> None:
    key, now = bidden("ledger", "checkpoint", "--key").out.strip(), clock.now()
    said(engine, ana, "consent.given", now - 5 * DAY, basis="legacy_registration")
    assert not permits(bidden, key, tmp_path, ana, now - 2 * DAY)
    said(engine, ana, "consent.given", now - DAY, basis="consent")
    assert not permits(bidden, key, tmp_path, ana, now - 2 * DAY)
    assert permits(bidden, key, tmp_path, ana, now)
