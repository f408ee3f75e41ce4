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


@pytest.mark.parametrize("what", GARBAGE)
def test_no_copy_is_brought_back_over_a_line_that_may_be_a_no(
    bidden: Run, tmp_path: Path, database_url: str, what: str
) -> None:
    if not database_url.startswith("sqlite"):
        return  # a copy is its own tools' there, which a desk need not have
    bidden("ledger", "checkpoint")
    bidden("db", "backup", str(tmp_path / "copy"))
    bidden("brand", "set", "default", "title=Kettles")
    [directory] = {one.parent for one in tmp_path.rglob("checkpoints.jsonl")}
    with (directory / "withdrawals.jsonl").open("ab") as file:
        file.write(GARBAGE[what])
    before = bidden("ledger", "verify", "--json").json["entries"]
    done = bidden("db", "restore", str(tmp_path / "copy"), "--replace")
    if what == "torn":  # so a crash leaves it
        assert done.code == 0
        assert "withdrawals.jsonl ends in half a line" in done.out
        return
    assert done.code == 1
    assert "withdrawals_unreadable" in done.err
    assert bidden("ledger", "verify", "--json").json["entries"] == before, "nothing was replaced"


@pytest.mark.parametrize("name", ["checkpoints.jsonl", "withdrawals.jsonl", ""])
def test_what_is_no_file_is_said(bidden: Run, tmp_path: Path, database_url: str, name: str) -> None:
    """A directory where a file should lie, or a file in the place of the directory: a slip of whoever brought it here."""
    if not database_url.startswith("sqlite"):
        return
    bidden("ledger", "checkpoint")
    bidden("db", "backup", str(tmp_path / "copy"))
    [directory] = {one.parent for one in tmp_path.rglob("checkpoints.jsonl")}
    if name:
        (directory / name).unlink(missing_ok=True)
        (directory / name).mkdir()
    else:
        directory.rename(tmp_path / "elsewhere")
        directory.write_bytes(b"")
    for command in (
        ("db", "restore", str(tmp_path / "copy"), "--replace"),
        ("ledger", "checkpoint"),
        ("brand", "set", "default", "title=Kettles"),
        ("db", "restore", str(tmp_path / "copy"), "--replace", "--without-withdrawals"),
    ):
        done = bidden(*command)
        assert "Traceback" not in done.err, command
        assert (done.code, done.err.count("Not done:")) in ((0, 0), (1, 1)), (command, done.err)
