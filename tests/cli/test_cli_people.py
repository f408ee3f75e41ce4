"""`bidden people` as people type it, and an import whose process is killed in the middle."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy.engine import Engine
from sqlmodel import col, func, select

from service.db.session import reading, transaction
from service.domain.people.tables import Identity, Person
from service.domain.preferences import projection, rights
from service.domain.preferences.tables import Preference
from service.domain.transfers import queries
from service.domain.transfers.tables import Import
from service.kit import clock
from service.kit.signing import Keyring
from tests.cli.conftest import Run
from tests.domain.transfers import files

PROOF = ("--topic", "new-products", "--said", "old shop, newsletter box", "--text", files.WORDS)


def a_file(directory: Path, content: bytes, name: str = "people.csv") -> str:
    path = directory / name
    path.write_bytes(content)
    return str(path)


def test_a_dry_run_says_what_would_be_and_writes_nothing(bidden: Run, tmp_path: Path, engine: Engine) -> None:
    path = a_file(tmp_path, files.simple("ana@example.org", "ben@"))
    done = bidden("people", "import", path, *PROOF, "--dry-run")
    assert done.code == 0, done.err
    assert "1  new" in done.out
    assert "Row 2, email “ben@”: That does not look like one e-mail address" in done.out
    facts = bidden("people", "import", path, *PROOF, "--dry-run", "--json").json
    assert facts["counts"]["new"] == 1
    assert [(one["row"], one["column"], one["code"]) for one in facts["faults"]] == [
        (2, "email", "address_syntax")
    ]
    with reading(engine) as session:
        assert queries.newest(session) == []


def test_nothing_is_imported_while_a_row_is_bad_unless_it_may_stay_out(bidden: Run, tmp_path: Path) -> None:
    path, bad = a_file(tmp_path, files.simple("ana@example.org", "ben@")), tmp_path / "bad.csv"
    refused = bidden("people", "import", path, *PROOF, "--bad-rows", str(bad))
    assert refused.code == 1
    assert "--leave-out-bad-rows" in refused.err
    assert b"ben@,2024-01-02," in bad.read_bytes()
    assert bidden("people", "imports").out.startswith("Nothing was imported yet")
    done = bidden("people", "import", path, *PROOF, "--leave-out-bad-rows", "--json")
    assert done.code == 0, done.err
    assert (done.json["state"], done.json["counts"]["new"], done.json["again"]) == ("done", 1, False)
    again = bidden("people", "import", path, *PROOF, "--leave-out-bad-rows", "--json").json
    assert (again["id"], again["again"]) == (done.json["id"], True)
    assert [one["id"] for one in bidden("people", "imports", "--json").json["items"]] == [done.json["id"]]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (("--topic", "new-products", "--said", "shop"), "proof_missing"),
        (("--topic", "nothing", "--said", "shop", "--text", "x"), "topic_unknown"),
        (("--topic", "updates", "--said", "shop", "--wording", "updates-v9-en"), "wording_unknown"),
        (("--column", "nope=email"), "column_unknown"),
        (("--column", "nope"), "plan_invalid"),
        (("--source", "Old Shop"), "plan_invalid"),
    ],
)
def test_a_plan_that_does_not_hold_is_refused(
    bidden: Run, tmp_path: Path, more: tuple[str, ...], why: str
) -> None:
    done = bidden("people", "import", a_file(tmp_path, files.simple("ana@example.org")), *more)
    assert done.code == 1
    assert why in done.err


def test_mailchimps_file_of_people_who_left_is_known_by_its_name(bidden: Run, tmp_path: Path) -> None:
    path = a_file(tmp_path, files.MAILCHIMP, "cleaned_members_export_1.csv")
    done = bidden("people", "import", path, *PROOF, "--json")
    assert done.json["counts"]["noes"] == {"bounced": 2}
    assert done.json["source"] == "mailchimp"


def test_a_plan_as_json_speaks_of_several_topics(bidden: Run, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    grants = [
        {"topic": "updates", "said": "old shop", "text": "Tell me."},
        {"topic": "new-products", "said": "old shop", "wording": "new-products-v1-en"},
    ]
    plan.write_text(json.dumps({"source": "old-shop", "grants": grants}))
    path = a_file(tmp_path, files.simple("ana@example.org"))
    done = bidden("people", "import", path, "--plan", str(plan), "--json")
    assert done.code == 0, done.err
    assert done.json["counts"]["given"] == {"updates:requested": 1, "new-products:requested": 1}
    plan.write_text("{")
    assert "plan_invalid" in bidden("people", "import", path, "--plan", str(plan)).err


def test_a_plan_as_json_heeds_what_is_said_beside_it(bidden: Run, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    grants = [{"topic": "updates", "said": "old shop", "text": "Tell me."}]
    plan.write_text(json.dumps({"source": "old-shop", "grants": grants}))
    path = a_file(tmp_path, files.simple("ana@example.org", "ben@"))
    done = bidden("people", "import", path, "--plan", str(plan), "--leave-out-bad-rows", "--json")
    assert done.code == 0, done.err
    assert (done.json["counts"]["new"], done.json["counts"]["refused"]) == (1, {"address_syntax": 1})
    path = a_file(tmp_path, files.simple("cem@example.org"), "nonsubscribed_members_1.csv")
    done = bidden("people", "import", path, "--plan", str(plan), "--json")
    assert (done.json["counts"]["new"], done.json["counts"]["given"]) == (1, {})


@pytest.mark.parametrize(
    "wrong",
    [
        {"attested": "no"},
        {"mail": "false"},
        {"source": 5},
        {"columns": {"email": 5}},
        {"columns": "email"},
        {"dates": ["iso"]},
        {"status": {}},
        {"grants": [{"topic": "updates", "said": "shop", "text": "Tell me.", "on": 20240102}]},
        {"grants": [{"topic": ["updates"], "said": "shop", "text": "Tell me."}]},
        {"grants": [["updates"]]},
    ],
)
def test_a_plan_of_other_kinds_of_values_is_none(
    bidden: Run, tmp_path: Path, wrong: dict[str, object]
) -> None:
    """“no” between quotation marks would be a yes."""
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"source": "old-shop", **wrong}))
    path = a_file(tmp_path, files.simple("ana@example.org"))
    done = bidden("people", "import", path, "--plan", str(plan), "--dry-run")
    assert (done.code, "plan_invalid" in done.err) == (1, True), done.err


def test_p7_a_second_column_of_noes_leaves_the_first_one_its_meaning(bidden: Run, tmp_path: Path) -> None:
    content = b"email,firstname,lastname,points,doNotEmail,Left\nana@example.org,A,B,1,1,0\nben@example.org,A,B,1,0,1\n"
    done = bidden("people", "import", a_file(tmp_path, content), "--column", "Left=no_mail", "--json")
    assert done.json["counts"]["noes"] == {"no": 2}, done.err


def test_bad_rows_overwrite_nothing_and_are_for_their_owner(bidden: Run, tmp_path: Path) -> None:
    content = files.simple("ana@example.org", "ben@")
    path, bad = a_file(tmp_path, content), tmp_path / "bad.csv"
    refused = bidden("people", "import", path, *PROOF, "--bad-rows", path, "--leave-out-bad-rows")
    assert (refused.code, "file_there" in refused.err) == (1, True)
    assert Path(path).read_bytes() == content
    bidden("people", "import", path, *PROOF, "--bad-rows", str(bad))
    assert stat.S_IMODE(bad.stat().st_mode) == 0o600


def test_taking_back_and_export(bidden: Run, tmp_path: Path, engine: Engine, ring: Keyring) -> None:
    made = bidden("people", "import", a_file(tmp_path, files.MAILCHIMP), *PROOF, "--confirmed", "--json").json
    back = bidden("people", "take-back", made["id"], "--reason", "wrong file", "--json")
    assert back.json["taken_back"] == 1
    assert "import_unknown" in bidden("people", "take-back", "i_0", "--reason", "x").err
    out = tmp_path / "out.csv"
    done = bidden("people", "export", str(out), "--reason", "moving house", "--json")
    assert done.json["people"] == 2
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert done.json["restricted_left_out"] == 0
    with transaction(engine) as session:
        kept = session.exec(select(Person).where(col(Person.state) == "active")).all()[0]
        rights.restrict(session, kept, how="me", now=clock.now(), by=f"person:{kept.public_id}")
    without = bidden("people", "export", str(tmp_path / "without.csv"), "--reason", "moving house")
    assert "Left out, because restricted: 1." in " ".join(without.out.split())
    assert "file_there" in bidden("people", "export", str(out), "--reason", "again").err
    assert "reason_missing" in bidden("people", "export", str(tmp_path / "o"), "--reason", " ").err
    assert (
        "form_unknown"
        in bidden("people", "export", str(tmp_path / "o"), "--reason", "x", "--format", "xls").err
    )
    assert not (tmp_path / "o").exists()


def test_killed_in_the_middle_it_goes_on_and_gives_everybody_once(
    environment: dict[str, str], tmp_path: Path, engine: Engine, ring: Keyring
) -> None:
    """A process of its own, kill -9 once some rows are done; the same command again ends the same import."""
    people = 2_000
    path = a_file(tmp_path, files.simple(*(f"p{n}@example.org" for n in range(people))))
    command = [sys.executable, "-m", "service", "people", "import", path, *PROOF, "--json"]
    root = str(Path(__file__).parents[2])
    given = {**environment, "PYTHONPATH": root}
    first = subprocess.Popen(command, env=given, cwd=root, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while first.poll() is None and time.monotonic() < deadline:
        with reading(engine) as session:
            done = session.exec(select(func.coalesce(func.max(Import.rows_done), 0))).one()
        if done >= 200:
            break
        time.sleep(0.02)
    os.kill(first.pid, signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    with reading(engine) as session:
        [row] = queries.newest(session)
    assert (row.state, 200 <= row.rows_done < people) == ("running", True)
    second = subprocess.run(command, env=given, cwd=root, capture_output=True, check=True)
    facts = json.loads(second.stdout)
    assert (facts["id"], facts["state"], facts["counts"]["new"]) == (row.public_id, "done", people)
    with reading(engine) as session:
        assert session.exec(select(func.count()).select_from(Identity)).one() == people
        asked = select(func.count()).select_from(Preference).where(col(Preference.state) == "requested")
        assert session.exec(asked).one() == people
        assert projection.differences(session) == []
