"""Announcements from the first draft to the report. Each step has the name it has on every other floor."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from sqlmodel import Session

from service.api import deps
from service.api.body import Strict
from service.config import Settings
from service.domain.announcements import actions, queries
from service.domain.announcements.rules import AnnouncementUnknown
from service.domain.announcements.tables import Announcement
from service.domain.reports import queries as reports
from service.domain.topics.rules import TopicUnknown
from service.kit import clock

router = APIRouter(tags=["announcements"])
Reader = Annotated[deps.Caller, Depends(deps.key("announcements:read"))]
Writer = Annotated[deps.Caller, Depends(deps.key("announcements:write"))]
Sender = Annotated[deps.Caller, Depends(deps.key("announcements:send"))]
REPEATABLE = [Depends(deps.idempotency)]
_AUDIENCE = {
    "type": "object",
    "properties": {
        "attributes": {"type": "object", "additionalProperties": True},
        "words": {"type": "string"},
    },
    "description": '{"attributes": {"plan": "pro"}} or {"plan": ["pro", "team"]}; everybody who may get it when not said. '
    "`words`: the wording it keeps within, such as new-products-v1-en, so that an older yes is enough; the newest when not said.",
}
Audience = Annotated[Any, WithJsonSchema(_AUDIENCE)]


class Words(Strict):
    """What readers of one language get. `body` is Markdown; merge fields are Jinja: `{{ first_name|default('there') }}`."""

    subject: str | None = None
    preheader: str | None = None
    body: str | None = None


class AnnouncementIn(Strict):
    """A new announcement."""

    topic: str
    template: str = Field(description="The slug of a starter, such as launch.")
    content: dict[str, Words]
    audience: Audience | None = None
    default_locale: str | None = None


class AnnouncementEdit(Strict):
    """What shall be other; an edit voids the approval. `based_on` refuses it when somebody else was quicker."""

    topic: str | None = None
    template: str | None = None
    content: dict[str, Words] | None = None
    audience: Audience | None = None
    default_locale: str | None = None
    based_on: str | None = Field(None, description="The content_hash this edit was made on.")


class Approval(Strict):
    """Approval is for this very content."""

    content_hash: str


class When(Strict):
    """`now`, an ISO instant with its offset, or a local time with its zone."""

    at: str
    zone: str | None = None
    local: bool = Field(
        False, description="At this time on each reader's own clock; `zone` is for whose zone is not known."
    )


class Nothing(Strict):
    """No field at all."""


class AnnouncementShown(BaseModel):
    """An announcement as it stands."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    state: str
    reason: str
    topic: str
    template: str
    content: dict[str, dict[str, str]]
    audience: dict[str, Any]
    default_locale: str
    content_hash: str
    author: str
    approved: bool
    approved_by: str | None
    approved_at: datetime | None
    due_at: datetime | None
    zone: str | None
    wall_time: str | None
    hold_until: datetime | None
    valid_until: datetime | None
    created_at: datetime
    changed_at: datetime


