"""Brand and settings: rows that mails need, changed here; each change is a ledger entry."""

from typing import Annotated, Any

from fastapi import APIRouter, Request
from sqlmodel import Session
from starlette.responses import Response

from service.domain.brands import actions, limits, queries, rules
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
    "weekly_cap": "Most announcements a week",
    "domain_limits": "Limits of recipient domains",
    "warm_up": "Warm-up plan",
    "ip_evidence": "IP address kept as evidence",
    "data_protection_officer": "Data protection officer",
    "processors": "Processors",
    "transfers": "Transfers to other countries",
    "places": "Where the data lies",
    "authority": "Supervisory authority",
    "unconfirmed_days": "Unconfirmed sign-ups",
    "requests_days": "Requests and messages",
    "ip_days": "Whole IP addresses",
}
# group → (title, hint, brand fields or settings in it)
GROUPS: dict[str, tuple[str, str | None, tuple[str, ...]]] = {
    "brand": ("Brand", "Stands in and under every mail.", tuple(rules.FIELDS)),
    "sending": ("Sending", None, ("sending_on", "two_person_approval", "quiet_hours", "weekly_cap")),
    "pace": (
        "Pace",
        "How much leaves at once, where that must be bounded.",
        ("domain_limits", "warm_up"),
    ),
    "evidence": ("Evidence", None, ("ip_evidence",)),
    "retention": (
        "How long it is kept",
        "The clock forgets it by itself, and the ledger says how much went. All periods stand in the record of processing.",
        ("unconfirmed_days", "requests_days", "ip_days"),
    ),
    "processing": (
        "Record of processing",
        "What nothing here knows by itself; the rest is made from topics and settings. People find it in their receipts.",
        ("data_protection_officer", "processors", "places", "transfers", "authority"),
    ),
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
        return await _page(
            request,
            staff,
            form.values(),
            faults(wrong, {*rules.FIELDS, *rules.SETTINGS}),
            status=wrong.status,
        )
    return await done(request, staff, fenced, "/staff/settings", "Saved.")


def _typed(form: Form, name: str) -> bool | str:
    """A setting's value as the form gives it: a box is absent when off."""
    return name in form if rules.SETTINGS[name].type == "flag" else form.text(name)


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
                "fields": [_one(name, brand, known, typed) for name in names],
            }
            for key, (title, hint, names) in GROUPS.items()
        ]
        return {"groups": groups, "errors": errors, "may_write": may(staff.role, "settings:write")}

    return await show(request, staff, "settings", "staff/settings.html", build, status=status)


def _one(name: str, brand: Brand, known: dict[str, Any], typed: dict[str, str]) -> dict[str, Any]:
    """One field: of the brand, or a setting."""
    field: dict[str, Any] = {"name": name, "label": LABELS[name], "choices": None, "auto": AUTO.get(name)}
    if name in rules.FIELDS:
        value = typed.get(name, getattr(brand, name))
        return {**field, "hint": rules.FIELDS[name], "kind": KINDS.get(name, "text"), "value": value}
    setting, value = rules.SETTINGS[name], typed.get(name, known[name])
    if setting.type in ("limits", "plan"):
        shown = value if isinstance(value, str) else limits.words(value)
        return {**field, "hint": setting.sentence, "kind": "area", "value": shown}
    if setting.type == "text":
        return {**field, "hint": setting.sentence, "kind": "area", "value": value}
    choices = [choice(one, one.capitalize(), one == value) for one in setting.choices]
    kind = {"flag": "tick", "choice": "choice", "number": "number"}.get(setting.type, "text")
    if isinstance(value, dict):
        value = f"{value['from']}-{value['until']}"
    return {
        **field, "hint": setting.sentence, "kind": kind, "value": "" if value is None else value,
        "choices": choices,
    }  # fmt: skip
