"""`/`: the front door, with what changed lately."""

from fastapi import APIRouter
from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from service.domain.notices import queries as notices
from service.web import deps, pages

router = APIRouter()

LATEST = 3


@router.get("/")
async def page(request: Request) -> Response:
    """What this is, the way in, the way out."""
    lang = pages.language(request)

    def look(session: Session) -> list[notices.Entry]:
        return list(notices.published(session, limit=LATEST, locale=lang).rows)

    entries = await deps.read(deps.house(request), look)
    latest = [
        {"title": one.title, "href": f"/changelog/{one.slug}", "published_at": one.published_at}
        for one in entries
    ]
    return await pages.public(request, "public/home.html", {"latest": latest})
