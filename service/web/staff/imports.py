"""The import wizard: the file, what its columns mean and where the consent comes from, a trial, the run, and taking it back."""

import re
from io import BytesIO
from pathlib import PurePath
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from sqlmodel import Session
from starlette.responses import Response, StreamingResponse

from service import fence
from service.domain.staff.queries import SignedIn
from service.domain.topics import queries as topics
from service.domain.transfers import actions, queries, rules, sources
from service.domain.transfers.reading import FileFacts
from service.domain.transfers.tables import Import
from service.kit import clock
from service.kit.errors import DomainError, Invalid
from service.ops import exports, imports, uploads
from service.ops.house import House
from service.web import deps, forms, pages
from service.web.sessions import require
from service.web.staff import planning
from service.web.staff.frame import act, done, faults, percent, show

router = APIRouter()

Importer = Annotated[SignedIn, require("people:import")]


AT_ONCE = 2_000  # consents taken back before the page answers; more go on behind it, and it says so (P1)


class FileMissing(Invalid):
    """Please choose a file first."""


@router.get("/staff/people/import")
async def start(request: Request, staff: Importer) -> Response:
    """Choose a file; earlier imports below."""
    return await _start(request, staff, {})


@router.post("/staff/people/import")
async def upload(request: Request, staff: Importer) -> Response:
    """Keep a file, sealed, with the plan its header proposes. Nothing is imported by that."""
    form, house = await forms.read(request), deps.house(request)
    content = form.file("file")
    try:
        if content is None:
            raise FileMissing(field="file")
        facts = await run_in_threadpool(imports.look_at, lambda: BytesIO(content))
        called = form.file_name("file")
        name = form.text("name") or called
        row = (await act(request, lambda session: _draft(session, facts, name, called, staff))).value
        await run_in_threadpool(uploads.keep, house, row.public_id, content)
    except DomainError as wrong:
        return await _start(request, staff, faults(wrong, ("file",)), status=wrong.status)
    return pages.redirect(request, _path(row))


def _draft(session: Session, facts: FileFacts, name: str, called: str, staff: SignedIn) -> Import:
    known = [topic.slug for topic in topics.active(session)]
    columns = sources.proposed(facts.columns, known)
    status = "" if "status" in columns.values() else sources.state_of_all(called) or ""
    plan = rules.Plan(sources.system_of(facts.columns) or "import", columns, status=status)
    now = clock.now()
    return actions.draft(session, facts, plan, file_name=name, rows=0, now=now, by=staff.by)


async def _start(request: Request, staff: SignedIn, errors: dict[str, str], *, status: int = 200) -> Response:
    def build(session: Session) -> dict[str, Any]:
        rows = [
            {
                "href": f"/staff/people/import/{row.public_id}",
                "name": row.file_name or row.public_id,
                "state": row.state,
                "source": row.plan["source"],
                "rows": row.rows_done or row.rows_total,
                "at": row.created_at,
            }
            for row in queries.newest(session)
        ]
        return {"rows": rows, "errors": errors}

    return await show(request, staff, "people", "staff/imports.html", build, status=status)


def _path(row: Import) -> str:
    return f"/staff/people/import/{row.public_id}"


@router.get("/staff/people/import/{public_id}")
async def page(request: Request, public_id: str, staff: Importer) -> Response:
    """One import as it stands: to be planned, running, or done."""
    return await _page(request, staff, public_id)


@router.post("/staff/people/import/{public_id}/try")
async def examine(request: Request, public_id: str, staff: Importer) -> Response:
    """Keep the plan and say what would become of every row; cells mended in the form count from here on."""
    form, house = await forms.read(request), deps.house(request)
    try:
        row, file = await _opened(house, public_id)
        plan = rules.check_plan(planning.plan_of(form, file), file.columns, now=clock.now())
        await deps.read(house, lambda session: queries.check_names(session, plan))
        mended = planning.mended_of(form)

        def keep(session: Session) -> Import:
            if mended:
                actions.mend(session, house.ring, public_id, mended)
            return actions.revise(session, house.ring, public_id, plan)

        row = (await act(request, keep)).value
        job = _job(house, row, file)
        found = await run_in_threadpool(imports.dry_run, house, job, now=clock.now())
        await act(request, lambda session: actions.note_rows(session, public_id, found.rows))
    except rules.ImportUnknown:
        raise
    except DomainError as wrong:
        errors = planning.faults_of(wrong)
        return await _page(request, staff, public_id, form=form, errors=errors, status=wrong.status)
    return await _page(request, staff, public_id, found=found)


@router.post("/staff/people/import/{public_id}/bad-rows")
async def bad_rows(request: Request, public_id: str, staff: Importer) -> Response:
    """The rows that cannot be taken over, as they are, with the reason in the last column."""
    house = deps.house(request)
    row, file = await _opened(house, public_id)
    parts = [exports.bad_rows_header(file.columns)]
    width = len(file.columns)
    await run_in_threadpool(
        imports.dry_run,
        house,
        _job(house, row, file),
        now=clock.now(),
        bad=lambda record, wrong: parts.append(exports.bad_row(record, width, wrong)),
    )
    taken = len(parts) - 1
    await act(
        request,
        lambda session: actions.note_bad_rows(session, public_id, taken, now=clock.now(), by=staff.by),
    )
    headers = {"Content-Disposition": f'attachment; filename="{_bad_rows_name(row)}"'}
    return StreamingResponse(iter(parts), media_type=exports.FORMS["csv"], headers=headers)


