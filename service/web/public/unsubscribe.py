"""`/u/{token}`: the stop link. A GET shows a page and changes nothing; a POST stops (RFC 8058).

It asks for no cookie, no referrer, no login; no limit ever refuses it (design.md P5, standards B4 to B8).
"""

from datetime import datetime
from typing import Any

from fastapi import APIRouter
from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from service import fence
from service.domain.links import rules as links
from service.domain.links.rules import Link
from service.domain.preferences import actions
from service.domain.preferences.actions import UNDO_WITHIN, Stopped
from service.kit import clock
from service.web import deps, forms, pages
from service.web.public import tokens

router = APIRouter()

ONE_CLICK = ("List-Unsubscribe", "One-Click")
REASONS = ("often", "notforme", "never")


@router.get("/u/{token}")
@router.get("/u/{token}/")
async def page(request: Request, token: str) -> Response:
    """What the button would do."""
    return await _page(request, tokens.read(request, token, links.STOP))


@router.post("/u/{token}")
@router.post("/u/{token}/")
async def stop(request: Request, token: str) -> Response:
    """A mail program's one click, or the page's own button; anything else shows the page again (B8, H35)."""
    link = tokens.read(request, token, links.STOP)
    form = await forms.read_kindly(request)
    if _is_one_click(form):
        done = await fence.perform(
            deps.house(request), lambda session: _stop(request, session, link, how="one_click")
        )
        return PlainTextResponse("Stopped.\n", 200 if done.settled else 202)
    if form.all("confirm") == ["stop"]:
        return await _stopped(request, link)
    if "undo" in form:
        return await _undone(request, link, form.all("undo")[0])
    if any(reason in form.all("reason") for reason in REASONS):
        return await _reason(request, link, form.all("reason")[0])
    return await _page(request, link)


def _is_one_click(form: forms.Form) -> bool:
    """The pair of RFC 8058, also from a program that ends its body with a line end: who sent it reads our
    200 as done, so the page would leave a no unheard."""
    return any((name.strip(), value.strip()) == ONE_CLICK for name, value in form)


def _stop(request: Request, session: Session, link: Link, *, how: str) -> Stopped:
    now, opened = clock.now(), deps.house(request)
    evidence = deps.evidence(request, session, path="/u/", now=now)
    stops = actions.stop if link.topic else actions.stop_all
    return stops(session, opened.ring, link, how=how, evidence=evidence, now=now)


async def _page(request: Request, link: Link) -> Response:
    opened = deps.house(request)

    def look(session: Session) -> tuple[tokens.Named, list[dict[str, Any]], datetime | None]:
        seen = tokens.named(request, session, link)
        return seen, tokens.keeps(session, seen, but=seen.topic), tokens.stopped_since(session, seen)

    seen, kept, since = await deps.read(opened, look)
    if since is not None:
        already = Stopped(None, None, since, seen.person, seen.topic)
        return await show_stopped(request, link, already, seen, kept, settled=True)
    context = {
        "action": tokens.path(opened, link),
        "topic_name": seen.topic_name,
        "masked": seen.masked,
        "keeps": kept,
        "preferences_href": tokens.path(opened, link, links.PREFERENCES) if seen.masked else None,
    }
    return await pages.public(
        request, "public/stop.html", context, person=seen.person, token_links=tokens.neighbours(opened, link)
    )


async def _stopped(request: Request, link: Link) -> Response:
    opened = deps.house(request)
    done = await fence.perform(opened, lambda session: _stop(request, session, link, how="link"))

    def look(session: Session) -> tuple[tokens.Named, list[dict[str, Any]]]:
        seen = tokens.named(request, session, link)
        return seen, tokens.keeps(session, seen, but=seen.topic)

    seen, kept = await deps.read(opened, look)
    return await show_stopped(request, link, done.value, seen, kept, settled=done.settled)


async def show_stopped(
    request: Request,
    link: Link,
    stopped: Stopped,
    seen: tokens.Named,
    kept: list[dict[str, Any]],
    *,
    settled: bool,
    case_opened: bool = False,
    all_topics: bool = False,
    reason_saved: bool = False,
) -> Response:
    """The page after a stop, with receipt and undo; also of what was stopped before."""
    opened, now = deps.house(request), clock.now()
    action = tokens.path(opened, link, links.STOP)
    context = {
        "topic_name": None if all_topics else seen.topic_name,
        "at": stopped.already_since or now,
        "already": stopped.already_since is not None and not case_opened,
        "case_opened": case_opened,
        "receipt": stopped.receipt,
        "undo": {"action": action, "value": stopped.undo, "until": now + UNDO_WITHIN}
        if stopped.undo
        else None,
        "in_flight": not settled,
        "keeps": kept,
        "preferences_href": tokens.path(opened, link, links.PREFERENCES) if seen.masked else None,
        "reason_action": action if stopped.receipt and seen.person and not case_opened else None,
        "reason_saved": reason_saved,
    }
    return await pages.public(
        request,
        "public/stopped.html",
        context,
        status=200 if settled else 202,
        person=seen.person,
        token_links=tokens.neighbours(opened, link),
    )


async def _undone(request: Request, link: Link, value: str) -> Response:
    opened = deps.house(request)
    done = await fence.perform(
        opened, lambda session: actions.undo(session, value, link=link, now=clock.now())
    )
    seen = await deps.read(opened, lambda session: tokens.named(request, session, link))
    say = pages.speaker(request, seen.person)
    if done.value:
        title, sentence = say("Undone"), say("It is as it was before you stopped.")
    else:
        title, sentence = (
            say("Too late for that"),
            say("Undo works once, for 30 minutes. You can still choose what you get."),
        )
    context = {
        "title": title,
        "sentence": sentence,
        "fix": None,
        "code": None,
        "link": {"href": tokens.path(opened, link, links.PREFERENCES), "label": say("Choose what you get")},
        "error": False,
    }
    return await pages.public(
        request,
        "public/message.html",
        context,
        status=200 if done.settled else 202,  # a break that begins again takes away
        person=seen.person,
        token_links=tokens.neighbours(opened, link),
    )


async def _reason(request: Request, link: Link, reason: str) -> Response:
    """Why, if they like to say so; asked after the stop and never before it."""
    opened = deps.house(request)

    def note(session: Session) -> None:
        actions.give_reason(session, link, reason, now=clock.now())

    def look(session: Session) -> tuple[tokens.Named, list[dict[str, Any]], bool, datetime | None]:
        seen = tokens.named(request, session, link)
        kept, standing = tokens.keeps(session, seen, but=seen.topic), tokens.stopped(session, seen)
        return seen, kept, standing, tokens.stopped_since(session, seen)

    seen, kept, standing, since = await deps.read(opened, look)
    if not standing:  # undone meanwhile, or never stopped: the page says what is so, and no reason is kept
        return await _page(request, link)
    await fence.perform(opened, note)
    stopped = Stopped(None, None, since, seen.person, seen.topic)
    return await show_stopped(request, link, stopped, seen, kept, settled=True, reason_saved=True)
