"""What became of each member of a mailing: in pages, or all of them as NDJSON with flat memory."""

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from sqlmodel import Session

from service.api import deps
from service.api.v1 import announcements, notices
from service.db.session import reading
from service.domain.announcements import queries as announcement_queries
from service.domain.mailings.tables import Mailing
from service.domain.notices import queries as notice_queries
from service.domain.reports import members as reports
from service.kit import paging
from service.ops.house import House

router = APIRouter(tags=["deliveries"])
MEDIA = "application/x-ndjson"
Found = Callable[[Session], Mailing | None]
State = Annotated[
    str | None, Query(max_length=20, pattern="^[a-z_]+$", description="Only members in this state.")
]


class ExternalId(BaseModel):
    """A source's id of a person."""

    source: str
    id: str


class Attempt(BaseModel):
    """One try and the next hop's answer to it."""

    attempt: int = Field(
        description="Its number, from 1; tries that never reached a next hop are not listed."
    )
    at: datetime | None
    code: int | None
    state: str = Field(description="What this try came to, as far as anybody knows; a later one may differ.")
    reason: str | None = Field(
        description="Why, where there is more to say. `unknown` for no_reply, odd_reply, sender_died, sender_lost or restored: "
        "the mail may have left in this try; for any other reason it may have left in an earlier one only."
    )


class DeliveryShown(BaseModel):
    """One member of the frozen audience."""

    pos: int
    external_ids: list[ExternalId]
    state: str
    reason: str | None
    message_id: str | None
    warrant: int | None
    attempts: list[Attempt]


class Deliveries(BaseModel):
    """A page of members, by position."""

    items: list[DeliveryShown]
    next: str | None


_BOTH: dict[int | str, dict[str, Any]] = {
    200: {
        "model": Deliveries,
        "content": {MEDIA: {"schema": {"type": "string", "description": "A DeliveryShown on each line."}}},
    }
}


@router.get("/announcements/{public_id}/deliveries", response_model=Deliveries, responses=_BOTH)
def of_announcement(
    request: Request, public_id: str, caller: announcements.Reader, page: deps.Page, state: State = None
) -> Response:
    """The members of an announcement's audience. `Accept: application/x-ndjson` gives all of them, a line each."""

    def find(session: Session) -> Mailing | None:
        return announcement_queries.mailing_of(session, announcements.find(session, caller, public_id))

    return _answer(request, find, page, state)


@router.get("/notices/{public_id}/deliveries", response_model=Deliveries, responses=_BOTH)
def of_notice(
    request: Request, public_id: str, caller: notices.Writer, page: deps.Page, state: State = None
) -> Response:
    """The members of a notice's audience. `Accept: application/x-ndjson` gives all of them, a line each."""

    def find(session: Session) -> Mailing | None:
        return notice_queries.mailing_of(session, notices.find(session, caller, public_id))

    return _answer(request, find, page, state)


def _answer(request: Request, find: Found, page: deps.Paging, state: str | None) -> Response:
    house = deps.house(request)
    ask = partial(_page, house, find, state)
    if MEDIA in request.headers.get("accept", ""):
        first = ask(page.cursor, paging.LIMIT)
        return StreamingResponse(_lines(first, ask), media_type=MEDIA)
    found = ask(page.cursor, page.limit)
    return Response(
        orjson.dumps({"items": [one.as_json() for one in found.rows], "next": found.next}),
        media_type="application/json",
    )


def _page(
    house: House, find: Found, state: str | None, cursor: str | None, limit: int | None
) -> paging.Page[Any]:
    """One page in a transaction of its own: whoever reads slowly holds no connection meanwhile."""
    with reading(house.engine) as session:
        mailing = find(session)
        if mailing is None:
            return paging.Page((), None)
        return reports.deliveries(session, house.ring, mailing, after=cursor, limit=limit, state=state)


def _lines(page: paging.Page[Any], ask: Callable[[str | None, int], paging.Page[Any]]) -> Iterator[bytes]:
    while True:
        yield b"".join(orjson.dumps(one.as_json()) + b"\n" for one in page.rows)
        if page.next is None:
            return
        page = ask(page.next, paging.LIMIT)
