"""What an announcement may be, when it may go, and which step follows which. Pure; called by the
announcements' actions."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from service.domain.mailings.rules import WrongState
from service.domain.people import rules as people
from service.kit.chain import canonical
from service.kit.errors import Conflict, Forbidden, Invalid, NotFound, TooMany
from service.mail.words import Content, first_locale, read_words

LATE = timedelta(hours=6)  # a start missed by more is paused(late): old news is not sent unasked
VALID_FOR = timedelta(hours=24)  # after the due time what has not left expires
FURTHEST = timedelta(days=2 * 366)
FIRST_CLOCK, LAST_CLOCK = timedelta(hours=14), timedelta(hours=12)  # UTC+14 and UTC-12, the ends of the day
TESTS_PER_HOUR = 20

# Which states a step may begin in (design.md 2, reliability.md 2.1).
STEPS = {
    "edit": ("draft", "in_review", "approved"),
    "submit": ("draft", "approved"),  # approved: only when the brand changed since, which ends the approval
    "approve": ("in_review",),
    "schedule": ("approved",),
    "unschedule": ("scheduled", "paused"),
    "pause": ("scheduled", "freezing", "sending"),
    "resume": ("paused", "halted"),
    "cancel": ("draft", "in_review", "approved", "scheduled", "freezing", "sending", "paused", "halted"),
}
_AT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?"
)
_FALLBACK = re.compile(r"\{\{[^{}|]*\|\s*(?:default|d)\(\s*(['\"])(.*?)\1[^{}]*\}\}")
_FIELD = re.compile(r"\{\{.*?\}\}")
_STATEMENT = re.compile(r"\{%.*?%\}|\{#.*?#\}")


class AnnouncementUnknown(NotFound):
    """There is no announcement by that id."""


class UnknownTemplate(Invalid):
    """There is no template by that name."""


class TopicNotForAnnouncements(Invalid):
    """Mail that people cannot refuse carries no announcements; choose a topic people have chosen."""


class TopicRetired(Conflict):
    """That topic is retired: nobody is written to under it any more."""


class NotApproved(Conflict):
    """This announcement, as it stands now, has not been approved."""

    fix_hint = "Submit it and have it approved; then schedule it."


class StaleVersion(Conflict):
    """It was changed meanwhile: what you looked at is not what it says now."""

    fix_hint = "Read it again, and decide then."


class OwnApproval(Forbidden):
    """Somebody other than its author has to approve this announcement."""


class TestOnlyToYourself(Forbidden):
    """A test mail goes only to the confirmed address of whoever asks for it."""


class TestTooOften(TooMany):
    """You have sent yourself 20 test mails within the hour; please wait a little."""


class NotReady(Invalid):
    """The checks found what must be mended before anybody gets this."""

    def __init__(self, findings: Sequence[Any]) -> None:
        first = findings[0]
        super().__init__(first.sentence, field=first.field, fix=first.fix)
        self.code = first.code
        self.findings = list(findings)


class LocalTimeNeeded(Invalid):
    """On each reader's own clock it goes at a time of day, such as 2026-12-24T09:00, without an offset."""


class ZoneMissing(Invalid):
    """A time of day needs its time zone, such as Europe/Berlin, or its offset."""


class TimeInvalid(Invalid):
    """That is not a day and time that exists, such as 2026-11-24T09:00."""


class TimeInPast(Invalid):
    """That time has passed."""


class TimeTooFar(Invalid):
    """That is too far away: at most two years from now."""


class _TwoChoices(Invalid):
    """A time of day that does not name one instant."""

    def __init__(self, detail: str, choices: tuple[str, str]) -> None:
        super().__init__(detail, field="at", fix=f"Give {choices[0]} or {choices[1]}.")
        self.choices = choices


class TimeDoesNotExist(_TwoChoices):
    """Clocks skip that time on that day."""


class TimeIsAmbiguous(_TwoChoices):
    """Clocks show that time twice on that day."""


@dataclass(frozen=True)
class Draft:
    """Everything somebody writes about one announcement: what previews, counts and checks work on, kept or
    not."""

    topic: str
    template: str
    content: Content
    audience: Any  # as given until `queries.read` has checked it
    default_locale: str


@dataclass(frozen=True)
class Due:
    """When it goes: the instant, the zone it was meant in, the time on that zone's clocks (without offset: on
    each reader's own, of which `at_utc` is the first and `last` the last); the end of the hold, if any."""

    at_utc: datetime
    zone: str
    wall_time: str
    hold_until: datetime | None = None
    last: datetime | None = None


def read_draft(
    *, topic: str, template: str, content: object, audience: object = None, default_locale: str | None = None
) -> Draft:
    """What a door was given, as a draft. Raises what `words.read_words` raises; topic, template and audience
    are checked where they are known (queries)."""
    words = read_words(content, heading="subject")
    whom = {"attributes": {}} if audience is None else audience  # nothing said: everybody who may get it
    return Draft(topic, template, words, whom, first_locale(words, default_locale))


def changed(
    before: Draft,
    topic: str | None,
    template: str | None,
    content: object,
    audience: object,
    default_locale: str | None,
) -> Draft:
    """The draft with what is named put in its place; None leaves as it was. Raises what `read_draft`
    raises."""
    words = before.content if content is None else read_words(content, heading="subject")
    kept = before.default_locale if before.default_locale in words else None
    return Draft(
        topic or before.topic,
        template or before.template,
        words,
        before.audience if audience is None else audience,
        first_locale(words, default_locale or kept),
    )


