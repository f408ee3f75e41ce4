"""`bidden prove`: the evidence file of a person, checked by verify_ledger.py as it stands."""

import json
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy.engine import Engine

from service.db.session import reading, transaction
from service.domain.ledger import queries as ledger
from service.kit import clock
from service.kit.signing import load_or_make
from tests import builders as make
from tests.cli.conftest import Run
from tests.cli.test_cli_ledger import read
from tests.domain.privacy.test_disclosures import GIVEN, give


def _ana(engine: Engine, directory: Path, now: datetime) -> str:
    with transaction(engine) as session:
        return make.a_person(
            session, load_or_make(directory / "secret.key"), "ana@example.org", now=now
        ).public_id


def test_the_file_says_what_was_said_and_is_checked_without_us(
    bidden: Run, engine: Engine, tmp_path: Path
) -> None:
    key = bidden("ledger", "checkpoint", "--key").out.strip()
    ana = _ana(engine, tmp_path, clock.now() - timedelta(days=2))
    file = bidden("prove", "ana@example.org").json
    assert file["person"] == ana
    assert {one["topic"]: one["permits"] for one in file["standing"]}["new-products"] is True
    said = [one for one in file["events"] if one["kind"] == "consent.given"]
    assert said
    shown = {one["id"]: one for one in file["wordings"]}
    for one in said:
        assert shown[one["body"]["wording"]]["sha256"] == one["body"]["wording_sha256"]
        assert one["evidence"] is not None
    kept = tmp_path / "ana.json"
    kept.write_text(json.dumps(file))
    assert read(kept, key)[0] == 0
    with reading(engine) as session:
        looks = [one for one in ledger.of_subject(session, ana) if one.kind == "person.exported"]
    assert [(one.actor, one.body["reason"]) for one in looks] == [("cli", "evidence")]


def test_as_of_a_day_before_there_was_anything(bidden: Run, engine: Engine, tmp_path: Path) -> None:
    bidden("ledger", "checkpoint")
    _ana(engine, tmp_path, clock.now())
    day = (clock.now() - timedelta(days=1)).date().isoformat()
    file = bidden("prove", "ana@example.org", "--on", day).json
    assert (file["standing"], file["events"], "proof" in file) == ([], [], False)


def test_what_was_given_to_others_is_proven_with_the_rest(
    bidden: Run, engine: Engine, tmp_path: Path
) -> None:
    key, now = bidden("ledger", "checkpoint", "--key").out.strip(), clock.now()
    ana = _ana(engine, tmp_path, now - timedelta(days=2))
    with transaction(engine) as session:
        give(session, [make.the_person(session, ana)], now)
        give(session, [make.the_person(session, ana)], now, told="secret", why_not="Order of secrecy")
    file = bidden("prove", ana).json
    [given] = file["disclosures"]
    assert given["to"] == GIVEN["to"]
    proven = [json.loads(one["text"]) for one in file["proof"]["entries"]]
    assert [one["kind"] for one in proven if one["seq"] == given["entry"]] == ["disclosure.made"]
    assert "secrecy" not in json.dumps(file)
    kept = tmp_path / "ana.json"
    kept.write_text(json.dumps(file))
    assert read(kept, key)[0] == 0


def test_refusals(bidden: Run, engine: Engine, tmp_path: Path) -> None:
    bidden("ledger", "checkpoint")
    _ana(engine, tmp_path, clock.now())
    assert "unknown_person" in bidden("prove", "zoe@example.org").err
    assert "unknown_person" in bidden("prove", "p_0").err
    assert "day_invalid" in bidden("prove", "ana@example.org", "--on", "yesterday").err
    assert "address" in bidden("prove", "not@an@address").err


def test_a_sites_own_id_that_looks_like_an_address_is_found(
    bidden: Run, engine: Engine, tmp_path: Path
) -> None:
    """Many sites know people by the address they came with, which may be another by now."""
    bidden("ledger", "checkpoint")
    with transaction(engine) as session:
        ring, now = load_or_make(tmp_path / "secret.key"), clock.now()
        ana = make.a_person(session, ring, "new@example.org", external_id="old@example.org", now=now)
        named = ana.public_id
    assert bidden("prove", "old@example.org").json["person"] == named
    assert bidden("prove", "new@example.org").json["person"] == named
    assert "unknown_person" in bidden("prove", "zoe@example.org").err
