"""When an announcement may go, what may be written in it, and which step follows which."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.domain.announcements import rules
from service.domain.mailings.rules import WrongState
from service.kit.errors import DomainError, Invalid

BERLIN = "Europe/Berlin"
STATES = {*(state for states in rules.STEPS.values() for state in states), "sent", "cancelled", "expired"}


def _when(at: str, zone: str | None = None, *, now: datetime, hold: int = 300) -> rules.Due:
    return rules.when(at, zone, now=now, hold_seconds=hold)


def _refused(at: str, zone: str | None, now: datetime) -> str:
    with pytest.raises(Invalid) as refused:
        _when(at, zone, now=now)
    return refused.value.code


def test_schedule_now_goes_after_the_hold(now: datetime) -> None:
    due = _when("now", BERLIN, now=now)
    assert due.at_utc == due.hold_until == now + timedelta(seconds=300)
    assert (due.zone, due.wall_time) == (BERLIN, "2026-11-24T10:25+01:00")
    assert _when("now", now=now, hold=0).at_utc == now


@pytest.mark.parametrize(
    ("at", "zone", "instant", "wall_time"),
    [
        ("2026-12-01T09:00", BERLIN, datetime(2026, 12, 1, 8, tzinfo=UTC), "2026-12-01T09:00+01:00"),
        (
            "2026-12-01T09:00:30+05:30",
            None,
            datetime(2026, 12, 1, 3, 30, 30, tzinfo=UTC),
            "2026-12-01T03:30:30+00:00",
        ),
        ("2027-07-01T07:00Z", BERLIN, datetime(2027, 7, 1, 7, tzinfo=UTC), "2027-07-01T09:00+02:00"),
        (
            "2027-10-31T02:30+01:00",
            BERLIN,
            datetime(2027, 10, 31, 1, 30, tzinfo=UTC),
            "2027-10-31T02:30+01:00",
        ),
    ],
)
def test_schedule_keeps_instant_zone_and_wall_time(
    at: str, zone: str | None, instant: datetime, wall_time: str, now: datetime
) -> None:
    due = _when(at, zone, now=now)
    assert (due.at_utc, due.zone, due.wall_time, due.hold_until) == (instant, zone or "UTC", wall_time, None)


@pytest.mark.parametrize(
    ("at", "zone", "before", "after"),
    [
        ("2027-03-28T02:30", BERLIN, "2027-03-28T01:30+01:00", "2027-03-28T03:30+02:00"),
        ("2027-03-14T02:00", "America/New_York", "2027-03-14T01:00-05:00", "2027-03-14T03:00-04:00"),
        ("2027-10-03T02:15", "Australia/Lord_Howe", "2027-10-03T01:45+10:30", "2027-10-03T02:45+11:00"),
    ],
)
def test_rel_h68_a_time_in_the_gap_names_both_neighbours(
    at: str, zone: str, before: str, after: str, now: datetime
) -> None:
    with pytest.raises(rules.TimeDoesNotExist) as refused:
        _when(at, zone, now=now)
    assert (refused.value.code, refused.value.choices) == ("time_does_not_exist", (before, after))
    assert before in refused.value.detail
    assert after in refused.value.detail
    assert {_when(choice, zone, now=now).wall_time for choice in refused.value.choices} == {before, after}


def test_rel_h68_a_time_that_comes_twice_must_carry_its_offset(now: datetime) -> None:
    with pytest.raises(rules.TimeIsAmbiguous) as refused:
        _when("2027-10-31T02:30", BERLIN, now=now)
    assert refused.value.choices == ("2027-10-31T02:30+02:00", "2027-10-31T02:30+01:00")
    first, second = (_when(choice, BERLIN, now=now).at_utc for choice in refused.value.choices)
    assert second - first == timedelta(hours=1)


@pytest.mark.parametrize(
    ("at", "zone", "code"),
    [
        ("2026-11-24T09:00Z", None, "time_in_past"),
        ("1970-01-01T00:00", BERLIN, "time_in_past"),
        ("0001-01-01T00:00+14:00", None, "time_in_past"),
        ("9999-12-31T23:59", BERLIN, "time_too_far"),
        ("9999-12-31T23:59-12:00", None, "time_too_far"),
        ("2028-11-30T09:00Z", None, "time_too_far"),
        ("2027-02-30T09:00", BERLIN, "time_invalid"),
        ("2027-02-28T24:01", BERLIN, "time_invalid"),
        ("٢٠٢٧-٠١-٠١T09:00Z", None, "time_invalid"),
        ("2027-W01-1", None, "time_invalid"),
        ("tomorrow", None, "time_invalid"),
        ("", None, "time_invalid"),
        ("2027-01-01T09:00", None, "zone_missing"),
        ("2027-01-01T09:00", "Mars/Olympus", "zone_unknown"),
        ("2027-01-01T09:00Z", "Europe", "zone_unknown"),
        ("2027-01-01T09:00Z", "../../etc/passwd", "zone_unknown"),
        ("now", "\x00", "zone_unknown"),
    ],
)
def test_rel_h69_times_and_zones_that_cannot_be(at: str, zone: str | None, code: str, now: datetime) -> None:
    assert _refused(at, zone, now) == code


def test_schedule_on_each_readers_own_clock_begins_with_the_first_and_ends_with_the_last(
    now: datetime,
) -> None:
    due = rules.when("2026-12-01T09:00", BERLIN, local=True, now=now, hold_seconds=300)
    assert (due.at_utc, due.last) == (
        datetime(2026, 11, 30, 19, tzinfo=UTC),
        datetime(2026, 12, 1, 21, tzinfo=UTC),
    )
    assert (due.wall_time, due.zone, rules.is_local(due.wall_time)) == ("2026-12-01T09:00", BERLIN, True)
    assert not rules.is_local(_when("2026-12-01T09:00", BERLIN, now=now).wall_time)
    soon = rules.when("2026-11-24T12:00", BERLIN, local=True, now=now, hold_seconds=300)
    assert soon.at_utc == now, "east of there it is past noon already"


@pytest.mark.parametrize(
    ("at", "zone", "code"),
    [
        ("now", BERLIN, "local_time_needed"),
        ("2026-12-01T09:00Z", BERLIN, "local_time_needed"),
        ("2026-12-01T09:00", None, "zone_missing"),
        ("2026-11-24T09:00", BERLIN, "time_in_past"),
    ],
)
def test_schedule_on_each_readers_own_clock_needs_a_time_of_day(
    at: str, zone: str | None, code: str, now: datetime
) -> None:
    with pytest.raises(Invalid) as refused:
        rules.when(at, zone, local=True, now=now, hold_seconds=0)
    assert refused.value.code == code


def test_schedule_takes_the_minute_that_is_running(now: datetime) -> None:
    assert _when("2026-11-24T09:20Z", now=now + timedelta(seconds=59)).at_utc == now


def _read(content: object, **more: Any) -> rules.Draft:
    return rules.read_draft(topic="new-products", template="launch", content=content, **more)


def _words(**more: str) -> dict[str, dict[str, str]]:
    return {"en": {"subject": "The planner is here", "preheader": "", "body": "Hello", **more}}


@pytest.mark.parametrize(
    ("content", "code", "field"),
    [
        (None, "content_invalid", "content"),
        ({}, "content_missing", "content"),
        ({"en": {"subject": " ", "body": ""}}, "content_missing", "content.en.subject"),
        ({"en": "Hello"}, "content_invalid", "content.en"),
        ({"en": {"subject": "Hi", "body": 7}}, "content_invalid", "content.en.body"),
        ({"en": {"subject": "Hi", "body": "x", "html": "x"}}, "content_invalid", "content.en.html"),
        ({"../en": {"subject": "Hi", "body": "x"}}, "locale_invalid", "locale"),
        (_words(subject=""), "subject_missing", "content.en.subject"),
        (_words(subject="x" * 201), "line_too_long", "content.en.subject"),
        (_words(body=" \n"), "body_missing", "content.en.body"),
        (_words(body="x" * 400_001), "message_too_large", "content.en.body"),
    ],
)
def test_create_refuses_words_that_make_no_mail(content: object, code: str, field: str) -> None:
    with pytest.raises(DomainError) as refused:
        _read(content)
    assert (refused.value.code, refused.value.field) == (code, field)


@pytest.mark.parametrize("sign", ["\x00", "\x1b", "\x85", "\u2028", "\r", "\n"])
def test_rel_h04_control_characters_in_subject_and_preheader(sign: str) -> None:
    for name in ("subject", "preheader"):
        with pytest.raises(DomainError) as refused:
            _read(_words(**{name: f"a{sign}b"}))
        assert (refused.value.code, refused.value.field) == ("header_control_char", f"content.en.{name}")


@pytest.mark.parametrize("sign", ["\x00", "\x1b", "\ud800"])
def test_rel_h04_a_body_holds_nothing_a_database_refuses(sign: str) -> None:
    with pytest.raises(DomainError) as refused:
        _read(_words(body=f"a{sign}b"))
    assert refused.value.code == "header_control_char"


def test_rel_h27_a_turned_subject_is_refused() -> None:
    with pytest.raises(DomainError) as refused:
        _read(_words(subject="invoice \u202egnp.exe"))
    assert refused.value.code == "bidi_control"


def test_create_leaves_out_empty_languages_and_finds_the_default() -> None:
    draft = _read({**_words(), "de": {"subject": "", "preheader": "", "body": ""}, "de_AT": _words()["en"]})
    assert (list(draft.content), draft.default_locale) == (["en", "de-AT"], "en")
    assert draft.audience == {"attributes": {}}
    with pytest.raises(Invalid):
        _read(_words(), default_locale="fr")


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        ("{{ first_name|default('Hello') }}, the planner", "Hello, the planner"),
        ('{{ first_name | default("you", true) }} and {{ plan }}', "you and …"),
        ("{% if plan == 'pro' %}Pro{% endif %} news", "Pro news"),
    ],
)
def test_the_name_is_the_subject_with_its_fallbacks(subject: str, name: str) -> None:
    assert rules.name_of({"en": {"subject": subject}}, "en") == name


def test_the_hash_covers_everything_a_reader_sees() -> None:
    draft, look = _read(_words()), {"name": "Acme", "postal_address": "Berlin"}
    first = rules.content_hash(draft, {"plan": ("pro",)}, look)
    others = [
        rules.content_hash(draft, {"plan": ("free",)}, look),
        rules.content_hash(draft, {"plan": ("pro",)}, look | {"postal_address": "Rome"}),
        *(
            rules.content_hash(changed, {"plan": ("pro",)}, look)
            for changed in (
                _read(_words(preheader="x")),
                rules.read_draft(topic="updates", template="launch", content=_words()),
                rules.read_draft(topic="new-products", template="letter", content=_words()),
            )
        ),
    ]
    assert first == rules.content_hash(_read(_words()), {"plan": ["pro"]}, look)
    assert first not in others
    assert len(set(others)) == len(others)


@pytest.mark.parametrize("step", sorted(rules.STEPS))
def test_steps_begin_only_where_they_may(step: str) -> None:
    for state in STATES:
        if state in rules.STEPS[step]:
            rules.check_step(step, state)
        else:
            with pytest.raises(WrongState):
                rules.check_step(step, state)
    assert not {"sent", "cancelled", "expired"} & set(rules.STEPS[step])
