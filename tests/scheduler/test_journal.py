"""The sender's journal: what it keeps through a kill, what it refuses to believe."""

import errno
import os
import resource
import signal
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import pytest

from scheduler.journal import (
    Answer,
    Files,
    Journal,
    JournalFailed,
    NameTaken,
    boot_id,
    claim,
    claim_all,
    fates,
    merged,
    read,
    unlocked,
    unnamed,
)


def test_records_come_back(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, "sender-1")
    journal.sent_mark(7, 1, 1, "tok")
    journal.reply(7, 1, 1, 250, "2.0.0")
    journal.sent_mark(7, 2, 1, "tok")
    journal.sent_mark(7, 4, 1, "tok")
    journal.reply(7, 4, 1, 550, None)
    contents = read(journal.path)
    assert (contents.boot_id, contents.name, contents.intact) == (boot_id(), "sender-1", True)
    assert [record.word for record in contents.records if record.kind == "S"] == ["tok"] * 3
    assert fates(contents) == {
        (7, 1, 1): Answer(250, "2.0.0"),
        (7, 2, 1): "unknown",
        (7, 4, 1): Answer(550, None),
    }
    assert unnamed(contents, boot_id()) == "planned"
    assert unnamed(contents, "another boot") == "unknown"
    journal.close(remove=True)
    assert list(tmp_path.glob("*.journal")) == []


def test_a_reply_without_a_dot_before_it_was_one_to_a_command(tmp_path: Path) -> None:
    """552 to RCPT, 550 to MAIL: nothing had left, and what they mean hangs on where they were said."""
    journal = Journal.open(tmp_path, "a", "abc")
    journal.reply(7, 1, 1, 552, "5.2.2")
    journal.sent_mark(7, 2, 1, "tok")
    journal.reply(7, 2, 1, 552, "5.2.2")
    contents = read(journal.path)
    assert contents.incarnation == "abc"
    assert fates(contents) == {(7, 1, 1): "withheld", (7, 2, 1): Answer(552, "5.2.2")}


def test_a_journal_of_an_older_version_is_read(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, "a", "abc")
    journal.sent_mark(7, 2, 1, "tok")
    lines = journal.path.read_bytes().split(b"\n", 1)[1]
    payload = f"J 1 {boot_id()} a"
    journal.path.write_bytes(b"%b %08x.\n" % (payload.encode(), zlib.crc32(payload.encode())) + lines)
    contents = read(journal.path)
    assert (contents.incarnation, contents.intact, fates(contents)) == ("", True, {(7, 2, 1): "unknown"})


def test_all_journals_of_a_sender_speak_together(tmp_path: Path) -> None:
    """Whichever is read first: a reply in one of them is a reply, a dot in one of them is a dot."""
    first = Journal.open(tmp_path, "a")
    first.sent_mark(7, 1, 1, "tok")
    first.sent_mark(7, 2, 1, "tok")
    first.reply(7, 2, 1, 250, None)
    first.close()
    second = Journal.open(tmp_path, "a")
    second.reply(7, 1, 1, 450, None)
    second.sent_mark(7, 2, 1, "tok")
    second.close()
    both = [read(first.path), read(second.path)]
    expected = {(7, 1, 1): "unknown", (7, 2, 1): Answer(250, None)}
    assert merged(both, boot_id()) == merged(both[::-1], boot_id()) == (expected, "planned")
    second.path.write_bytes(second.path.read_bytes()[:10])
    assert merged([read(first.path), read(second.path)], boot_id())[1] == "unknown"


def test_the_journals_of_a_sender_are_held_by_one_alone(tmp_path: Path) -> None:
    """All that nobody holds; its own next incarnation may be running, and others' journals are not concerned."""
    dead = Journal.open(tmp_path, "a")
    dead.close()
    other, living = Journal.open(tmp_path, "a.b"), Journal.open(tmp_path, "a")
    other.close()
    with claim_all(tmp_path, "a") as mine:
        assert mine == [dead.path]
        with claim_all(tmp_path, "a") as theirs:
            assert theirs == []
        with claim_all(tmp_path, "a.b") as theirs:
            assert theirs == [other.path]
    living.close()


