"""`/p/{token}`: what a person gets, and the place to change it. One form, one POST, no login.

A link printed in a mail takes away at once and never makes a yes: additions are asked by mail (design.md P5).
"""

from datetime import date
from typing import Any

from fastapi import APIRouter
from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from service import fence
from service.domain.links import rules as links
from service.domain.links.rules import Link, LinkNotRecognised
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.domain.preferences import actions
from service.domain.preferences.actions import UNCHANGED, Choices, Saved, Unchanged
from service.domain.preferences.rules import WeeklyCapInvalid
from service.kit import clock
from service.kit.errors import Invalid
from service.web import deps, forms, pages
from service.web.forms import Form
from service.web.public import choices, tokens
from service.web.public.unsubscribe import show_stopped

router = APIRouter()


class DateInvalid(Invalid):
    """That is not a day, such as 2026-12-24."""


@router.get("/p/{token}")
@router.get("/p/{token}/")
async def page(request: Request, token: str) -> Response:
    """What the person gets, and since when."""
    return await choices.page(request, tokens.read(request, token, links.PREFERENCES))


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
            return await _save(request, link, Choices({form.text("topic"): "off"}), forms.EMPTY)
        case "save":
            try:
                chosen = _choices(form)
            except Invalid as wrong:
                return await _refused(request, link, form, wrong)
            return await _save(request, link, chosen, form)
        case _:
            return await choices.page(request, link)


def _choices(form: Form) -> Choices:
    """What the page's form says; a field that did not come changes nothing."""
    day: date | Unchanged | None = UNCHANGED
    if "break_until" in form:
        day = _day(form.text("break_until"))
    most: int | Unchanged | None = UNCHANGED
    if "max_per_week" in form:
        most = _limit(form.text("max_per_week"))
    agreed = frozenset(slug for slug, said in form.prefixed("agree:").items() if said)
    return Choices(form.prefixed("topic:"), day, most, agreed)


def _day(typed: str) -> date | None:
    try:
        return date.fromisoformat(typed) if typed else None
    except ValueError as wrong:
        raise DateInvalid(field="break_until") from wrong


def _limit(typed: str) -> int | None:
    if typed and not (typed.isascii() and typed.isdecimal() and len(typed) < 4):
        raise WeeklyCapInvalid(field="max_per_week")
    return int(typed) if typed else None


async def _refused(request: Request, link: Link, form: Form, wrong: Invalid) -> Response:
    """The page once more, as it was filled in, with what is wrong."""
    seen = await deps.read(deps.house(request), lambda session: tokens.named(request, session, link))
    errors = pages.said(request, wrong, seen.person)
    return await choices.page(request, link, typed=form.values(), errors=errors, status=wrong.status)


async def _save(request: Request, link: Link, chosen: Choices, form: Form) -> Response:
    opened, now = deps.house(request), clock.now()

    def act(session: Session) -> Saved:
        person = _person(session, link)
        evidence = deps.evidence(request, session, path="/p/", now=now)
        return actions.save(
            session,
            opened.ring,
            person,
            chosen,
            how="page",
            evidence=evidence,
            now=now,
            by=f"person:{person.public_id}",
            link=link,
        )

    try:
        done = await fence.perform(opened, act)
    except Invalid as wrong:
        return await _refused(request, link, form, wrong)
    return await choices.page(request, link, saved=(done.value, chosen), status=200 if done.settled else 202)


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
    done = await fence.perform(
        opened, lambda session: actions.undo(session, value, link=link, now=clock.now())
    )
    say = pages.speaker(request)
    if not done.value:
        errors = {"": say("Undo works once, for 30 minutes. You can still choose what you get.")}
        return await choices.page(request, link, errors=errors, status=409)
    status = 200 if done.settled else 202  # a break that begins again takes away
    return await choices.page(request, link, saved=(Saved(None, None, [], []), None), status=status)


def _person(session: Session, link: Link) -> Person:
    person = people.by_alias(session, link.person)
    if person is None or person.state == "erased":
        raise LinkNotRecognised
    return person
