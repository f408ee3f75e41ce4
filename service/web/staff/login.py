"""Signing in and out, the one-time links (first run, invitation, sign-in), and one's own password."""

from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from service import fence
from service.db.session import reading
from service.domain.staff import actions, queries, rules
from service.domain.staff.queries import Claim, SignedIn
from service.domain.staff.tables import StaffToken
from service.kit import addresses, clock
from service.kit.errors import DomainError
from service.ops.house import House
from service.web import deps, forms, pages, sessions
from service.web.staff import kept
from service.web.staff.frame import act, faults

router = APIRouter()
_CHECKS = anyio.CapacityLimiter(4)  # each check of a password takes 64 MiB for a tenth of a second


@router.get("/staff/login")
async def login_page(request: Request) -> Response:
    """The sign-in form; whoever is signed in already goes on."""
    following = deps.local_path(request.query_params.get("next", ""), "/staff")
    if await sessions.who(request):
        return pages.redirect(request, following)
    return kept.sign_in_page(request, {"next": following}, {}, None)


@router.post("/staff/login")
async def login(request: Request) -> Response:
    """Sign in by address and password; the same answer for a wrong password and an unknown account (N10)."""
    form, house = await forms.read(request), deps.house(request)
    values = {"email": form.text("email"), "next": deps.local_path(form.text("next"), "/staff")}
    written = kept.of_sign_in(form)
    try:
        claim = await _claim(house, values["email"], form.text("password"))
        token = (await act(request, lambda session: actions.sign_in(session, claim, now=clock.now()))).value
        if token is None:
            raise rules.SignInRefused
    except (rules.SignInTooOften, rules.SignInRefused) as refused:
        return kept.sign_in_page(request, values, {"": refused.detail}, written, status=refused.status)
    response = kept.go_on_page(request, written) if written else pages.redirect(request, values["next"])
    return await _go_in(request, token, response)


async def _claim(house: House, typed: str, password: str) -> Claim:
    """Check a password beside the event loop, few at a time, with no lock held."""

    def check() -> Claim:
        with reading(house.engine) as session:
            return queries.check_password(session, house.ring, typed, password, now=clock.now())

    return await anyio.to_thread.run_sync(check, limiter=_CHECKS)


async def _go_in(request: Request, token: str, response: Response) -> Response:
    """End the session this browser had, if any, and begin the new one."""
    former = deps.get_cookie(request, sessions.COOKIE)
    if former:
        await act(request, lambda session: actions.sign_out(session, former, now=clock.now()))
    sessions.begin(request, response, token)
    return response


@router.post("/staff/logout")
async def logout(request: Request) -> Response:
    """End this session."""
    token = deps.get_cookie(request, sessions.COOKIE)
    if token:
        await act(request, lambda session: actions.sign_out(session, token, now=clock.now()))
    response = pages.redirect(request, "/staff/login")
    sessions.forget(request, response)
    return response


@router.get("/staff/start/{token}")
async def start_page(request: Request, token: str) -> Response:
    """What a one-time link leads to. Looking does not use it up."""
    found = await _link(request, token)
    if found.purpose == "sign_in":
        context = {"action": request.url.path, "practice": deps.house(request).settings.practice}
        return pages.html(request, "staff/sign_in_link.html", context)
    return await _start_form(request, found, {}, {})


@router.post("/staff/start/{token}")
async def start(request: Request, token: str) -> Response:
    """Use a one-time link: sign in, or open the account it stands for."""
    found, form = await _link(request, token), await forms.read(request)
    if found.purpose == "sign_in":
        fresh = await act(request, lambda session: actions.sign_in_by_token(session, token, now=clock.now()))
        return await _go_in(request, fresh.value, pages.redirect(request, "/staff"))
    values = {"name": form.text("name"), "email": form.text("email")}
    try:
        address = addresses.parse(values["email"]) if found.staff_id is None else None
        typed = await _accept(request, token, values["name"], form.text("password"), address)
        claim = await _claim(deps.house(request), typed, form.text("password"))
    except DomainError as wrong:
        if wrong.field is None:
            raise
        return await _start_form(request, found, values, faults(wrong), status=wrong.status)
    session_token = (
        await act(request, lambda session: actions.sign_in(session, claim, now=clock.now()))
    ).value
    return await _go_in(request, session_token or "", pages.redirect(request, "/staff"))


async def _accept(
    request: Request, token: str, name: str, password: str, address: addresses.Address | None
) -> str:
    """Open the account; returns its address."""
    house = deps.house(request)

    def open_account(session: Any) -> str:
        now = clock.now()
        member = actions.accept(
            session, house.ring, token, name=name, password=password, address=address, now=now
        )
        return queries.address_of(session, house.ring, member).text

    fenced: fence.Fenced[str] = await act(request, open_account)
    return fenced.value


async def _link(request: Request, token: str) -> StaffToken:
    found = await deps.read(
        deps.house(request), lambda session: queries.open_token(session, token, now=clock.now())
    )
    if found is None:
        raise rules.LinkUsed
    return found


async def _start_form(
    request: Request, found: StaffToken, values: dict[str, str], errors: dict[str, str], *, status: int = 200
) -> Response:
    house = deps.house(request)

    def invited(session: Any) -> tuple[str | None, str]:
        member = next((one for one in queries.members(session) if one.id == found.staff_id), None)
        return (queries.address_of(session, house.ring, member).shown, member.name) if member else (None, "")

    email, name = await deps.read(house, invited)
    context = {
        "action": request.url.path,
        "mode": found.purpose,
        "email": email,
        "values": {"name": name, **values},
        "errors": errors,
        "shortest": rules.SHORTEST,
        "practice": house.settings.practice,
    }
    return pages.html(request, "staff/set_password.html", context, status=status)


@router.get("/staff/password")
async def password_page(
    request: Request, staff: Annotated[SignedIn, Depends(sessions.signed_in)]
) -> Response:
    """The form for a new password of one's own."""
    return await _password_form(request, staff, {})


@router.post("/staff/password")
async def change_password(
    request: Request, staff: Annotated[SignedIn, Depends(sessions.signed_in)]
) -> Response:
    """Change one's own password: every other session of the account ends (H58)."""
    form, house = await forms.read(request), deps.house(request)

    def check() -> Claim:
        with reading(house.engine) as session:
            return queries.check_own_password(
                session, staff.id, form.text("current_password"), now=clock.now()
            )

    def change(session: Any) -> bool:
        new = form.text("password")
        return actions.change_password(session, claim, new=new, keep=staff.token_hash, now=clock.now())

    try:
        claim = await anyio.to_thread.run_sync(check, limiter=_CHECKS)
        if not (await act(request, change)).value:
            raise rules.PasswordWrong(field="current_password")
    except DomainError as wrong:
        return await _password_form(request, staff, faults(wrong), status=wrong.status)
    return pages.redirect(
        request, "/staff", flash=("ok", "Your password is changed; you are signed out everywhere else.")
    )


async def _password_form(
    request: Request, staff: SignedIn, errors: dict[str, str], *, status: int = 200
) -> Response:
    house = deps.house(request)

    def own(session: Any) -> str:
        return queries.address_of(session, house.ring, queries.by_public_id(session, staff.public_id)).shown

    context = {
        "action": "/staff/password",
        "mode": "change",
        "email": await deps.read(house, own),
        "values": {},
        "errors": errors,
        "shortest": rules.SHORTEST,
        "practice": house.settings.practice,
    }
    return pages.html(request, "staff/set_password.html", context, status=status)
