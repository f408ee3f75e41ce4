"""Announcements: the list, and a new one from a starter."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Request
from sqlmodel import Session
from starlette.responses import Response

from service.domain.announcements import actions, queries
from service.domain.announcements.queries import Listed
from service.domain.staff.queries import SignedIn
from service.domain.staff.rules import may
from service.domain.templates import queries as templates
from service.domain.topics import queries as topics
from service.domain.topics.rules import TopicUnknown
from service.kit import clock
from service.mail.starters import Starter
from service.web import deps, forms, pages
from service.web.sessions import require
from service.web.staff.frame import act, choice, pager, show, tab

router = APIRouter()

Reader = Annotated[SignedIn, require("announcements:read")]
Writer = Annotated[SignedIn, require("announcements:write")]

# The views of the list: what the tab says, and which states it holds.
VIEWS: dict[str, tuple[str, tuple[str, ...]]] = {
    "": ("All", ()),
    "draft": ("Drafts", ("draft",)),
    "approval": ("In review", ("in_review", "approved")),
    "scheduled": ("Scheduled", ("scheduled",)),
    "sending": ("Sending", ("freezing", "sending", "paused")),
    "sent": ("Sent", ("sent",)),
    "ended": ("Stopped", ("cancelled", "expired", "halted")),
}


@router.get("/staff/announcements")
async def listing(request: Request, staff: Reader) -> Response:
    """Every announcement, newest first, by state."""
    view = request.query_params.get("state", "")
    states = VIEWS.get(view, VIEWS[""])[1]

    def build(session: Session) -> dict[str, Any]:
        found = queries.page(session, states=states, after=request.query_params.get("after"))
        counts = queries.counts(session)
        tabs = [
            tab(
                label,
                f"/staff/announcements?state={key}" if key else "/staff/announcements",
                key == view,
                _sum(counts, of),
            )
            for key, (label, of) in VIEWS.items()
        ]
        names = topic_names(session)
        may_write = may(staff.role, "announcements:write")
        rows = [_row(shown, names, may_write=may_write) for shown in found.rows]
        return {"tabs": tabs, "rows": rows, "pager": pager(request, found.next), "may_write": may_write}

    return await show(request, staff, "announcements", "staff/announcements.html", build)


def _sum(counts: Mapping[str, int], states: tuple[str, ...]) -> int:
    return sum(n for state, n in counts.items() if not states or state in states)


def _row(shown: Listed, names: Mapping[str, str], *, may_write: bool) -> dict[str, Any]:
    path = f"/staff/announcements/{shown.id}"
    written = shown.state in ("draft", "in_review", "approved")
    desk = path if may_write else f"{path}/review"
    return {
        "name": shown.name,
        "href": desk if written else f"{path}/report",
        "topic": names.get(shown.topic, shown.topic),
        "state": shown.state,
        "reason": reason_words(shown.reason),
        "at": when_of(shown),
        "people": shown.planned,
        "note": None if shown.due_at else "changed",
    }


def topic_names(session: Session) -> dict[str, str]:
    """Every topic's name by its slug, as staff read it."""
    return {
        topic.slug: topics.wording_for(session, topic.id or 0, "en").title
        for topic in topics.everything(session)
    }


def when_of(shown: Listed) -> datetime:
    """The moment a list shows: when it goes or went, else when it was last written at."""
    return shown.due_at or shown.changed_at


# What stopped a mailing by itself, and what to look at before it goes on.
HALTS = {
    "policy_refusals": (
        "more than 5 % of the answers were refusals by policy.",
        "Look at what the servers said and at bidden doctor (SPF, DKIM, DMARC) before you resume.",
    ),
    "hard_bounces": (
        "more than 3 % of the answers were refusals for good.",
        "Look at the bounced people first: do these addresses come from where you think?",
    ),
    "doubled": (
        "the record says that somebody was sent it twice.",
        "Look at bidden db check first: a rule of the database is missing.",
    ),
    "collided": (
        "what a mail was answered stands against what is on record for it.",
        "Look at its entry batch.collided in the ledger: it names the positions, and what was answered.",
    ),
    "render_errors": (
        "more than one mail in a thousand could not be made.",
        "Look at a field of its text that these people have no value for.",
    ),
    "too_large": (
        "more than one mail in a hundred was too large for the mail server.",
        "Have its limit raised before you resume, or cancel and send a shorter text.",
    ),
    "audience_does_not_add_up": (
        "the audience has gaps.",
        "Look at bidden db check first; nothing has left.",
    ),
    "outcomes_do_not_add_up": (
        "not everybody in the audience has an outcome.",
        "Look at bidden db check first.",
    ),
}


def reason_words(reason: str | None) -> str | None:
    """Why something stands as it does, for people."""
    known = {
        "staff": "by hand",
        "late": "its time was missed by more than six hours",
        "restored": "a copy was restored, and it may have been sent since that was made",
        "topic_retired": "its topic is retired, so it goes to nobody",
        "": None,
        **{halted: f"{what} {look}" for halted, (what, look) in HALTS.items()},
    }
    return known.get(reason or "", (reason or "").replace("_", " "))


@router.get("/staff/announcements/new")
async def new(request: Request, staff: Writer) -> Response:
    """The choice of topic and starter."""
    return await show(
        request, staff, "announcements", "staff/starters.html", lambda session: _starters(session, {})
    )


def _starters(session: Session, errors: dict[str, str]) -> dict[str, Any]:
    open_topics = [topic for topic in topics.active(session) if topic.mail_class != "service"]
    names = topic_names(session)
    first = next((topic.slug for topic in open_topics if topic.mail_class == "marketing"), "")
    return {
        "topics": [choice(topic.slug, names[topic.slug], topic.slug == first) for topic in open_topics],
        "starters": [
            starter_card(starter)
            for starter in sorted(templates.starters(), key=lambda one: one.topic_class != "marketing")
        ],
        "errors": errors,
    }


def starter_card(starter: Starter) -> dict[str, Any]:
    """One starter with its framed preview."""
    return {
        "slug": starter.slug,
        "name": starter.name["en"],
        "what": starter.purpose["en"],
        "src": f"/staff/templates/{starter.slug}/preview",
    }


@router.post("/staff/announcements")
async def create(request: Request, staff: Writer) -> Response:
    """A new draft with the starter's words; from the gallery the topic is the first the starter suits."""
    form, house = await forms.read(request), deps.house(request)

    def make(session: Session) -> str:
        starter = templates.starter(form.text("template"))
        words = {
            "subject": starter.subject["en"],
            "preheader": starter.preheader["en"],
            "body": starter.body["en"],
        }
        row = actions.create(
            session,
            house.settings,
            topic=form.text("topic") or _topic_for(session, starter),
            template=starter.slug,
            content={"en": words},
            now=clock.now(),
            by=staff.by,
        )
        return row.public_id

    made = await act(request, make)
    return pages.redirect(request, f"/staff/announcements/{made.value}")


def _topic_for(session: Session, starter: Starter) -> str:
    """The starter's own topic, while it is in use; else the first that takes announcements."""
    slugs = [topic.slug for topic in topics.active(session) if topic.mail_class != "service"]
    if not slugs:
        raise TopicUnknown(field="topic")
    return starter.topic if starter.topic in slugs else slugs[0]
