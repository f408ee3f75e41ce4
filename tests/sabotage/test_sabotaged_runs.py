"""Promises broken in a real installation: the fault runs' checker must turn red, by the name that belongs to what was broken.

One process of the installation is started from `broken`; the unbroken half of each pair is `tests/faults/test_fault_runs.py`.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults import checker, database_runs, file_runs, long_runs, runs
from tests.faults.aim import HELD, UNREAD, Aim
from tests.faults.town import Mailing, Town, has_begun, wait_for

pytestmark = pytest.mark.sabotage
BROKEN = "tests.sabotage.broken"


@contextmanager
def town(directory: Path, monkeypatch: pytest.MonkeyPatch, way: str, **modules: str) -> Iterator[Town]:
    """An installation of which these processes are broken this way."""
    monkeypatch.setenv("FAULTS_BROKEN", way)
    made = Town(directory, **modules)
    try:
        yield made
    finally:
        made.close()


def red(evidence: checker.Evidence) -> set[str]:
    """The names of what the checker finds."""
    return {finding.name for finding in checker.check(evidence)}


def test_a_muted_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without lines before dots, those whose answer had not come are sent again."""
    with town(tmp_path, monkeypatch, "muted_journal", sender=BROKEN) as made:
        seen = runs.at_failpoint(made, random.Random(1), "reply.before", 120, "marketing", 240)
    assert "doubled" in red(seen.evidence)


def test_unknown_treated_as_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with town(tmp_path, monkeypatch, "unknown_is_planned", sender=BROKEN) as made:
        seen = runs.at_failpoint(made, random.Random(1), "reply.before", 120, "marketing", 240)
    assert red(seen.evidence) >= {"doubled", "doubt_not_recorded"}


def test_a_journal_believed_after_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has no line left counts as never sent, and the run sees that they are not unknown."""
    with (
        town(tmp_path, monkeypatch, "believed_after_a_power_cut", sender=BROKEN) as made,
        pytest.raises(AssertionError, match="are not as they should be"),
    ):
        file_runs.damaged(made, random.Random(1), "empty", "marketing")


def test_writes_that_are_in_no_order() -> None:
    """Fifty writers' own eye: a success without its entry, one with two, and a last word that does not hold."""
    kept = [
        {"subject": "p", "kind": "preference.break_set", "body": {"until": f"2027-01-0{n}T00"}}
        for n in (1, 2)
    ]
    database_runs.check_serial([*kept], {"2027-01-02"}, [(200, "2027-01-01"), (503, "2027-01-02")])
    for entries, holds, told in (
        (kept, "2027-01-02", (200, "2027-01-03")),
        ([*kept, kept[1]], "2027-01-02", (200, "2027-01-02")),
        (kept, "2027-01-01", (200, "2027-01-02")),
    ):
        with pytest.raises(AssertionError):
            database_runs.check_serial(entries, {holds}, [told])


def _say_no(made: Town, mailing: Mailing, people: list[str]) -> None:
    assert {made.withdraw(mailing, person) for person in people} == {200}


def test_the_second_gate_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A no between freeze and claim meets nobody."""
    with (
        town(tmp_path, monkeypatch, "no_second_gate", sender=BROKEN) as made,
        made.mailing("marketing", people=20) as mailing,
    ):
        made.launch(mailing)
        wait_for(lambda: made.report(mailing)["planned"] == 20)
        _say_no(made, mailing, list(mailing.people.values())[:3])
        made.sender()
        assert "departed_after_no" in red(made.evidence(mailing))


def test_the_fence_not_awaited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A no is answered while the sender has not heard of it, and the mail leaves all the same."""
    with (
        town(tmp_path, monkeypatch, "no_fence", sender=BROKEN, web=BROKEN) as made,
        made.mailing("marketing", "--delay", "0.2") as mailing,
    ):
        made.sender()
        made.launch(mailing)
        wait_for(has_begun(mailing))
        _say_no(
            made, mailing, list(mailing.people.values())[40:100:12]
        )  # claimed by now, and not soon to leave
        assert "departed_after_no" in red(made.evidence(mailing))


def test_a_mail_that_was_taken_back_and_arrives_all_the_same(tmp_path: Path) -> None:
    """The eye of the runs with a zero window: an answer that was no yes, a mail that came, a fate that is not unknown."""
    aim = Aim(tmp_path / "aim", ["a@example.org", "b@example.org"])
    assert list(aim.ways.values()) == [HELD, UNREAD]
    for status, got, state in (
        (200, False, "unknown"),
        (202, False, "unknown"),
        (200, True, "unknown"),
        (200, False, "sent"),
    ):
        line = {"rcpt": "b@example.org", "committed": got}
        row = {"external_ids": [{"id": "b"}], "state": state}
        said = [{"person": "b", "status": status}]
        seen = checker.Evidence("t", {"b@example.org": "b"}, [line], {}, [row], [], said)
        if (status, got, state) == (200, False, "unknown"):
            assert long_runs.unread_and_unknown(seen, aim) == 1
            continue
        with pytest.raises(AssertionError, match="b "):
            long_runs.unread_and_unknown(seen, aim)
