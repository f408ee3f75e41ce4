"""Rectification from the staff's side: what is held, revealed with its reason, and corrected as the person would on their own page.

The mail address is not corrected here: a new one counts once its mailbox has confirmed it, and who asks for that by letter or
telephone may be anybody. The person changes it on their own page, by a mailed link.
"""

import zoneinfo
from typing import Annotated, Any

from fastapi import APIRouter, Request
from sqlmodel import Session
from starlette.responses import Response

from service.domain.people import actions as people_actions
from service.domain.people import queries
from service.domain.people import rules as people_rules
from service.domain.people.tables import Person
from service.domain.preferences.rights import CONTROLLER, PERSON
from service.domain.privacy import requests
from service.domain.privacy.rules import AlreadyErased
from service.domain.staff.queries import SignedIn
from service.kit import clock
from service.kit.errors import Invalid
from service.web import deps, forms, words
from service.web.forms import Form
from service.web.public.held import ZONES
from service.web.sessions import require
from service.web.staff import people
from service.web.staff.frame import act, choice, done, faults, show_noted
from service.web.staff.rights import ReasonMissing, reason_of

router = APIRouter()

Officer = Annotated[SignedIn, require("people:rights")]
FIELDS = (*people_rules.PROFILE, "locale", "zone")
WAS = "was:"  # before a field's name: what it held when the page was made


@router.post("/staff/people/{public_id}/correct")
async def page(request: Request, public_id: str, staff: Officer) -> Response:
    """What is held, in clear, to be corrected; who looked and why is in the ledger."""
    house, form = deps.house(request), await forms.read(request)
    try:
        reason = reason_of(form.text("reason"))
    except ReasonMissing as wrong:
        return await people.shown(request, staff, public_id, reason_missing=wrong.detail)

    def build(session: Session) -> dict[str, Any]:
        person = people.known(session, public_id)
        people_actions.note_read(session, person, "revealed", reason=reason, now=clock.now(), by=staff.by)
        _not_erased(person)
        known = queries.profiles(session, house.ring, person)
        held = dict(known[-1].profile) if known else {}
        held |= {"locale": words.spoken(person.locale) or "", "zone": person.zone}
        asked = form.values().get("asked", PERSON)
        return _page(request, session, person, held | {"reason": reason, "asked": asked}, held, {})

    return await show_noted(request, staff, "people", "staff/person_correct.html", build)


@router.post("/staff/people/{public_id}/correct/save")
async def save(request: Request, public_id: str, staff: Officer) -> Response:
    """Correct what was changed on that page, and close what asked for it."""
    house, form = deps.house(request), await forms.read(request)

    def correct(session: Session) -> list[str]:
        person, now, reason = people.known(session, public_id), clock.now(), reason_of(form.text("reason"))
        _not_erased(person)
        profile, locale, zone = _changed(form)
        changed = people_actions.correct(
            session,
            house.ring,
            person,
            profile=profile,
            locale=locale,
            zone=zone,
            reason=reason,
            now=now,
            by=staff.by,
        )
        if changed and form.text("asked") != CONTROLLER:
            requests.fulfilled(session, person, "rectification", door="staff", now=now, by=staff.by)
        return changed

    try:
        fenced = await act(request, correct)
    except Invalid as wrong:
        return await _again(request, staff, public_id, form, wrong)
    said = "Corrected." if fenced.value else "Nothing was changed: it was so already."
    return await done(request, staff, fenced, f"/staff/people/{public_id}", said)


def _changed(form: Form) -> tuple[dict[str, str], str | None, str | None]:
    """Profile, language and zone, of each only what the page's reader changed: what the person corrected meanwhile stays theirs."""
    changed = {
        name: form.text(name) for name in FIELDS if name in form and form.text(name) != form.text(WAS + name)
    }
    profile = {name: value for name, value in changed.items() if name in people_rules.PROFILE}
    locale, zone = changed.get("locale"), changed.get("zone")
    return people_rules.profile(profile), people_rules.locale(locale), people_rules.zone(zone)


async def _again(request: Request, staff: SignedIn, public_id: str, form: Form, wrong: Invalid) -> Response:
    """The page as it was filled in, with what is wrong; nothing more is revealed."""

    def build(session: Session) -> dict[str, Any]:
        person, errors = people.known(session, public_id), faults(wrong, ("reason", *FIELDS))
        _not_erased(person)
        return _page(request, session, person, form.values(), form.prefixed(WAS), errors)

    return await show_noted(request, staff, "people", "staff/person_correct.html", build, status=wrong.status)


def _not_erased(person: Person) -> None:
    """Raises `AlreadyErased`."""
    if person.state == "erased":
        raise AlreadyErased


def _page(
    request: Request,
    session: Session,
    person: Person,
    values: dict[str, str],
    was: dict[str, str],
    errors: dict[str, str],
) -> dict[str, Any]:
    house, locale = deps.house(request), values.get("locale", "")
    kept = [] if was.get("locale") else [choice("", person.locale or "Not known", not locale)]
    return {
        "base": f"/staff/people/{person.public_id}",
        "person": {
            "id": person.public_id,
            "who": people.masked(session, house, person),
            "state": person.state,
        },
        "values": values,
        "was": {name: was.get(name, "") for name in FIELDS},
        "errors": errors,
        "locales": kept + [choice(code, name, code == locale) for code, name in words.languages().items()],
        "zones": [zone for zone in ZONES if zone in zoneinfo.available_timezones()],
        "asked": people.who_asks(values.get("asked", PERSON)),
    }
