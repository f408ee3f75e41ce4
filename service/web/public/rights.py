"""What a person may ask of us by law, from their own page: no advertising, data kept and not used, data erased.

Every one of them is signed in by a link mailed within the half hour (`profile`); a link printed in a mail opens none of this.
"""

from datetime import datetime
from functools import partial
from typing import Any

from fastapi import APIRouter
from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from service import fence
from service.db.engine import keeps_old_rows
from service.domain.consent.actions import Said
from service.domain.people.tables import Person
from service.domain.preferences import changes, rights
from service.domain.privacy import erasing, requests
from service.domain.privacy.erasing import Erased
from service.kit import clock
from service.ops import erasure
from service.web import deps, forms, pages
from service.web.public import profile
from service.web.public.held import PLACES

router = APIRouter()
HOW = "me"


@router.post("/me/object")
async def object_to_marketing(request: Request) -> Response:
    """No advertising any more, whatever it rested on; or take that back (`do` = lift), which chooses nothing yet."""
    person = await profile.signed_in(request)
    if person is None:
        return await profile.entrance(request, status=403)
    opened, now = deps.house(request), clock.now()
    lifts = (await forms.read(request)).text("do") == "lift"

    def act(session: Session, held: Person) -> str | None:
        if lifts:
            rights.lift_objection(session, held, now=now)
            return changes.slip(session)
        evidence = deps.evidence(request, session, path="/me", now=now)
        said = Said("objection", HOW, evidence)
        receipt = rights.object_to_marketing(session, opened.ring, held, said, now=now, by=_by(held))
        requests.fulfilled(session, held, "objection", door="link", now=now, by=_by(held))
        return receipt

    return await _done(request, person, await profile.perform(request, person, act), now)


@router.post("/me/restrict")
async def restrict(request: Request) -> Response:
    """Keep and do not use; or use again (`do` = lift)."""
    person = await profile.signed_in(request)
    if person is None:
        return await profile.entrance(request, status=403)
    lifts, now = (await forms.read(request)).text("do") == "lift", clock.now()

    def act(session: Session, held: Person) -> str | None:
        asked = rights.lift_restriction if lifts else rights.restrict
        asked(session, held, how=HOW, now=now, by=_by(held))
        receipt = changes.slip(session)
        if not lifts:
            requests.fulfilled(session, held, "restriction", door="link", now=now, by=_by(held))
        return receipt

    return await _done(request, person, await profile.perform(request, person, act), now)


async def _done(
    request: Request, person: Person, done: fence.Fenced[str | None] | None, now: datetime
) -> Response:
    if done is None:
        return await profile.entrance(request, status=403)
    status = 200 if done.settled else 202
    return await profile.show(request, person, saved=now, receipt=done.value, status=status)


@router.get("/me/erase")
async def preview(request: Request) -> Response:
    """What would go and what would stay, before the button."""
    person = await profile.signed_in(request)
    return await _preview(request, person) if person else await profile.entrance(request)


@router.post("/me/erase")
async def erase(request: Request) -> Response:
    """Erase it all; anything but the button shows the page again."""
    person = await profile.signed_in(request)
    if person is None:
        return await profile.entrance(request, status=403)
    if (await forms.read(request)).all("confirm") != ["yes"]:
        return await _preview(request, person)
    opened, now = deps.house(request), clock.now()
    lang = pages.language(request, person)

    def act(session: Session, held: Person) -> Erased:
        return erasure.erase(session, opened.ring, held, how=HOW, now=now, by=_by(held))

    done = await profile.perform(request, person, act, before=partial(erasing.hold_mails, how=HOW))
    if done is None:
        return await profile.entrance(request, status=403)
    return await _erased(request, done, lang, now)


async def _erased(request: Request, done: fence.Fenced[Erased], lang: str, now: datetime) -> Response:
    """In the language they had here, which is forgotten now; nobody is signed in any more."""
    context = {"receipt": done.value.receipt, "in_flight": not done.settled, "at": now}
    speaks = Person(alias=0, public_id="", locale=lang, created_at=now)
    status = 200 if done.settled else 202
    response = await pages.public(request, "public/me_erased.html", context, status=status, person=speaks)
    deps.clear_cookie(response, deps.house(request), "me")
    return response


async def _preview(request: Request, person: Person) -> Response:
    opened = deps.house(request)
    found = await deps.read(
        opened, lambda session: erasing.preview(session, session.get_one(Person, person.id))
    )
    context: dict[str, Any] = {
        "goes": {
            "registrations": found.registrations,
            "sites": [f"“{one}”" for one in found.sources if one not in PLACES],
            "attributes": [one.replace("_", " ") for one in found.attributes],
            "messages": found.messages,
        },
        "stays": {
            "entries": found.entries,
            "mails": found.mails,
            "requests_days": found.requests_days,
        },
        "shared": keeps_old_rows(opened.engine),
    }
    return await pages.public(request, "public/me_erase.html", context, person=person)


def _by(person: Person) -> str:
    return f"person:{person.public_id}"
