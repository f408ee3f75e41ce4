"""`bidden ledger`: heads, export, proofs and the witness, read back by verify_ledger.py in an interpreter without the product."""

import json
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from sqlalchemy.engine import Engine

from service.domain.ledger import checkpoints
from service.kit.signing import Keyring, load_or_make
from tests import checks
from tests.cli.conftest import Run
from tests.domain.ledger import mutants

VERIFIER = Path(__file__).parents[2] / "verify_ledger.py"


def read(file: Path, key: str) -> tuple[int, dict[str, object]]:
    """What verify_ledger.py says of a file, alone with its own directory."""
    done = subprocess.run(
        [sys.executable, "-I", str(VERIFIER), str(file), "--key", key, "--json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=file.parent,
    )
    return done.returncode, json.loads(done.stdout)


@pytest.fixture
def key(bidden: Run) -> str:
    return str(bidden("ledger", "checkpoint", "--key").out.strip())


def test_a_head_is_signed_and_verified(bidden: Run) -> None:
    assert bidden("ledger", "verify", "--json").json["after_last"] > 0
    note = bidden("ledger", "checkpoint", "--json").json["note"]
    assert note.startswith("bidden/")
    assert bidden("ledger", "verify", "--json").json["after_last"] == 0
    assert bidden("ledger", "checkpoint", "--json").json["note"] == note, "nothing new, nothing signed"
    bidden("brand", "set", "default", "title=Kettles")
    assert bidden("ledger", "verify", "--json").json["after_last"] == 1
    assert bidden("db", "check").code == 0


def test_an_export_is_checked_without_us(bidden: Run, key: str, tmp_path: Path) -> None:
    bidden("ledger", "checkpoint")
    bidden("brand", "set", "default", "title=Kettles")
    assert bidden("ledger", "export", str(tmp_path / "all.ndjson")).code == 0
    code, said = read(tmp_path / "all.ndjson", key)
    assert (code, said["holds"], said["after_last"]) == (0, True, 1)
    assert bidden("ledger", "export", str(tmp_path / "all.ndjson")).code == 1, "nothing is written over"
    other = next(iter(checkpoints.keys(Keyring({1: b"o" * 32}, "0011223344556677"))))
    assert read(tmp_path / "all.ndjson", other)[1]["fault"] == "badly_signed"


def test_a_proof_is_checked_without_the_rest(bidden: Run, key: str, tmp_path: Path) -> None:
    proof = tmp_path / "proof.json"
    proof.write_text(bidden("ledger", "prove", "1", "7").out)
    assert read(proof, key)[0] == 0
    proof.write_text(proof.read_text().replace("brand.created", "brand.creator"))
    assert read(proof, key)[1]["fault"] == "not_included"
    refused = bidden("ledger", "prove", "4711")
    assert (refused.code, "entry_unknown" in refused.err) == (1, True)


@pytest.mark.parametrize("seed", range(10))
def test_rel_f33_mutants_are_found_by_both_commands(
    bidden: Run, key: str, engine: Engine, tmp_path: Path, seed: int
) -> None:
    for title in ("One", "Two", "Three"):
        bidden("brand", "set", "default", f"title={title}")
        bidden("ledger", "checkpoint")
    ring, chance = load_or_make(tmp_path / "secret.key"), Random(seed)
    with engine.execution_options(write=True).begin() as connection:
        checks.without_guards(connection)
        on = mutants.Ledger(connection, ring, tmp_path / "safe", chance)
        must = mutants.WAYS[seed * 3 % len(mutants.WAYS) if seed < 5 else seed](on)
    refused = bidden("ledger", "verify", "--json")
    assert refused.code == 1
    assert refused.json["error"]["field"] in [f"{must.position} {word}" for word in must.words]
    bidden("ledger", "export", str(tmp_path / "all.ndjson"))
    code, said = read(tmp_path / "all.ndjson", key)
    assert (code, said["fault"] in must.words, said["position"]) == (1, True, must.position)


def test_a_witness_follows_and_refuses(bidden: Run, key: str, tmp_path: Path) -> None:
    state = str(tmp_path / "seen.json")
    assert "nothing_signed" in bidden("ledger", "witness", state, "--key", key).err
    bidden("ledger", "checkpoint")
    assert "key_missing" in bidden("ledger", "witness", state).err
    assert bidden("ledger", "witness", state, "--key", key).code == 0
    bidden("brand", "set", "default", "title=Kettles")
    bidden("ledger", "checkpoint")
    assert bidden("ledger", "witness", state, "--json").json["came"] == 1


def test_merge_has_nothing_to_do(bidden: Run) -> None:
    refused = bidden("db", "merge")
    assert (refused.code, "nothing_to_merge" in refused.err) == (1, True)


@pytest.mark.parametrize("number", ["1000000", str(2**63), str(2**200)])
def test_an_entry_that_cannot_be_is_unknown(bidden: Run, number: str) -> None:
    refused = bidden("ledger", "prove", "--", number)
    assert (refused.code, "entry_unknown" in refused.err, refused.err.count("Not done:")) == (1, True, 1)
