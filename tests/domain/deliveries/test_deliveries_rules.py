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


@given(st.lists(st.integers(0, 90_000), max_size=12), st.integers(1, 20), st.integers(0, 10**6))
def test_a_retry_is_late_enough_spread_and_never_after_the_end(
    retries: list[int], attempt: int, seed: int
) -> None:
    until = NOW + timedelta(hours=12)
    due = rules.next_try(retries, attempt, now=NOW, valid_until=until, chance=random.Random(seed))
    if attempt > len(retries):
        assert due is None
    elif due is None:
        assert NOW + timedelta(seconds=retries[attempt - 1] * 1.1) >= until
    else:
        wait = (due - NOW).total_seconds()
        assert retries[attempt - 1] <= wait <= retries[attempt - 1] * 1.1
        assert due < until
