"""What an answer makes of what was there (P7, standards J6), exhaustively; and reading consent items (bad input)."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.domain.consent import rules
from service.domain.preferences.tables import STATES
from tests.builders import an_answer

NOW = datetime(2026, 11, 24, 9, 20, tzinfo=UTC)
BEFORE, AFTER = NOW - timedelta(days=2), NOW - timedelta(hours=1)
SINCE = NOW - timedelta(days=1)


def _answers() -> list[tuple[str, bool, datetime | None, bool, bool, bool]]:
    return [
        (state, given, agreed_at, attested, confirm, newer_words)
        for state in STATES
        for given in (True, False)
        for agreed_at in (BEFORE, AFTER, None)
        for attested in (True, False)
        for confirm in (True, False)
        for newer_words in (True, False)
    ]


@pytest.mark.parametrize("case", _answers())
def test_a_no_is_never_turned_into_a_yes_by_an_answer(
    case: tuple[str, bool, datetime | None, bool, bool, bool],
) -> None:
    state, given, agreed_at, attested, confirm, newer_words = case
    step = rules.answer(
        state=state,
        since=SINCE,
        given=given,
        agreed_at=agreed_at,
        attested=attested,
        confirm=confirm,
        newer_words=newer_words,
    )
    if state in rules.NOES:
        assert (step.kind, step.state) == (None, state)
        assert not step.confirm or (given and agreed_at is not None and agreed_at > SINCE)
    if not given:
        assert step.state in rules.NOES
        assert not step.confirm
    if given and confirm and not attested and state not in rules.PERMITTING:
        assert step.state not in rules.PERMITTING
    assert step.kind is None or step.kind.partition(".")[2] == step.state


@pytest.mark.parametrize(
    ("said", "error", "field"),
    [
        ("new-products", rules.ConsentInvalid, "consents[0]"),
        ({"topic": "x"}, rules.ConsentInvalid, "consents[0]"),
        ({"topic": "x", "given": "yes"}, rules.ConsentInvalid, "consents[0]"),
        ({"topic": "x", "given": True, "shoe": 1}, rules.ConsentInvalid, "consents[0].shoe"),
        (
            {"topic": "x", "given": True, "evidence": {"at": "2026-01-01T00:00:00Z"}},
            rules.EvidenceMissing,
            "consents[0].source",
        ),
        ({"topic": "x", "given": True, "source": "s"}, rules.EvidenceMissing, "consents[0].evidence.at"),
        (
            {"topic": "x", "given": True, "source": "s", "evidence": {"at": "yesterday"}},
            rules.EvidenceInvalid,
            "consents[0].evidence.at",
        ),
        (
            {"topic": "x", "given": True, "source": "s", "evidence": {"at": "2026-01-01T00:00"}},
            rules.EvidenceInvalid,
            "consents[0].evidence.at",
        ),
        (
            {"topic": "x", "given": True, "source": "s", "evidence": {"at": "2027-01-01T00:00:00Z"}},
            rules.EvidenceInvalid,
            "consents[0].evidence.at",
        ),
        (
            {"topic": "x", "given": True, "source": "s", "evidence": {"ip": 7}},
            rules.EvidenceInvalid,
            "consents[0].evidence.ip",
        ),
        ({"topic": "x", "given": True, "source": ["s"]}, rules.ConsentInvalid, "consents[0].source"),
        ({"topic": "x", "given": True, "source": "s" * 121}, rules.ConsentInvalid, "consents[0].source"),
        (
            {"topic": "x", "given": True, "source": "s", "wording": 4},
            rules.ConsentInvalid,
            "consents[0].wording",
        ),
        (
            {"topic": "x", "given": False, "confirmed": {"at": "now"}},
            rules.EvidenceInvalid,
            "consents[0].confirmed.at",
        ),
        (
            {"topic": "x", "given": False, "confirmed": {"method": "m"}},
            rules.EvidenceInvalid,
            "consents[0].confirmed.at",
        ),
    ],
)
def test_a_wrong_item_names_its_field(said: Any, error: type[Exception], field: str) -> None:
    with pytest.raises(error) as raised:
        rules.item(said, now=NOW)
    assert getattr(raised.value, "field", None) == field


def test_a_whole_item_is_read() -> None:
    item = rules.item(an_answer("updates", at=AFTER, confirmed=True), now=NOW)
    assert (item.topic, item.given, item.agreed_at, item.source) == ("updates", True, AFTER, "signup-form")
    assert item.confirmed == {"at": AFTER.isoformat(), "method": "button"}


@pytest.mark.parametrize(
    ("ip", "policy", "kept"),
    [
        ("203.0.113.9", "truncated", "203.0.113.0/24"),
        ("2001:db8:1:2::9", "truncated", "2001:db8:1::/48"),
        # One of version 4 as a socket for both tells of it, and 6to4, whose first 48 bits hold all of one.
        ("::ffff:203.0.113.9", "truncated", "203.0.113.0/24"),
        ("2002:cb00:7109:5::9", "truncated", "203.0.113.0/24"),
        ("203.0.113.9", "full", "203.0.113.9"),
        ("203.0.113.9", "none", None),
        ("not an address", "truncated", None),
    ],
)
def test_evidence_keeps_as_much_of_an_ip_address_as_staff_decided(
    ip: str, policy: str, kept: str | None
) -> None:
    assert rules.kept_ip(ip, policy) == kept
