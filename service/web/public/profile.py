"""`/me`: a person sees and corrects what is held about them, after a mailed sign-in; good for 30 minutes."""

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar

from fastapi import APIRouter
from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from service import fence
from service.domain.links import rules as links
from service.domain.links.rules import Link
from service.domain.people import actions as people_actions
from service.domain.people import mailbox
from service.domain.people import queries as people
from service.domain.people import rules as people_rules
from service.domain.people.tables import Person
from service.domain.preferences import access
from service.domain.privacy import requests
from service.kit import addresses, clock
from service.kit.errors import Invalid
from service.web import deps, forms, pages
from service.web.forms import Form
from service.web.public import limits, tokens
from service.web.public.held import everything

router = APIRouter()

SIGNED_IN = timedelta(minutes=30)
Value = TypeVar("Value")


@router.get("/me")
async def page(request: Request) -> Response:
    """All that is held, or the way in."""
    person = await signed_in(request)
    return await show(request, person) if person else await entrance(request)


@router.get("/me/sign-in")
async def way_in(request: Request) -> Response:
    """The form, under the address its answer has."""
    return pages.redirect(request, "/me")


@router.post("/me/sign-in")
async def ask(request: Request) -> Response:
    """Mail a sign-in link, if the address is known; the answer says nothing of it (H55)."""
    limits.allowance.take(request)
    form = await forms.read(request)
    try:
        address = addresses.parse(form.text("email"))
    except Invalid as wrong:
        return await entrance(
            request, values=form.values(), errors=pages.said(request, wrong), status=wrong.status
        )
    opened, lang = deps.house(request), pages.language(request)
    async with limits.even():
        await fence.perform(
            opened,
            lambda session: access.request_sign_in(
                session, opened.ring, address, locale=lang, now=clock.now()
            ),
        )
    return await entrance(request, sent=address.shown)


async def entrance(
    request: Request,
    *,
    sent: str | None = None,
    values: dict[str, str] | None = None,
    errors: dict[str, str] | None = None,
    status: int = 200,
) -> Response:
    """The form that mails the way in."""
    context: dict[str, Any] = {
        "sent": sent is not None,
        "email": sent,
        "values": values or {},
        "errors": errors or {},
    }
    return await pages.public(request, "public/me_sign_in.html", context, status=status)


@router.get("/me/enter/{token}")
@router.get("/me/enter/{token}/")
async def door(request: Request, token: str) -> Response:
    """A button; looking at it signs nobody in."""
    link = tokens.read(request, token, links.SIGN_IN)
    return await _door(request, link)


@router.post("/me/enter/{token}")
@router.post("/me/enter/{token}/")
async def enter(request: Request, token: str) -> Response:
    """Sign in, once. Raises `LinkExpired`."""
    link = tokens.read(request, token, links.SIGN_IN)
    if (await forms.read(request)).all("confirm") != ["yes"]:
        return await _door(request, link)
    opened, now = deps.house(request), clock.now()
    done = await fence.perform(
        opened, lambda session: access.sign_in_by_link(session, opened.ring, link, now=now)
    )
    response = pages.redirect(request, "/me")
    facts = {
        "person": done.value.public_id,
        "mailbox": done.value.address_id,
        "session": f"me:{secrets.token_hex(8)}",
    }
    value = deps.signed(opened.ring, "me", facts, now=now, valid_for=SIGNED_IN)
    deps.set_cookie(response, opened, "me", value, max_age=int(SIGNED_IN.total_seconds()))
    return response


async def _door(request: Request, link: Link) -> Response:
    opened = deps.house(request)
    seen = await deps.read(opened, lambda session: tokens.named(request, session, link))
    context: dict[str, Any] = {
        "action": tokens.path(opened, link),
        "kind": "sign_in",
        "first_name": None,
        "masked": seen.masked,
        "topics": [],
    }
    return await pages.public(request, "public/confirm.html", context, person=seen.person)


@router.post("/me/sign-out")
async def sign_out(request: Request) -> Response:
    """End the session, here and for whoever kept its cookie."""
    opened, now = deps.house(request), clock.now()
    if facts := _session(request):
        await fence.perform(
            opened, lambda session: access.end_session(session, facts.get("session", ""), now=now)
        )
    response = pages.redirect(request, "/me")
    deps.clear_cookie(response, opened, "me")
    return response


