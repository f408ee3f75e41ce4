"""`/confirm/{token}`: the button of a confirmation mail, for topics or an address. A GET only shows it."""

from typing import Any

from fastapi import APIRouter
from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from service import fence
from service.domain.links import rules as links
from service.domain.links.rules import Link, LinkExpired
from service.domain.mailings import queries as mailings
from service.domain.mailings.tables import Address
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.domain.preferences import confirmation
from service.domain.preferences import pages as shown_pages
from service.domain.preferences import queries as preferences
from service.domain.preferences.pages import Asked
from service.domain.preferences.rules import GrantNeedsNewConfirmation
from service.domain.topics import queries as topics
from service.domain.topics.tables import Topic
from service.kit import clock
from service.web import deps, forms, pages
from service.web.public import tokens

router = APIRouter()


@router.get("/confirm/{token}")
@router.get("/confirm/{token}/")
async def page(request: Request, token: str) -> Response:
    """What pressing would make true."""
    return await _page(request, tokens.read(request, token, links.CONFIRM))


@router.post("/confirm/{token}")
@router.post("/confirm/{token}/")
async def confirm(request: Request, token: str) -> Response:
    """Make it true; anything but the button shows the page again."""
    link = tokens.read(request, token, links.CONFIRM)
    form = await forms.read(request)
    if form.all("confirm") != ["yes"]:
        return await _page(request, link)
    opened, now = deps.house(request), clock.now()

    def act(session: Session) -> confirmation.Confirmed:
        evidence = deps.evidence(request, session, path="/confirm/", now=now)
        return confirmation.confirm(session, opened.ring, link, evidence=evidence, now=now)

    done = await fence.perform(opened, act)
    status = 200 if done.settled else 202
    return await _done(request, link, already=done.value.already, receipt=done.value.receipt, status=status)


async def _page(request: Request, link: Link) -> Response:
    opened = deps.house(request)

    def look(session: Session) -> tuple[Asked, dict[str, Any]]:
        asked, seen = (
            shown_pages.confirmation(session, link, clock.now()),
            tokens.named(request, session, link),
        )
        return asked, {
            "action": tokens.path(opened, link),
            "kind": "topics" if asked.topics else "address",
            "first_name": _first_name(request, session, asked),
            "masked": _masked(request, session, asked),
            "topics": [_topic(session, asked, topic, seen.lang) for topic in asked.topics],
            "objected": _objected(session, asked),
        }

    asked, context = await deps.read(opened, look)
    if asked.void:  # also of a button pressed before the no: it is not as that button made it any more
        raise GrantNeedsNewConfirmation
    if asked.done:
        return await _done(request, link, receipt=None, already=True)
    if asked.expired:
        raise LinkExpired
    return await pages.public(request, "public/confirm.html", context, person=asked.person)


async def _done(
    request: Request, link: Link, *, already: bool, receipt: str | None, status: int = 200
) -> Response:
    opened = deps.house(request)

    def look(session: Session) -> tuple[Asked, dict[str, Any]]:
        asked, seen = (
            shown_pages.confirmation(session, link, clock.now()),
            tokens.named(request, session, link),
        )
        return asked, {
            "kind": "topics" if asked.topics else "address",
            "topics": [_topic(session, asked, topic, seen.lang) for topic in asked.topics],
            "objected": _objected(session, asked),
            "at": asked.confirmation.confirmed_at or clock.now(),
            "already": already,
            "receipt": receipt,
            "preferences_href": tokens.path(opened, link, links.PREFERENCES),
        }

    asked, context = await deps.read(opened, look)
    return await pages.public(request, "public/confirmed.html", context, person=asked.person, status=status)


def _first_name(request: Request, session: Session, asked: Asked) -> str | None:
    if not asked.person.wrapped_key:
        return None
    known = people.profiles(session, deps.house(request).ring, asked.person)
    return known[-1].profile["first_name"] or None if known else None


def _masked(request: Request, session: Session, asked: Asked) -> str | None:
    """The address the mail went to, which is the one being confirmed; sealed for whom it was mailed to, merged or not."""
    row, ring = session.get(Address, asked.confirmation.address_id), deps.house(request).ring
    owner = session.get(Person, row.owner_id) if row else None
    if row is None or row.sealed is None or owner is None or not owner.wrapped_key:
        return None
    return mailings.open_address(ring, row, people.person_key(ring, owner)).masked


def _objected(session: Session, asked: Asked) -> bool:
    """Whether an objection to advertising stands over what is asked: a yes to a topic of it takes that back nowhere."""
    advertising = any(topic.mail_class == "marketing" for topic in asked.topics)
    left = people.followed(session, asked.person) or asked.person
    return advertising and any(one.cause == "objection" for one in preferences.suppressed(session, left))


def _topic(session: Session, asked: Asked, topic: Topic, lang: str) -> dict[str, str]:
    """In the words that a press puts on record, whatever was published since; the newest where another system showed its own."""
    assert topic.id is not None
    named = next(one.get("wording") for one in asked.confirmation.topics if one["topic"] == topic.id)
    words = topics.wording_by_id(session, named) if named else topics.wording_for(session, topic.id, lang)
    return {"name": words.title, "text": words.text}
