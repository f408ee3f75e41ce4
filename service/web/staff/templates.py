"""The starters as a gallery, each in a frame, and the pictures that mails may show."""

from typing import Annotated, Any

from fastapi import APIRouter, Request
from sqlmodel import Session
from starlette.responses import Response

from service.domain.announcements import queries as announcements
from service.domain.announcements.rules import read_draft
from service.domain.staff.queries import SignedIn
from service.domain.staff.rules import may
from service.domain.templates import actions, queries
from service.domain.templates.rules import MediaType
from service.domain.topics import queries as topics
from service.domain.topics.rules import TopicUnknown
from service.kit import clock
from service.kit.errors import DomainError
from service.mail.starters import Starter
from service.web import deps, forms
from service.web.sessions import require
from service.web.staff.announcements import starter_card
from service.web.staff.frame import act, show
from service.web.staff.frames import framed, refused

router = APIRouter()

Reader = Annotated[SignedIn, require("templates:read")]
Uploader = Annotated[SignedIn, require("media:write")]


@router.get("/staff/templates")
async def gallery(request: Request, staff: Reader) -> Response:
    """All starters."""

    def build(session: Session) -> dict[str, Any]:
        cards = [
            {**starter_card(one), "may_use": may_use and one.topic_class == "marketing"}
            for one in queries.starters()
        ]
        return {"templates": cards}

    may_use = may(staff.role, "announcements:write")
    return await show(request, staff, "templates", "staff/templates.html", build)


@router.get("/staff/templates/{slug}/preview")
async def preview(request: Request, slug: str, staff: Reader) -> Response:
    """A starter as a sample person would get it, in its frame (H22)."""
    house = deps.house(request)

    def make(session: Session) -> str:
        starter = queries.starter(slug)
        words = {
            "subject": starter.subject["en"],
            "preheader": starter.preheader["en"],
            "body": starter.body["en"],
        }
        draft = read_draft(topic=_topic(session, starter), template=slug, content={"en": words})
        made = announcements.preview(
            session, house.ring, house.settings, draft, locale="en", as_person=None, now=clock.now()
        )
        return made.html

    try:
        return framed(await deps.read(house, make), house.settings)
    except DomainError as wrong:
        return refused(wrong)


def _topic(session: Session, starter: Starter) -> str:
    """A topic to show it under: the starter's own, else any that announcements may use."""
    offered = [topic.slug for topic in topics.active(session) if topic.mail_class != "service"]
    if not offered:
        raise TopicUnknown("There is no topic in use that announcements may be sent under.")
    return starter.topic if starter.topic in offered else offered[0]


@router.get("/staff/media")
async def media_page(request: Request, staff: Uploader) -> Response:
    """The form for a picture."""
    return await _media(request, staff, None, {})


@router.post("/staff/media")
async def upload(request: Request, staff: Uploader) -> Response:
    """Keep a picture; answers with the Markdown for it. Name and declared type count for nothing (H60)."""
    content = (await forms.read(request)).file("file")
    try:
        if content is None:
            raise MediaType("Choose a picture first.", field="file")
        picture = content
        kept = (
            await act(
                request, lambda session: actions.keep_media(session, picture, now=clock.now(), by=staff.by)
            )
        ).value
    except DomainError as wrong:
        return await _media(request, staff, None, {"file": wrong.detail}, status=wrong.status)
    path = f"/media/{kept.sha256}.{kept.extension}"
    snippet = f'![What it shows]({path} "{kept.width}x{kept.height}")'
    return await _media(
        request, staff, {"snippet": snippet, "src": path, "width": kept.width, "height": kept.height}, {}
    )


async def _media(
    request: Request,
    staff: SignedIn,
    kept: dict[str, Any] | None,
    errors: dict[str, str],
    *,
    status: int = 200,
) -> Response:
    context = {"kept": kept, "errors": errors}
    return await show(request, staff, "templates", "staff/media.html", lambda _: context, status=status)