def _session(request: Request) -> dict[str, Any] | None:
    """What the cookie says, while it is good: the person, by which mailbox (its row), and the session's name."""
    cookie = deps.get_cookie(request, "me")
    return deps.unsigned(deps.house(request).ring, "me", cookie, now=clock.now())


@router.post("/me")
async def correct(request: Request) -> Response:
    """Correct what is held; a changed address waits for its own button (standards N17)."""
    person = await signed_in(request)
    if person is None:
        return await entrance(request, status=403)
    form = await forms.read(request)
    try:
        done = await perform(request, person, lambda session, held: _correct(request, session, held, form))
    except Invalid as wrong:
        return await show(
            request,
            person,
            typed=form.values(),
            errors=pages.said(request, wrong, person),
            status=wrong.status,
        )
    if done is None:
        return await entrance(request, status=403)
    return await show(request, person, saved=clock.now(), status=200 if done.settled else 202)


def _correct(request: Request, session: Session, held: Person, form: Form) -> None:
    now, ring, by = clock.now(), deps.house(request).ring, f"person:{held.public_id}"
    fields = {name: form.text(name) for name in people_rules.PROFILE if name in form}
    changed = people_actions.correct(
        session,
        ring,
        held,
        profile=people_rules.profile(fields),
        locale=people_rules.locale(form.text("locale")),
        zone=people_rules.zone(form.text("zone")),
        now=now,
        by=by,
    )
    if changed:
        requests.fulfilled(session, held, "rectification", door="link", now=now, by=by)
    if "email" in form:
        access.change_email(session, ring, held, addresses.parse(form.text("email")), now=now, by=by)


async def signed_in(request: Request) -> Person | None:
    """Whoever is signed in here: that very person, while their mail goes to the mailbox by which they signed in. One who was merged
    since is another's now, who may not have signed in."""
    facts = _session(request)
    if facts is None:
        return None

    def look(session: Session) -> Person | None:
        ended = access.has_ended(session, facts.get("session", ""))
        found = None if ended else people.by_public_id(session, facts["person"])
        return found if found and _is(found, facts) else None

    return await deps.read(deps.house(request), look)


def _is(person: Person, facts: dict[str, Any]) -> bool:
    """Whether that is still who signed in."""
    same = person.public_id == facts["person"] and person.address_id == facts.get("mailbox")
    return same and person.state != "erased" and person.wrapped_key is not None


async def perform(
    request: Request,
    person: Person,
    act: Callable[[Session, Person], Value],
    *,
    before: Callable[[Session, Person], None] | None = None,
) -> fence.Fenced[Value] | None:
    """What whoever is signed in does, on them as they stand when it is their turn. None: they were erased, or made one with
    another, since `signed_in` looked, and are nobody here any more; nothing was done. `before`: what is to be held before that."""

    def run(session: Session) -> Value:
        found = session.get_one(Person, person.id)
        if before is not None:
            before(session, found)
        return act(session, mailbox.themselves(session, found))

    try:
        return await fence.perform(deps.house(request), run)
    except people_rules.UnknownPerson:
        return None


async def show(
    request: Request,
    person: Person,
    *,
    typed: dict[str, str] | None = None,
    errors: dict[str, str] | None = None,
    saved: datetime | None = None,
    receipt: str | None = None,
    status: int = 200,
) -> Response:
    """The page of whoever is signed in, perhaps with what was just done; the way in for who is nobody here any more."""

    def look(session: Session) -> tuple[Person, dict[str, Any]] | None:
        held = session.get_one(Person, person.id)
        gone = held.state in ("erased", "merged")
        return None if gone else (held, everything(request, session, held))

    found = await deps.read(deps.house(request), look)
    if found is None:
        return await entrance(request, status=status)
    held, context = found
    context["values"] |= typed or {}
    context |= {"errors": errors or {}, "saved": {"at": saved, "receipt": receipt} if saved else None}
    return await pages.public(request, "public/me.html", context, status=status, person=held)
