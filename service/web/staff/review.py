"""Reviewing an announcement: approval of this exact version, and when it goes."""

import zoneinfo
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any

from fastapi import APIRouter, Request
from sqlmodel import Session
from starlette.responses import Response

from service.domain.announcements import actions, queries, rules
from service.domain.announcements.queries import Shown
from service.domain.staff.queries import SignedIn
from service.domain.staff.rules import may
from service.kit import clock
from service.kit.errors import DomainError
from service.ops.house import House
from service.web import deps, forms, pages
from service.web.forms import Form
from service.web.sessions import require
from service.web.staff import actors, desk
from service.web.staff.frame import act, choice, done, faults, show
from service.web.staff.reports import clock_words

router = APIRouter()

Reader = Annotated[SignedIn, require("announcements:read")]
Writer = Annotated[SignedIn, require("announcements:write")]
Approver = Annotated[SignedIn, require("announcements:approve")]

FIELDS = ("when", "date", "time", "zone", "offset", "note")
_CONTINENTS = (
    "Africa",
    "America",
    "Antarctica",
    "Asia",
    "Atlantic",
    "Australia",
    "Europe",
    "Indian",
    "Pacific",
)


@router.get("/staff/announcements/{public_id}/review")
async def page(request: Request, public_id: str, staff: Reader) -> Response:
    """Everything that is decided before it goes."""
    return await _form(request, public_id, staff, {}, {})


@router.post("/staff/announcements/{public_id}/submit")
async def submit(request: Request, public_id: str, staff: Writer) -> Response:
    """Ask for approval."""
    house, form = deps.house(request), await forms.read(request)

    def ask(session: Session) -> None:
        _same(session, public_id, form)
        actions.submit(session, house.settings, public_id, now=clock.now(), by=staff.by)

    return await _step(request, public_id, staff, form, ask, "Approval is asked for.")


@router.post("/staff/announcements/{public_id}/approve")
async def approve(request: Request, public_id: str, staff: Approver) -> Response:
    """Approve the version that was shown."""
    house, form = deps.house(request), await forms.read(request)

    def agree(session: Session) -> None:
        shown_hash = form.text("content_hash")
        actions.approve(
            session, house.settings, public_id, content_hash=shown_hash, now=clock.now(), by=staff.by
        )

    return await _step(request, public_id, staff, form, agree, "Approved, this version and no other.")


@router.post("/staff/announcements/{public_id}/schedule")
async def schedule(request: Request, public_id: str, staff: Writer) -> Response:
    """Schedule; where nobody else has to approve, the steps before are taken with it, in one transaction."""
    house, form = deps.house(request), await forms.read(request)

    def go(session: Session) -> None:
        _same(session, public_id, form)
        _steps_before(session, house, public_id, form.text("content_hash"), staff)
        at, zone = _when(form)
        local = at != "now" and "local" in form
        hold = house.settings.hold_seconds
        actions.schedule(
            session, public_id, at=at, zone=zone, local=local, hold_seconds=hold, now=clock.now(), by=staff.by
        )

    try:
        fenced = await act(request, go)
    except DomainError as wrong:
        return await _form(request, public_id, staff, form.values(), _faults(wrong), wrong=wrong)
    return await done(request, staff, fenced, f"/staff/announcements/{public_id}/report", "Scheduled.")


def _same(session: Session, public_id: str, form: Form) -> None:
    """What is decided on is what was shown (H70)."""
    if queries.shown(session, queries.by_public_id(session, public_id)).content_hash != form.text(
        "content_hash"
    ):
        raise rules.StaleVersion


def _steps_before(session: Session, house: House, public_id: str, shown_hash: str, staff: SignedIn) -> None:
    state = queries.shown(session, queries.by_public_id(session, public_id)).state
    if state == "draft" and not queries.approval_needed(session):
        actions.submit(session, house.settings, public_id, now=clock.now(), by=staff.by)
        state = "in_review"
    if state == "in_review" and not queries.approval_needed(session):
        actions.approve(
            session, house.settings, public_id, content_hash=shown_hash, now=clock.now(), by=staff.by
        )


def _when(form: Form) -> tuple[str, str | None]:
    """What the form says of the time; an hour that exists twice by the offset picked for it."""
    if form.text("when") != "at":
        return "now", form.text("zone") or None
    at, zone = f"{form.text('date')}T{form.text('time')}", form.text("zone")
    try:
        rules.when(at, zone, now=clock.now(), hold_seconds=0)
    except (rules.TimeIsAmbiguous, rules.TimeDoesNotExist) as two:
        return (form.text("offset") if form.text("offset") in two.choices else at), zone
    return at, zone


def _faults(wrong: DomainError) -> dict[str, str]:
    """At the field where it can be mended: the time of day stands for "at"."""
    if isinstance(wrong, rules.TimeIsAmbiguous):
        return {"offset": "Clocks show that time twice on that day. Choose one below."}
    if isinstance(wrong, rules.TimeDoesNotExist):
        return {"offset": "Clocks skip that time on that day. Choose a neighbour below, or another time."}
    return {"time": wrong.detail} if wrong.field == "at" else faults(wrong, FIELDS)


async def _step(
    request: Request, public_id: str, staff: SignedIn, form: Form, step: Any, words: str
) -> Response:
    try:
        await act(request, step)
    except DomainError as wrong:
        if wrong.status in (403, 404):
            raise
        return await _form(request, public_id, staff, form.values(), _faults(wrong), wrong=wrong)
    return pages.redirect(request, f"/staff/announcements/{public_id}/review", flash=("ok", words))


