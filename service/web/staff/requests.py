"""Requests under people's rights: what is open, the first due first; one request; more time with a reason; how it ended.

What is asked for is done on the person's own page, once something shows that it is theirs, and closes the request by itself: but
for a copy, which is handed over first.
"""

from collections.abc import Callable, Collection
from datetime import date
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Request
from sqlmodel import Session
from starlette.responses import Response

from service.domain.consent import jurisdictions
from service.domain.mailings import queries as mailings
from service.domain.people import mailbox
from service.domain.people.rules import UnknownPerson
from service.domain.people.tables import Person
from service.domain.privacy import queries, requests, rules
from service.domain.privacy.tables import RightsRequest
from service.domain.staff.queries import SignedIn
from service.kit import clock
from service.kit.errors import DomainError
from service.kit.ids import new_id
from service.ops.house import House
from service.web import deps, forms, pages
from service.web.forms import Form
from service.web.sessions import require
from service.web.staff import actors, people
from service.web.staff.frame import act, change, choice, faults, pager, show, show_noted, tab

router = APIRouter()

Officer = Annotated[SignedIn, require("people:rights")]
HERE = "/staff/privacy"
SOON = 7  # days
ROOMS = {
    "requests": ("Requests", HERE),
    "disclosures": ("Disclosures", f"{HERE}/disclosures"),
    "breaches": ("Breaches", f"{HERE}/breaches"),
    "processing": ("Record of processing", f"{HERE}/record"),
}
COPIES = {"access": "An access copy", "portability": "A portable copy"}
FIELDS = ("right", "who", "came_on", "text", "reason", "told", "outcome", "note")


class PersonUnclear(UnknownPerson):
    """That names nobody here, or several people; give the opaque id (p_…) from the person's page."""


def rooms(here: str) -> list[dict[str, Any]]:
    """What there is under this entry of the menu."""
    return [tab(label, path, name == here) for name, (label, path) in ROOMS.items()]


@router.get("/staff/privacy")
async def listing(request: Request, staff: Officer) -> Response:
    """Open ones by the day they are due; closed ones, newest first."""
    house, closed = deps.house(request), request.query_params.get("state") == "closed"

    def build(session: Session) -> dict[str, Any]:
        today, counts = clock.now().date(), queries.request_counts(session, clock.now().date())
        after = request.query_params.get("after")
        found = queries.requests_page(session, house.ring, closed=closed, after=after)
        return {
            "rooms": rooms("requests"),
            "tabs": [
                tab("Open", HERE, not closed, counts["open"]),
                tab("Closed", f"{HERE}?state=closed", closed, counts["closed"]),
            ],
            "closed": closed,
            "overdue": counts["overdue"],
            "messages": [] if closed else requests.not_routed(session, house.ring),
            "rows": [_row(one, today) for one in found.rows],
            "pager": pager(request, found.next),
        }

    return await show(request, staff, "privacy", "staff/requests.html", build)


def _row(one: queries.Requested, today: date) -> dict[str, Any]:
    row = one.row
    return {
        "href": f"{HERE}/requests/{row.public_id}",
        "what": rules.RIGHTS[row.right][0],
        "who": one.who or "not known yet",
        "came_on": row.came_on,
        "door": rules.DOORS[row.door],
        "due_on": row.due_on,
        **_standing(row, today),
    }


def _standing(row: RightsRequest, today: date) -> dict[str, str]:
    """How it stands, in words and with its sign."""
    if row.closed_at is not None:
        late = " after its day" if row.closed_at.date() > row.due_on else ""
        return {"state": "closed", "words": f"{rules.OUTCOMES[row.outcome]}{late}"}
    left = (row.due_on - today).days
    if left < 0:
        return {"state": "bad", "words": f"Overdue by {_days(-left)}"}
    words = "Due today" if left == 0 else f"{_days(left)} left"
    return {"state": "warn" if left <= SOON else "scheduled", "words": words}


def _days(number: int) -> str:
    return f"{number} {'day' if number == 1 else 'days'}"


