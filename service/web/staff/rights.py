"""A person's rights from the staff's side: no advertising, restriction and its end, their copies, erasure with its preview.

Staff say a no on somebody's behalf, with the reason in the ledger; there is no way here to say a yes.
"""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Request
from sqlmodel import Session
from starlette.responses import Response

from service import fence
from service.db.engine import keeps_old_rows
from service.domain.consent.actions import Said
from service.domain.people import actions as people_actions
from service.domain.people import mailbox
from service.domain.people.tables import Person
from service.domain.preferences import rights
from service.domain.preferences.rules import LiftNotTold
from service.domain.privacy import copies, erasing, requests
from service.domain.privacy import queries as privacy
from service.domain.privacy.rules import AlreadyErased
from service.domain.staff.queries import SignedIn
from service.kit import clock
from service.kit.errors import Invalid
from service.ops import erasure
from service.ops.house import House
from service.web import deps, forms
from service.web.public.copies import download
from service.web.sessions import require
from service.web.staff import people
from service.web.staff.frame import act, done, faults, show_noted

router = APIRouter()

Officer = Annotated[SignedIn, require("people:rights")]
MOST = 200


class ReasonMissing(Invalid):
    """Please say who asked for it, and how."""


@router.post("/staff/people/{public_id}/object")
async def object_to_marketing(request: Request, public_id: str, staff: Officer) -> Response:
    """No advertising any more to this person, on whatever ground."""
    house = deps.house(request)

    def say_no(session: Session, person: Person, reason: str) -> None:
        said = Said("objection", "staff")
        rights.object_to_marketing(
            session, house.ring, person, said, reason=reason, now=clock.now(), by=staff.by
        )
        requests.fulfilled(session, person, "objection", door="staff", now=clock.now(), by=staff.by)

    return await _said(request, staff, public_id, say_no, "Written down: no advertising any more.")


@router.post("/staff/people/{public_id}/restrict")
async def restrict(request: Request, public_id: str, staff: Officer) -> Response:
    """Keep what is held and use none of it; `asked` says who wants it, the person unless it is said to be the controller."""
    own = (await forms.read(request)).text("asked") == rights.CONTROLLER
    asked = rights.CONTROLLER if own else rights.PERSON

    def say_no(session: Session, person: Person, reason: str) -> None:
        rights.restrict(
            session, person, how="staff", asked=asked, reason=reason, now=clock.now(), by=staff.by
        )
        if not own:
            requests.fulfilled(session, person, "restriction", door="staff", now=clock.now(), by=staff.by)

    return await _said(request, staff, public_id, say_no, "Restricted: kept, not used.")


@router.post("/staff/people/{public_id}/unrestrict")
async def lift(request: Request, public_id: str, staff: Officer) -> Response:
    """End a restriction of the controller's own, once the person has been told; what they asked for is theirs to end."""
    form = await forms.read(request)
    told = form.text("told") == "1"

    def end(session: Session, person: Person, reason: str) -> None:
        rights.lift_restriction(
            session, person, how="staff", reason=reason, told=told, now=clock.now(), by=staff.by
        )

    try:
        return await _said(request, staff, public_id, end, "The restriction is lifted.")
    except LiftNotTold as wrong:
        return await people.shown(request, staff, public_id, not_told=wrong.detail, why=form.text("reason"))


@router.post("/staff/people/{public_id}/bar")
async def bar(request: Request, public_id: str, staff: Officer) -> Response:
    """Send nothing to this mailbox, because the law or an authority asks for it; the reason is the ground."""

    def say_no(session: Session, person: Person, reason: str) -> None:
        rights.bar(session, person, reason=reason, now=clock.now(), by=staff.by)

    return await _said(request, staff, public_id, say_no, "Barred: nothing is sent to this mailbox.")


@router.post("/staff/people/{public_id}/unbar")
async def unbar(request: Request, public_id: str, staff: Officer) -> Response:
    """The ground is gone; what the person said stands as before."""

    def end(session: Session, person: Person, reason: str) -> None:
        rights.unbar(session, person, reason=reason, now=clock.now(), by=staff.by)

    return await _said(request, staff, public_id, end, "No longer barred: what they said stands as before.")


