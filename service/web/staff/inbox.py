"""The captured inbox: mail that would have left. There only in practice mode, while no SMTP server is set.

It holds everybody's mail in clear. Whoever may not read all of it (`inbox:all`) sees what was sent to themselves.
"""

import html
import re
from email.message import EmailMessage
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request
from sqlmodel import Session
from starlette.responses import Response

from service.domain.staff import queries as members
from service.domain.staff.queries import SignedIn
from service.domain.staff.rules import may
from service.kit.errors import NotFound
from service.ops import captured
from service.ops.house import House
from service.web import deps, pages
from service.web.sessions import require
from service.web.staff.frame import act, pager, show, tab
from service.web.staff.frames import framed


class NoInbox(NotFound):
    """Mail leaves this machine, so there is no captured inbox."""


async def in_practice(request: Request) -> None:
    """A dependency of every page here. Raises `NoInbox`."""
    if not deps.house(request).settings.practice:
        raise NoInbox


router = APIRouter(dependencies=[Depends(in_practice)])

Reader = Annotated[SignedIn, require("inbox:own")]
Owner = Annotated[SignedIn, require("inbox:all")]

VIEWS = {"read": "As read", "phone": "Phone", "text": "Text", "headers": "Headers", "source": "Source"}
_HEAD = re.compile(r"<head[^>]*>", re.IGNORECASE)


@router.get("/inbox")
async def page(request: Request, staff: Reader) -> Response:
    """The list, and the mail that was chosen; the newest at first."""
    query = request.query_params
    find, chosen, view = query.get("q", "").strip(), query.get("mail", ""), query.get("view", "read")

    def build(session: Session) -> dict[str, Any]:
        to = _only(session, deps.house(request), staff)
        found = captured.page(session, find=find, to=to, after=query.get("after"), limit=30)
        newest = str(found.rows[0].id) if found.rows else ""
        current = chosen if chosen.isdecimal() and len(chosen) < 18 else newest
        shown = view if view in VIEWS else "read"
        keep = {"q": find} if find else {}
        return {
            "q": find,
            "count": captured.count(session, to=to),
            "own": to is not None,
            "mails": [_line(one, current, keep) for one in found.rows],
            "mail": _mail(captured.one(session, int(current), to=to)) if current else None,
            "view": shown,
            "views": [
                tab(label, _href(current, {**keep, "view": key}), key == shown)
                for key, label in VIEWS.items()
            ],
            "pager": pager(request, found.next),
        }

    return await show(request, staff, "inbox", "staff/inbox.html", build)


def _only(session: Session, house: House, staff: SignedIn) -> str | None:
    """The address whose mail this colleague may see; None for all of it."""
    if may(staff.role, "inbox:all"):
        return None
    return members.address_of(session, house.ring, members.by_public_id(session, staff.public_id)).text


def _href(mail: str, more: dict[str, str]) -> str:
    return f"/inbox?{urlencode({'mail': mail, **more})}#mail"


def _line(one: captured.Listed, current: str, keep: dict[str, str]) -> dict[str, Any]:
    return {
        "href": _href(str(one.id), keep),
        "to": one.rcpt,
        "subject": one.subject,
        "at": one.at,
        "current": str(one.id) == current,
    }


def _mail(row: captured.CapturedMail) -> dict[str, Any]:
    message = captured.parse(row.content)
    return {
        "subject": row.subject,
        "sender": str(message.get("From", row.mail_from)),
        "to": row.rcpt,
        "at": row.at,
        "size": f"{len(row.content) / 1024:.1f} KB",
        "src": f"/inbox/{row.id}/html",
        "text": _part(message, "plain"),
        "headers": [{"name": name, "value": str(value)} for name, value in message.items()],
        "source": row.content.decode("utf-8", "replace"),
        "notes": _notes(message),
    }


def _part(message: EmailMessage, kind: str) -> str:
    """The text or HTML part as a mail program would show it; "" where there is none."""
    part = message.get_body(preferencelist=(kind,))
    try:
        return str(part.get_content()) if part else ""
    except (LookupError, UnicodeDecodeError):
        return ""


def _notes(message: EmailMessage) -> list[dict[str, Any]]:
    """What a developer wants to know at a glance."""
    one_click = "List-Unsubscribe" in message and "List-Unsubscribe-Post" in message
    both = bool(_part(message, "plain") and _part(message, "html"))
    return [
        {"level": "ok", "text": "One-click stop: both headers are there.", "link": None}
        if one_click
        else {"level": "ok", "text": "No one-click stop: this kind of mail carries none.", "link": None},
        {
            "level": "ok" if both else "warn",
            "text": "HTML and text part." if both else "One part only.",
            "link": None,
        },
    ]


@router.get("/inbox/{mail_id}/html")
async def body(request: Request, mail_id: int, staff: Reader) -> Response:
    """The HTML part in its frame; its links open in a new tab."""
    house = deps.house(request)
    content = await deps.read(
        house, lambda session: captured.one(session, mail_id, to=_only(session, house, staff)).content
    )
    message = captured.parse(content)
    words = html.escape(_part(message, "plain"))
    plain = f"<!doctype html><html><head></head><body><pre>{words}</pre></body></html>"
    markup = _part(message, "html") or plain
    with_base = _HEAD.sub(lambda head: head.group() + '<base target="_blank">', markup, count=1)
    return framed(with_base, house.settings, popups=True)


@router.post("/inbox/empty")
async def empty(request: Request, staff: Owner) -> Response:
    """Forget every captured mail."""
    await act(request, captured.empty)
    return pages.redirect(request, "/inbox", flash=("ok", "Empty."))