async def _form(
    request: Request,
    public_id: str,
    staff: SignedIn,
    values: dict[str, str],
    errors: dict[str, str],
    *,
    wrong: DomainError | None = None,
) -> Response:
    house = deps.house(request)

    def build(session: Session) -> dict[str, Any]:
        shown = queries.shown(session, queries.by_public_id(session, public_id))
        return _review(session, house, staff, shown, values, errors, wrong)

    return await show(
        request, staff, "announcements", "staff/review.html", build, status=wrong.status if wrong else 200
    )


def _review(
    session: Session,
    house: House,
    staff: SignedIn,
    shown: Shown,
    values: dict[str, str],
    errors: dict[str, str],
    wrong: DomainError | None,
) -> dict[str, Any]:
    draft = queries.draft_of(session, queries.by_public_id(session, shown.id))
    found = queries.check(session, house.settings, draft)
    now, count = clock.now(), desk.count(session, draft)
    return {
        "title": shown.name,
        "base": f"/staff/announcements/{shown.id}",
        "announcement": {"state": shown.state, "content_hash": shown.content_hash},
        "topic_name": shown.topic_name,
        "audience": count | {"approx": True},
        "facts": _facts(session, shown),
        "checks": desk.checks(found, f"/staff/announcements/{shown.id}"),
        "checked_at": now,
        "values": {**_proposal(shown, now), **values},
        "errors": errors,
        "zones": zones(),
        "offsets": _offsets(wrong, values),
        "hold": hold_words(house.settings.hold_seconds),
        "when_words": _when_words(shown),
        "clashes": _clashes(session, shown, now),
        "approval": _approval(session, shown, staff),
        "blocked": _blocked(session, shown, [one for one in found if one.level == "block"], count["count"]),
        "may_schedule": may(staff.role, "announcements:write"),
    }


def _facts(session: Session, shown: Shown) -> list[dict[str, str]]:
    author = actors.names(session, [shown.author])[shown.author]
    languages = ", ".join(desk.language(code) for code in shown.content)
    return [{"name": "Written by", "value": author}, {"name": "Languages", "value": languages}]


def _proposal(shown: Shown, now: datetime) -> dict[str, str]:
    """What stands in the fields at first: the time it goes, else now; tomorrow at nine for whoever wants a day."""
    if shown.state == "scheduled" and shown.due_at and shown.zone:
        at = shown.due_at.astimezone(zoneinfo.ZoneInfo(shown.zone))
        local = {"local": "1"} if rules.is_local(shown.wall_time) else {}
        return {"when": "at", "date": f"{at:%Y-%m-%d}", "time": f"{at:%H:%M}", "zone": shown.zone, **local}
    tomorrow = (now + timedelta(days=1)).date().isoformat()
    return {"when": "now", "date": tomorrow, "time": "09:00", "zone": shown.zone or "UTC"}


@lru_cache(maxsize=1)
def zones() -> list[str]:
    """The time zones offered: every place, without the old aliases."""
    return ["UTC", *sorted(name for name in zoneinfo.available_timezones() if name.startswith(_CONTINENTS))]


def _offsets(wrong: DomainError | None, values: dict[str, str]) -> list[dict[str, Any]] | None:
    """The two instants one wall time may mean, or its two neighbours where clocks skip it."""
    if not isinstance(wrong, rules.TimeIsAmbiguous | rules.TimeDoesNotExist):
        return None
    return [
        choice(one, f"{one[11:16]} (UTC{one[16:]})", one == values.get("offset")) for one in wrong.choices
    ]


def hold_words(seconds: int) -> str | None:
    """How long "now" waits, in words."""
    if not seconds:
        return None
    return f"{seconds // 60} min" if seconds % 60 == 0 else f"{seconds} s"


def _when_words(shown: Shown) -> str | None:
    if shown.state != "scheduled" or shown.due_at is None:
        return None
    return clock_words(shown)


def _clashes(session: Session, shown: Shown, now: datetime) -> list[dict[str, str]]:
    """Other mailings on the day it would go."""
    day = shown.due_at or now
    return [
        {"text": f"“{other.name}” goes on the same day.", "href": f"/staff/announcements/{other.id}/report"}
        for other in queries.clashes(session, shown.id, day.astimezone(UTC))
    ]


def _approval(session: Session, shown: Shown, staff: SignedIn) -> dict[str, Any]:
    approved = shown.approved and shown.state in ("approved", "scheduled")
    by = actors.names(session, [shown.approved_by]).get(shown.approved_by or "") if approved else None
    needed = queries.approval_needed(session)
    own = needed and staff.by == shown.author
    return {
        "needed": needed,
        "state": "approved" if approved else "asked" if shown.state == "in_review" else "none",
        "by": by,
        "at": shown.approved_at if approved else None,
        "note": None,
        "asked_by": actors.names(session, [shown.author])[shown.author],
        "may_approve": may(staff.role, "announcements:approve") and not own,
    }


def _blocked(session: Session, shown: Shown, blocking: list[Any], audience: int) -> str | None:
    """Why the button to schedule is off."""
    if shown.state not in ("draft", "in_review", "approved"):
        return f"It is {shown.state.replace('_', ' ')} already."
    if not audience:
        return "Nobody would get it: choose another topic, or other people."
    if blocking:
        return f"{len(blocking)} to fix first: {blocking[0].sentence}"
    if queries.approval_needed(session) and not (shown.state == "approved" and shown.approved):
        return "A second person has to approve this version first."
    return None