async def _said(
    request: Request,
    staff: SignedIn,
    public_id: str,
    say: Callable[[Session, Person, str], None],
    words: str,
) -> Response:
    """Do it with its reason, and back to the person's page; without one the page says what is missing."""
    try:
        reason = reason_of((await forms.read(request)).text("reason"))
    except ReasonMissing as wrong:
        return await people.shown(request, staff, public_id, reason_missing=wrong.detail)

    def perform(session: Session) -> None:
        person = mailbox.who_is_left(session, people.known(session, public_id))
        if person.state == "erased":  # perhaps only while this waited for the ledger
            raise AlreadyErased
        say(session, person, reason)

    fenced: fence.Fenced[Any] = await act(request, perform)
    return await done(request, staff, fenced, f"/staff/people/{public_id}", words)


def reason_of(typed: str) -> str:
    """What was typed as the reason, cut to what the ledger takes. Raises `ReasonMissing`."""
    if not typed:
        raise ReasonMissing(field="reason")
    return typed[:MOST]


@router.post("/staff/people/{public_id}/copy")
async def copy(request: Request, public_id: str, staff: Officer) -> Response:
    """The access copy as a file, to be handed to the person."""
    return await _file(request, staff, public_id, copies.access_copy, "access-copy.json")


@router.post("/staff/people/{public_id}/portable")
async def portable(request: Request, public_id: str, staff: Officer) -> Response:
    """What they gave, as a file to be handed to them or to another service."""
    return await _file(request, staff, public_id, copies.portable_copy, "portable-copy.json")


async def _file(
    request: Request, staff: SignedIn, public_id: str, make: Callable[..., dict[str, Any]], name: str
) -> Response:
    """A copy; that it was made is written down of each registration in it, with the reason. It answers no request: who hands it
    over closes that."""
    house = deps.house(request)
    try:
        reason = reason_of((await forms.read(request)).text("reason"))
    except ReasonMissing as wrong:
        return await people.shown(request, staff, public_id, reason_missing=wrong.detail)

    def made(session: Session) -> dict[str, Any]:
        person, now = people.known(session, public_id), clock.now()
        for one in privacy.whole(session, person):
            if one.state != "merged":  # what they had lies under who is left
                people_actions.note_read(session, one, "exported", reason=reason, now=now, by=staff.by)
        if person.state == "erased":  # perhaps only while this waited for the ledger
            raise AlreadyErased
        return make(session, house.ring, person, now=now)

    return download((await act(request, made)).value, name)


@router.get("/staff/people/{public_id}/erase")
async def preview(request: Request, public_id: str, staff: Officer) -> Response:
    """What would go, what would stay and why."""
    return await _preview(request, staff, public_id, {}, {})


@router.post("/staff/people/{public_id}/erase")
async def erase(request: Request, public_id: str, staff: Officer) -> Response:
    """Erase, with the reason in the ledger for good."""
    house, form = deps.house(request), await forms.read(request)
    try:
        reason = reason_of(form.text("reason"))
    except ReasonMissing as wrong:
        return await _preview(
            request, staff, public_id, form.values(), faults(wrong, ("reason",)), status=wrong.status
        )

    def gone(session: Session) -> erasing.Erased:
        person = people.known(session, public_id)
        return erasure.erase(
            session, house.ring, person, how="staff", reason=reason, now=clock.now(), by=staff.by
        )

    fenced = await act(request, gone)
    words = f"Erased. Receipt {fenced.value.receipt}."
    return await done(request, staff, fenced, f"/staff/people/{public_id}", words)


async def _preview(
    request: Request,
    staff: SignedIn,
    public_id: str,
    values: dict[str, str],
    errors: dict[str, str],
    *,
    status: int = 200,
) -> Response:
    house = deps.house(request)

    def build(session: Session) -> dict[str, Any]:
        person = people.known(session, public_id)
        people_actions.note_read(session, person, "viewed", now=clock.now(), by=staff.by)
        return _page(session, house, person) | {"values": values, "errors": errors}

    return await show_noted(request, staff, "people", "staff/person_erase.html", build, status=status)


def _page(session: Session, house: House, person: Person) -> dict[str, Any]:
    found = erasing.preview(session, person)
    return {
        "base": f"/staff/people/{person.public_id}",
        "person": {
            "id": person.public_id,
            "who": people.masked(session, house, person),
            "name": people.name_of(session, house, person),
            "state": person.state,
        },
        "goes": found,
        "shared": keeps_old_rows(house.engine),
    }
