"""Notices: written, put on the changelog, and mailed once to those who chose their topic."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlmodel import Session

from service.api import deps
from service.api.body import Strict
from service.api.v1.announcements import REPEATABLE, Audience, Nothing, Report, check_topic
from service.domain.notices import actions, queries
from service.domain.notices.rules import NoticeUnknown
from service.domain.notices.tables import Notice
from service.domain.reports import queries as reports
from service.kit import clock

router = APIRouter(tags=["notices"])
Writer = Annotated[deps.Caller, Depends(deps.key("notices:write"))]
Publisher = Annotated[deps.Caller, Depends(deps.key("notices:publish"))]


class NoticeWords(Strict):
    """What readers of one language get. `body` is Markdown."""

    title: str | None = None
    preheader: str | None = None
    body: str | None = None


class NoticeIn(Strict):
    """A new notice. `mail` says whether publishing also mails it."""

    topic: str
    content: dict[str, NoticeWords]
    template: str | None = None
    audience: Audience | None = None
    mail: bool = False
    slug: str | None = Field(
        None, description="Its name under /changelog; made from the title when not said."
    )
    default_locale: str | None = None


class Publication(Strict):
    """Whether to mail it as well; as the notice says when not said."""

    mail: bool | None = None
    not_advertising: bool = Field(
        False, description="Answers the check that an important notice sounds like an offer; recorded."
    )


class NoticeShown(BaseModel):
    """A notice as it stands."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    slug: str
    title: str
    state: str
    mailing_state: str | None
    topic: str
    template: str
    content: dict[str, dict[str, str]]
    audience: dict[str, Any]
    default_locale: str
    mail: bool
    content_hash: str
    author: str
    url: str | None = None
    published_at: datetime | None
    corrected_at: datetime | None
    created_at: datetime
    changed_at: datetime


def find(session: Session, caller: deps.Caller, public_id: str) -> Notice:
    """One notice this key may know of. Raises `NoticeUnknown`."""
    row = queries.by_public_id(session, deps.plain_id(public_id))
    if not caller.sees(queries.shown(session, row).topic):
        raise NoticeUnknown
    return row


def _shown(request: Request, session: Session, row: Notice) -> NoticeShown:
    answer = NoticeShown.model_validate(queries.shown(session, row))
    if answer.published_at is not None:
        answer.url = f"{deps.house(request).settings.base_url}/changelog/{answer.slug}"
    return answer


@router.post("/notices", status_code=201, response_model=NoticeShown, dependencies=REPEATABLE)
async def create(
    request: Request, caller: Writer, said: Annotated[NoticeIn, Depends(deps.body(NoticeIn))]
) -> Response:
    """Write a new notice, as a draft."""
    check_topic(caller, said.topic)
    settings, now = deps.house(request).settings, clock.now()
    given = said.model_dump(exclude_unset=True, exclude={"content"})
    content = {locale: words.model_dump(exclude_none=True) for locale, words in said.content.items()}

    def act(session: Session) -> NoticeShown:
        return _shown(
            request,
            session,
            actions.create(session, settings, content=content, **given, now=now, by=caller.by),
        )

    return await deps.change(request, caller, act, created=True)


@router.get("/notices/{public_id}")
def notice(request: Request, public_id: str, caller: Writer) -> NoticeShown:
    """One notice as it stands."""
    return deps.read(request, lambda session: _shown(request, session, find(session, caller, public_id)))


@router.post("/notices/{public_id}/publish", response_model=NoticeShown, dependencies=REPEATABLE)
async def publish(
    request: Request,
    public_id: str,
    caller: Publisher,
    said: Annotated[Publication, Depends(deps.body(Publication))],
) -> Response:
    """Put it on the changelog at once, and mail it after the hold."""
    settings, now = deps.house(request).settings, clock.now()

    def act(session: Session) -> NoticeShown:
        found = find(session, caller, public_id)
        row = actions.publish(
            session,
            settings,
            found.public_id,
            mail=said.mail,
            hold_seconds=settings.hold_seconds,
            not_advertising=said.not_advertising,
            now=now,
            by=caller.by,
        )
        return _shown(request, session, row)

    return await deps.change(request, caller, act)


@router.post("/notices/{public_id}/resume", response_model=NoticeShown, dependencies=REPEATABLE)
async def resume(
    request: Request,
    public_id: str,
    caller: Publisher,
    _said: Annotated[Nothing, Depends(deps.body(Nothing))],
) -> Response:
    """Let a mail that was halted go on with who is left; for three days after its start."""
    return await _step(request, caller, public_id, actions.resume)


@router.post("/notices/{public_id}/cancel", response_model=NoticeShown, dependencies=REPEATABLE)
async def cancel(
    request: Request,
    public_id: str,
    caller: Publisher,
    _said: Annotated[Nothing, Depends(deps.body(Nothing))],
) -> Response:
    """Give up a draft, or stop the mail of a published one, which stays on the changelog."""
    return await _step(request, caller, public_id, actions.cancel)


async def _step(
    request: Request, caller: deps.Caller, public_id: str, step: Callable[..., Notice]
) -> Response:
    """Take one step with a notice this key may know of."""
    now = clock.now()

    def act(session: Session) -> NoticeShown:
        found = find(session, caller, public_id)
        return _shown(request, session, step(session, found.public_id, now=now, by=caller.by))

    return await deps.change(request, caller, act)


@router.get("/notices/{public_id}/report")
def report(request: Request, public_id: str, caller: Writer) -> Report:
    """What became of its mail."""

    def ask(session: Session) -> Report:
        return Report.model_validate(reports.of_notice(session, find(session, caller, public_id)))

    return deps.read(request, ask)
