"""Promises broken in the simulated engine: among a few seeds the oracle must turn red, by the name of what was broken.

The unbroken half plays the same seeds and finds nothing.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import update
from sqlmodel import Session, col

from scheduler import journal, recovery, sender
from service import fence
from service.domain.deliveries import claims
from service.domain.mailings.tables import Batch
from tests.sim.network import Road, Socket
from tests.sim.plan import Event, Plan, draw
from tests.sim.run import play
from tests.sim.town import Town

pytestmark = pytest.mark.sabotage
Break = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    made = Town()
    yield made
    made.close()


def plain(seed: int, *events: Event, **more: Any) -> Plan:
    """A seed's plan without anything but these events: people say no in mid-sending, on a road of some length."""
    given: dict[str, Any] = {
        "kind": "marketing", "groups": 2, "senders": 1, "far": False, "clocks": 1, "connections": 2,
        "delay": 0.02, "close_after": 0, "letter_faults": 0.0, "greylisted": 0.0, "nobody": 0.0, "full": 0.0,
        "busy": False, "send_rate": 0.0, "road": Road(latency=0.02), "slow": 0.0, "away": 0.0, "unanswered": 0.0,
        "failpoints": (), "deaths": 0, "batch": 30, "calm": 2.5, "watch": 0.15, "reclaim": 60.0,
    }  # fmt: skip
    return replace(draw(seed), events=list(events), **given | more)


NOES = [Event(0.5 + n / 20, "aimed" if n % 2 else "withdraw", (n / 30,)) for n in range(30)]
KILLS = [Event(0.55 + n * 0.31, "kill", (0.0,)) for n in range(12)]  # further apart than a start is long
AIMS = [Event(0.6 + n / 6, "kill_and_aim", (0.5,)) for n in range(10)]
PAUSES = [Event(0.8 + n / 3, "pause", (0.1,)) for n in range(15)]


def fence_not_awaited(patch: pytest.MonkeyPatch) -> None:
    """Doors answer at once."""
    patch.setattr(fence, "_seen_by_all", lambda engine: None)


def last_look_removed(patch: pytest.MonkeyPatch) -> None:
    """Nobody is asked before a dot any more."""
    patch.setattr(sender.Sender, "_may_depart", lambda self, letter: True)


def muted_journal(patch: pytest.MonkeyPatch) -> None:
    """The sender writes no line before its dots."""
    patch.setattr(journal.Journal, "sent_mark", lambda self, *line: None)


def unknown_is_planned(patch: pytest.MonkeyPatch) -> None:
    """A dot without a reply counts as never sent."""
    known = journal.fates

    def forgetful(contents: journal.JournalContents) -> dict[Any, Any]:
        return {key: fate for key, fate in known(contents).items() if fate != "unknown"}

    patch.setattr(recovery.journal, "fates", forgetful)


def token_not_guarded(patch: pytest.MonkeyPatch) -> None:
    """Whoever records a batch is believed to hold it."""

    def close(session: Session, claimed: claims.Claimed, *, now: Any) -> bool:
        ours = update(Batch).where(col(Batch.id) == claimed.batch_id).values(state="closed", closed_at=now)
        return session.connection().execute(ours).rowcount == 1

    patch.setattr(claims, "_close", close)


def left_in_the_kernel(patch: pytest.MonkeyPatch) -> None:
    """What a dead sender's kernel holds is sent all the same."""
    patch.setattr(Socket, "setsockopt", lambda self, *given: None)


SEEDS = 6  # each way is found by the third at the latest
LATER = 0.03  # seconds of the simulated clock; so many times SEEDS is more than what lies between two kills
WAYS: list[tuple[Break, str, dict[str, Any], list[Event]]] = [
    (fence_not_awaited, "departed_after_no", {}, NOES),
    (last_look_removed, "departed_after_no", {}, NOES),
    (muted_journal, "doubled", {"delay": 0.0}, KILLS),
    (unknown_is_planned, "doubt_not_recorded", {}, KILLS),
    (
        token_not_guarded,
        "doubled",
        {"unanswered": 0.25, "batch": 6, "connections": 1, "delay": 0.1, "calm": 6.0},
        PAUSES,
    ),
]


def names(town: Town, more: dict[str, Any], events: list[Event], sought: str) -> set[str]:
    """What the oracle finds, seed after seed, up to the first that shows what is sought. Each seed's events come a little later
    than the last one's, so that some fall while letters are in flight, however long a start takes."""
    found: set[str] = set()
    for seed in range(SEEDS):
        later = [replace(one, at=one.at + seed * LATER) for one in events]
        found |= {finding.name for finding in play(town, seed, plain(seed, *later, **more)).findings}
        if sought in found:
            break
    return found


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize(("way", "finding", "more", "events"), WAYS, ids=[way[0].__name__ for way in WAYS])
def test_the_simulator_turns_red(
    town: Town,
    monkeypatch: pytest.MonkeyPatch,
    way: Break,
    finding: str,
    more: dict[str, Any],
    events: list[Event],
    broken: bool,
) -> None:
    if broken:
        way(monkeypatch)
    found = names(town, more, events, finding)
    assert (finding in found) if broken else (found == set()), found