class AnnouncementListed(BaseModel):
    """An announcement as one line of a list."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    state: str
    reason: str
    topic: str
    author: str
    due_at: datetime | None
    zone: str | None
    planned: int | None
    changed_at: datetime


class Announcements(BaseModel):
    """A page of announcements, newest first."""

    items: list[AnnouncementListed]
    next: str | None


class Outcomes(BaseModel):
    """How many members of the frozen audience ended where."""

    sent: int
    bounced: int
    deferred: int
    cancelled: int
    expired: int
    unknown: int
    skipped: dict[str, int]


class Report(BaseModel):
    """planned = the sum of the outcomes, once all of them are there; `excluded` never were in the audience."""

    model_config = ConfigDict(extra="allow")

    state: str
    planned: int | None
    outcomes: Outcomes
    excluded: dict[str, int]
    next_at: datetime | None = Field(
        None, description="When the first who wait are due; none when nobody does."
    )


def find(session: Session, caller: deps.Caller, public_id: str) -> Announcement:
    """One announcement this key may know of. Raises `AnnouncementUnknown`."""
    row = queries.by_public_id(session, deps.plain_id(public_id))
    if not caller.sees(queries.shown(session, row).topic):
        raise AnnouncementUnknown
    return row


def words_of(content: dict[str, Words] | None) -> dict[str, dict[str, str]] | None:
    """The texts as the domain takes them."""
    return (
        None
        if content is None
        else {locale: said.model_dump(exclude_none=True) for locale, said in content.items()}
    )


def check_topic(caller: deps.Caller, slug: str | None) -> None:
    """A topic this key may not know of is as if it were not there. Raises `TopicUnknown`."""
    if slug is not None and not caller.sees(slug):
        raise TopicUnknown(field="topic")


def shown(session: Session, row: Announcement) -> AnnouncementShown:
    """A row as its answer."""
    return AnnouncementShown.model_validate(queries.shown(session, row))


@router.post("/announcements", status_code=201, response_model=AnnouncementShown, dependencies=REPEATABLE)
async def create(
    request: Request, caller: Writer, said: Annotated[AnnouncementIn, Depends(deps.body(AnnouncementIn))]
) -> Response:
    """Write a new announcement, as a draft."""
    check_topic(caller, said.topic)
    settings, now = deps.house(request).settings, clock.now()

    def act(session: Session) -> AnnouncementShown:
        row = actions.create(
            session,
            settings,
            topic=said.topic,
            template=said.template,
            content=words_of(said.content),
            audience=said.audience,
            default_locale=said.default_locale,
            now=now,
            by=caller.by,
        )
        return shown(session, row)

    return await deps.change(request, caller, act, created=True)


@router.get("/announcements")
def listed(
    request: Request,
    caller: Reader,
    page: deps.Page,
    state: Annotated[
        str | None, Query(max_length=20, pattern="^[a-z_]+$", description="Only those in this state.")
    ] = None,
) -> Announcements:
    """Announcements, newest first."""

    def ask(session: Session) -> Announcements:
        found = queries.page(session, states=(state,) if state else (), after=page.cursor, limit=page.limit)
        rows = [AnnouncementListed.model_validate(one) for one in found.rows if caller.sees(one.topic)]
        return Announcements(items=rows, next=found.next)

    return deps.read(request, ask)


@router.get("/announcements/{public_id}")
def announcement(request: Request, public_id: str, caller: Reader) -> AnnouncementShown:
    """One announcement as it stands."""
    return deps.read(request, lambda session: shown(session, find(session, caller, public_id)))


@router.patch("/announcements/{public_id}", response_model=AnnouncementShown)
async def edit(
    request: Request,
    public_id: str,
    caller: Writer,
    said: Annotated[AnnouncementEdit, Depends(deps.body(AnnouncementEdit))],
) -> Response:
    """Change what is said or to whom; it is a draft again."""
    check_topic(caller, said.topic)
    changes = said.model_dump(exclude_unset=True, exclude={"content"})
    if said.content is not None:
        changes["content"] = words_of(said.content)
    settings = deps.house(request).settings
    return await _step(request, caller, public_id, partial(_with, actions.edit, settings), **changes)


@router.post("/announcements/{public_id}/submit", response_model=AnnouncementShown, dependencies=REPEATABLE)
async def submit(
    request: Request, public_id: str, caller: Writer, _said: Annotated[Nothing, Depends(deps.body(Nothing))]
) -> Response:
    """Have it checked and ask for its approval."""
    settings = deps.house(request).settings
    return await _step(request, caller, public_id, partial(_with, actions.submit, settings))


@router.post("/announcements/{public_id}/approve", response_model=AnnouncementShown, dependencies=REPEATABLE)
async def approve(
    request: Request, public_id: str, caller: Sender, said: Annotated[Approval, Depends(deps.body(Approval))]
) -> Response:
    """Approve exactly what was read; if it was changed since, `stale_version`."""
    settings = deps.house(request).settings
    step = partial(_with, actions.approve, settings)
    return await _step(request, caller, public_id, step, content_hash=said.content_hash)


@router.post("/announcements/{public_id}/schedule", response_model=AnnouncementShown, dependencies=REPEATABLE)
async def schedule(
    request: Request, public_id: str, caller: Sender, said: Annotated[When, Depends(deps.body(When))]
) -> Response:
    """Say when it goes. `now` is after the hold, in which it can be called back."""
    hold = deps.house(request).settings.hold_seconds
    return await _step(
        request, caller, public_id, actions.schedule, at=said.at, zone=said.zone, local=said.local,
        hold_seconds=hold,
    )  # fmt: skip


@router.post("/announcements/{public_id}/pause", response_model=AnnouncementShown, dependencies=REPEATABLE)
async def pause(
    request: Request, public_id: str, caller: Sender, _said: Annotated[Nothing, Depends(deps.body(Nothing))]
) -> Response:
    """Let no more of it depart until it is resumed."""
    return await _step(request, caller, public_id, actions.pause)


@router.post("/announcements/{public_id}/resume", response_model=AnnouncementShown, dependencies=REPEATABLE)
async def resume(
    request: Request, public_id: str, caller: Sender, _said: Annotated[Nothing, Depends(deps.body(Nothing))]
) -> Response:
    """Let a paused or halted one go on; not after its `valid_until`."""
    return await _step(request, caller, public_id, actions.resume)


@router.post("/announcements/{public_id}/cancel", response_model=AnnouncementShown, dependencies=REPEATABLE)
async def cancel(
    request: Request, public_id: str, caller: Sender, _said: Annotated[Nothing, Depends(deps.body(Nothing))]
) -> Response:
    """End it for good; what has not left never will."""
    return await _step(request, caller, public_id, actions.cancel)


@router.get("/announcements/{public_id}/report")
def report(request: Request, public_id: str, caller: Reader) -> Report:
    """What became of it."""

    def ask(session: Session) -> Report:
        return Report.model_validate(reports.of_announcement(session, find(session, caller, public_id)))

    return deps.read(request, ask)


async def _step(
    request: Request, caller: deps.Caller, public_id: str, step: Callable[..., Announcement], **said: Any
) -> Response:
    """Take one step with an announcement this key may know of."""
    now = clock.now()

    def act(session: Session) -> AnnouncementShown:
        found = find(session, caller, public_id)
        return shown(session, step(session, found.public_id, **said, now=now, by=caller.by))

    return await deps.change(request, caller, act)


def _with(
    step: Callable[..., Announcement], settings: Settings, session: Session, *args: Any, **said: Any
) -> Announcement:
    """A step that compiles or checks a mail, and so wants the settings before the announcement's name."""
    return step(session, settings, *args, **said)
