"""A restore with half of what lies outside: files cut short, of an older day, of another restore, or no files at all."""

from pathlib import Path

from service.domain.ledger import safe
from service.kit import clock
from service.ops import backup
from service.ops.house import House, open_house
from tests.ops.test_ops_backup import _postgres_tools, register, states, stop  # noqa: F401


def test_p7_a_last_line_without_its_line_feed_is_a_no_like_any_other(house: House, tmp_path: Path) -> None:
    """An editor that was to mend the file leaves it out."""
    person = register(house)
    copy = tmp_path / "copy"
    backup.backup(house, copy)
    stop(house, person, "updates")
    path = house.settings.safe / safe.NAME
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    house.engine.dispose()
    done = backup.restore(house.settings, copy, replace=True, now=clock.now())
    back = open_house(house.settings)
    assert states(back, person) == ["given", "withdrawn"]
    assert (done.reapplied, done.lines) == (1, 1)
    back.engine.dispose()
