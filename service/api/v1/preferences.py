"""What a person gets, as a site may see and change it: off and back to what was agreed, never a new yes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field
from sqlmodel import Session

from service.api import deps, errors
from service.api.body import Strict
from service.api.v1.people import known
from service.domain.api_keys.rules import ScopeMissing
from service.domain.people import mailbox
from service.domain.people.tables import Person
from service.domain.preferences import actions as preferences
from service.domain.preferences import queries
from service.domain.preferences.actions import UNCHANGED, Choices, Unchanged
from service.domain.preferences.rules import NOES, PERMITTING, BreakInvalid, CadenceNotOffered, NotRefusable
from service.domain.topics import queries as topics
from service.domain.topics.rules import TopicUnknown
from service.domain.topics.tables import Topic
from service.kit import clock
from service.kit.errors import Conflict

router = APIRouter(tags=["preferences"])
Reader = Annotated[deps.Caller, Depends(deps.key("people:read"))]
Writer = Annotated[deps.Caller, Depends(deps.key("preferences:write"))]


class ConsentNeedsEvidence(Conflict):
    """A yes is not made here: it needs its evidence."""

    fix_hint = (
        "Send it as a consent of PUT /people/{external_id}, or let the person choose on their own page."
    )


class TopicPreference(BaseModel):
    """One topic: the state of the consent, how often, and the day a break ends."""

    topic: str
    state: str
    cadence: str
    break_until: date | None


class Preferences(BaseModel):
    """What a person gets. Topics this key may not know of are not in it."""

    topics: list[TopicPreference]
    max_per_week: int | None


class TopicChoice(Strict):
    """What shall be so. What is not said, or is said as it stands, stays as it is."""

    topic: str
    state: str | None = None
    cadence: str | None = None
    break_until: str | None = Field(None, json_schema_extra={"format": "date"})


class PreferencesIn(Strict):
    """The same shape as it is read. Topics that are not named stay as they are."""

    topics: list[TopicChoice] = Field(default_factory=list, max_length=500)
    max_per_week: int | None = None


@dataclass(frozen=True)
class Standing:
    """One topic as it is before a change."""

    topic: Topic
    state: str
    cadence: str
    break_until: date | None


@router.get("/people/{external_id}/preferences")
def preferences_of(request: Request, external_id: str, caller: Reader) -> Preferences:
    """What this person gets. Reading changes nothing."""
    now = clock.now()

    def shown(session: Session) -> Preferences:
        _, person = known(session, caller, external_id)
        return _shown(session, caller, person, topics.everything(session), now)

    return deps.read(request, shown)


@router.put("/people/{external_id}/preferences", response_model=Preferences)
async def save(
    request: Request,
    external_id: str,
    caller: Writer,
    said: Annotated[PreferencesIn, Depends(deps.body(PreferencesIn))],
) -> Response:
    """Stop topics, take a break, change how often. Nothing here makes a new consent."""
    house, now = deps.house(request), clock.now()

    def act(session: Session) -> Preferences:
        person = mailbox.who_is_left(session, known(session, caller, external_id)[1])
        offered = topics.everything(session)
        choices = _choices(said, caller, person, _standing(session, caller, person, offered, now))
        preferences.save(session, house.ring, person, choices, how="api", evidence={}, now=now, by=caller.by)
        return _shown(session, caller, person, offered, now)

    return await deps.change(request, caller, act)


def _standing(
    session: Session, caller: deps.Caller, person: Person, offered: Sequence[Topic], now: datetime
) -> dict[str, Standing]:
    """Every topic this key may know of that is open, or that the person has said something about."""
    assert person.id is not None
    rows = queries.of_person(session, person.id)
    found = {}
    for topic in offered:
        row = rows.get(topic.id or 0)
        if not caller.sees(topic.slug) or (row is None and topic.state != "active"):
            continue
        if row is None:
            found[topic.slug] = Standing(topic, "unknown", "each", None)
            continue
        ended = row.valid_until is not None and row.valid_until <= now and row.state in PERMITTING
        on_break = row.break_until is not None and row.break_until > now
        until = (
            row.break_until.astimezone(ZoneInfo(person.zone or "UTC")).date()
            if on_break and row.break_until
            else None
        )
        found[topic.slug] = Standing(topic, "expired" if ended else row.state, row.cadence, until)
    return found


def _shown(
    session: Session, caller: deps.Caller, person: Person, offered: Sequence[Topic], now: datetime
) -> Preferences:
    rows = [
        TopicPreference(topic=slug, state=one.state, cadence=one.cadence, break_until=one.break_until)
        for slug, one in _standing(session, caller, person, offered, now).items()
    ]
    return Preferences(topics=rows, max_per_week=person.max_per_week)


def _choices(
    said: PreferencesIn, caller: deps.Caller, person: Person, standing: dict[str, Standing]
) -> Choices:
    """What differs from what stands, as the domain takes it."""
    chosen: dict[str, str] = {}
    breaks: set[date | None] = set()
    kept: set[date | None] = set()
    for n, one in enumerate(said.topics):
        present = standing.get(one.topic)
        if present is None:
            raise TopicUnknown(field=f"topics[{n}].topic")
        choice = _choice(one, present, f"topics[{n}]")
        if choice is not None:
            chosen[one.topic] = choice
        if "break_until" in one.model_fields_set:
            until = _day(one.break_until, f"topics[{n}].break_until")
            (breaks if until != present.break_until else kept).add(until)
    cap: int | Unchanged | None = UNCHANGED
    if "max_per_week" in said.model_fields_set and said.max_per_week != person.max_per_week:
        cap = said.max_per_week
    if caller.topics is not None and (breaks or cap is not UNCHANGED):
        raise ScopeMissing(
            "A key bound to some topics may not change what concerns them all: break_until, max_per_week."
        )
    return Choices(topics=chosen, break_until=_one_break(breaks, kept - {None}), max_per_week=cap)


def _choice(one: TopicChoice, present: Standing, field: str) -> str | None:
    """`off`, another cadence, or nothing to do. A yes that was not there is refused (P7)."""
    wanted = one.state or present.state
    if one.cadence is not None and one.cadence not in (present.cadence, *present.topic.cadences):
        raise CadenceNotOffered(field=f"{field}.cadence")
    if one.state in NOES and one.state != "invalidated":
        if present.topic.mail_class == "service":
            raise NotRefusable(field=f"{field}.state")
        return "off"  # said once more it goes before whatever could still make a yes
    if wanted != present.state:
        if wanted in PERMITTING and present.state in PERMITTING:
            return None
        if wanted in PERMITTING:
            raise ConsentNeedsEvidence(field=f"{field}.state")
        raise errors.FieldInvalid("That state cannot be set here; withdrawn can.", field=f"{field}.state")
    if one.cadence is None or one.cadence == present.cadence or present.state not in PERMITTING:
        return None
    return one.cadence


def _day(said: str | None, field: str) -> date | None:
    try:
        return date.fromisoformat(said) if said else None
    except ValueError:
        raise BreakInvalid(field=field) from None


def _one_break(breaks: set[date | None], kept: set[date | None]) -> date | Unchanged | None:
    """A break holds for everything a person can stop, so one day is said for all of them.

    A break that one topic is said to keep is not ended by another (P7): that is refused, not guessed.
    """
    if len(breaks | kept) > 1:
        raise BreakInvalid("A break ends on one day for all topics.", field="topics")
    return next(iter(breaks), UNCHANGED)