def _bad_rows_name(row: Import) -> str:
    """What bad rows are called: mended and uploaded, they are taken for what was said of everybody in the file."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", PurePath(row.file_name).stem).strip("-") or "people"
    word = {"no": "unsubscribed", "bounced": "cleaned", "waits": "nonsubscribed"}.get(row.plan["status"])
    known = word is None or sources.state_of_all(stem) == row.plan["status"]
    return f"{stem if known else f'{word}-{stem}'}-bad-rows.csv"


@router.post("/staff/people/import/{public_id}/run")
async def run(request: Request, public_id: str, staff: Importer) -> Response:
    """Begin it, or go on with one that stopped; a file that was imported under this plan leads to that import."""
    form, house = await forms.read(request), deps.house(request)
    row, file = await _opened(house, public_id)
    if row.state == "draft" and form.text("leave_out_bad") != "yes":
        found = await run_in_threadpool(imports.dry_run, house, _job(house, row, file), now=clock.now())
        if found.refused:
            errors = {"leave_out_bad": "Mend these rows, or say that they are to be left out."}
            return await _page(request, staff, public_id, found=found, errors=errors, status=409)

    def begin(session: Session) -> Import:
        draft = queries.by_public_id(session, public_id)
        return actions.begin(session, draft, tried=row.plan_sha256, now=clock.now(), by=staff.by)

    begun = (await act(request, begin)).value
    if begun.public_id != public_id:
        uploads.remove(house, public_id)
        words = "This file was imported under this plan already; nothing changed."
        return pages.redirect(request, _path(begun), flash=("ok", words))
    if begun.state == "running" and (not begun.rows_done or imports.is_still(begun, now=clock.now())):
        job = _job(house, begun, file)
        imports.in_background(lambda: _to_its_end(house, job, begun, staff))
    return pages.redirect(request, _path(begun))


def _to_its_end(house: House, job: imports.Job, begun: Import, staff: SignedIn) -> None:
    """The whole run; the file goes with its end."""
    if imports.run(house, job, begun, by=staff.by).state == "done":
        uploads.remove(house, begun.public_id)


@router.post("/staff/people/import/{public_id}/take-back")
async def take_back(request: Request, public_id: str, staff: Importer) -> Response:
    """Take back what it gave and that stands on it still."""
    reason = (await forms.read(request)).text("reason")

    def begin(session: Session) -> Import:
        return actions.begin_taking_back(session, public_id, reason=reason, now=clock.now(), by=staff.by)

    try:
        fenced = await act(request, begin)
    except rules.ReasonMissing as wrong:
        return await _page(request, staff, public_id, errors=faults(wrong, ("reason",)), status=422)
    house, row = deps.house(request), fenced.value
    uploads.remove(house, public_id)  # of one that ended in the middle
    few = await deps.read(house, lambda session: _standing(session, row)) <= AT_ONCE
    if few:
        await run_in_threadpool(imports.take_back, house, public_id, reason=reason, by=staff.by)
    elif imports.is_still(row, now=clock.now()) or not row.taken_back:
        imports.in_background(lambda: imports.take_back(house, public_id, reason=reason, by=staff.by))
    answer = fence.Fenced(row, fenced.settled and few)
    return await done(request, staff, answer, _path(row), "What it gave is taken back.")


def _standing(session: Session, row: Import) -> int:
    return queries.standing_on(session, queries.spans(session, row))


async def _opened(house: House, public_id: str) -> tuple[Import, FileFacts]:
    """An import and its file. Raises `ImportUnknown`, `UploadGone`."""
    row = await deps.read(house, lambda session: queries.by_public_id(session, public_id))
    return row, await run_in_threadpool(imports.look_at, lambda: uploads.opened(house, public_id))


def _job(house: House, row: Import, file: FileFacts) -> imports.Job:
    return imports.Job(
        lambda: uploads.opened(house, row.public_id),
        file,
        rules.plan_of(row.plan),
        queries.mended(house.ring, row),
    )


async def _page(
    request: Request,
    staff: SignedIn,
    public_id: str,
    *,
    form: forms.Form | None = None,
    errors: dict[str, str] | None = None,
    found: imports.Examined | None = None,
    status: int = 200,
) -> Response:
    house = deps.house(request)
    row = await deps.read(house, lambda session: queries.by_public_id(session, public_id))
    file = (await _opened(house, public_id))[1] if row.state == "draft" else None

    def build(session: Session) -> dict[str, Any]:
        shown = queries.by_public_id(session, public_id)
        counts = found.counts if found else rules.Counts.of(shown.counts)
        return {
            "row": _facts(shown),
            "plan": planning.shown(session, shown, file, form) if file else None,
            "counts": planning.counts_of(counts) if found or shown.state != "draft" else None,
            "refused": found.refused if found else 0,
            "faults": planning.cells_of(found.faults) if found else [],
            "errors": errors or {},
            "tried": found is not None,
        }

    return await show(request, staff, "people", "staff/import.html", build, status=status)


def _facts(row: Import) -> dict[str, Any]:
    running = row.state in ("running", "taking_back")
    return {
        "base": _path(row),
        "id": row.public_id,
        "name": row.file_name or row.public_id,
        "state": row.state,
        "rows": row.rows_total,
        "done": row.rows_done,
        "percent": percent(row.rows_done, row.rows_total),
        "still": running and imports.is_still(row, now=clock.now()),
        "taken_back": row.taken_back,
        "source": row.plan["source"],
        "at": row.created_at,
        "ended_at": row.ended_at,
    }