@router.get("/staff/privacy/requests/new")
async def blank(request: Request, staff: Officer) -> Response:
    """The form for what came by letter, by telephone, in person."""
    values = {
        "came_on": clock.now().date().isoformat(),
        "who": request.query_params.get("person", ""),
        "reference": new_id("rr"),
    }
    return await _blank(request, staff, values, {})


@router.post("/staff/privacy/requests/new")
async def receive(request: Request, staff: Officer) -> Response:
    """Write it down on somebody's behalf; its clock runs from the day it came."""
    house, form = deps.house(request), await forms.read(request)

    def keep(session: Session) -> str:
        who = form.text("who")
        person = _person(session, house, who)
        row = requests.receive(
            session,
            house.ring,
            right=form.text("right"),
            door="staff",
            came_on=_day(form),
            person=person,
            who="" if person else who,
            text=form.text("text"),
            reference=form.text("reference"),
            now=clock.now(),
            by=staff.by,
        )
        return row.public_id

    try:
        made = (await act(request, keep)).value
    except DomainError as wrong:
        values = typed(form, wrong, "rr")
        return await _blank(request, staff, values, faults(wrong, FIELDS), status=wrong.status)
    return pages.redirect(request, f"{HERE}/requests/{made}", flash=("ok", "Written down; its clock runs."))


def typed(form: Form, wrong: DomainError, prefix: str) -> dict[str, str]:
    """What the form was filled in with; for something of its own, where what it was sent with before stands."""
    return form.values() | ({"reference": new_id(prefix)} if isinstance(wrong, rules.FormUsed) else {})


async def _blank(
    request: Request, staff: SignedIn, values: dict[str, str], errors: dict[str, str], *, status: int = 200
) -> Response:
    context = {
        "values": values,
        "errors": errors,
        "rights": _rights(values.get("right", "")),
        "latest": rules.last_day(clock.now()).isoformat(),
    }
    return await show(request, staff, "privacy", "staff/request_new.html", lambda _: context, status=status)


def _rights(chosen: str) -> list[dict[str, Any]]:
    return [choice(one, f"{words} ({law})", one == chosen) for one, (words, law) in rules.RIGHTS.items()]


def _day(form: Form) -> date:
    try:
        return date.fromisoformat(form.text("came_on"))
    except ValueError as odd:
        raise rules.DayInvalid(field="came_on") from odd


def _person(session: Session, house: House, who: str) -> Person | None:
    """The one person who answers to that; None while it is not known."""
    found = people.answering_to(session, house, who)
    return found[0] if len(found) == 1 else None


@router.post("/staff/contact/{public_id}/request")
async def from_message(request: Request, public_id: str, staff: Officer) -> Response:
    """Make a request of a message; it came when the message came."""
    house, form = deps.house(request), await forms.read(request)

    def keep(session: Session) -> str:
        message = queries.by_public_id(session, public_id)
        wrote = queries.opened(session, house.ring, message).address
        holds = mailbox.holders(session, [mailings.address_hash(house.ring, wrote)])
        row = requests.receive(
            session,
            house.ring,
            right=form.text("right"),
            door="form",
            came_on=message.created_at.date(),
            person=next(iter(holds.values()))[0] if holds else None,
            contact=message,
            now=clock.now(),
            by=staff.by,
        )
        return row.public_id

    made = (await act(request, keep)).value
    words = "Now a request; its clock runs since the message came."
    return pages.redirect(request, f"{HERE}/requests/{made}", flash=("ok", words))


@router.get("/staff/privacy/requests/{public_id}")
async def page(request: Request, public_id: str, staff: Officer) -> Response:
    """One request in clear; that it was read is written down."""
    return await _page(request, public_id, staff, {}, {})


@router.post("/staff/privacy/requests/{public_id}/person")
async def belongs_to(request: Request, public_id: str, staff: Officer) -> Response:
    """Say whose it is."""

    def say(session: Session, form: Form) -> None:
        person = _person(session, deps.house(request), form.text("who"))
        if person is None:
            raise PersonUnclear(field="who")
        requests.belongs_to(session, public_id, person, now=clock.now(), by=staff.by)

    return await _change(request, public_id, staff, say, "It is theirs now.")


