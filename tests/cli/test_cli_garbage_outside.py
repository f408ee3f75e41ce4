"""Lines in SAFE_DIR that are none: said in a sentence, never a crash."""

from pathlib import Path

import pytest

from tests.cli.conftest import Run

GARBAGE = {
    "words": b"not a line\n",
    "a list": b"[]\n",
    "nothing in it": b"{}\n",
    "wrong types": b'{"size": "x", "seq": [], "note": 5}\n',
    "null": b'{"size": null, "seq": null, "note": null}\n',
    "octets": b"\xff\xfe\x00\n",
    "deep": b"[" * 8000 + b"\n",
    "deeper": b"[" * 100_000 + b"\n",
    "long": b'{"size": ' + b"9" * 7000 + b"}\n",
    "torn": b'{"size": 99, "no',
}


@pytest.mark.parametrize("name", ["checkpoints.jsonl", "withdrawals.jsonl"])
@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_is_said(bidden: Run, tmp_path: Path, name: str, what: str) -> None:
    bidden("ledger", "checkpoint")
    [directory] = {one.parent for one in tmp_path.rglob("checkpoints.jsonl")}
    with (directory / name).open("ab") as file:
        file.write(GARBAGE[what])
    said = []
    for command in (
        ("ledger", "verify"),
        ("brand", "set", "default", "title=Kettles"),
        ("ledger", "checkpoint"),
        ("db", "check"),
    ):
        done = bidden(*command)
        said.append((command, done.code, done.err[-300:]))
    assert [one for one in said if "Traceback" in one[2] or one[1] not in (0, 1)] == []
    assert name == "withdrawals.jsonl" or what == "torn" or said[0][1] == 1