def test_rel_f29_same_name_is_refused_others_get_their_own_file(tmp_path: Path) -> None:
    first = Journal.open(tmp_path, "a")
    with pytest.raises(NameTaken):
        Journal.open(tmp_path, "a")
    second = Journal.open(tmp_path, "b")
    assert first.path != second.path
    assert unlocked(tmp_path) == []
    first.close()
    assert unlocked(tmp_path) == [first.path]
    again = Journal.open(tmp_path, "a")
    assert unlocked(tmp_path) == [first.path]
    again.close()
    second.close()


def test_only_one_recovers_a_journal(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, "a")
    with claim(journal.path) as mine:
        assert not mine
    journal.close()
    with claim(journal.path) as mine, claim(journal.path) as other:
        assert mine
        assert not other
        journal.path.unlink()
    with claim(journal.path) as mine:
        assert not mine


def test_a_journal_removed_while_it_is_claimed_is_not_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another sender recovers and removes it between our open and our lock."""
    journal = Journal.open(tmp_path, "a")
    journal.close()
    real = os.open

    def late(path: Path, *args: int) -> int:
        fd = real(path, *args)
        journal.path.unlink()
        return fd

    monkeypatch.setattr(os, "open", late)
    with claim(journal.path) as mine:
        assert not mine


CHILD = """
import os, signal, sys
from pathlib import Path
from scheduler.journal import Journal
journal = Journal.open(Path(sys.argv[1]), "child")
journal.sent_mark(1, 1, 1, "t"); journal.reply(1, 1, 1, 250, "2.0.0"); journal.sent_mark(1, 2, 1, "t")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_lines_survive_kill_and_the_lock_does_not(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", CHILD, str(tmp_path)], check=False, timeout=30)
    assert done.returncode == -signal.SIGKILL
    (path,) = unlocked(tmp_path)
    assert fates(read(path)) == {(1, 1, 1): Answer(250, "2.0.0"), (1, 2, 1): "unknown"}


def _filled(tmp_path: Path) -> tuple[Path, bytes]:
    journal = Journal.open(tmp_path, "a")
    for pos in range(1, 6):
        journal.sent_mark(1, pos, 1, "t")
        journal.reply(1, pos, 1, 250, "2.0.0")
    journal.close()
    return journal.path, journal.path.read_bytes()


def test_rel_f11_every_cut_reads_as_a_prefix(tmp_path: Path) -> None:
    path, whole = _filled(tmp_path)
    full = read(path).records
    header = whole.index(b"\n") + 1
    for cut in range(header, len(whole)):
        path.write_bytes(whole[:cut])
        contents = read(path)
        assert contents.records == full[: whole[:cut].count(b"\n") - 1]
        assert contents.intact


def test_rel_f20_every_flipped_byte_stops_the_reading_there(tmp_path: Path) -> None:
    path, whole = _filled(tmp_path)
    full = read(path).records
    header = whole.index(b"\n") + 1
    for at in range(header, len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x01]) + whole[at + 1 :])
        contents = read(path)
        before = whole[:at].count(b"\n") - 1
        assert contents.records == full[:before]
        assert not contents.intact or at >= whole.rindex(b"\n", 0, -1)
        if not contents.intact:
            assert unnamed(contents, boot_id()) == "unknown"


def test_a_tail_of_zeros_is_damage_not_a_cut(tmp_path: Path) -> None:
    path, whole = _filled(tmp_path)
    path.write_bytes(whole + b"\0" * 30)
    assert not read(path).intact


@pytest.mark.parametrize("start", [b"", b"J 1 x\n", b"hello\n", b"\0" * 40])
def test_a_file_without_header_proves_nothing(tmp_path: Path, start: bytes) -> None:
    """What a power cut leaves of a journal that was never synced must not keep its sender from starting."""
    path = tmp_path / "a-1.0123.journal"
    path.write_bytes(start)
    contents = read(path)
    assert (contents.name, contents.records, contents.intact) == ("a-1", [], False)
    assert unnamed(contents, boot_id()) == "unknown"


