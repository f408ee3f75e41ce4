"""The report of an announcement or a mailed notice: how far it is, where everybody ended, what can be done."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Request
from sqlmodel import Session
from starlette.responses import Response

from service.domain.announcements import actions, queries
from service.domain.announcements.queries import Shown
from service.domain.mailings.tables import Mailing
from service.domain.reports import plots
from service.domain.reports import queries as reports
from service.domain.reports.queries import Bucket, Delivery
from service.domain.staff import queries as members
from service.domain.staff.queries import SignedIn
from service.domain.staff.rules import may
from service.kit import clock
from service.kit.errors import NotFound
from service.web import deps
from service.web.sessions import require
from service.web.staff import audience as whom
from service.web.staff.announcements import reason_words
from service.web.staff.frame import act, done, drawing, pager, percent, show, tab

router = APIRouter()

Reader = Annotated[SignedIn, require("announcements:read")]
Writer = Annotated[SignedIn, require("announcements:write")]

# What may be done in which state; the same table as the action's own, shown as buttons.
ACTS = {
    "scheduled": {"unschedule", "cancel"},
    "freezing": {"pause", "cancel"},
    "sending": {"pause", "cancel"},
    "paused": {"resume", "cancel"},
    "halted": {"cancel"},
}
STATES = ("sent", "bounced", "skipped", "deferred", "unknown", "expired", "cancelled", "waiting")


class NotSent(NotFound):
    """There is nobody to list yet: it has not been sent."""


@router.get("/staff/announcements/{public_id}/report")
async def page(request: Request, public_id: str, staff: Reader) -> Response:
    """While it goes, and for ever after."""

    def build(session: Session) -> dict[str, Any]:
        row = queries.by_public_id(session, public_id)
        shown, mailing = queries.shown(session, row), queries.mailing_of(session, row)
        figures = reports.of_announcement(session, row)
        acts = _acts(shown) if may(staff.role, "announcements:write") else set()
        return {
            "title": shown.name,
            "base": f"/staff/announcements/{public_id}",
            "announcement": {
                "state": shown.state,
                "reason": reason_words(shown.reason),
                "topic_name": shown.topic_name,
            },
            "acts": acts,
            "sentence": _sentence(shown, figures),
            "held_until": _held(shown),
            "version": _version(session, shown),
            **figures_of(session, mailing, figures, f"/staff/announcements/{public_id}"),
        }

    return await show(request, staff, "announcements", "staff/report.html", build)


def _acts(shown: Shown) -> set[str]:
    """What can still be done; one that was paused before it began can also be taken back."""
    return ACTS.get(shown.state, set()) | (
        {"unschedule"} if shown.state == "paused" and not shown.mailing else set()
    )


def _held(shown: Shown) -> datetime | None:
    """Until when "now" can still be taken back."""
    return (
        shown.hold_until
        if shown.state == "scheduled" and shown.hold_until and shown.hold_until > clock.now()
        else None
    )


def _sentence(shown: Shown, figures: dict[str, Any]) -> str:
    """The state of things in one sentence."""
    sent, planned, bounced = figures["outcomes"]["sent"], figures["planned"], figures["outcomes"]["bounced"]
    if shown.state == "scheduled":
        return (
            "The hold is running; then it goes."
            if _held(shown)
            else f"It goes at {shown.wall_time} ({shown.zone})."
        )
    if shown.state == "freezing":
        return "The audience is being fixed; nothing has left yet."
    if shown.state in ("draft", "in_review", "approved"):
        return "It has not been scheduled."
    words = f"{sent:,} of {planned:,} sent" + (f", {bounced:,} bounced" if bounced else "")
    ends = {
        "sending": "Going well: " + words + "."
        if bounced * 20 < max(sent, 1)
        else "Look at the bounces: " + words + ".",
        "paused": f"Paused: {words}. Nobody gets it twice.",
        "sent": f"Done: {words}.",
        "cancelled": f"Stopped for good: {words}.",
        "expired": f"Its time ran out: {words}.",
        "halted": f"Halted: {words}.",
    }
    return ends[shown.state]


def _version(session: Session, shown: Shown) -> dict[str, Any]:
    names = members.names(session, [shown.author, shown.approved_by or ""])
    approved = shown.approved and shown.approved_by
    return {
        "hash": shown.content_hash,
        "by": names.get(shown.author, shown.author),
        "at": shown.changed_at,
        "approved_by": names.get(shown.approved_by or "", shown.approved_by) if approved else None,
        "approved_at": shown.approved_at if approved else None,
        "preview_href": f"/staff/announcements/{shown.id}/preview",
    }


def figures_of(
    session: Session, mailing: Mailing | None, figures: dict[str, Any], base: str
) -> dict[str, Any]:
    """Numbers, plots and tables of one mailing; empty before the first mail."""
    now = clock.now()
    outcomes, planned = figures["outcomes"], figures["planned"]
    settled = planned - figures["waiting"] - outcomes["deferred"]
    shown: dict[str, Any] = {
        "sent": outcomes["sent"],
        "planned": planned,
        "left": planned - settled,
        "as_of": now,
        "progress": None,
        "funnel": None,
        "curve": None,
        "outcomes": [],
        "excluded": _excluded(figures["excluded"]),
        "stops": {"n": 0, "reasons": []},
    }
    if mailing is None or mailing.state == "freezing":
        return shown
    stops = reports.stops(session, mailing)
    return shown | {
        "progress": _progress(session, mailing, now) if figures["waiting"] or outcomes["deferred"] else None,
        "funnel": _funnel(figures, stops.people),
        "curve": _curve(reports.curve(session, mailing), planned),
        "outcomes": _outcomes(figures, f"{base}/deliveries"),
        "stops": {
            "n": stops.people,
            "reasons": [{"text": _why(reason), "n": n} for reason, n in stops.reasons.items()],
        },
    }


def _why(reason: str) -> str:
    words = {"often": "too often", "notforme": "not for me", "never": "never asked for it"}
    return words.get(reason, reason.replace("_", " "))


def _progress(session: Session, mailing: Mailing, now: datetime) -> dict[str, Any]:
    step = reports.progress(session, mailing, now=now)
    pace = f"{step.per_second:.0f} a second." if step.per_second >= 1 else ""
    end = f" Done at about {step.ends_at:%H:%M} UTC." if step.ends_at else ""
    return {
        "settled": step.settled,
        "planned": step.planned,
        "percent": percent(step.settled, step.planned),
        "text": f"{pace}{end}".strip(),
    }


def _funnel(figures: dict[str, Any], stopped: int) -> dict[str, Any]:
    outcomes, planned = figures["outcomes"], figures["planned"]
    left_out = sum(figures["excluded"].values())
    tried = (
        planned
        - sum(outcomes["skipped"].values())
        - outcomes["cancelled"]
        - outcomes["expired"]
        - figures["waiting"]
    )
    steps = [
        plots.Step("Known here", planned + left_out, ""),
        plots.Step("Audience", planned, f"{left_out:,} left out" if left_out else ""),
        plots.Step("Tried", tried, f"{planned - tried:,} not tried" if planned - tried else ""),
        plots.Step(
            "Sent", outcomes["sent"], f"{outcomes['bounced']:,} bounced" if outcomes["bounced"] else ""
        ),
        plots.Step("Kept the topic", outcomes["sent"] - stopped, f"{stopped:,} stopped" if stopped else ""),
    ]
    title = f"{outcomes['sent']:,} of {planned:,} people were sent this mail"
    rows = [[step.label, f"{step.people:,}", step.note] for step in steps]
    return drawing(plots.funnel(steps, title=title), ["Step", "People", "Note"], rows)


def _curve(buckets: Sequence[Bucket], planned: int) -> dict[str, Any] | None:
    """People settled over time; nothing to draw before two moments are known."""
    if len(buckets) < 2:
        return None
    start, length = buckets[0].at, (buckets[-1].at - buckets[0].at).total_seconds()
    points, rows, sent, bounced = [], [], 0, 0
    for bucket in buckets:
        sent, bounced = sent + bucket.sent, bounced + bucket.bounced
        points.append(plots.Point((bucket.at - start).total_seconds() / length, sent + bounced))
        rows.append([f"{bucket.at:%H:%M:%S}", f"{sent:,}", f"{bounced:,}"])
    ticks = [plots.Tick(i / 4, f"{start + (buckets[-1].at - start) * i / 4:%H:%M:%S}") for i in range(5)]
    title = f"{sent:,} sent between {start:%H:%M} and {buckets[-1].at:%H:%M} UTC"
    svg = plots.curve(points, planned=planned, title=title, ticks=ticks)
    return drawing(svg, ["Until (UTC)", "Sent", "Bounced"], rows)


def _outcomes(figures: dict[str, Any], deliveries: str) -> list[dict[str, Any]]:
    """Each member in exactly one line."""
    outcomes = figures["outcomes"]
    lines = [
        ("sent", "the next server took it", outcomes["sent"]),
        ("bounced", "the server refused it", outcomes["bounced"]),
        *[("skipped", whom.words(reason), n) for reason, n in outcomes["skipped"].items()],
        ("deferred", "tried again on schedule", outcomes["deferred"]),
        ("unknown", "the line broke after the last word", outcomes["unknown"]),
        ("cancelled", "stopped before it left", outcomes["cancelled"]),
        ("expired", "its time ran out", outcomes["expired"]),
        ("planned", "still to go", figures["waiting"]),
    ]
    return [
        {
            "state": state,
            "why": why,
            "n": n,
            "href": f"{deliveries}?state={'waiting' if state == 'planned' else state}",
        }
        for state, why, n in lines
        if n or state in ("sent", "bounced")
    ]


def _excluded(excluded: dict[str, int]) -> list[dict[str, Any]]:
    pairs = sorted(excluded.items(), key=lambda pair: -pair[1])
    return [{"text": whom.words(reason).capitalize(), "n": n, "href": None} for reason, n in pairs if n]


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


def deliveries_of(
    request: Request, session: Session, house: Any, staff: SignedIn, mailing: Mailing, back: dict[str, str]
) -> dict[str, Any]:
    """One page of a mailing's people, all of them or those in one state."""
    state, after = request.query_params.get("state", ""), request.query_params.get("after")
    wanted = state if state in STATES else None
    found = reports.deliveries(session, house.ring, mailing, state=wanted, after=after)
    tabs = [
        tab(
            _state_words(name),
            f"{request.url.path}?state={name}" if name else request.url.path,
            name == state,
        )
        for name in ("", *STATES)
    ]
    seen = may(staff.role, "people:read"), may(staff.role, "ledger:read")
    return {
        "title": back["label"],
        "back": back,
        "tabs": tabs,
        "rows": [_line(one, *seen) for one in found.rows],
        "pager": pager(request, found.next),
        "download": None,
    }


def _state_words(state: str) -> str:
    return {"": "All", "skipped": "Left out", "deferred": "Waiting to retry", "waiting": "Still to go"}.get(
        state, state.capitalize()
    )


def _line(one: Delivery, opens_people: bool, opens_ledger: bool) -> dict[str, Any]:
    last = one.attempts[-1] if one.attempts else {"at": None, "code": None}
    warrant = {"href": f"/staff/ledger?entry={one.warrant}", "label": f"entry {one.warrant}"}
    return {
        "pos": one.pos,
        "who": one.person or "nobody known here",
        "person_href": f"/staff/people/{one.person}" if one.person and opens_people else None,
        "state": "planned" if one.state == "waiting" else one.state,
        "reason": whom.words(one.reason) if one.reason else None,
        "at": last["at"],
        "code": last["code"],
        "message_id": one.message_id,
        "warrant": warrant if opens_ledger else None,
    }


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
