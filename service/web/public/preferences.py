"""`/p/{token}`: what a person gets, and the place to change it. One form, one POST, no login.

A link printed in a mail takes away at once and never makes a yes: what is added is asked by mail (design.md P5).
"""

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from fastapi import APIRouter
from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from service import fence
from service.domain.consent import queries as consents
from service.domain.links import rules as links
from service.domain.links.rules import Link, LinkNotRecognised
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.domain.preferences import actions, rules
from service.domain.preferences import pages as shown_pages
from service.domain.preferences.actions import UNCHANGED, UNDO_WITHIN, Choices, Saved, Unchanged
from service.domain.preferences.pages import Overview, TopicRow
from service.kit import clock
from service.kit.errors import Invalid
from service.kit.ids import receipt
from service.web import deps, forms, pages, words
from service.web.forms import Form
from service.web.public import tokens
from service.web.public.lost_link import said
from service.web.public.unsubscribe import show_stopped

router = APIRouter()

REPORT = "/contact?subject=complaint"
CAPS = (1, 2, 3, 5, 7)
# How a yes came about, in words (the methods of `consent`); what is not here is not said.
HOW = {
    "web_form": "with our form",
    "doi_click": "by the button in our mail",
    "api": "on a page of ours",
    "page": "on your own page",
    "undo": "by taking back a stop",
    "import": "on another page; the proof was handed to us",
}


class DateInvalid(Invalid):
    """That is not a day, such as 2026-12-24."""


@dataclass(frozen=True)
class _Shown:
    """What the page is made of, read in one transaction."""

    seen: tokens.Named
    overview: Overview | None
    last_change: dict[str, Any] | None
    mailing_name: str | None


@router.get("/p/{token}")
@router.get("/p/{token}/")
async def page(request: Request, token: str) -> Response:
    """What the person gets, and since when."""
    return await _page(request, tokens.read(request, token, links.PREFERENCES))


@router.post("/p/{token}")
@router.post("/p/{token}/")
async def change(request: Request, token: str) -> Response:
    """Save, stop one, stop all, or take back what was just stopped."""
    link = tokens.read(request, token, links.PREFERENCES)
    form = await forms.read(request)
    match form.text("do"):
        case "stop_all":
            return await _stop_all(request, link)
        case "undo":
            return await _undo(request, link, form.text("undo"))
        case "stop":
            return await _save(request, link, form, Choices({form.text("topic"): "off"}))
        case "save":
            try:
                choices = _choices(form)
            except Invalid as wrong:
                return await _page(request, link, errors=said(request, wrong), status=wrong.status)
            return await _save(request, link, form, choices)
        case _:
            return await _page(request, link)


def _choices(form: Form) -> Choices:
    """What the page's form says; a field that did not come changes nothing."""
    day: date | Unchanged | None = UNCHANGED
    if "break_until" in form:
        day = _day(form.text("break_until"))
    most: int | Unchanged | None = UNCHANGED
    if "max_per_week" in form:
        typed = form.text("max_per_week")
        if typed and not re.fullmatch(r"[0-9]{1,2}", typed):
            raise rules.CadenceNotOffered(field="max_per_week")
        most = int(typed) if typed else None
    return Choices(form.prefixed("topic:"), day, most)


def _day(typed: str) -> date | None:
    try:
        return date.fromisoformat(typed) if typed else None
    except ValueError as wrong:
        raise DateInvalid(field="break_until") from wrong


async def _save(request: Request, link: Link, form: Form, choices: Choices) -> Response:
    opened, now = deps.house(request), clock.now()

    def act(session: Session) -> Saved:
        person = _person(session, link)
        evidence = deps.evidence(request, session, path="/p/", now=now)
        return actions.save(
            session,
            opened.ring,
            person,
            choices,
            how="page",
            evidence=evidence,
            now=now,
            by=f"person:{person.public_id}",
            link=link,
        )

    try:
        done = await fence.perform(opened, act)
    except Invalid as wrong:
        return await _page(request, link, errors=said(request, wrong), status=wrong.status)
    return await _page(request, link, saved=(done.value, choices), status=200 if done.settled else 202)


async def _stop_all(request: Request, link: Link) -> Response:
    opened = deps.house(request)

    def act(session: Session) -> actions.Stopped:
        now = clock.now()
        evidence = deps.evidence(request, session, path="/p/", now=now)
        return actions.stop_all(session, opened.ring, link, how="link", evidence=evidence, now=now)

    done = await fence.perform(opened, act)

    def look(session: Session) -> tuple[tokens.Named, list[dict[str, Any]]]:
        seen = tokens.named(request, session, link)
        return seen, tokens.keeps(session, seen, but=None)

    seen, kept = await deps.read(opened, look)
    return await show_stopped(request, link, done.value, seen, kept, settled=done.settled, all_topics=True)


async def _undo(request: Request, link: Link, value: str) -> Response:
    opened = deps.house(request)
    done = await fence.perform(opened, lambda session: actions.undo(session, value, now=clock.now()))
    say = pages.speaker(request)
    if not done.value:
        errors = {"": say("Undo works once, for 30 minutes. You can still choose what you get.")}
        return await _page(request, link, errors=errors, status=409)
    return await _page(request, link, saved=(Saved(None, None, [], []), None))


def _person(session: Session, link: Link) -> Person:
    person = people.by_alias(session, link.person)
    if person is None or person.state == "erased":
        raise LinkNotRecognised
    return person


