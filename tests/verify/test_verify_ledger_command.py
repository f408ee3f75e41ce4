"""The verifier as a command: its sentences, its JSON, wrong use, and that it runs alone."""

import ast
import base64
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

import verify_ledger
from tests.verify.bundles import (
    ORIGIN,
    OURS,
    ROOT,
    ROTATED,
    STRANGER,
    TEXTS,
    WHOLE,
    Line,
    anew,
    body_of,
    bundle_of,
    identity,
    judge,
    note_of,
    octets_of,
    proof_of,
    retext,
    sha,
    signature,
)
from verify_ledger import (
    check,
    main,
    read_keys,
)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "good").write_bytes(octets_of(WHOLE))
    (tmp_path / "bad").write_bytes(octets_of([*WHOLE[:4], *WHOLE[5:]]))
    (tmp_path / "proof").write_text(json.dumps({"proof": proof_of(TEXTS, 4, 9)}))
    (tmp_path / "keys").write_text(identity(STRANGER)[1] + "\n\n" + identity(OURS)[1] + "\r\n", newline="")
    return tmp_path


def test_sentences(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a person reads, and the exit code a program reads."""
    key = ["--key", identity(OURS)[1]]
    assert main([str(files / "good"), *key]) == 0
    assert capsys.readouterr().out == (
        "The ledger holds: 12 entries, 3 checkpoints; 2 entries after the last one are held by the chain alone."
        " Its name is bidden/0011223344556677.\n"
    )
    assert main([str(files / "bad"), "--key", str(files / "keys")]) == 1
    assert (
        capsys.readouterr().out
        == "Entry 4 does not hold: missing (the entry with this number is not there).\n"
    )
    assert main([str(files / "proof"), *key, *key]) == 0
    assert capsys.readouterr().out == (
        "The proof holds: 2 entries under the signed head of 12 entries of bidden/0011223344556677.\n"
    )


@pytest.mark.parametrize(
    ("thing", "words"),
    [
        (octets_of(WHOLE[:6]), "Line 7 does not hold: unreadable (it breaks off before entry 6 of 12)."),
        (b"", "The file does not hold: unreadable (it is not what docs/ledger.md describes, or breaks off)."),
        (octets_of(bundle_of(TEXTS, "")), "The checkpoint of 0 entries does not hold: badly_signed (no given key"),
        (octets_of(bundle_of(TEXTS, note_of(TEXTS, 1, ROTATED))), "The checkpoint of 1 entry does not hold: badly_"),
        (json.dumps(retext(lambda text: text[1:])).encode(), "Entry of the proof does not hold: not_json (the text"),
        (octets_of(bundle_of(anew(1, 1), note_of(TEXTS, 1))), "Entry 1 does not hold: root_differs (what lies between"),
        (octets_of(bundle_of(TEXTS[:1])), "The ledger holds: 1 entry, 0 checkpoints; 1 entry after the last one is"),
    ],
)  # fmt: skip
def test_more_sentences(thing: bytes, words: str) -> None:
    """Each kind of place a fault can have."""
    assert verify_ledger.in_words(judge(thing)).startswith(words)


def test_a_name_cannot_dress_up_the_verdict() -> None:
    """Control signs and letters that only look like others come out escaped."""
    name = "bidden/\u202eА"
    body = body_of(0, sha(b""), name)
    lines: list[Line] = [
        {"bundle": {"format": "bidden-ledger", "version": 1, "origin": name, "size": 0}},
        {"checkpoint": body + "\n" + signature(body, OURS, name)},
    ]
    report = check(io.BytesIO(octets_of(lines)), read_keys([identity(OURS, name)[1]]))
    assert report.holds
    assert verify_ledger.in_words(report).endswith("Its name is bidden/\\u202e\\u0410.")


def test_json(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One object on one line."""
    assert main([str(files / "good"), "--json", "--key", str(files / "keys")]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {
        "holds": True, "kind": "bundle", "origin": ORIGIN, "entries": 12, "checkpoints": 3, "size": 10, "after_last": 2,
        "fault": None, "position": None, "why": "",
    }  # fmt: skip
    assert main([str(files / "bad"), "--json", "--key", str(files / "keys")]) == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["holds"], said["fault"], said["position"], said["entries"]) == (False, "missing", 4, 3)


WRITTEN = identity(OURS)[1]
NAME, KEY_ID, CODE = WRITTEN.split("+", 2)


@pytest.mark.parametrize(
    "key",
    [
        "", "no/such/file", NAME, f"{NAME}+{KEY_ID}", f"{NAME}+{KEY_ID}+", f"{NAME}+{KEY_ID}+{CODE[:-4]}",
        f"{NAME}+{KEY_ID.upper()}+{CODE}", f"{NAME}+00000000+{CODE}", f"{NAME}x+{KEY_ID}+{CODE}", f"{NAME}+{KEY_ID}+{CODE}!",
        f"{NAME}+{KEY_ID}+{base64.b64encode(bytes(33)).decode()}", f"+{KEY_ID}+{CODE}",
    ],
)  # fmt: skip
def test_wrong_keys_are_wrong_use(files: Path, key: str) -> None:
    """Written out or in a file, a key that is none ends the matter."""
    (files / "key").write_text("\n" + key + "\n")
    for one in (key, str(files / "key")):
        with pytest.raises(SystemExit) as ended:
            main([str(files / "good"), "--key", one])
        assert ended.value.code == 2


def test_wrong_use(files: Path) -> None:
    """No key, no file, a directory, keys that are no text."""
    (files / "binary").write_bytes(b"\xff\xfe")
    good, key = str(files / "good"), ["--key", WRITTEN]
    for arguments in (
        [good],
        key,
        [str(files / "none"), *key],
        [str(files), *key],
        [good, "--key", str(files / "binary")],
    ):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2


def test_it_wants_nothing_but_python_and_cryptography() -> None:
    """Every import of the file, wherever it stands."""
    tree = ast.parse((ROOT / "verify_ledger.py").read_text("utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} <= {*sys.stdlib_module_names, "cryptography"}


PROBE = """
import runpy, sys
try:
    sys.argv[:] = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    sys.stderr.write(" ".join(sorted({name.split(".")[0] for name in sys.modules})))
"""


def test_it_runs_alone(files: Path) -> None:
    """The one file, copied to an empty place, in a Python that looks nowhere else, and with a plain ASCII terminal."""
    (files / "alone").mkdir()
    program = files / "alone" / "check.py"
    program.write_bytes((ROOT / "verify_ledger.py").read_bytes())
    for name, code in (("good", 0), ("proof", 0), ("bad", 1), ("none", 2)):
        command = [
            sys.executable,
            "-I",
            "-X",
            "utf8=0",
            "-c",
            PROBE,
            program,
            files / name,
            "--key",
            files / "keys",
        ]
        ran = subprocess.run(
            command, cwd=files / "alone", capture_output=True, text=True, env={"LC_ALL": "C"}
        )
        assert ran.returncode == code, ran.stderr
        assert "Traceback" not in ran.stderr
        loaded = set(ran.stderr.splitlines()[-1].split())
        assert loaded.isdisjoint(
            {"service", "scheduler", "sqlalchemy", "sqlmodel", "pydantic", "orjson", "bidden"}
        )
