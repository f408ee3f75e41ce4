"""The command line with one promise broken, in a process of its own: `FAULTS_BROKEN=NAME python -m tests.sabotage.broken …`."""

import os
from collections.abc import Callable
from typing import Any

from sqlalchemy import null

from scheduler import journal, lease, recovery
from service import fence
from service.__main__ import main
from service.domain.preferences import queries as gate


def muted_journal() -> None:
    """The sender writes no line before its dots."""
    journal.Journal.sent_mark = lambda *line: None  # type: ignore[method-assign]


def unknown_is_planned() -> None:
    """A dot without a reply counts as never sent."""
    known = journal.fates

    def forgetful(contents: Any) -> Any:
        return {key: fate for key, fate in known(contents).items() if fate != "unknown"}

    recovery.journal.fates = forgetful  # type: ignore[attr-defined]


def believed_after_a_power_cut() -> None:
    """What a journal does not name was never sent, whatever has become of the journal."""
    recovery.journal.unnamed = lambda contents, boot: "planned"  # type: ignore[attr-defined]


def no_second_gate() -> None:
    """The claim asks nobody."""
    gate.refusal = lambda topic, now: null()  # type: ignore[assignment]


def no_fence() -> None:
    """Doors do not wait, and senders look too seldom."""
    fence._seen_by_all = lambda engine: None
    lease.WATCH_EVERY = 2.5  # but often enough for the lease to hold


WAYS: dict[str, Callable[[], None]] = {
    way.__name__: way
    for way in (muted_journal, unknown_is_planned, believed_after_a_power_cut, no_second_gate, no_fence)
}

if __name__ == "__main__":
    WAYS[os.environ["FAULTS_BROKEN"]]()
    main()
