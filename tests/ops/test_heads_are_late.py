"""Entries that no signed head outside covers, for longer than the clock leaves them: said by the health page and `bidden doctor`."""

from datetime import timedelta

from scheduler import jobs
from service.db.session import transaction
from service.domain.brands import actions as brands
from service.kit import clock
from service.ops import health
from service.ops.house import House


def _said(house: House, after: timedelta) -> health.Fact:
    facts = health.readiness(house, now=clock.now() + after).facts
    [found] = [one for one in facts if one.name == "signed head"]
    return found


def test_heads_that_are_not_signed_any_more_are_missed(house: House) -> None:
    jobs.checkpoint(house, clock.now())
    assert _said(house, timedelta(days=30)).ok, "nothing was written since"
    with transaction(house.engine) as session:
        brands.set_setting(session, "weekly_cap", 2, now=clock.now(), by="cli")
    assert _said(house, timedelta(minutes=2)).ok, "the clock does it every minute"
    late = _said(house, timedelta(hours=3))
    assert (late.ok, late.says) == (False, "signed up to entry 9 only; the next waits for 180 minutes")
    assert late.fix is not None
    assert "bidden ledger checkpoint" in late.fix
    jobs.checkpoint(house, clock.now())
    assert _said(house, timedelta(hours=3)).ok


def test_a_ledger_that_was_never_signed_is_missed_too(house: House) -> None:
    assert not _said(house, timedelta(hours=3)).ok
