"""`/why/{token}`: why this mail came: the day, the place, the words that were ticked. And "I never asked"."""

from typing import Any

from fastapi import APIRouter
from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from service import fence
from service.domain.ledger.queries import Seen
from service.domain.links import rules as links
from service.domain.links.rules import Link
from service.domain.people import queries as people
from service.domain.preferences import actions, rules
from service.domain.preferences import pages as shown_pages
from service.domain.preferences.pages import Why
from service.domain.privacy import actions as privacy
from service.domain.privacy.rules import SUBJECTS, ContactTooOften
from service.kit import clock
from service.web import deps, forms, pages, words
from service.web.public import tokens
from service.web.public.choices import HOW
from service.web.public.unsubscribe import show_stopped

router = APIRouter()

# What a person did last, by the kind of its entry; how often, by the cadence behind it.
CHANGED = {
    "consent.given": "Your last change: you said yes",
    "consent.renewed": "Your last change: you said yes again",
    "consent.refused": "Your last change: you said no",
    "consent.withdrawn": "Your last change: you stopped these mails",
    "consent.restored": "Your last change: you took back a stop",
    "preference.changed": "Your last change: how often you get mails",
    "preference.changed each": "Your last change: a mail every time",
    "preference.changed daily": "Your last change: one mail a day at most",
    "preference.changed weekly": "Your last change: one mail a week at most",
    "preference.break_set": "Your last change: you took a break",
    "preference.break_ended": "Your last change: you ended your break",
}

# What people read when they open the case; the person's address and language stand beside it.
CASE = (
    "Pressed “I never asked for this” on the page about %(mailing)s. "
    "All mails that can be stopped were stopped at once."
)


@router.get("/why/{token}")
@router.get("/why/{token}/")
async def page(request: Request, token: str) -> Response:
    """The whole reason."""
    return await _page(request, tokens.read(request, token, links.WHY))


@router.post("/why/{token}")
@router.post("/why/{token}/")
async def never_asked(request: Request, token: str) -> Response:
    """Stop everything at once, and tell the privacy officer; any other POST shows the page."""
    link = tokens.read(request, token, links.WHY)
    form = await forms.read_kindly(request)
    if form.all("do") != ["never_asked"]:
        return await _page(request, link)
    opened = deps.house(request)
    done = await fence.perform(opened, lambda session: _stop_all(request, session, link))
    case = await fence.perform(opened, lambda session: _open_case(request, session, link))

    def look(session: Session) -> tuple[tokens.Named, list[dict[str, Any]]]:
        seen = tokens.named(request, session, link)
        return seen, tokens.keeps(session, seen, but=None)

    seen, kept = await deps.read(opened, look)
    return await show_stopped(
        request, link, done.value, seen, kept, settled=done.settled, case_opened=case.value, all_topics=True
    )


def _stop_all(request: Request, session: Session, link: Link) -> actions.Stopped:
    now = clock.now()
    evidence = deps.evidence(request, session, path="/why/", now=now)
    return actions.stop_all(session, deps.house(request).ring, link, how="link", evidence=evidence, now=now)


def _open_case(request: Request, session: Session, link: Link) -> bool:
    """The case, after the stop and apart from it: whatever becomes of it, the stop stands."""
    opened, person = deps.house(request), people.by_alias(session, link.person)
    address = people.address_of(session, opened.ring, person) if person else None
    if person is None or address is None:
        return False
    mailing = tokens.mail_name(request, session, link, "en") or "a mail"
    try:
        privacy.ask(
            session,
            opened.ring,
            address=address,
            name="",
            subject=SUBJECTS["complaint"],
            text=CASE % {"mailing": f"“{mailing}”"},
            locale=person.locale,
            now=clock.now(),
        )
    except ContactTooOften:
        return True  # the earlier case is the same one
    return True


