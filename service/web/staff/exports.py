"""Everybody out, for a reason: the page and the download."""

from typing import Annotated, Any

from fastapi import APIRouter, Request
from sqlmodel import Session
from starlette.responses import Response, StreamingResponse

from service.domain.staff.queries import SignedIn
from service.domain.transfers import actions, queries
from service.kit import clock
from service.kit.errors import DomainError
from service.ops import exports
from service.web import deps, forms
from service.web.sessions import require
from service.web.staff.frame import act, choice, faults, show

router = APIRouter()

Exporter = Annotated[SignedIn, require("people:export")]
FORMS = {
    "csv": "A table (CSV), safe to open in a spreadsheet",
    "ndjson": "A line of JSON for each person (NDJSON)",
}


@router.get("/staff/people/export")
async def page(request: Request, staff: Exporter) -> Response:
    """The form."""
    return await _page(request, staff, {}, {})


@router.post("/staff/people/export")
async def download(request: Request, staff: Exporter) -> Response:
    """The file, as it is read; each part's people are in the ledger before they leave."""
    form, house = await forms.read(request), deps.house(request)
    reason, kind = form.text("reason"), form.text("form", "csv")
    if kind not in FORMS:
        kind = "csv"

    def note(session: Session) -> None:
        actions.note_export(session, reason=reason, form=kind, now=clock.now(), by=staff.by)

    try:
        await act(request, note)
    except DomainError as wrong:
        return await _page(request, staff, form.values(), faults(wrong, ("reason",)), status=wrong.status)
    texts = (text for text, _ in exports.parts(house, form=kind, by=staff.by))
    name = exports.file_name(kind, clock.now())
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(texts, media_type=exports.FORMS[kind], headers=headers)


async def _page(
    request: Request, staff: SignedIn, values: dict[str, str], errors: dict[str, str], *, status: int = 200
) -> Response:
    chosen = values.get("form", "csv")
    kinds = [choice(kind, words, kind == chosen) for kind, words in FORMS.items()]

    def build(session: Session) -> dict[str, Any]:
        total, kept = queries.going_out(session)
        return {"total": total, "kept": kept, "kinds": kinds, "values": values, "errors": errors}

    return await show(request, staff, "people", "staff/export.html", build, status=status)
