"""Brand and settings: rows that mails need, changed here; each change is a ledger entry."""

from typing import Annotated, Any

from fastapi import APIRouter, Request
from sqlmodel import Session
from starlette.responses import Response

from service.domain.brands import actions, queries, rules
from service.domain.brands.tables import Brand
from service.domain.staff.queries import SignedIn
from service.domain.staff.rules import may
from service.kit import clock
from service.kit.errors import DomainError, NotFound
from service.web import forms
from service.web.forms import Form
from service.web.sessions import require
from service.web.staff.frame import act, choice, done, faults, show

router = APIRouter()

Reader = Annotated[SignedIn, require("settings:read")]
Writer = Annotated[SignedIn, require("settings:write")]

LABELS = {
    "title": "Name readers know",
    "postal_address": "Postal address",
    "from_domain": "From domain",
    "reply_to": "Answers go to",
    "bounce_domain": "Bounce domain",
    "public_url": "Your own site",
    "logo_url": "Logo",
    "colour": "Colour",
    "sending_on": "Sending is on",
    "two_person_approval": "A second person approves",
    "quiet_hours": "Quiet hours",
    "weekly_cap": "At most a week",
    "ip_evidence": "IP address kept as evidence",
    "unconfirmed_days": "Days an unconfirmed sign-up is kept",
}
# group → (title, hint, brand fields or settings in it)
GROUPS: dict[str, tuple[str, str | None, tuple[str, ...]]] = {
    "brand": ("Brand", "Stands in and under every mail.", tuple(rules.FIELDS)),
    "sending": ("Sending", None, ("sending_on", "two_person_approval")),
    "evidence": ("Evidence", None, ("ip_evidence",)),
}
KINDS = {"postal_address": "area", "reply_to": "email"}
AUTO = {"postal_address": "street-address", "title": "organization"}


class GroupUnknown(NotFound):
    """There is no such group of settings."""


@router.get("/staff/settings")
async def page(request: Request, staff: Reader) -> Response:
    """All of them, in groups."""
    return await _page(request, staff, {}, {})


@router.post("/staff/settings")
async def save(request: Request, staff: Writer) -> Response:
    """Save one group; switching sending off is waited for."""
    form = await forms.read(request)
    group = form.text("group")
    if group not in GROUPS:
        raise GroupUnknown

    def keep(session: Session) -> None:
        if group == "brand":
            fields = {name: form.text(name) for name in rules.FIELDS if name in form}
            actions.set_fields(session, queries.DEFAULT, fields, now=clock.now(), by=staff.by)
            return
        for name in GROUPS[group][2]:
            actions.set_setting(session, name, _typed(form, name), now=clock.now(), by=staff.by)

    try:
        fenced = await act(request, keep)
    except DomainError as wrong:
        return await _page(request, staff, form.values(), _faults(wrong), status=wrong.status)
    return await done(request, staff, fenced, "/staff/settings", "Saved.")


def _typed(form: Form, name: str) -> Any:
    """A setting's value as the form gives it: boxes are absent when off, hours come as two fields."""
    kind = rules.SETTINGS[name].type
    if kind == "flag":
        return name in form
    if kind == "hours":
        start, end = form.text(f"{name}_from"), form.text(f"{name}_until")
        return {"from": start, "until": end} if start or end else None
    return form.text(name) or None


def _faults(wrong: DomainError) -> dict[str, str]:
    named = faults(wrong, {*rules.FIELDS, *rules.SETTINGS})
    return {f"{name}_from" if name == "quiet_hours" else name: sentence for name, sentence in named.items()}


async def _page(
    request: Request, staff: SignedIn, typed: dict[str, str], errors: dict[str, str], *, status: int = 200
) -> Response:
    def build(session: Session) -> dict[str, Any]:
        brand, known = queries.default_brand(session), queries.settings(session)
        groups = [
            {
                "key": key,
                "title": title,
                "hint": hint,
                "fields": [field for name in names for field in _fields(name, brand, known, typed)],
            }
            for key, (title, hint, names) in GROUPS.items()
        ]
        return {"groups": groups, "errors": errors, "may_write": may(staff.role, "settings:write")}

    return await show(request, staff, "settings", "staff/settings.html", build, status=status)


def _fields(name: str, brand: Brand, known: dict[str, Any], typed: dict[str, str]) -> list[dict[str, Any]]:
    """One field, or the two of an interval of hours."""
    if name in rules.FIELDS:
        return [
            _field(name, rules.FIELDS[name], KINDS.get(name, "text"), typed.get(name, getattr(brand, name)))
        ]
    kind = rules.SETTINGS[name]
    if kind.type == "hours":
        hours = known[name] or {"from": "", "until": ""}
        return [
            _field(
                f"{name}_{end}",
                kind.sentence if end == "from" else None,
                "time",
                typed.get(f"{name}_{end}", hours[end]),
                f"{LABELS[name]} {end}",
            )
            for end in ("from", "until")
        ]
    if kind.type == "choice":
        chosen = typed.get(name, known[name])
        return [
            _field(name, kind.sentence, "choice", chosen)
            | {"choices": [choice(one, one.capitalize(), one == chosen) for one in kind.choices]}
        ]
    value = typed.get(name, "" if known[name] is None else known[name])
    return [_field(name, kind.sentence, "tick" if kind.type == "flag" else "number", value)]


def _field(name: str, hint: str | None, kind: str, value: Any, label: str | None = None) -> dict[str, Any]:
    return {
        "name": name,
        "label": label or LABELS[name],
        "hint": hint,
        "kind": kind,
        "value": value,
        "choices": None,
        "auto": AUTO.get(name),
    }
