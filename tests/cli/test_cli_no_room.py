"""Where a file is to be written and cannot be: one sentence, and nothing left that would pass for it."""

import errno
import io
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.kit import signing
from service.ops import backup
from tests.cli.conftest import Run

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class _Full(io.TextIOWrapper):
    """A file on a disk that is full after the first few characters."""

    def write(self, text: str) -> int:
        super().write(text[:5])
        self.flush()
        raise FULL


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    real = io.open

    def opened(file: Any, mode: str = "r", *given: Any, **named: Any) -> Any:
        if mode in ("w", "x"):
            return _Full(real(file, f"{mode}b"), encoding="utf-8")
        return real(file, mode, *given, **named)

    monkeypatch.setattr("builtins.open", opened)
    monkeypatch.setattr("io.open", opened)


WRITES = {
    "ledger": ("ledger", "export", "{}"),
    "people": ("people", "export", "{}", "--reason", "moving house"),
    "witness": ("ledger", "witness", "{}", "--key", "{key}"),
}


@pytest.mark.parametrize("what", WRITES)
def test_a_full_disk_is_said_and_leaves_nothing(bidden: Run, tmp_path: Path, full: None, what: str) -> None:
    bidden("ledger", "checkpoint")
    key = bidden("ledger", "checkpoint", "--key").out.strip()
    place = tmp_path / "out"
    place.mkdir()
    done = bidden(*(one.format(place / "file", key=key) for one in WRITES[what]))
    assert (done.code, done.err.count("Not done:"), "why:  not_written" in done.err) == (1, 1, True)
    assert os.strerror(errno.ENOSPC) in done.err
    assert list(place.iterdir()) == []


def test_a_full_disk_under_a_copy_is_said(
    bidden: Run, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not database_url.startswith("sqlite"):
        return  # there the tool says it
    real = sqlite3.connect

    def small(place: Any, *given: Any, **named: Any) -> Any:
        found = real(place, *given, **named)
        found.execute("PRAGMA max_page_count=1")
        return found

    monkeypatch.setattr(backup.sqlite3, "connect", small)
    done = bidden("db", "backup", str(tmp_path / "copy" / "file"))
    assert (done.code, done.err.count("Not done:"), "why:  copy_not_written" in done.err) == (1, 1, True)
    assert list((tmp_path / "copy").iterdir()) == []


def test_half_a_ring_is_not_left_beside_its_place(tmp_path: Path, full: None) -> None:
    with pytest.raises(OSError, match="No space left"):
        signing.draft_of(tmp_path / "ring" / "file", "secret")
    assert list((tmp_path / "ring").iterdir()) == []


@pytest.mark.parametrize("what", ["ledger", "people"])
def test_what_leaves_is_its_owners_alone_from_the_first_octet(
    bidden: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    made: list[tuple[str, int]] = []
    real = os.open

    def opened(path: Any, flags: int, mode: int = 0o777, **named: Any) -> int:
        if flags & os.O_CREAT and Path(path).parent == tmp_path / "out":
            made.append((Path(path).name, mode))
        return real(path, flags, mode, **named)

    (tmp_path / "out").mkdir()
    monkeypatch.setattr("os.open", opened)
    assert bidden(*(one.format(tmp_path / "out" / "file") for one in WRITES[what])).code == 0
    [(name, mode)] = made
    assert (name != "file", mode) == (True, 0o600), "under another name until it is whole"
    assert (tmp_path / "out" / "file").stat().st_mode & 0o777 == 0o600


def test_an_export_is_in_utf_8_whatever_the_locale(
    bidden: Run, environment: dict[str, str], tmp_path: Path
) -> None:
    bidden("brand", "set", "default", "title=Žižkov")
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "service", "ledger", "export", str(tmp_path / "file")],
        env=environment | plain,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Žižkov" in (tmp_path / "file").read_text("utf-8")
