"""Many people in one request: NDJSON in, NDJSON out, a line for a line. One bad line never spoils the others."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field
from sqlmodel import Session

from service.api import body, deps, errors
from service.api.v1.people import PersonIn, registration
from service.db.engine import rest
from service.domain.api_keys import actions as api_keys
from service.domain.api_keys import rules
from service.domain.preferences import registration as preferences
from service.kit import clock
from service.kit.errors import DomainError, Invalid
from service.ops.house import House

router = APIRouter(tags=["people"])
MOST_BYTES = 16 * 1024 * 1024
MOST_LINES = 5_000
PER_TRANSACTION = 200
MEDIA = "application/x-ndjson"
Writer = Annotated[deps.Caller, Depends(deps.key("people:write"))]


class TooManyLines(Invalid):
    """A bulk registration has at most 5,000 lines."""


class BulkLine(PersonIn):
    """A line: the PUT's body, with its `external_id`."""

    external_id: str


class BulkResult(BaseModel):
    """What became of a line: `status` and `code` as a PUT would have answered, and which field was wrong."""

    index: int
    status: int
    code: str = Field(description="created, changed, unchanged, or the stable code of an error")
    field: str | None = None


@dataclass(frozen=True)
class Job:
    """What every chunk of one request shares."""

    house: House
    caller: deps.Caller
    repeat: str | None
    asked: str
    now: datetime


_TAKEN = {
    "requestBody": {
        "required": True,
        "content": {
            MEDIA: {"schema": {"type": "string", "description": "A line for each person, as BulkLine."}}
        },
    }
}


@router.post(
    "/people/bulk",
    response_class=Response,
    responses={
        200: {
            "description": "A line for each line, as BulkResult.",
            "content": {MEDIA: {"schema": {"type": "string"}}},
        }
    },
    openapi_extra=_TAKEN,
    dependencies=[Depends(deps.idempotency)],
)
async def register_bulk(request: Request, caller: Writer) -> Response:
    """Register up to 5,000 people, a line each. Repeating it with its Idempotency-Key goes on where it was cut off."""
    content = await body.raw(request, MOST_BYTES)
    media = request.headers.get("content-type", MEDIA).partition(";")[0].strip().lower()
    if media not in (MEDIA, "application/json", "text/plain", "application/jsonl"):
        raise errors.MediaTypeUnsupported(fix=f"Send {MEDIA}.")
    lines = [(index, line) for index, line in enumerate(content.split(b"\n")) if line.strip()]
    if len(lines) > MOST_LINES:
        raise TooManyLines
    house, asked = deps.house(request), rules.body_hash("POST", request.url.path, content)
    job = Job(house, caller, request.headers.get("idempotency-key"), asked, clock.now())
    results: list[BulkResult] = []
    for number, start in enumerate(range(0, len(lines), PER_TRANSACTION)):
        if number:
            await asyncio.sleep(rest(house.engine))
        results += await _chunk(job, number, lines[start : start + PER_TRANSACTION])
    return Response(
        "".join(f"{one.model_dump_json(exclude_none=True)}\n" for one in results), media_type=MEDIA
    )


async def _chunk(job: Job, number: int, lines: Sequence[tuple[int, bytes]]) -> list[BulkResult]:
    """One transaction's worth. Each chunk is remembered under the request's key by itself."""
    read, refused = await run_in_threadpool(_read, lines)
    key = None if job.repeat is None else chunk_key(job.repeat, number)

    def act(session: Session) -> list[dict[str, Any]]:
        kept = deps.recall(session, job.caller, key, job.asked, now=job.now)
        if kept is not None:
            return list(json.loads(kept.text))
        done = _register(session, job, read)
        deps.keep(session, job.caller, key, api_keys.Answer(200, json.dumps(done)))
        return done

    fenced = await deps.perform(job.house, act)
    results = [BulkResult(**one) for one in fenced.value]
    if not fenced.settled:
        for one in results:
            one.status = 202 if one.status < 300 else one.status
    return sorted([*results, *refused], key=lambda one: one.index)


def chunk_key(repeat: str, number: int) -> str:
    """The first chunk has the request's own key, so that its use for another request is noticed."""
    rules.check_idempotency_key(repeat)
    return repeat if number == 0 else f"{rules.key_hash(repeat)}#{number}"


def _read(lines: Sequence[tuple[int, bytes]]) -> tuple[list[tuple[int, BulkLine]], list[BulkResult]]:
    read, refused = [], []
    for index, line in lines:
        try:
            read.append((index, body.understand(line, BulkLine)))
        except DomainError as wrong:
            refused.append(_refused(index, wrong))
    return read, refused


def _register(session: Session, job: Job, read: Sequence[tuple[int, BulkLine]]) -> list[dict[str, Any]]:
    done = preferences.register_many(
        session,
        job.house.ring,
        job.caller.source,
        [registration(line.external_id, line) for _, line in read],
        attest=job.caller.may("consents:attest"),
        topics=None if job.caller.topics is None else set(job.caller.topics),
        now=job.now,
        by=job.caller.by,
    )
    return [_result(index, one).model_dump() for (index, _), one in zip(read, done, strict=True)]


def _result(index: int, done: preferences.Registered | DomainError) -> BulkResult:
    if isinstance(done, DomainError):
        return _refused(index, done)
    if done.created:
        return BulkResult(index=index, status=201, code="created")
    moved = done.changed or any(one["result"] != "unchanged" for one in done.consents)
    return BulkResult(index=index, status=200, code="changed" if moved else "unchanged")


def _refused(index: int, error: DomainError) -> BulkResult:
    return BulkResult(index=index, status=errors.status_of(error), code=error.code, field=error.field)
