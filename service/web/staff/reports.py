"""The report of an announcement or a mailed notice: how far it is, where all ended, what can be done."""

from datetime import datetime, timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request
from sqlmodel import Session
from starlette.responses import Response

from service.domain.announcements import actions, queries, rules
from service.domain.announcements.queries import Shown
from service.domain.mailings.tables import Mailing
from service.domain.reports import queries as reports
from service.domain.staff.queries import SignedIn
from service.domain.staff.rules import may
from service.kit import clock
from service.web import deps
from service.web.sessions import require
from service.web.staff import actors
from service.web.staff.announcements import reason_words
from service.web.staff.figures import NotSent, deliveries_of, figures_of
from service.web.staff.frame import act, done, show

router = APIRouter()

Reader = Annotated[SignedIn, require("announcements:read")]
Writer = Annotated[SignedIn, require("announcements:write")]

_SOON = timedelta(minutes=10)

# What may be done in which state; the same table as the action's own, shown as buttons.
ACTS = {
    "scheduled": {"unschedule", "cancel"},
    "freezing": {"pause", "cancel"},
    "sending": {"pause", "cancel"},
    "paused": {"resume", "cancel"},
    "halted": {"resume", "cancel"},
}


@router.get("/staff/announcements/{public_id}/report")
async def page(request: Request, public_id: str, staff: Reader) -> Response:
    """While it goes, and for ever after."""

    def build(session: Session) -> dict[str, Any]:
        row = queries.by_public_id(session, public_id)
        shown, mailing = queries.shown(session, row), queries.mailing_of(session, row)
        figures = reports.of_announcement(session, row)
        acts = _acts(shown, mailing) if may(staff.role, "announcements:write") else set()
        return {
            "title": shown.name,
            "crumb": {"href": "/staff/announcements", "label": "Announcements"},
            "base": f"/staff/announcements/{public_id}",
            "announcement": {
                "state": shown.state,
                "reason": reason_words(shown.reason),
                "topic_name": shown.topic_name,
            },
            "acts": acts,
            "sentence": _sentence(shown, figures),
            "until": until(mailing),
            "held_until": _held(shown),
            "live": follows(request, shown.state, shown.hold_until or shown.due_at),
            "version": _version(session, shown),
            **figures_of(session, mailing, figures, f"/staff/announcements/{public_id}"),
        }

    return await show(request, staff, "announcements", "staff/report.html", build)


def _acts(shown: Shown, mailing: Mailing | None) -> set[str]:
    """What can still be done; one that was paused before it began can also be taken back."""
    if mailing is None and shown.state == "paused":
        return ACTS["paused"] | {"unschedule"}
    return acts_of(shown.state, mailing)


def acts_of(state: str, mailing: Mailing | None) -> set[str]:
    """What can be done in this state; nothing goes on when its time has run out."""
    over = mailing is not None and mailing.valid_until <= clock.now()
    return ACTS.get(state, set()) - ({"resume"} if over else set())


def follows(request: Request, state: str, due_at: datetime | None) -> bool:
    """Whether the page asks again by itself: from shortly before it goes (WCAG 2.2.2: it can be told not to)."""
    soon = state == "scheduled" and due_at is not None and due_at < clock.now() + _SOON
    return (soon or state in ("freezing", "sending")) and request.query_params.get("live") != "off"


def _held(shown: Shown) -> datetime | None:
    """Until when "now" can still be taken back."""
    return (
        shown.hold_until
        if shown.state == "scheduled" and shown.hold_until and shown.hold_until > clock.now()
        else None
    )


def _sentence(shown: Shown, figures: dict[str, Any]) -> str:
    """The state of things in one sentence."""
    if shown.state == "scheduled":
        return "The hold is running; then it goes." if _held(shown) else f"It goes {clock_words(shown)}."
    if shown.state in ("draft", "in_review", "approved"):
        return "It has not been scheduled."
    return progress_words(shown.state, figures)


def progress_words(state: str, figures: dict[str, Any]) -> str:
    """How far a mailing has come, in one sentence; for notices, too."""
    sent, planned, bounced = figures["outcomes"]["sent"], figures["planned"], figures["outcomes"]["bounced"]
    if state == "freezing":
        return "The audience is being fixed; nothing has left yet."
    words = f"{sent:,} of {planned:,} sent" + (f", {bounced:,} bounced" if bounced else "")
    ends = {
        "sending": ("Going well: " if sent else "It has begun: ") + words + "."
        if bounced * 20 < max(sent, 1)
        else "Look at the bounces: " + words + ".",
        "paused": f"Paused: {words}. Nobody gets it twice.",
        "sent": f"Done: {words}.",
        "cancelled": f"Stopped for good: {words}.",
        "expired": f"Its time ran out: {words}.",
        "halted": f"Halted: {words}.",
    }
    return ends[state] + (_waits(figures) if state == "sending" else "")


