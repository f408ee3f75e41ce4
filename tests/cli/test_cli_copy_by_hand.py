"""`bidden db restore` from files that are no whole copy: what stands in a write-ahead log alone would be lost without a word."""

import shutil
from pathlib import Path

from tests.cli.conftest import Run


def test_the_database_itself_is_no_copy(bidden: Run, database_url: str, tmp_path: Path) -> None:
    if not database_url.startswith("sqlite"):
        return  # its files are not copied by hand
    place = Path(database_url.removeprefix("sqlite:///"))
    bidden("brand", "set", "default", "title=Kettles")
    before = bidden("ledger", "verify", "--json").json
    (tmp_path / "link").symlink_to(place)
    for file in (place, tmp_path / "link"):
        done = bidden("db", "restore", str(file), "--replace")
        assert (done.code, "copy_is_database" in done.err) == (1, True)
    assert bidden("ledger", "verify", "--json").json == before


def test_a_copy_whose_last_entries_lie_beside_it_is_refused(
    bidden: Run, database_url: str, tmp_path: Path
) -> None:
    if not database_url.startswith("sqlite"):
        return
    copy = tmp_path / "by-hand" / "bidden.db"
    copy.parent.mkdir()
    bidden("ledger", "checkpoint")
    bidden("db", "backup", str(copy))
    copy.with_name("bidden.db-wal").write_bytes(b"what was written last")
    before = bidden("ledger", "verify", "--json").json
    done = bidden("db", "restore", str(copy), "--replace")
    assert (done.code, "copy_not_folded" in done.err, str(copy) in done.err) == (1, True, True)
    assert bidden("ledger", "verify", "--json").json == before
    shutil.copy(copy, tmp_path / "alone")
    assert bidden("db", "restore", str(tmp_path / "alone"), "--replace").code == 0
    copy.with_name("bidden.db-wal").write_bytes(b"")
    assert bidden("db", "restore", str(copy), "--replace").code == 0, "nothing is in it"
