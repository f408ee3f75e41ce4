"""How the preference page looks: what the person gets, since when and how, and what was just saved, in words.

Called by `preferences`, which takes what the page sends.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from service.domain.consent import queries as consents
from service.domain.links.rules import Link
from service.domain.people.tables import Person
from service.domain.preferences import pages as shown_pages
from service.domain.preferences import rules
from service.domain.preferences.actions import UNDO_WITHIN, Choices, Saved
from service.domain.preferences.pages import Overview, TopicRow
from service.kit import clock
from service.kit.ids import receipt
from service.web import deps, pages, words
from service.web.public import tokens, told

REPORT = "/contact?subject=complaint"
LIMITS = (1, 2, 3, 4, 5, 7, 10)  # mails a week that are offered; a site may have set another
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
# How a yes came about, in words (the methods of `consent`); what is not here is not said.
HOW = {
    "web_form": "with our form",
    "doi_click": "by the button in our mail",
    "api": "on a page of ours",
    "page": "on your own page",
    "undo": "by taking back a stop",
    "import": "on another page; the proof was handed to us",
}


@dataclass(frozen=True)
class _Shown:
    """What the page is made of, read in one transaction."""

    seen: tokens.Named
    overview: Overview | None
    last_change: dict[str, Any] | None
    mailing_name: str | None


async def page(
    request: Request,
    link: Link,
    *,
    saved: tuple[Saved, Choices | None] | None = None,
    typed: dict[str, str] | None = None,
    errors: dict[str, Any] | None = None,
    status: int = 200,
) -> Response:
    """The page: as things stand, with what was `saved`, or with what was `typed` and the `errors` in it."""
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
        "topics": [_topic(row, say, typed) for row in overview.rows if not row.always_on],
        "always": [
            {"name": row.wording.title, "what": row.wording.text} for row in overview.rows if row.always_on
        ],
        "break_until": _break(overview, seen.person, now, typed),
        "break_min": _first_day(overview, seen.person, now),
        "max_per_week": _limits(overview.max_per_week, say, typed),
        "saved": _saved(saved, overview, seen, say, now) if saved else None,
        "in_flight": status == 202,
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


def _topic(row: TopicRow, say: words.Say, typed: dict[str, str] | None) -> dict[str, Any]:
    choices, standing = [*row.topic.cadences, "off"], row.cadence if row.state in rules.PERMITTING else "off"
    wanted = (typed or {}).get(f"topic:{row.topic.slug}")
    return {
        "slug": row.topic.slug,
        "name": row.wording.title,
        "what": row.wording.frequency,
        "state": row.state,
        "choices": choices,
        "choice": wanted if wanted in choices else standing,
        "since": row.since_at,
        "how": say(HOW[row.how]) if row.how in HOW else None,
        "last": [tokens.plain(subject) for subject, _ in row.last_mails],
        "ground": say(told.BASES[row.basis]) if row.basis in told.BASES and row.basis != rules.OWN else None,
        "wants_yes": row.wants_yes,
        "words": row.wording.text if row.older or row.wants_yes else None,
        "agreed": bool((typed or {}).get(f"agree:{row.topic.slug}")),
    }


def _limits(most: int | None, say: words.Say, typed: dict[str, str] | None) -> list[dict[str, Any]]:
    """How many mails a week there may be at most: the usual numbers, what stands, and none."""
    offered = sorted({*LIMITS, most or LIMITS[0]})
    chosen = str(most or "")
    if typed and typed.get("max_per_week", "").strip() in ("", *map(str, offered)):
        chosen = typed.get("max_per_week", chosen).strip()
    numbers = [(str(n), say("1 mail a week") if n == 1 else say("%(n)s mails a week", n=n)) for n in offered]
    return [
        {"value": value, "label": label, "selected": value == chosen}
        for value, label in [("", say("No limit")), *numbers]
    ]


def _break(overview: Overview, person: Person | None, now: datetime, typed: dict[str, str] | None) -> str:
    """The day in the field: the one typed, else the one until which a break runs."""
    if typed is not None and "break_until" in typed:
        day = typed["break_until"].strip()
        return day if _DAY.fullmatch(day) else ""
    runs = overview.break_until and overview.break_until > now
    return _local(overview.break_until, person) if overview.break_until and runs else ""


def _first_day(overview: Overview, person: Person | None, now: datetime) -> str:
    """The reader's own tomorrow, or the day of a break that runs, which is said again with the page."""
    return min(_local(now + timedelta(days=1), person), _break(overview, person, now, None) or "9999")


def _local(at: datetime, person: Person | None) -> str:
    """The day of the reader on which a break ends."""
    return at.astimezone(words.zone_of(person.zone if person else "")).date().isoformat()


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
            summary.append(_limited(overview.max_per_week, say))
        elif choices and choices.topics.get(slug) == "off":
            summary.append(say("No more “%(topic)s” mails.", topic=name))
        else:
            summary.append(say("“%(topic)s” as chosen.", topic=name))
    if choices is None:
        summary.append(say("It is as it was before you stopped."))
    elif result.too_often:
        summary.append(
            say("We have mailed you a button twice today already. Please choose it again tomorrow.")
        )
    elif not summary and not result.confirmation_sent:
        summary.append(say("Nothing was changed."))
    return {
        "at": now,
        "receipt": result.receipt,
        "summary": summary,
        "confirm_mail": bool(result.confirmation_sent),
        "undo": {"value": result.undo, "until": now + UNDO_WITHIN} if result.undo else None,
    }


def _limited(most: int | None, say: words.Say) -> str:
    """A changed limit, in a sentence."""
    if most is None:
        return say("No limit on mails a week any more.")
    return (
        say("Not more than 1 mail a week.") if most == 1 else say("Not more than %(n)s mails a week.", n=most)
    )