def until(mailing: Mailing | None) -> datetime | None:
    """Until when one that stands still can go on; None for others, and when that is over."""
    still = (
        mailing is not None and mailing.state in ("paused", "halted") and mailing.valid_until > clock.now()
    )
    return mailing.valid_until if mailing and still else None


def _waits(figures: dict[str, Any]) -> str:
    """Who waits for an hour that has not come, such as that of their own clock."""
    due = datetime.fromisoformat(figures["next_at"]) if figures["next_at"] else clock.now()
    if due <= clock.now() or not figures["waiting"]:
        return ""
    return f" {figures['waiting']:,} wait for their hour; the next is {due:%H:%M} UTC on {due.day} {due:%b}."


def clock_words(shown: Shown) -> str:
    """When it is due, as the clocks of its zone show it."""
    if shown.due_at is None:
        return ""
    if shown.wall_time and rules.is_local(shown.wall_time):
        wall = datetime.fromisoformat(shown.wall_time)
        return f"on {wall.day} {wall:%b %Y, %H:%M}, on each reader’s own clock"
    local = shown.due_at.astimezone(ZoneInfo(shown.zone or "UTC"))
    return f"on {local.day} {local:%b %Y, %H:%M} ({shown.zone})"


def _version(session: Session, shown: Shown) -> dict[str, Any]:
    names = actors.names(session, [shown.author, shown.approved_by])
    approved = shown.approved and shown.approved_by
    return {
        "hash": shown.content_hash,
        "by": names[shown.author],
        "at": None if approved else shown.changed_at,
        "approved_by": names.get(shown.approved_by or "") if approved else None,
        "approved_at": shown.approved_at if approved else None,
        "preview_href": f"/staff/announcements/{shown.id}/preview",
    }


@router.get("/staff/announcements/{public_id}/deliveries")
async def deliveries(request: Request, public_id: str, staff: Reader) -> Response:
    """Every person of it, one line each; opaque ids only."""
    house = deps.house(request)

    def build(session: Session) -> dict[str, Any]:
        row = queries.by_public_id(session, public_id)
        mailing = queries.mailing_of(session, row)
        if mailing is None:
            raise NotSent
        back = {"href": f"/staff/announcements/{public_id}/report", "label": queries.name_of(row)}
        return deliveries_of(request, session, house, staff, mailing, back)

    return await show(request, staff, "announcements", "staff/deliveries.html", build)


@router.post("/staff/announcements/{public_id}/pause")
async def pause(request: Request, public_id: str, staff: Writer) -> Response:
    """Stop claiming new mails, at once."""
    fenced = await act(
        request, lambda session: actions.pause(session, public_id, now=clock.now(), by=staff.by)
    )
    return await done(
        request, staff, fenced, _report(public_id), "Paused. Nothing more leaves until you resume."
    )


@router.post("/staff/announcements/{public_id}/resume")
async def resume(request: Request, public_id: str, staff: Writer) -> Response:
    """Go on where it stood."""
    fenced = await act(
        request, lambda session: actions.resume(session, public_id, now=clock.now(), by=staff.by)
    )
    return await done(request, staff, fenced, _report(public_id), "It goes on; nobody gets it twice.")


@router.post("/staff/announcements/{public_id}/cancel")
async def cancel(request: Request, public_id: str, staff: Writer) -> Response:
    """Stop for good: who has not got it gets nothing."""
    fenced = await act(
        request, lambda session: actions.cancel(session, public_id, now=clock.now(), by=staff.by)
    )
    return await done(request, staff, fenced, _report(public_id), "Stopped for good. Nobody else gets it.")


@router.post("/staff/announcements/{public_id}/unschedule")
async def unschedule(request: Request, public_id: str, staff: Writer) -> Response:
    """Take it back before anything has left."""
    fenced = await act(
        request, lambda session: actions.unschedule(session, public_id, now=clock.now(), by=staff.by)
    )
    path = f"/staff/announcements/{public_id}/review"
    return await done(request, staff, fenced, path, "Taken back; nothing has left. It is still approved.")


def _report(public_id: str) -> str:
    return f"/staff/announcements/{public_id}/report"
