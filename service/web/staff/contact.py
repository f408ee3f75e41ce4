"""Messages from the public contact page: the list, one message, the answer by mail, erasure with its preview."""

from typing import Annotated, Any

from fastapi import APIRouter, Request
from sqlmodel import Session
from starlette.responses import Response

from service.domain.ledger import queries as ledger
from service.domain.people import queries as people
from service.domain.privacy import actions, erasing, queries, rules
from service.domain.staff.queries import SignedIn
from service.domain.staff.rules import may
from service.kit import clock
from service.kit.errors import DomainError
from service.ops import erasure
from service.web import deps, forms, pages
from service.web.sessions import require
from service.web.staff import actors
from service.web.staff.frame import act, choice, done, faults, pager, show, show_noted, tab
from service.web.staff.rights import ReasonMissing, reason_of

router = APIRouter()

Reader = Annotated[SignedIn, require("contact:read")]
Answerer = Annotated[SignedIn, require("contact:answer")]
Officer = Annotated[SignedIn, require("people:rights")]

STATES = {"open": "Open", "answered": "Answered", "closed": "Closed", "": "All"}


@router.get("/staff/contact")
async def listing(request: Request, staff: Reader) -> Response:
    """Who wrote about what, masked; the text is read only by opening it."""
    house, state = deps.house(request), request.query_params.get("state", "")
    wanted = state if state in STATES else ""

    def build(session: Session) -> dict[str, Any]:
        found, counts = (
            queries.page(session, house.ring, state=wanted or None, after=request.query_params.get("after")),
            queries.counts(session),
        )
        rows = [
            {
                "href": f"/staff/contact/{one.public_id}",
                "who": one.masked,
                "subject": one.subject,
                "at": one.created_at,
                "state": one.state,
            }
            for one in found.rows
        ]
        tabs = [
            tab(
                label,
                f"/staff/contact?state={key}" if key else "/staff/contact",
                key == wanted,
                counts.get(key, sum(counts.values())),
            )
            for key, label in STATES.items()
        ]
        return {"tabs": tabs, "rows": rows, "pager": pager(request, found.next)}

    return await show(request, staff, "contact", "staff/contact_list.html", build)


@router.get("/staff/contact/{public_id}")
async def page(request: Request, public_id: str, staff: Reader) -> Response:
    """One message in clear; that it was read is written down. Of one that is gone, that there was one."""
    try:
        return await _message(request, staff, public_id, {}, {})
    except rules.ContactUnknown:
        return await _gone(request, staff, public_id)


@router.post("/staff/contact/{public_id}/answer")
async def answer(request: Request, public_id: str, staff: Answerer) -> Response:
    """Mail an answer."""
    form, house = await forms.read(request), deps.house(request)
    text = form.text("body")
    try:
        await act(
            request,
            lambda session: actions.answer(
                session, house.ring, public_id, text=text, now=clock.now(), by=staff.by
            ),
        )
    except DomainError as wrong:
        return await _message(
            request, staff, public_id, form.values(), faults(wrong, ("body",)), status=wrong.status
        )
    return pages.redirect(request, f"/staff/contact/{public_id}", flash=("ok", "Your answer is on its way."))


@router.post("/staff/contact/{public_id}/close")
async def close(request: Request, public_id: str, staff: Answerer) -> Response:
    """Put it away."""
    await act(request, lambda session: actions.close(session, public_id, now=clock.now(), by=staff.by))
    return pages.redirect(request, "/staff/contact?state=open", flash=("ok", "Closed."))


@router.get("/staff/contact/{public_id}/erase")
async def preview(request: Request, public_id: str, staff: Officer) -> Response:
    """What would go, and what would stay."""
    return await _preview(request, staff, public_id, {}, {})


@router.post("/staff/contact/{public_id}/erase")
async def erase(request: Request, public_id: str, staff: Officer) -> Response:
    """Erase a message with its answers, with the reason in the ledger for good."""
    house, form = deps.house(request), await forms.read(request)
    try:
        reason = reason_of(form.text("reason"))
    except ReasonMissing as wrong:
        return await _preview(
            request, staff, public_id, form.values(), faults(wrong, ("reason",)), status=wrong.status
        )
    fenced = await act(
        request,
        lambda session: erasure.erase_message(
            session, house.ring, public_id, how="staff", reason=reason, now=clock.now(), by=staff.by
        ),
    )
    return await done(request, staff, fenced, f"/staff/contact/{public_id}", "Erased.")


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
        row = queries.by_public_id(session, public_id)
        found = {"reference": public_id, "at": row.created_at, "state": row.state}
        goes = erasing.message_preview(session, house.ring, row)
        base = f"/staff/contact/{public_id}"
        return {"base": base, "message": found, "goes": goes, "values": values, "errors": errors}

    return await show(request, staff, "contact", "staff/contact_erase.html", build, status=status)


async def _gone(request: Request, staff: SignedIn, public_id: str) -> Response:
    """What the ledger knows of a message that is here no more. Raises `ContactUnknown` where there was none."""

    def build(session: Session) -> dict[str, Any]:
        said = ledger.of_subject(session, public_id, kinds=(actions.ASKED, erasing.MESSAGE_ERASED))
        if not said:
            raise rules.ContactUnknown
        ends = [one for one in said if one.kind == erasing.MESSAGE_ERASED]
        names = actors.names(session, [one.actor for one in ends])
        told = [
            {"by": names.get(one.actor, one.actor), "at": one.at, "why": one.body.get("reason", "")}
            for one in ends
        ]
        came = next((one.at for one in said if one.kind == actions.ASKED), None)
        return {"reference": public_id, "came": came, "erased": told}

    return await show(request, staff, "contact", "staff/contact_gone.html", build)


async def _message(
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
        opened = actions.open_request(session, house.ring, public_id, now=clock.now(), by=staff.by)
        known = people.by_address(session, house.ring, opened.address)
        names = actors.names(session, [one.by for one in opened.answers])
        who = f"{opened.name} <{opened.address.shown}>" if opened.name else opened.address.shown
        return {
            "base": f"/staff/contact/{public_id}",
            "message": {
                "who": who,
                "subject": opened.subject,
                "at": opened.created_at,
                "state": opened.state,
                "reference": opened.public_id,
                "text": opened.text,
            },
            "person": {"href": f"/staff/people/{known[0].public_id}", "label": "Known here"}
            if known
            else None,
            "answers": [{"by": names[one.by], "at": one.at, "text": one.text} for one in opened.answers],
            "values": values,
            "errors": errors,
            "may_answer": may(staff.role, "contact:answer"),
            "may_erase": may(staff.role, "people:rights"),
            "rights": [choice(one, said) for one, (said, _) in rules.RIGHTS.items()]
            if may(staff.role, "people:rights")
            else [],
        }

    return await show_noted(request, staff, "contact", "staff/contact_message.html", build, status=status)
