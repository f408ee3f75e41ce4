"""Names, times, pages, errors."""

import base64
import hmac
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.kit import base32, clock, ids, paging, sealing
from service.kit.errors import Conflict, DomainError, Invalid


@given(st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_microseconds_are_exact_both_ways(at: datetime) -> None:
    assert clock.from_micros(clock.to_micros(at)) == at


def test_now_is_aware_and_boot_time_runs_forward() -> None:
    assert clock.now().utcoffset() == timedelta(0)
    assert clock.since_boot() <= clock.since_boot()


def test_ids_are_unlike_and_say_what_they_name() -> None:
    made = {ids.new_id("m") for _ in range(2000)}
    assert len(made) == 2000
    assert all(one.startswith("m_") and len(one) == 28 for one in made)
    assert all(0 < ids.new_alias(octets) < 1 << (8 * octets - 1) for octets in (4, 6, 8) for _ in range(200))
    assert ids.person_id(1) != ids.person_id(2)
    assert len(ids.person_id(2**63 - 1)) <= 20


@given(st.binary(max_size=60))
def test_base32_is_that_of_the_standard(octets: bytes) -> None:
    assert base32.encode(octets) == base64.b32encode(octets).decode().rstrip("=").lower()
    assert base32.encode_sorting(octets) == base64.b32hexencode(octets).decode().rstrip("=").lower()


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_the_mac_is_hmac_sha_256(key: bytes, octets: bytes) -> None:
    assert sealing.mac(key, octets) == hmac.digest(key, octets, "sha256")


@pytest.mark.parametrize(
    "cursor",
    [
        "%%%",
        "bm90IGpzb24",
        "W10",
        "dHJ1ZQ",
        "MS41",
        "bnVsbA",
        "é",
        "OTIyMzM3MjAzNjg1NDc3NTgwOA",
        "MjE0NzQ4MzY0OA",
    ],
)
def test_a_cursor_nobody_made_is_refused(cursor: str) -> None:
    with pytest.raises(paging.CursorInvalid):
        paging.decode(cursor)


@given(st.integers(-(2**63) + 1, 2**63 - 1) | st.text(max_size=30))
def test_a_cursor_comes_back(key: int | str) -> None:
    assert paging.decode(paging.encode(key), below=paging.ENTRIES) == key


@pytest.mark.parametrize(("asked", "given"), [(None, 50), (0, 50), (-5, 1), (1, 1), (200, 200), (10**9, 200)])
def test_pages_have_a_bound(asked: int | None, given: int) -> None:
    assert paging.size(asked) == given


def test_an_error_is_a_sentence_a_code_and_a_field() -> None:
    class NothingFits(Invalid):
        """That does not
        fit."""

    error = NothingFits(field="size", fix="Take another.")
    assert (error.title, error.detail, error.code, error.status) == (
        "That does not fit.",
        "That does not fit.",
        "nothing_fits",
        422,
    )
    assert (error.field, error.fix) == ("size", "Take another.")
    assert issubclass(Conflict, DomainError)


def test_the_alarm_clock_is_heard_only_when_it_fails() -> None:
    """APScheduler warns of every tick it leaves out on purpose; its errors are shown."""
    script = (
        "import logging; from service.kit import logs; logs.set_up(); log = logging.getLogger('apscheduler.scheduler');"
        "log.warning('left out'); log.error('broken')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "left out" not in done.stderr
    assert json.loads(done.stderr)["says"] == "broken"