def test_a_journal_of_another_version_is_refused(tmp_path: Path) -> None:
    path, whole = _filled(tmp_path)
    head = b"J 2 boot a"
    path.write_bytes(b"%b %08x.\n" % (head, zlib.crc32(head)) + whole.split(b"\n", 1)[1])
    with pytest.raises(JournalFailed):
        read(path)


def test_any_one_bit_flipped_is_seen(tmp_path: Path) -> None:
    """Wherever it is, a missing line proves nothing any more."""
    path, whole = _filled(tmp_path)
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert not read(path).intact, at


def test_a_full_disk_fails_closed_for_good(tmp_path: Path) -> None:
    """RLIMIT_FSIZE makes the kernel cut a line, then refuse: what a full disk does."""
    journal = Journal.open(tmp_path, "a")
    journal.sent_mark(1, 1, 1, "t")
    size = journal.path.stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, before[1]))
    try:
        with pytest.raises(JournalFailed):
            journal.sent_mark(1, 2, 1, "t")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    with pytest.raises(JournalFailed):
        journal.sent_mark(1, 3, 1, "t")
    contents = read(journal.path)
    assert fates(contents) == {(1, 1, 1): "unknown"}
    assert unnamed(contents, boot_id()) == "planned"
    journal.close()


def test_no_space_at_all_fails_closed(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, "a")
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, journal._fd)
    os.close(full)
    with pytest.raises(JournalFailed, match=os.strerror(errno.ENOSPC)):
        journal.reply(1, 1, 1, 250, None)
    journal.close()


def test_a_full_file_is_followed_by_another_and_goes_when_its_batches_are_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both belong to one incarnation and hold its name; a batch's lines stay in the file it began in."""
    monkeypatch.setattr("scheduler.journal.ROOM", 130)
    files = Files(Journal.open(tmp_path, "a", "abc"))
    first = files.last()
    for pos in range(1, 5):
        first.sent_mark(7, pos, 1, "tok")
    second = files.last()
    assert (first is second, files.last() is second, second.size < 130) == (False, True, True)
    first.reply(7, 4, 1, 250, None)
    second.sent_mark(7, 5, 1, "tok")
    files.settle({first, second})
    assert [read(one.path).incarnation for one in (first, second)] == ["abc", "abc"]
    assert fates(read(first.path))[7, 4, 1] == Answer(250, None)
    assert fates(read(second.path)) == {(7, 5, 1): "unknown"}
    files.settle({second})
    assert (list(tmp_path.glob("*.journal")), unlocked(tmp_path)) == ([second.path], [])
    with pytest.raises(NameTaken):
        Journal.open(tmp_path, "a")
    files.settle(set())
    assert fates(read(second.path)) == {}
    files.close(remove=True)
    Journal.open(tmp_path, "a").close()


def test_settle_forgets_the_lines_and_keeps_the_header(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, "a")
    journal.sent_mark(1, 1, 1, "t")
    journal.settle()
    journal.sent_mark(1, 2, 1, "t")
    assert list(fates(read(journal.path))) == [(1, 2, 1)]
    journal.close()


@pytest.mark.parametrize("name", ["", "a b", "a/b", "ä", "a\n", "x" * 81])
def test_a_name_that_could_break_a_line_or_a_path_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError):
        Journal.open(tmp_path, name)


def test_a_journal_that_goes_while_it_is_looked_for_is_gone(tmp_path: Path) -> None:
    """A sender at work removes its full files; whoever starts beside it is not kept from starting."""
    living, over = Journal.open(tmp_path, "a"), threading.Event()

    def work() -> None:
        while not over.is_set():
            living.further().close(remove=True)

    at_work = threading.Thread(target=work)
    at_work.start()
    try:
        for _ in range(2_000):
            assert unlocked(tmp_path) == []
    finally:
        over.set()
        at_work.join()
        living.close()
