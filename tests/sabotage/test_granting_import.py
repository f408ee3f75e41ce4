"""An import that grants: with the guards of P7 taken out, the ledger itself must show that a no was turned into a yes."""

import json
from pathlib import Path

import pytest
from sqlalchemy.engine import Engine

from service.db.session import reading, transaction
from service.domain.consent.rules import Step
from service.domain.ledger import queries as ledger
from service.domain.preferences import chunks, registration
from service.domain.preferences.actions import stop
from service.domain.transfers import judging
from service.kit import clock
from service.kit.signing import Keyring
from tests import builders as make
from tests.domain.transfers import files

pytestmark = pytest.mark.sabotage


def turned(engine: Engine) -> list[str]:
    """Every (person, topic) whose no became a yes by anybody but the person, read from the ledger's entries alone."""
    stopped: set[tuple[str, str]] = set()
    found = []
    with reading(engine) as session:
        for entry, _ in ledger.stored(session):
            told = json.loads(entry.text)
            about = (told["subject"], told["body"].get("topic"))
            if entry.kind in ("consent.withdrawn", "consent.refused", "consent.invalidated"):
                stopped.add(about)
            another = told["actor"] != f"person:{told['subject']}"
            if entry.kind in ("consent.given", "consent.renewed") and about in stopped and another:
                found.append(f"{about} at {entry.seq}")
    return found


@pytest.mark.parametrize("granting", [False, True])
def test_an_import_that_grants_is_seen(
    engine: Engine, ring: Keyring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, granting: bool
) -> None:
    house = make.a_house(engine, ring, tmp_path)
    with transaction(engine) as session:
        ana = make.a_person(session, ring, now=clock.now(), external_id="7", source="old-shop")
        stop(session, ring, make.a_link(session, ana), how="link", evidence={}, now=clock.now())
    if granting:
        monkeypatch.setattr(judging, "_said_no", lambda *_: False)
        monkeypatch.setattr(chunks.Chunk, "_refused_under", lambda *_: set())
        monkeypatch.setattr(
            registration.consent_rules, "answer", lambda **_: Step("consent.given", "given", "given")
        )
    content = b"email,id,subscribed at\nana@example.org,7,2026-01-01\n"
    files.imported(house, files.job(content, files.GRANT))
    assert bool(turned(engine)) == granting
