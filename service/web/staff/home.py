"""The first page: what is sending, what comes, what waits for you, how it went lately."""

from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Request
from sqlmodel import Session
from starlette.responses import Response

from service.domain.announcements import queries as announcements
from service.domain.brands import queries as brands
from service.domain.notices import queries as notices
from service.domain.people import queries as people
from service.domain.privacy import queries as privacy
from service.domain.privacy import requests
from service.domain.reports import figures as reports
from service.domain.reports import plots
from service.domain.staff.queries import SignedIn
from service.domain.staff.rules import may
from service.kit import clock
from service.kit.signing import Keyring
from service.web import deps
from service.web.sessions import require
from service.web.staff.announcements import reason_words
from service.web.staff.frame import drawing, show

router = APIRouter()


@router.get("/staff")
async def page(request: Request, staff: Annotated[SignedIn, require("announcements:read")]) -> Response:
    """Home."""
    house = deps.house(request)

    def build(session: Session) -> dict[str, Any]:
        now = clock.now()
        recent, needs = reports.recent(session, 8), _needs(session, house.ring, staff)
        coming = announcements.upcoming(session, now=now)
        return {
            "today": now,
            "sentence": _sentence(len(coming), len(needs)),
            "needs": needs,
            "days": _days(coming, now),
            "recent": [_recent(one, now) for one in recent],
            "growth": _growth(session, now),
            "empty": not recent,
            "nobody": not people.count(session),
            "may_write": may(staff.role, "announcements:write"),
        }

    return await show(request, staff, "home", "staff/home.html", build)


def _sentence(coming: int, needs: int) -> str:
    plans = (
        f"{coming} planned for the next seven days"
        if coming
        else "Nothing is planned for the next seven days"
    )
    waits = (
        f"{needs} {'thing waits' if needs == 1 else 'things wait'} for you"
        if needs
        else "nothing waits for you"
    )
    return f"{plans}; {waits}."


def _needs(session: Session, ring: Keyring, staff: SignedIn) -> list[dict[str, str]]:
    """What this person could do something about."""
    needs = []
    if may(staff.role, "settings:write") and not brands.default_brand(session).postal_address:
        text = "Enter the postal address: no announcement goes without one"
        needs.append({"sign": "note", "text": text, "href": "/staff/settings#postal_address"})
    if may(staff.role, "announcements:approve"):
        asked = announcements.page(session, states=("in_review",), limit=5).rows
        needs += [
            {
                "sign": "review",
                "text": f"Approve “{one.name}”",
                "href": f"/staff/announcements/{one.id}/review",
            }
            for one in asked
        ]
    still = notices.standing_still(session) if may(staff.role, "notices:read") else []
    needs += [
        {
            "sign": "paused",
            "text": f"The mail of “{one.title}” is {one.mailing_state}",
            "href": f"/staff/notices/{one.id}/report",
        }
        for one in still
    ]
    paused = announcements.page(session, states=("paused", "halted"), limit=5).rows
    needs += [
        {
            "sign": "paused",
            "text": f"“{one.name}” is {one.state}",
            "href": f"/staff/announcements/{one.id}/report",
        }
        for one in paused
    ]
    waiting = privacy.counts(session)["open"] if may(staff.role, "contact:read") else 0
    if waiting:
        text = f"{waiting} {'message' if waiting == 1 else 'messages'} to answer"
        needs.append({"sign": "note", "text": text, "href": "/staff/contact?state=open"})
    return needs + (_rights(session, ring) if may(staff.role, "people:rights") else [])


def _rights(session: Session, ring: Keyring) -> list[dict[str, str]]:
    """Requests under somebody's rights, those past their day by that word; and messages that may be some."""
    today = clock.now().date()
    counts, messages = privacy.request_counts(session, today), requests.not_routed(session, ring)
    needs = []
    if counts["overdue"]:
        text = f"{counts['overdue']} overdue of what people asked for under their rights"
        needs.append({"sign": "failed", "text": text, "href": "/staff/privacy"})
    if waiting := counts["open"] - counts["overdue"]:
        text = f"{waiting} {'request' if waiting == 1 else 'requests'} under somebody’s rights to answer"
        needs.append({"sign": "note", "text": text, "href": "/staff/privacy"})
    if messages:
        late = sum(day < today for day in messages)
        text = f"Look through {len(messages)} {'message' if len(messages) == 1 else 'messages'} about somebody’s data or rights"
        text += f", {late} of them past a month" if late else ""
        needs.append({"sign": "failed" if late else "note", "text": text, "href": "/staff/privacy"})
    return needs


def _days(coming: list[announcements.Listed], now: datetime) -> list[dict[str, Any]]:
    """The next seven days, those with something in them; today is named so."""
    days = []
    for ahead in range(8):
        day = (now + timedelta(days=ahead)).date()
        items = [
            {
                "name": one.name,
                "href": f"/staff/announcements/{one.id}/report",
                "note": ", ".join(filter(None, (f"{one.due_at:%H:%M} UTC", reason_words(one.reason)))),
                "state": "held" if one.hold_until and one.hold_until > now else one.state,
            }
            for one in coming
            if one.due_at and one.due_at.date() == day
        ]
        if items:
            days.append({"label": "Today" if not ahead else f"{day:%a} {day.day}", "items": items})
    return days


def _recent(one: reports.Recent, now: datetime) -> dict[str, Any]:
    folder = "announcements" if one.kind == "announcement" else "notices"
    return {
        "name": one.name,
        "href": f"/staff/{folder}/{one.public_id}/report",
        "state": "scheduled" if one.state in ("freezing", "sending") and one.at > now else one.state,
        "at": one.at,
        "planned": one.planned,
        "sent": one.sent,
        "bounced": one.bounced,
        "stopped": one.stopped,
    }


def _growth(session: Session, now: datetime) -> dict[str, Any] | None:
    """Yeses that stand today, by the day they were given, all topics together; by topic in the table."""
    topics = [one for one in reports.growth(session, now=now, days=30) if one.before or any(one.given)]
    if not topics:
        return None
    days = topics[0].days
    totals = [sum(one.given[place] for one in topics) for place in range(len(days))]
    bars = [plots.Bar(f"{day.day} {day:%b}", number) for day, number in zip(days, totals, strict=True)]
    title = f"{sum(totals):,} yeses in the last 30 days, by day"
    rows = [
        [one.name, f"{one.before:,}", f"{sum(one.given):,}", f"{one.before + sum(one.given):,}"]
        for one in topics
    ]
    caption = f"{title[0].upper()}{title[1:]}; only those that still stand."
    return drawing(
        plots.bars(bars, title=title, name="growth"), ["Topic", "Before", "In 30 days", "Now"], rows, caption
    )
