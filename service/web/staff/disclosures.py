"""The register of disclosures: to whom else data was given, on what ground, and whether the person knows. Only added to."""

import re
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Request
from sqlmodel import Session
from starlette.responses import Response

from service.domain.people.tables import Person
from service.domain.privacy import disclosures, rules
from service.domain.privacy.disclosures import Disclosure
from service.domain.staff import queries as members
from service.domain.staff.queries import SignedIn
from service.domain.staff.rules import may
from service.kit import clock
from service.kit.errors import DomainError
from service.kit.ids import new_id
from service.ops.house import House
from service.web import deps, forms, pages
from service.web.forms import Form
from service.web.sessions import require
from service.web.staff import actors, people
from service.web.staff.frame import act, choice, faults, show
from service.web.staff.requests import PersonUnclear, rooms, typed

router = APIRouter()

Officer = Annotated[SignedIn, require("people:rights")]
HERE = "/staff/privacy/disclosures"
FIELDS = (*disclosures.TEXTS, "made_on", "people", "approver", "told", "why_not")


@router.get("/staff/privacy/disclosures")
async def listing(request: Request, staff: Officer) -> Response:
    """All of them, the last first."""

    def build(session: Session) -> dict[str, Any]:
        found = disclosures.register(session)
        names = actors.names(session, [name for one in found for name in (one.approver, one.by)])
        return {"rooms": rooms("disclosures"), "rows": [_row(one, names) for one in found]}

    return await show(request, staff, "privacy", "staff/disclosures.html", build)


def _row(one: Disclosure, names: dict[str, str]) -> dict[str, Any]:
    return {
        "id": one.public_id,
        "to": one.to,
        "on": one.made_on,
        "facts": [
            {"name": "What was given", "value": one.scope},
            {"name": "Ground", "value": one.ground},
            {"name": "Document", "value": one.document},
            {"name": "Approved by", "value": names[one.approver]},
        ],
        "people": [
            {"href": f"/staff/people/{person}", "label": person, "entry": entry}
            for person, entry in one.people.items()
        ],
        "told": rules.TOLD[one.told],
        "told_at": one.told_at,
        "state": "approved" if one.told == "told" else "held",
        "tellable": one.told != "told",
        "why_not": one.why_not,
        "written": {"by": names[one.by], "at": one.at},
    }


@router.get("/staff/privacy/disclosures/new")
async def blank(request: Request, staff: Officer) -> Response:
    """The form."""
    values = {
        "made_on": clock.now().date().isoformat(),
        "people": request.query_params.get("person", ""),
        "reference": new_id("d"),
    }
    return await _blank(request, staff, values, {})


@router.post("/staff/privacy/disclosures/new")
async def disclose(request: Request, staff: Officer) -> Response:
    """Write one down, for good."""
    house, form = deps.house(request), await forms.read(request)

    def keep(session: Session) -> str:
        return disclosures.disclose(
            session,
            _people(session, house, form.text("people")),
            made_on=_day(form),
            given={name: form.text(name) for name in disclosures.TEXTS},
            approver=_approver(session, form.text("approver")),
            told=form.text("told"),
            why_not=form.text("why_not"),
            reference=form.text("reference"),
            now=clock.now(),
            by=staff.by,
        )

    try:
        made = (await act(request, keep)).value
    except DomainError as wrong:
        values = typed(form, wrong, "d")
        return await _blank(request, staff, values, faults(wrong, FIELDS), status=wrong.status)
    return pages.redirect(request, f"{HERE}#{made}", flash=("ok", "Written down, for good."))


@router.post("/staff/privacy/disclosures/{public_id}/told")
async def tell(request: Request, public_id: str, staff: Officer) -> Response:
    """The person knows now."""
    await act(request, lambda session: disclosures.tell(session, public_id, now=clock.now(), by=staff.by))
    words = "Written down: they know. It stands in their copy and evidence file now."
    return pages.redirect(request, f"{HERE}#{public_id}", flash=("ok", words))


def _people(session: Session, house: House, typed: str) -> list[Person]:
    """Whom it concerns, each once. Raises `PersonUnclear`."""
    found: dict[str, Person] = {}
    for who in re.split(r"[\s,;]+", typed):
        if not who:
            continue
        answering = people.answering_to(session, house, who)
        if len(answering) != 1:
            raise PersonUnclear(field="people")
        found[answering[0].public_id] = answering[0]
    return list(found.values())


def _day(form: Form) -> date:
    try:
        return date.fromisoformat(form.text("made_on"))
    except ValueError as odd:
        raise rules.DayInvalid(field="made_on") from odd


def _approvers(session: Session) -> dict[str, str]:
    """Who of the staff may approve one: ledger actor -> name."""
    return {
        f"{members.ACTOR}{one.public_id}": one.name
        for one in members.members(session)
        if may(one.role, "people:rights") and one.state == "active"
    }


def _approver(session: Session, chosen: str) -> str:
    return chosen if chosen in _approvers(session) else ""


async def _blank(
    request: Request, staff: SignedIn, values: dict[str, str], errors: dict[str, str], *, status: int = 200
) -> Response:
    def build(session: Session) -> dict[str, Any]:
        chosen = values.get("approver", "")
        approvers = _approvers(session).items()
        return {
            "values": values,
            "errors": errors,
            "latest": rules.last_day(clock.now()).isoformat(),
            "approvers": [
                choice("", "Choose", not chosen),
                *[choice(actor, name, actor == chosen) for actor, name in approvers],
            ],
            "told": [
                choice("", "Choose", not values.get("told")),
                *[choice(one, said, one == values.get("told")) for one, said in rules.TOLD.items()],
            ],
        }

    return await show(request, staff, "privacy", "staff/disclosure_new.html", build, status=status)