@router.post("/staff/privacy/requests/{public_id}/extend")
async def extend(request: Request, public_id: str, staff: Officer) -> Response:
    """Take the further time that the law gives."""

    def more(session: Session, form: Form) -> None:
        told = form.text("told") == "1"
        requests.extend(
            session, public_id, reason=form.text("reason"), told=told, now=clock.now(), by=staff.by
        )

    return await _change(request, public_id, staff, more, "More time is taken; the reason is on record.")


@router.post("/staff/privacy/requests/{public_id}/close")
async def close(request: Request, public_id: str, staff: Officer) -> Response:
    """Say how it ended."""

    def end(session: Session, form: Form) -> None:
        outcome, note = form.text("outcome"), form.text("note")
        requests.close(session, public_id, outcome=outcome, note=note, now=clock.now(), by=staff.by)

    return await _change(request, public_id, staff, end, "Closed.")


async def _change(
    request: Request, public_id: str, staff: SignedIn, do: Callable[[Session, Form], None], words: str
) -> Response:
    page = partial(_page, request, public_id, staff)
    return await change(request, do, page, fields=FIELDS, path=f"{HERE}/requests/{public_id}", words=words)


async def _page(
    request: Request,
    public_id: str,
    staff: SignedIn,
    values: dict[str, str],
    errors: dict[str, str],
    *,
    status: int = 200,
) -> Response:
    house = deps.house(request)

    def build(session: Session) -> dict[str, Any]:
        now = clock.now()
        found = requests.open_request(session, house.ring, public_id, now=now, by=staff.by)
        return _facts(session, found, now.date()) | {"values": values, "errors": errors}

    return await show_noted(request, staff, "privacy", "staff/request.html", build, status=status)


def _clock(right: str, law: str, lives: Collection[str]) -> str:
    """The law a request rests on, and the one that wants an answer sooner."""
    clocks = jurisdictions.quicker(right, lives)
    return "; ".join([law, *(f"{name}: {one.days} working days" for name, one in clocks.items())])


def _longer(right: str, lives: Collection[str]) -> str:
    """How much more time there may be, and by which law."""
    clocks = jurisdictions.quicker(right, lives)
    usual = "two further months, GDPR Art. 12(3)"
    return "; ".join(f"{name}: {one.more} further working days" for name, one in clocks.items()) or usual


def _facts(session: Session, found: queries.Requested, today: date) -> dict[str, Any]:
    row = found.row
    names = actors.names(session, [row.created_by, row.closed_by])
    what, law = rules.RIGHTS[row.right]
    link = (f"/staff/contact/{found.message.public_id}", "The message") if found.message else None
    person = f"/staff/people/{found.person.public_id}" if found.person else None
    lives = queries.countries(session, row)
    extendable = not row.closed_at and not row.extended_at and rules.may_take_longer(row.right, lives)
    return {
        "proven": queries.proven(session, row),
        "by_itself": row.right in rules.CLOSED_THERE,
        "copy": COPIES.get(row.right),
        "base": f"{HERE}/requests/{row.public_id}",
        "what": what,
        "reference": row.public_id,
        "text": found.text,
        "message": {"href": link[0], "label": link[1]} if link else None,
        "person": {"href": person, "label": found.who} if person else None,
        "who": found.who,
        "law": _clock(row.right, law, lives),
        "came_on": row.came_on,
        "door": rules.DOORS[row.door],
        "noted": {"by": names[row.created_by], "at": row.created_at},
        "due_on": row.due_on,
        "extension": {"at": row.extended_at, "why": row.extension} if row.extended_at else None,
        "closed": {"at": row.closed_at, "by": names[row.closed_by], "note": row.note}
        if row.closed_by
        else None,
        "may_extend": extendable and today <= row.due_on,
        "longest": rules.longest(row.right, row.came_on, lives),
        "longer_law": _longer(row.right, lives),
        "outcomes": [
            choice("", "Choose", True),
            *[choice(one, said) for one, said in rules.OUTCOMES.items()],
        ],
        **_standing(row, today),
    }
