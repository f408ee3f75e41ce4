"""What a crash leaves behind the last whole line, however much of it there is: it never counted, and hides no line."""

from pathlib import Path

import pytest

from service.kit import linefile

LINES = b'{"seq": 1}\n{"seq": 2}\n'


@pytest.mark.parametrize("octets", [1, 8191, 8192, 8193, 100_000])
@pytest.mark.parametrize("what", [b"\0", b"x"])
def test_the_last_whole_line_is_found_and_the_rest_is_cut_off(
    tmp_path: Path, what: bytes, octets: int
) -> None:
    """A file system may have made a file longer and written nothing there when the current went."""
    file = tmp_path / "lines.jsonl"
    file.write_bytes(LINES + what * octets)
    assert linefile.last(file) == {"seq": 2}, "else a database behind it would not be told"
    asked: list[int] = []
    linefile.extend(file, "seq", lambda after: asked.append(after) or [{"seq": 3}])  # type: ignore[func-returns-value]
    assert (asked, file.read_bytes()) == ([2], LINES + b'{"seq": 3}\n')


def test_a_file_without_a_whole_line_is_begun_anew(tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl"
    file.write_bytes(b"\0" * 20_000)
    assert linefile.last(file) is None
    linefile.extend(file, "seq", lambda _: [{"seq": 1}])
    assert file.read_bytes() == b'{"seq": 1}\n'


@pytest.mark.parametrize("octets", [1, 8192, 8193, 50_000])
def test_empty_lines_at_the_end_hide_none(tmp_path: Path, octets: int) -> None:
    file = tmp_path / "lines.jsonl"
    file.write_bytes(LINES + b"\n" * octets)
    assert linefile.last(file) == {"seq": 2}
    file.write_bytes(b"\n" * octets)
    assert linefile.last(file) is None
