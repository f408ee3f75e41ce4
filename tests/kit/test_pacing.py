"""The token bucket."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.kit.pacing import Bucket


def test_takings_are_spaced_by_the_rate() -> None:
    bucket = Bucket(rate=10)
    assert [round(bucket.take(100.0), 6) for _ in range(4)] == [0.0, 0.1, 0.2, 0.3]


def test_a_burst_passes_at_once_and_comes_back_with_time() -> None:
    bucket = Bucket(rate=2, burst=3)
    assert [bucket.take(0.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert [bucket.take(10.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]


def test_rest_earns_no_more_than_the_burst() -> None:
    bucket = Bucket(rate=1, burst=2)
    bucket.take(0.0)
    assert [bucket.take(1e6) for _ in range(3)] == [0.0, 0.0, 1.0]


def test_no_limit_never_waits() -> None:
    bucket = Bucket(rate=0)
    assert {bucket.take(0.0) for _ in range(1000)} == {0.0}


def test_retune_changes_the_next_taking() -> None:
    bucket = Bucket(rate=10)
    bucket.take(0.0)
    bucket.retune(2)
    assert bucket.rate == 2
    assert bucket.take(0.0) == pytest.approx(0.1)
    assert bucket.take(0.0) == pytest.approx(0.6)


def test_a_clock_that_steps_back_earns_nothing() -> None:
    bucket = Bucket(rate=1)
    bucket.take(100.0)
    assert bucket.take(50.0) == pytest.approx(51.0)


@pytest.mark.parametrize(("rate", "burst"), [(-1, 1), (1, 0), (1, 0.5)])
def test_nonsense_is_refused(rate: float, burst: float) -> None:
    with pytest.raises(ValueError):
        Bucket(rate, burst)


@given(
    rate=st.floats(0.1, 1000),
    burst=st.integers(1, 20),
    steps=st.lists(st.floats(0, 5), min_size=1, max_size=60),
)
def test_never_more_than_burst_plus_rate_in_any_window(rate: float, burst: int, steps: list[float]) -> None:
    bucket, now, used = Bucket(rate, burst), 0.0, []
    for step in steps:
        now += step
        used.append(now + bucket.take(now))
    for first in range(len(used)):
        for last in range(first, len(used)):
            assert last - first + 1 <= burst + rate * (used[last] - used[first]) + 1e-6
