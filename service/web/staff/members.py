"""Staff members: who is here, invitations, roles, closing an account."""

from typing import Annotated, Any

from fastapi import APIRouter, Request
from sqlmodel import Session
from starlette.responses import Response

from service.domain.staff import actions, queries, rules
from service.domain.staff.queries import SignedIn
from service.domain.staff.tables import StaffMember
from service.kit import addresses, clock
from service.kit.errors import DomainError
from service.ops.house import House
from service.web import deps, forms, pages
from service.web.sessions import require
from service.web.staff.frame import act, choice, faults, show

router = APIRouter()

Keeper = Annotated[SignedIn, require("staff:write")]

FIELDS = ("email", "name", "role")


@router.get("/staff/staff")
async def page(request: Request, staff: Keeper) -> Response:
    """Everybody."""
    return await _page(request, staff, {}, {}, None)


@router.post("/staff/staff")
async def invite(request: Request, staff: Keeper) -> Response:
    """Invite somebody; the link is mailed and also shown once, in this answer only."""
    form, house = await forms.read(request), deps.house(request)

    def make(session: Session) -> str:
        address = addresses.parse(form.text("email"))
        made = actions.invite(
            session,
            house.ring,
            address=address,
            name=form.text("name"),
            role=form.text("role"),
            mail=True,
            now=clock.now(),
            by=staff.by,
        )
        return made.token

    try:
        token = (await act(request, make)).value
    except DomainError as wrong:
        return await _page(request, staff, form.values(), faults(wrong, FIELDS), None, status=wrong.status)
    link = {"email": form.text("email"), "url": f"{house.settings.base_url}/staff/start/{token}"}
    return await _page(request, staff, {}, {}, link)


@router.post("/staff/staff/{public_id}/role")
async def set_role(request: Request, public_id: str, staff: Keeper) -> Response:
    """Give somebody another role; they sign in again."""
    role = (await forms.read(request)).text("role")
    await act(
        request, lambda session: actions.set_role(session, public_id, role, now=clock.now(), by=staff.by)
    )
    return pages.redirect(request, "/staff/staff", flash=("ok", f"The role is {rules.ROLE_NAMES[role]} now."))


@router.post("/staff/staff/{public_id}/disable")
async def disable(request: Request, public_id: str, staff: Keeper) -> Response:
    """Close an account: its sessions end at once."""
    await act(request, lambda session: actions.end(session, public_id, now=clock.now(), by=staff.by))
    return pages.redirect(request, "/staff/staff", flash=("ok", "Closed; every session of it has ended."))


@router.post("/staff/staff/{public_id}/enable")
async def enable(request: Request, public_id: str, staff: Keeper) -> Response:
    """Open it again."""
    await act(request, lambda session: actions.restore(session, public_id, now=clock.now(), by=staff.by))
    return pages.redirect(request, "/staff/staff", flash=("ok", "Open again."))


async def _page(
    request: Request,
    staff: SignedIn,
    values: dict[str, str],
    errors: dict[str, str],
    link: dict[str, str] | None,
    *,
    status: int = 200,
) -> Response:
    house = deps.house(request)

    def build(session: Session) -> dict[str, Any]:
        rows = [_row(session, house, one, staff) for one in queries.members(session)]
        roles = [choice(key, name, key == values.get("role")) for key, name in rules.ROLE_NAMES.items()]
        return {"rows": rows, "roles": roles, "invite": link, "values": values, "errors": errors}

    return await show(request, staff, "staff", "staff/staff.html", build, status=status)


def _row(session: Session, house: House, one: StaffMember, staff: SignedIn) -> dict[str, Any]:
    return {
        "id": one.public_id,
        "name": one.name,
        "email": queries.address_of(session, house.ring, one).shown,
        "role": one.role,
        "state": "disabled" if one.state == "ended" else one.state,
        "last_at": one.last_signed_in_at,
        "self": one.public_id == staff.public_id,
    }
