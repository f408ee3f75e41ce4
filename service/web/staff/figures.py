"""One mailing in numbers, plots and tables, and its people one by one; for both kinds of report."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from fastapi import Request
from sqlmodel import Session

from service.domain.mailings.tables import Mailing
from service.domain.reports import members as report_members
from service.domain.reports import plots
from service.domain.reports import queries as reports
from service.domain.reports.members import Delivery
from service.domain.reports.queries import Bucket
from service.domain.staff.queries import SignedIn
from service.domain.staff.rules import may
from service.kit import clock
from service.kit.errors import NotFound
from service.web.staff import audience as whom
from service.web.staff.frame import drawing, pager, percent, tab

STATES = ("sent", "bounced", "skipped", "deferred", "unknown", "expired", "cancelled", "waiting")


class NotSent(NotFound):
    """There is nobody to list yet: it has not been sent."""


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
    start, step = buckets[0].at, buckets[1].at - buckets[0].at
    length = buckets[-1].at + step - start
    points, rows, sent, bounced = [plots.Point(0, 0)], [], 0, 0
    for bucket in buckets:
        sent, bounced, until = sent + bucket.sent, bounced + bucket.bounced, bucket.at + step
        points.append(plots.Point((until - start) / length, sent + bounced))
        rows.append([f"{until:%H:%M:%S}", f"{sent:,}", f"{bounced:,}"])
    ticks = [plots.Tick(i / 4, f"{start + length * i / 4:%H:%M:%S}") for i in range(5)]
    title = f"{sent:,} sent between {start:%H:%M} and {start + length:%H:%M} UTC"
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
        ("planned", _for_what(figures["waits"]), figures["waiting"]),
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


WAITS = {
    "domain_paused": "for a domain that asked for less mail",
    "domain_limit": "for a domain you limited",
    "warm_up": "for tomorrow's amount of the warm-up",
    "quiet": "for the end of their quiet hours",
    "cap": "for their week to pass",
    "local_time": "for that hour on their own clock",
}


def _for_what(waits: dict[str, int]) -> str:
    """Still to go, and how many of these wait for more than their turn."""
    return "; ".join(["still to go", *(f"{n:,} wait {WAITS[reason]}" for reason, n in sorted(waits.items()))])


def _excluded(excluded: dict[str, int]) -> list[dict[str, Any]]:
    pairs = sorted(excluded.items(), key=lambda pair: -pair[1])
    return [{"text": whom.words(reason).capitalize(), "n": n, "href": None} for reason, n in pairs if n]


def deliveries_of(
    request: Request, session: Session, house: Any, staff: SignedIn, mailing: Mailing, back: dict[str, str]
) -> dict[str, Any]:
    """One page of a mailing's people, all of them or those in one state."""
    state, after = request.query_params.get("state", ""), request.query_params.get("after")
    wanted = state if state in STATES else None
    found = report_members.deliveries(session, house.ring, mailing, state=wanted, after=after)
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
