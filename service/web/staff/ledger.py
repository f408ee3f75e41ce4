"""The ledger as staff read it: entries by kind and subject, and the button that verifies the chain."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Request
from sqlmodel import Session
from starlette.responses import Response

from service.domain.ledger import checkpoints, queries
from service.domain.ledger.queries import Seen
from service.domain.staff.queries import SignedIn
from service.domain.staff.rules import may
from service.kit import clock, paging
from service.web import deps
from service.web.sessions import require
from service.web.staff import actors
from service.web.staff.frame import choice, pager, show

router = APIRouter()

Reader = Annotated[SignedIn, require("ledger:read")]
Verifier = Annotated[SignedIn, require("ledger:verify")]

# Where the page of a subject is, by the first letter of its opaque id.
PLACES = {
    "p": "/staff/people/{}",
    "a": "/staff/announcements/{}/report",
    "n": "/staff/notices/{}/review",
    "q": "/staff/contact/{}",
    "i": "/staff/people/import/{}",
    "rr": "/staff/privacy/requests/{}",
    "b": "/staff/privacy/breaches/{}",
    "d": "/staff/privacy/disclosures#{}",
}
FAULTS = {
    "not_canonical": "An entry was written in another way than ours.",
    "cut_off": "The end is cut off: a signed head speaks of more entries.",
    "root_differs": "Entries were written anew: a signed head says otherwise. It is this one, or one after it.",
    "forked": "Two signed heads of one size say different things.",
    "badly_signed": "A head was signed by none of our keys.",
    "node_differs": "What is kept for quick proofs is not what the entries say.",
    "missing": "An entry is missing.",
    "out_of_order": "An entry stands where it does not belong.",
    "hash_differs": "An entry was changed after it was written.",
    "not_json": "An entry cannot be read.",
    "chain_broken": "An entry does not follow from the one before.",
    "columns_differ": "An entry’s index was changed.",
}


@router.get("/staff/ledger")
async def page(request: Request, staff: Reader) -> Response:
    """Entries, newest first."""
    return await show(
        request, staff, "ledger", "staff/ledger.html", lambda session: _page(request, session, staff, None)
    )


@router.post("/staff/ledger/verify")
async def verify(request: Request, staff: Verifier) -> Response:
    """Read the whole chain now."""

    house = deps.house(request)

    def build(session: Session) -> dict[str, Any]:
        found = checkpoints.verify(session, house.settings.safe, house.ring)
        text = f"{found.entries:,} entries read, each follows from the one before; {_signed(found)}"
        verdict = {
            "ok": found.holds,
            "text": text if found.fault is None else FAULTS.get(found.fault, found.fault),
            "position": found.position,
            "at": clock.now(),
        }
        return _page(request, session, staff, verdict)

    return await show(request, staff, "ledger", "staff/ledger.html", build)


def _signed(found: queries.Verdict) -> str:
    """How far signed heads vouch for it."""
    if found.after_last == found.entries:
        return "no head is signed yet."
    rest = f"{found.after_last:,} came after the last one" if found.after_last else "the last one covers all"
    return f"every signed head agrees, {rest}."


def _page(
    request: Request, session: Session, staff: SignedIn, verdict: dict[str, Any] | None
) -> dict[str, Any]:
    query = request.query_params
    kind, subject, entry = query.get("kind", ""), query.get("subject", ""), query.get("entry", "")
    after = paging.encode(int(entry) + 1) if entry.isdecimal() and len(entry) < 18 else query.get("after")
    found = queries.page(
        session, after=after, limit=50, kind=kind or None, subject=subject or None, newest_first=True
    )
    names = actors.names(session, [one.actor for one in found.rows])
    seq, digest = queries.tail(session)
    kinds = queries.kinds(session)
    return {
        "kinds": [choice("", "All kinds", not kind), *[choice(one, one, one == kind) for one in kinds]],
        "values": {"kind": kind, "subject": subject},
        "entries": [_entry(one, names) for one in found.rows],
        "pager": pager(request, found.next),
        "verify": verdict,
        "head": {"seq": seq, "hash": digest} if seq else None,
        "may_verify": may(staff.role, "ledger:verify"),
    }


def _entry(one: Seen, names: dict[str, str]) -> dict[str, Any]:
    place = PLACES.get((one.subject or "").partition("_")[0]) if "_" in (one.subject or "") else None
    return {
        "seq": one.seq,
        "at": one.at,
        "kind": one.kind,
        "actor": names[one.actor],
        "subject": {"href": place.format(one.subject), "label": one.subject} if place else one.subject,
        "body": json.dumps(one.body, indent=1, ensure_ascii=False),
        "hash": one.hash,
    }
