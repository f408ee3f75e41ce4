"""The ledger as programs read it: entries in order, personal parts sealed as they lie there."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict
from sqlmodel import Session

from service.api import deps
from service.domain.api_keys.rules import ScopeMissing
from service.domain.ledger import bundles, checkpoints
from service.domain.ledger import queries as ledger
from service.kit.clock import from_micros
from service.kit.errors import NotFound

router = APIRouter(tags=["ledger"])
Reader = Annotated[deps.Caller, Depends(deps.key("ledger:read"))]


class NothingSigned(NotFound):
    """No head of the ledger has been signed yet; one is made every minute in which anything was written."""


class EntryShown(BaseModel):
    """One entry. `hash` is SHA-256 over 0x00 and the bytes of `entry` in UTF-8; the next entry's `prev_hash` repeats it.

    `entry` is the text that is kept, to the byte; the other fields are read from it.
    """

    model_config = ConfigDict(from_attributes=True)

    seq: int
    at: datetime
    kind: str
    actor: str
    subject: str | None
    body: dict[str, Any]
    prev_hash: str
    hash: str
    entry: str


class Entries(BaseModel):
    """A page of entries, oldest first."""

    items: list[EntryShown]
    next: str | None


class CheckpointShown(BaseModel):
    """The last signed head. `note` is its text to the byte, in the format of C2SP's tlog-checkpoint, the other fields are read
    from it; `consistency` is the proof of RFC 9162 section 2.1.4 that the tree of `since` entries is the beginning of this one:
    empty where `since` is 0, the same size, or larger.
    """

    origin: str
    size: int
    root: str
    at: datetime
    note: str
    keys: list[str]
    since: int
    consistency: list[str]


@router.get("/ledger/checkpoint")
def checkpoint(
    request: Request, caller: Reader, since: Annotated[int, Query(ge=0, le=2**53 - 1)] = 0
) -> CheckpointShown:
    """The last signed head of the ledger's tree, and how it goes on from a smaller one."""
    ring = deps.house(request).ring

    def ask(session: Session) -> CheckpointShown:
        found = bundles.growth(session, since, ring)
        if found is None:
            raise NothingSigned
        head, note, path = found
        return CheckpointShown(
            origin=head.origin,
            size=head.size,
            root=head.root,
            at=from_micros(head.at),
            note=note,
            keys=list(checkpoints.keys(ring)),
            since=since,
            consistency=path,
        )

    return deps.read(request, ask)


@router.get("/ledger")
def entries(
    request: Request,
    caller: Reader,
    page: deps.Page,
    kind: Annotated[str | None, Query(max_length=60, pattern=r"^[a-z_.]+$")] = None,
    subject: Annotated[str | None, Query(max_length=60, pattern=r"^[a-z]_[a-z0-9]+$")] = None,
) -> Entries:
    """Entries in order. A key bound to some topics cannot read it, because it speaks of all of them."""
    if caller.topics is not None:
        raise ScopeMissing("A key bound to some topics may not read the ledger, which speaks of all of them.")

    def ask(session: Session) -> Entries:
        found = ledger.page(session, after=page.cursor, limit=page.limit, kind=kind, subject=subject)
        return Entries(items=[EntryShown.model_validate(one) for one in found.rows], next=found.next)

    return deps.read(request, ask)
