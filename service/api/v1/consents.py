"""What a person had agreed to on a day, read from the ledger alone, and the receipts of it."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel
from sqlmodel import Session
from starlette.responses import Response

from service.api import deps, errors
from service.api.v1.people import known
from service.domain.consent import queries as consents
from service.domain.ledger import checkpoints
from service.domain.reports import receipts
from service.kit import clock

router = APIRouter(tags=["consents"])
Reader = Annotated[deps.Caller, Depends(deps.key("people:read"))]


class ConsentShown(BaseModel):
    """What the person had said about one topic, and the ledger entry that says so."""

    topic: str
    state: str
    basis: str
    since: datetime
    entry: int
    wording: str | None
    policy: str | None
    source: str | None
    method: str | None


class Consents(BaseModel):
    """Every topic the person had said something about."""

    person: str
    on: datetime
    consents: list[ConsentShown]


@router.get("/people/{external_id}/consents")
def consents_of(
    request: Request,
    external_id: str,
    caller: Reader,
    on: Annotated[
        str | None, Query(max_length=40, description="A day (its end, UTC) or an instant; now when not said.")
    ] = None,
) -> Consents:
    """The consents in force on a day, each with its wording, policy and entry."""
    until = _moment(on)

    def ask(session: Session) -> Consents:
        _, person = known(session, caller, external_id)
        states = [
            one
            for one in consents.states(session, person.public_id, until=until)
            if caller.sees(one["topic"])
        ]
        return Consents(person=person.public_id, on=until, consents=[ConsentShown(**one) for one in states])

    return deps.read(request, ask)


class Receipts(BaseModel):
    """A consent receipt for each topic the person has answered about, as docs/schemas/receipt.schema.json says; each has a
    proof that `verify_ledger.py` checks."""

    person: str
    receipts: list[dict[str, Any]]


@router.get("/people/{external_id}/receipts", response_model=Receipts)
async def receipts_of(request: Request, external_id: str, caller: Reader) -> Response:
    """The receipts, under a head that is signed for them where the last one does not reach so far."""
    ring, now = deps.house(request).ring, clock.now()

    def ask(session: Session) -> Receipts:
        _, person = known(session, caller, external_id)
        checkpoints.sign(session, ring, now=now)
        found = receipts.of_person(session, ring, person, now=now)
        return Receipts(
            person=person.public_id, receipts=[one for one in found if caller.sees(one["purpose"])]
        )

    return await deps.change(request, caller, ask)


def _moment(on: str | None) -> datetime:
    """The instant meant. Raises `FieldInvalid` for what is neither a day nor an instant with its offset."""
    if on is None:
        return clock.now()
    try:
        if len(on) == 10:
            return datetime.combine(date.fromisoformat(on), time(), UTC) + timedelta(days=1, microseconds=-1)
        at = datetime.fromisoformat(on)
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise errors.FieldInvalid("Write a day as 2026-11-24, or an instant as 2026-11-24T09:20:00Z.", field="on")
