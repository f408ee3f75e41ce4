"""API keys: one for each program; shown once, kept as a hash."""

from typing import Annotated, Any

from fastapi import APIRouter, Request
from sqlmodel import Session
from starlette.responses import Response

from service.domain.api_keys import actions, queries, rules
from service.domain.staff.queries import SignedIn
from service.kit import clock
from service.kit.errors import DomainError
from service.web import forms, pages
from service.web.sessions import require
from service.web.staff.frame import act, choice, faults, show

router = APIRouter()

Keeper = Annotated[SignedIn, require("keys:write")]


@router.get("/staff/keys")
async def page(request: Request, staff: Keeper) -> Response:
    """Every key, without its secret."""
    return await _page(request, staff, {}, [], {}, None)


@router.post("/staff/keys")
async def create(request: Request, staff: Keeper) -> Response:
    """Make a key; it stands in this answer and nowhere else."""
    form = await forms.read(request)
    scopes = form.all("scope")

    def make(session: Session) -> actions.Created:
        return actions.create(
            session,
            name=form.text("name"),
            source=form.text("source"),
            scopes=scopes,
            now=clock.now(),
            by=staff.by,
        )

    try:
        made = (await act(request, make)).value
    except DomainError as wrong:
        named = faults(wrong, ("name", "source", "scopes"))
        errors = {"scope" if field == "scopes" else field: sentence for field, sentence in named.items()}
        return await _page(request, staff, form.values(), scopes, errors, None, status=wrong.status)
    return await _page(request, staff, {}, [], {}, {"name": made.key.name, "key": made.plaintext})


@router.post("/staff/keys/{public_id}/revoke")
async def revoke(request: Request, public_id: str, staff: Keeper) -> Response:
    """End a key, at once."""
    await act(request, lambda session: actions.revoke(session, public_id, now=clock.now(), by=staff.by))
    return pages.redirect(request, "/staff/keys", flash=("ok", "Revoked. It opens nothing any more."))


async def _page(
    request: Request,
    staff: SignedIn,
    values: dict[str, str],
    scopes: list[str],
    errors: dict[str, str],
    fresh: dict[str, str] | None,
    *,
    status: int = 200,
) -> Response:
    def build(session: Session) -> dict[str, Any]:
        rows = [
            {
                "id": key.public_id,
                "name": key.name,
                "source": key.source,
                "scopes": key.scopes,
                "at": key.created_at,
                "last_at": key.last_used_at,
                "revoked_at": key.revoked_at,
            }
            for key in queries.everyone(session)
        ]
        offered = [choice(scope, sentence, scope in scopes) for scope, sentence in rules.SCOPES.items()]
        return {"rows": rows, "scopes": offered, "fresh": fresh, "values": values, "errors": errors}

    return await show(request, staff, "keys", "staff/keys.html", build, status=status)
