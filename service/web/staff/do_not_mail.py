"""The do-not-mail list: who is on it, how far, why, whence, on what evidence, what would lift it; and the law's bar of a mailbox,
also of one that nobody is registered with.

A look-up is a POST: an address has no place in a URL (P6), and the list has keyed hashes only.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Request
from sqlmodel import Session
from starlette.responses import Response

from service.domain.mailings.queries import address_hash
from service.domain.people import actions as people_actions
from service.domain.people import queries as people_queries
from service.domain.people.tables import Person
from service.domain.preferences import queries, rights
from service.domain.preferences.queries import Listed
from service.domain.staff.queries import SignedIn
from service.domain.staff.rules import may
from service.domain.suppressions import actions
from service.domain.suppressions.rules import CAUSES
from service.kit import addresses, clock
from service.kit.errors import Invalid
from service.ops.house import House
from service.web import deps, forms
from service.web.forms import Form
from service.web.sessions import require
from service.web.staff import people
from service.web.staff.frame import act, choice, done, faults, pager, show, show_noted
from service.web.staff.rights import reason_of

router = APIRouter()

Reader = Annotated[SignedIn, require("people:read")]
Officer = Annotated[SignedIn, require("people:rights")]
BASE, TEMPLATE = "/staff/do-not-mail", "staff/do_not_mail.html"


@router.get(BASE)
async def listing(request: Request, staff: Reader) -> Response:
    """What is in force, newest first; who was shown is written down."""
    house, query = deps.house(request), request.query_params
    cause = query.get("cause", "") if query.get("cause") in CAUSES else ""

    def build(session: Session) -> dict[str, Any]:
        found = queries.do_not_mail(session, after=query.get("after"), limit=50, cause=cause or None)
        shown = _rows(session, house, staff, found.rows)
        return {**_page(cause), "rows": shown, "pager": pager(request, found.next)}

    return await show_noted(request, staff, "do-not-mail", TEMPLATE, build)


@router.post(f"{BASE}/find")
async def find(request: Request, staff: Reader) -> Response:
    """What stands for one address."""
    return await _looked_up(request, staff, await forms.read(request), {})


@router.post(f"{BASE}/bar")
async def bar(request: Request, staff: Officer) -> Response:
    """Send nothing to this mailbox, whoever has it, because the law or an authority asks for it; the reason is the ground."""

    def say_no(session: Session, digest: str, reason: str) -> None:
        rights.bar_mailbox(session, digest, reason=reason, now=clock.now(), by=staff.by)

    return await _said(request, staff, say_no, "Barred: nothing is sent to this mailbox.")


@router.post(f"{BASE}/unbar")
async def unbar(request: Request, staff: Officer) -> Response:
    """The ground is gone; what was said there stands as before."""

    def end(session: Session, digest: str, reason: str) -> None:
        rights.unbar_mailbox(session, digest, reason=reason, now=clock.now(), by=staff.by)

    return await _said(request, staff, end, "No longer barred: what was said there stands as before.")


async def _said(
    request: Request, staff: SignedIn, say: Callable[[Session, str, str], None], words: str
) -> Response:
    """Do it with its reason, and back to the list; without one what was looked up says what is missing."""
    house, form = deps.house(request), await forms.read(request)
    try:
        digest = address_hash(house.ring, addresses.parse(form.text("address"), field="address"))
        reason = reason_of(form.text("reason"))
    except Invalid as wrong:
        return await _looked_up(request, staff, form, faults(wrong, ("address", "reason")))
    fenced = await act(request, lambda session: say(session, digest, reason))
    return await done(request, staff, fenced, BASE, words)


async def _looked_up(request: Request, staff: SignedIn, form: Form, errors: dict[str, str]) -> Response:
    house, typed = deps.house(request), form.text("address")
    try:
        address = addresses.parse(typed, field="address")
    except Invalid as wrong:
        context = _page("") | {"values": {"address": typed}, "errors": faults(wrong, ("address",))}
        return await show(
            request, staff, "do-not-mail", TEMPLATE, lambda _: context | {"asked": True}, status=wrong.status
        )

    def build(session: Session) -> dict[str, Any]:
        digest = address_hash(house.ring, address)
        found = queries.listed_for(session, digest)
        if found:
            actions.note_look(session, [one.row for one in found], now=clock.now(), by=staff.by)
        who = people_queries.registered_at(session, [digest]).get(digest)
        looked = {
            "address": address.shown,
            "barred": any(one.row.cause == rights.LEGAL for one in found),
            "who": _who(session, house, who),
            "may_bar": may(staff.role, "people:rights"),
        }
        if who is not None and not found:
            people_actions.note_list(session, [who], now=clock.now(), by=staff.by)
        shown = _rows(session, house, staff, found)
        return {**_page(""), "rows": shown, "looked": looked, "values": form.values(), "errors": errors} | {
            "asked": True
        }

    status = 422 if errors else 200
    return await show_noted(request, staff, "do-not-mail", TEMPLATE, build, status=status)


def _page(cause: str) -> dict[str, Any]:
    """What each view of the page has; the list begins again where an address was looked up."""
    causes = [choice(name, name.replace("_", " ").capitalize(), name == cause) for name in CAUSES]
    return {
        "base": BASE,
        "causes": [choice("", "All causes", not cause), *causes],
        "cause": cause,
        "asked": False,
        "looked": None,
        "rows": [],
        "pager": None,
        "values": {},
        "errors": {},
    }


def _rows(session: Session, house: House, staff: SignedIn, found: Sequence[Listed]) -> list[dict[str, Any]]:
    """The lines in words; that somebody known was shown is written down."""
    known = queries.whose(found)
    if known:
        people_actions.note_list(session, known, now=clock.now(), by=staff.by)
    names = people.topic_names(session) if found else {}
    return [
        people.on_the_list(one.row, names, staff.role) | {"who": _who(session, house, one.person)}
        for one in found
    ]


def _who(session: Session, house: House, person: Person | None) -> dict[str, str] | None:
    if person is None:
        return None
    return {"href": f"/staff/people/{person.public_id}", "label": people.masked(session, house, person)}
