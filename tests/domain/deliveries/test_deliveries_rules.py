"""When to try again, and how audiences are cut."""

import random
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from service.domain.deliveries import rules

NOW = datetime(2026, 11, 24, 9, 20, tzinfo=UTC)


@given(st.integers(0, 5000), st.integers(1, 500))
def test_ranges_hold_every_position_once(planned: int, size: int) -> None:
    cut = rules.ranges(planned, size)
    assert [pos for first, last in cut for pos in range(first, last + 1)] == list(range(1, planned + 1))
    assert all(last - first < size for first, last in cut)


def test_a_slow_rate_cuts_small_batches() -> None:
    sizes = [rules.batch_size(rate) for rate in (0, 0.5, 10, 30, 1_000)]
    assert sizes == [rules.BATCH, rules.SMALLEST_BATCH, 50, 150, rules.BATCH]


@given(st.lists(st.integers(0, 90_000), max_size=12), st.integers(1, 20), st.integers(0, 10**6))
def test_a_retry_is_late_enough_spread_and_never_after_the_end(
    retries: list[int], attempt: int, seed: int
) -> None:
    until = NOW + timedelta(hours=12)
    waits, refused = rules.Waits(retries, 900), rules.Result(1, attempt, "deferred")
    due = rules.next_try(waits, refused, 0, now=NOW, valid_until=until, chance=random.Random(seed))
    if attempt > len(retries):
        assert due is None
    elif due is None:
        assert NOW + timedelta(seconds=retries[attempt - 1] * 1.1) >= until
    else:
        wait = (due - NOW).total_seconds()
        assert retries[attempt - 1] <= wait <= retries[attempt - 1] * 1.1
        assert due < until


def test_what_may_have_left_is_tried_twice_more_and_counts_as_no_refusal() -> None:
    def due(state: str, attempt: int, doubts: int) -> float | None:
        found = rules.next_try(
            rules.Waits([10], 900), rules.Result(1, attempt, state), doubts,
            now=NOW, valid_until=NOW + timedelta(hours=1), chance=random.Random(1),
        )  # fmt: skip
        return found and (found - NOW).total_seconds()

    assert [due("unknown", n + 1, n) is not None for n in range(4)] == [True, True, False, False]
    assert 900 <= (due("unknown", 1, 0) or 0) <= 990
    assert 10 <= (due("deferred", 2, 1) or 0) <= 11
    assert due("deferred", 2, 0) is None


def test_only_a_yes_or_a_wait_says_more_than_unknown() -> None:
    said = ("sent", "deferred", "bounced", "skipped", "expired", "unknown")
    assert [rules.after_doubt(state, 1) for state in said] == ["sent", "deferred", *["unknown"] * 4]
    assert [rules.after_doubt(state, 0) for state in said] == list(said)