def content_hash(draft: Draft, audience: Mapping[str, Sequence[str]], look: Mapping[str, str]) -> str:
    """SHA-256 over everything a reader will see and whom it goes to; approval is for this and nothing else
    (H70).

    `audience` is the filter as checked, `look` what the mail shows of its brand.
    """
    value = {
        "topic": draft.topic,
        "template": draft.template,
        "content": draft.content,
        "default_locale": draft.default_locale,
        "audience": {name: list(values) for name, values in audience.items()},
        "look": dict(look),
    }
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def name_of(content: Content, default_locale: str) -> str:
    """The announcement's name in lists: its subject, fallbacks in the place of merge fields."""
    subject = content[default_locale]["subject"]
    return " ".join(_FIELD.sub("…", _FALLBACK.sub(r"\2", _STATEMENT.sub("", subject))).split())


def check_step(step: str, state: str) -> None:
    """Raise WrongState when an announcement in that state cannot take that step."""
    if state not in STEPS[step]:
        raise WrongState(f"This announcement is {state.replace('_', ' ')}; it cannot be {_done(step)}.")


def _done(step: str) -> str:
    return {"submit": "submitted"}.get(step, step + ("d" if step.endswith("e") else "ed"))


def when(at: str, zone: str | None, *, local: bool = False, now: datetime, hold_seconds: int) -> Due:
    """Read when an announcement shall go (H68, H69).

    `at` is "now" (then the hold runs), an ISO 8601 instant with its offset, or a local time in `zone`; with
    `local` that time on each reader's own clock, and `zone` for whose zone is not known. Raises TimeInvalid,
    TimeInPast, TimeTooFar, ZoneMissing, ZoneUnknown, LocalTimeNeeded; TimeDoesNotExist or TimeIsAmbiguous,
    naming both choices. The minute that is running counts as now.
    """
    name = people.zone(zone)
    if local:
        return _everywhere(at, name, now)
    if at == "now":
        due = now + timedelta(seconds=hold_seconds)
        return Due(due, name or "UTC", _wall(due, name or "UTC"), due)
    read = _read(at)
    if read.tzinfo is None:
        if name is None:
            raise ZoneMissing(field="zone")
        read = _one_instant(read, name)
    instant = _within_reach(read, now)
    return Due(instant, name or "UTC", _wall(instant, name or "UTC"))


def _everywhere(at: str, zone: str | None, now: datetime) -> Due:
    """A time of day on each reader's own clock; not past yet in `zone`, that of readers whose own is not known."""
    read = None if at == "now" else _read(at)
    if read is None or read.tzinfo is not None:
        raise LocalTimeNeeded(field="at")
    if zone is None:
        raise ZoneMissing(field="zone")
    _within_reach(read.replace(tzinfo=ZoneInfo(zone)), now)
    wall = read.replace(tzinfo=UTC)
    return Due(max(now, wall - FIRST_CLOCK), zone, read.isoformat(timespec="minutes"), last=wall + LAST_CLOCK)


def is_local(wall_time: str | None) -> bool:
    """Whether a kept `wall_time` is one on each reader's own clock."""
    return wall_time is not None and datetime.fromisoformat(wall_time).tzinfo is None


def _read(at: str) -> datetime:
    if not _AT.fullmatch(at):
        raise TimeInvalid(field="at")
    try:
        return datetime.fromisoformat(at)
    except ValueError as impossible:
        raise TimeInvalid(field="at") from impossible


def _one_instant(local: datetime, zone: str) -> datetime:
    """The instant at which clocks in the zone show that time, if there is exactly one."""
    if (
        not 1900 < local.year < 9990
    ):  # so far away that an offset cannot be added; refused by the caller either way
        return local.replace(tzinfo=UTC)
    place = ZoneInfo(zone)
    first, second = local.replace(tzinfo=place, fold=0), local.replace(tzinfo=place, fold=1)
    if first.utcoffset() == second.utcoffset():
        return first
    readings = [_wall(instant.astimezone(UTC), zone) for instant in (first, second)]
    shown = f"{local:%Y-%m-%d %H:%M}"
    if first.astimezone(UTC).astimezone(place).replace(tzinfo=None) == local:
        raise TimeIsAmbiguous(
            f"In {zone} clocks show {shown} twice: {readings[0]} and {readings[1]}.",
            (readings[0], readings[1]),
        )
    readings.reverse()
    raise TimeDoesNotExist(
        f"In {zone} there is no {shown}; its neighbours are {readings[0]} and {readings[1]}.",
        (readings[0], readings[1]),
    )


def _within_reach(at: datetime, now: datetime) -> datetime:
    if at.year > now.year + 3:
        raise TimeTooFar(field="at")
    if at.year < now.year - 1:
        raise TimeInPast(field="at")
    instant = at.astimezone(UTC)
    if instant < now - timedelta(minutes=1):
        raise TimeInPast(field="at")
    if instant > now + FURTHEST:
        raise TimeTooFar(field="at")
    return instant


def _wall(instant: datetime, zone: str) -> str:
    """The time on the zone's clocks, with its offset, to the second."""
    return instant.astimezone(ZoneInfo(zone)).isoformat(
        timespec="minutes" if not instant.second else "seconds"
    )
