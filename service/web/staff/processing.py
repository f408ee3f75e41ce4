"""The record of processing: a page made for print, and the same as JSON."""

import json
from datetime import date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Request
from sqlmodel import Session
from starlette.responses import Response

from service.domain.staff.queries import SignedIn
from service.kit import clock
from service.ops import processing
from service.web import deps
from service.web.sessions import require
from service.web.staff.frame import show
from service.web.staff.requests import rooms

router = APIRouter()

Officer = Annotated[SignedIn, require("people:rights")]


@router.get("/staff/privacy/record")
async def page(request: Request, staff: Officer) -> Response:
    """For people, and for the authority that asks for it."""
    house = deps.house(request)

    def build(session: Session) -> dict[str, Any]:
        made = processing.record(session, house, now=clock.now())
        activities = [
            one | {"since": date.fromisoformat(one["since"]) if one["since"] else None}
            for one in made["activities"]
        ]
        return made | {
            "rooms": rooms("processing"),
            "made_at": datetime.fromisoformat(made["made_at"]),
            "activities": activities,
        }

    return await show(request, staff, "privacy", "staff/processing.html", build)


@router.get("/staff/privacy/record.json")
async def download(request: Request, staff: Officer) -> Response:
    """For programs."""
    house, now = deps.house(request), clock.now()
    made = await deps.read(house, lambda session: processing.record(session, house, now=now))
    text = json.dumps(made, ensure_ascii=False, indent=1).replace("<", "\\u003c")  # never anybody's HTML
    return Response(
        text,
        media_type="application/json",
        headers={
            "Content-Disposition": f'attachment; filename="record-of-processing-{now.date()}.json"',
            "Cache-Control": "no-store",
        },
    )