async def _page(request: Request, link: Link) -> Response:
    opened = deps.house(request)

    def look(session: Session) -> tuple[tokens.Named, Why, dict[str, list[str]]]:
        seen = tokens.named(request, session, link)
        own = people.attributes(session, seen.person.id) if seen.person and seen.person.id else {}
        return seen, shown_pages.why(session, opened.ring, link, seen.lang), own

    seen, why, own = await deps.read(opened, look)
    if why.sent_at is None or seen.person is None:
        return await _nothing_known(request, link, seen)
    stoppable = bool(seen.topic and seen.topic.mail_class != "service" and seen.preference)
    stopped = bool(seen.preference and seen.preference.state in rules.NOES)
    say = words.speaker(seen.lang)
    context = {
        "masked": seen.masked or "",
        "mailing_name": tokens.plain(why.subject) or say("this mail"),
        "topic_name": seen.topic_name,
        "sent_at": why.sent_at,
        "basis": _basis(why, seen),
        "consent": {
            "at": why.given_at or why.sent_at,
            "where": why.url or None,
            "text": why.wording.text if why.wording else None,
            "version": why.wording.version if why.wording else None,
            "language": why.wording.locale if why.wording else None,
        },
        "steps": _steps(why, say),
        "audience": _audience(why, seen, own, say),
        "stop_action": tokens.path(opened, link, links.STOP) if stoppable and not stopped else None,
        "preferences_href": tokens.path(opened, link, links.PREFERENCES),
        "never_action": tokens.path(opened, link),
    }
    return await pages.public(
        request, "public/why.html", context, person=seen.person, token_links=tokens.neighbours(opened, link)
    )


def _basis(why: Why, seen: tokens.Named) -> str:
    """What the mail stood on, in the template's words."""
    if why.topic is None:
        return "request"
    if seen.preference and seen.preference.basis == "legacy_registration":
        return "legacy_registration"
    return "contract" if why.basis == "legal_obligation" else why.basis


def _audience(
    why: Why, seen: tokens.Named, own: dict[str, list[str]], say: words.Say
) -> dict[str, Any] | None:
    """Who was meant, and what of that is true of this reader."""
    if seen.topic_name is None:
        return None
    asked: dict[str, list[str]] = {
        name: [value] if isinstance(value, str) else list(value)  # type: ignore[call-overload]
        for name, value in why.audience.items()
    }
    if not asked:
        return {"rule": say("Everybody who gets “%(topic)s”.", topic=seen.topic_name), "reasons": []}
    rule = "; ".join(f"{name}: {', '.join(values)}" for name, values in asked.items())
    reasons = [
        {"name": name, "value": ", ".join(value for value in own.get(name, []) if value in values)}
        for name, values in asked.items()
    ]
    text = say("People who get “%(topic)s”, with %(rule)s.", topic=seen.topic_name, rule=rule)
    return {"rule": text, "reasons": [reason for reason in reasons if reason["value"]]}


def _steps(why: Why, say: words.Say) -> list[dict[str, Any]]:
    """What happened since, oldest first."""
    steps: list[dict[str, Any]] = []
    if why.confirmed_at:
        steps.append(
            {"sign": "given", "text": say("You confirmed from your mailbox"), "at": why.confirmed_at}
        )
    elif why.how in HOW and why.basis == "consent":
        steps.append(
            {"sign": "given", "text": say("You said yes %(how)s", how=say(HOW[why.how])), "at": why.given_at}
        )
    if why.mails_so_far:
        one = why.mails_so_far == 1
        text = (
            say("Since then we sent you one of these")
            if one
            else say("Since then we sent you %(n)s of these", n=why.mails_so_far)
        )
        steps.append({"sign": "sent", "text": text, "at": None})
    last = why.last_change
    if last and last.at != why.given_at:
        steps.append({"sign": "changed", "text": _changed(last, say), "at": last.at})
    return steps


def _changed(seen: Seen, say: words.Say) -> str:
    """The last thing the person did, in words."""
    cadence, most = seen.body.get("cadence"), seen.body.get("max_per_week")
    if most:
        return say("Your last change: at most %(n)s mails a week", n=most)
    return say(CHANGED.get(f"{seen.kind} {cadence}") or CHANGED[seen.kind])


async def _nothing_known(request: Request, link: Link, seen: tokens.Named) -> Response:
    """A good link whose mail or person is gone."""
    opened, say = deps.house(request), pages.speaker(request, seen.person)
    context = {
        "title": say("That mail is long gone"),
        "sentence": say("We keep no data about it any more. You can still choose or stop what you get."),
        "fix": None,
        "code": None,
        "link": {"href": tokens.path(opened, link, links.PREFERENCES), "label": say("Choose what you get")},
        "error": False,
    }
    return await pages.public(request, "public/message.html", context, person=seen.person)