async def _page(
    request: Request,
    link: Link,
    *,
    saved: tuple[Saved, Choices | None] | None = None,
    errors: dict[str, Any] | None = None,
    status: int = 200,
) -> Response:
    opened = deps.house(request)
    shown = await deps.read(opened, lambda session: _look(request, session, link))
    seen, neighbours = shown.seen, tokens.neighbours(opened, link)
    if shown.overview is None:
        return await _nobody(request)
    say, now = words.speaker(seen.lang), clock.now()
    overview = shown.overview
    open_row = next(
        (row for row in overview.rows if seen.topic and row.topic.id == seen.topic.id and _stoppable(row)),
        None,
    )
    context = {
        "action": tokens.path(opened, link),
        "masked": overview.masked_address or seen.masked or "",
        "opened": _opened(open_row, shown.mailing_name),
        "topics": [_topic(row, say) for row in overview.rows if not row.always_on],
        "always": [
            {"name": row.wording.title, "what": row.wording.text} for row in overview.rows if row.always_on
        ],
        "break_until": _local(overview.break_until, seen.person)
        if overview.break_until and overview.break_until > now
        else "",
        "break_min": (now.date() + timedelta(days=1)).isoformat(),
        "max_per_week": _caps(overview.max_per_week, say),
        "saved": _saved(saved, overview, seen, say, now) if saved else None,
        "last_change": shown.last_change,
        "report_href": REPORT,
        "errors": errors or {},
    }
    return await pages.public(
        request, "public/preferences.html", context, status=status, person=seen.person, token_links=neighbours
    )


def _look(request: Request, session: Session, link: Link) -> _Shown:
    ring, now = deps.house(request).ring, clock.now()
    seen = tokens.named(request, session, link)
    if seen.person is None or seen.person.state == "erased":
        return _Shown(seen, None, None, None)
    events = consents.events(session, seen.person.public_id)
    own = [event for event in events if event.actor.startswith("person:")]
    return _Shown(
        seen,
        shown_pages.overview(session, ring, seen.person, seen.lang, now),
        {"at": own[-1].at, "receipt": receipt(own[-1].seq, own[-1].hash)} if own else None,
        tokens.mail_name(request, session, link, seen.lang),
    )


async def _nobody(request: Request) -> Response:
    """A good link whose person is gone: nothing is held, and nothing goes out (H38)."""
    say = pages.speaker(request)
    context = {
        "title": say("You get no mails from us"),
        "sentence": say("We hold no data behind this link any more, so there is nothing to choose."),
        "fix": None,
        "code": None,
        "link": {"href": "/join", "label": say("Get mails")},
        "error": False,
    }
    return await pages.public(request, "public/message.html", context)


def _stoppable(row: TopicRow) -> bool:
    return not row.always_on and row.state in (*rules.PERMITTING, "requested")


def _opened(row: TopicRow | None, mailing_name: str | None) -> dict[str, Any] | None:
    if row is None:
        return None
    return {
        "mailing_name": mailing_name,
        "slug": row.topic.slug,
        "name": row.wording.title,
        "what": row.wording.frequency,
    }


def _topic(row: TopicRow, say: words.Say) -> dict[str, Any]:
    return {
        "slug": row.topic.slug,
        "name": row.wording.title,
        "what": row.wording.frequency,
        "state": row.state,
        "choices": [*row.topic.cadences, "off"],
        "choice": row.cadence if row.state in rules.PERMITTING else "off",
        "since": row.since_at,
        "how": say(HOW[row.how]) if row.how in HOW else None,
        "last": [tokens.plain(subject) for subject, _ in row.last_mails],
    }


def _local(at: datetime, person: Person | None) -> str:
    """The day of the reader on which a break ends."""
    return at.astimezone(words.zone_of(person.zone if person else "")).date().isoformat()


def _caps(present: int | None, say: words.Say) -> list[dict[str, Any]]:
    numbers = sorted({*CAPS, *([present] if present else [])})
    choices = [{"value": "", "label": say("as many as there are"), "selected": present is None}]
    for n in numbers:
        label = say("1 mail a week") if n == 1 else say("%(n)s mails a week", n=n)
        choices.append({"value": str(n), "label": label, "selected": n == present})
    return choices


def _saved(
    saved: tuple[Saved, Choices | None], overview: Overview, seen: tokens.Named, say: words.Say, now: datetime
) -> dict[str, Any]:
    """What was saved, in sentences."""
    result, choices = saved
    names = {row.topic.slug: row.wording.title for row in overview.rows}
    summary: list[str] = []
    for slug in result.changed if choices else []:
        name = names.get(slug, slug)
        if slug == "break_until":
            day = words.day(
                overview.break_until, lang=seen.lang, zone=seen.person.zone if seen.person else ""
            )
            summary.append(say("No mails until %(date)s.", date=day) if day else say("The break has ended."))
        elif slug == "max_per_week":
            summary.append(
                say("Not more than chosen.") if overview.max_per_week else say("As many as there are.")
            )
        elif choices and choices.topics.get(slug) == "off":
            summary.append(say("No more “%(topic)s” mails.", topic=name))
        else:
            summary.append(say("“%(topic)s” as chosen.", topic=name))
    if choices is None:
        summary.append(say("It is as it was before you stopped."))
    elif not summary and not result.confirmation_sent:
        summary.append(say("Nothing was changed."))
    return {
        "at": now,
        "receipt": result.receipt,
        "summary": summary,
        "confirm_mail": bool(result.confirmation_sent),
        "undo": {"value": result.undo, "until": now + UNDO_WITHIN} if result.undo else None,
    }
