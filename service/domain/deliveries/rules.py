"""What becomes of a position: the words of outcomes, when to try again, how audiences are cut. Pure."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

BATCH = 400  # positions a batch: two transactions each (design.md 5, step 1)
SMALLEST_BATCH, BATCH_SECONDS = (
    20,
    5,
)  # with a slow rate set, a batch lasts about so long, and its figures come as often
CHUNK = 5_000  # people a freeze takes in one transaction
UNKNOWN_TRIES = (
    2  # further tries of what must not be lost, when nobody knows whether it left (reliability 2.3)
)
RECLAIM_AFTER = timedelta(seconds=60)  # a permission read longer ago is read again
PACED_TOGETHER = timedelta(seconds=20)  # what waits for a domain's pace, due so near each other, is one batch
NOT_MADE = ("render_error", "header_injection")  # a mail that could not be made, by what stood against it
TOO_LARGE = "message_too_large"  # for the mail server, whether found here (skipped) or said by it (bounced)
TOO_LARGE_FEW, TOO_LARGE_SHARE = (
    5,
    0.01,
)  # a limit meets nearly all mails of a mailing; a few may be one reader's, or one server's
POLICY_AFTER, POLICY_SHARE = 100, 0.05  # answers before the share of policy refusals (5.7.x) means anything
BOUNCES_AFTER, BOUNCES_SHARE = 200, 0.03  # the same for every other refusal for good


@dataclass(frozen=True)
class Result:
    """The outcome of one attempt at one position, as the second transaction records it."""

    pos: int
    attempt: int
    state: str  # sent | bounced | skipped | deferred | unknown | reclaim (no outcome: its claim was too old or in doubt)
    reason: str = ""
    code: int | None = None
    reply: str = ""
    suppress: bool = False
    message_id: str = ""
    wait: float = 0.0  # of a reclaim: seconds until its place comes, for `reason`


class Waits(NamedTuple):
    """Seconds until a position is tried again: after the first, second, … 4xx, and after an unknown end."""

    refused: list[int]
    unknown: int


def next_try(
    waits: Waits, result: Result, doubts: int, *, now: datetime, valid_until: datetime, chance: random.Random
) -> datetime | None:
    """When a position that was deferred, or whose fate is unknown, is due again; None when its time has run out
    (RFC 5321 4.5.4.1). `doubts`: how often its fate was unknown before.

    Up to a tenth is added at random, so that a refused batch does not come back as one.
    """
    if result.state == "unknown":
        wait = waits.unknown if doubts < UNKNOWN_TRIES else None
    else:
        tried = result.attempt - doubts  # a try of unknown end is no refusal
        wait = waits.refused[tried - 1] if tried <= len(waits.refused) else None
    if wait is None:
        return None
    due = now + timedelta(seconds=wait + chance.random() * wait / 10)
    return due if due < valid_until else None


def tally(rows: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """Outcome rows by what they say of the mailing as a whole: sent, policy, bounced (all other refusals), not_made,
    too_large."""
    counted: Counter[str] = Counter()
    for (state, reason), people in Counter((row["state"], row["reason"]) for row in rows).items():
        if reason == TOO_LARGE:
            counted["too_large"] += people
        elif state == "bounced":
            counted["policy" if reason == "policy" else "bounced"] += people
        elif state == "sent" or (state == "skipped" and reason in NOT_MADE):
            counted["sent" if state == "sent" else "not_made"] += people
    return counted


def alarm(
    total: Mapping[str, int], seen: Mapping[str, int], planned: int, *, by_shares: bool = True
) -> str | None:
    """Why a mailing has to halt, None while it goes well. `seen`: the figures at which a person has let it go on before;
    `by_shares`: refusals count, too.

    One mail twice is one too many. One mail in a thousand that could not be made, and more than one, is the text's fault
    (H21), and so is one in a hundred, and more than five, that the mail server finds too large; the shares of refusals are those at
    which providers begin to hold the sender itself in low esteem.
    """
    fresh = {name: count - seen.get(name, 0) for name, count in total.items()}
    policy, bounced = fresh.get("policy", 0), fresh.get("bounced", 0)
    answered = fresh.get("sent", 0) + policy + bounced
    if fresh.get("doubled", 0) > 0 or total.get("sent", 0) > max(planned, seen.get("sent", 0)):
        return "doubled"
    if fresh.get("not_made", 0) > max(1, planned / 1000):
        return "render_errors"
    if fresh.get("too_large", 0) > max(TOO_LARGE_FEW, planned * TOO_LARGE_SHARE):
        return "too_large"
    if not by_shares:
        return None
    if answered >= POLICY_AFTER and policy > POLICY_SHARE * answered:
        return "policy_refusals"
    if answered >= BOUNCES_AFTER and bounced > BOUNCES_SHARE * answered:
        return "hard_bounces"
    return None


def after_doubt(state: str, doubts: int) -> str:
    """The state of a member who may have the mail already: only a yes, or a further wait, says more than `unknown`."""
    return state if not doubts or state in ("sent", "deferred") else "unknown"


def waves(wall: datetime, *, not_before: datetime) -> dict[datetime, list[str]]:
    """For a time of day on each reader's own clock (`wall`, without offset): the instants at which it is that time
    somewhere, and the zones whose clocks show it then.

    Where it has passed already, `not_before`: who lives east gets it at once rather than never. An hour that clocks
    skip is the hour after; of one that comes twice, the first.
    """
    found: dict[datetime, list[str]] = defaultdict(list)
    for zone in sorted(available_timezones()):
        moment = wall.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
        found[max(moment, not_before)].append(zone)
    return dict(found)


def batch_size(rate: float) -> int:
    """Positions a batch at `rate` messages a second (0: no limit), so that outcomes are recorded every few seconds."""
    return min(BATCH, max(SMALLEST_BATCH, int(rate * BATCH_SECONDS))) if rate else BATCH


def ranges(planned: int, size: int = BATCH) -> list[tuple[int, int]]:
    """Positions 1 to `planned` in batches: (first, last) of each."""
    return [(first, min(first + size - 1, planned)) for first in range(1, planned + 1, size)]
