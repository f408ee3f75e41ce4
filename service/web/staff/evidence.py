"""The evidence file of one person as of a day: a page made for print, and the same as JSON that verify_ledger.py checks.

Whoever opens it is written down, like every look at personal data (standards K8).
"""

import json
from datetime import UTC, date, datetime, time
from typing import Annotated, Any

from fastapi import APIRouter, Request
from sqlmodel import Session
from starlette.responses import Response

from service.domain.ledger import checkpoints
from service.domain.people import actions, erasing
from service.domain.privacy import copies
from service.domain.reports import evidence
from service.domain.staff.queries import SignedIn
from service.kit import clock, notes
from service.web import deps
from service.web.sessions import require
from service.web.staff import actors, days, people, timeline
from service.web.staff import audience as whom
from service.web.staff.frame import act, show

router = APIRouter()

Officer = Annotated[SignedIn, require("people:reveal")]


@router.get("/staff/people/{public_id}/evidence")
async def page(request: Request, public_id: str, staff: Officer) -> Response:
    """For people: what was said by the end of that day, before which words, and how to check it."""
    file = await _file(request, public_id, staff)
    base, on = f"/staff/people/{public_id}", request.query_params.get("on", "")
    return await show(
        request, staff, "people", "staff/evidence.html", lambda session: _page(session, file, base, on)
    )


@router.get("/staff/people/{public_id}/evidence.json")
async def download(request: Request, public_id: str, staff: Officer) -> Response:
    """For programs: the same, as one file."""
    file = await _file(request, public_id, staff)
    name = f"evidence-{file['person']}-{file['on'][:10]}.json"
    return Response(
        json.dumps(file, ensure_ascii=False, indent=1),
        media_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


async def _file(request: Request, public_id: str, staff: SignedIn) -> dict[str, Any]:
    """The file, once the head is signed that its proof leads to; the look is written down with it."""
    house, now = deps.house(request), clock.now()
    day = days.day_asked(request.query_params.get("on", ""), now)
    on = min(datetime.combine(day, time.max, UTC), now)
    await act(request, lambda session: checkpoints.sign(session, house.ring, now=now))

    def build(session: Session) -> dict[str, Any]:
        person = people.known(session, public_id)
        actions.note_read(session, person, "exported", reason="evidence", now=now, by=staff.by)
        given = copies.disclosed(session, erasing.with_merged(session, person), until=on)
        return evidence.of_person(session, house.ring, person, on=on, now=now, disclosed=given)

    return (await act(request, build)).value


def _page(session: Session, file: dict[str, Any], base: str, on: str) -> dict[str, Any]:
    parts = (file, *file["merged"])
    by = actors.names(session, [event["actor"] for one in parts for event in one["events"]])
    head = notes.read_head(file["proof"]["checkpoint"]) if "proof" in file else None
    return {
        "base": base,
        "query": f"?on={on}" if on else "",
        "person": file["person"],
        "on": datetime.fromisoformat(file["on"]),
        "made_at": datetime.fromisoformat(file["made_at"]),
        "parts": [_part(one, by) for one in parts],
        "wordings": file["wordings"],
        "imports": [{**one, "at": datetime.fromisoformat(one["at"])} for one in file["imports"]],
        "policies": [
            {**one, "published_at": datetime.fromisoformat(one["published_at"])} for one in file["policies"]
        ],
        "processing": [
            {**one, "published_at": datetime.fromisoformat(one["published_at"])} for one in file["processing"]
        ],
        "disclosures": [one | {"on": date.fromisoformat(one["on"])} for one in file["disclosures"]],
        "head": {"size": head.size, "root": head.root} if head else None,
    }


def _part(one: dict[str, Any], by: dict[str, str]) -> dict[str, Any]:
    return {
        "person": one["person"],
        "standing": [
            {
                **row,
                "since": datetime.fromisoformat(row["since"]),
                "why": whom.words_of_one(row["stops"]) if row["stops"] else "",
            }
            for row in one["standing"]
        ],
        "events": [_event(event, by) for event in one["events"]],
    }


def _event(one: dict[str, Any], by: dict[str, str]) -> dict[str, Any]:
    sign, what, _ = timeline.words_of(one["kind"])
    opened = one.get("evidence")
    return {
        "entry": one["entry"],
        "at": datetime.fromisoformat(one["at"]),
        "sign": sign,
        "what": what,
        "topic": one["body"].get("topic"),
        "reason": one["body"].get("reason"),
        "by": by[one["actor"]],
        "detail": timeline.detail(one["body"]),
        "facts": timeline.facts_of(opened) if opened else [],
        "closed": "evidence" in one and opened is None,
        "hash": one["hash"],
    }
