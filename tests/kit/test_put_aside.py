"""Files set aside by restores: none is ever put in another's place, however the clock goes."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from service.kit import linefile

NOW = datetime(2026, 11, 24, 9, 20, 1, tzinfo=UTC)


def test_two_of_one_second_are_both_kept(tmp_path: Path) -> None:
    """Else what the first told of would be lost: the noes since a copy that is brought back once more."""
    file = tmp_path / "withdrawals.jsonl"
    for number in (1, 2, 3):
        linefile.extend(file, "seq", lambda _, number=number: [{"seq": number}])
        linefile.put_aside(file, NOW)
    kept = linefile.read(linefile.set_aside(file, NOW))
    assert kept == [b'{"seq": 1}\n', b'{"seq": 2}\n', b'{"seq": 3}\n']
    assert linefile.set_aside(file, NOW + timedelta(hours=1)) == []
