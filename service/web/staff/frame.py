"""What surrounds every staff page: menu, sending strip, alarms, messages; and the answers every page gives.

Each page calls `show` (a read), `show_noted` (a read that the ledger must know of) or `act` (a write).
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import urlencode

from fastapi import Request
from markupsafe import Markup
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session
from starlette.responses import HTMLResponse, Response

from service import fence
from service.domain.announcements import queries as announcements
from service.domain.announcements.queries import Listed
from service.domain.brands import queries as brands
from service.domain.privacy import queries as privacy
from service.domain.privacy import rules
from service.domain.reports import queries as reports
from service.domain.senders import queries as senders
from service.domain.staff.queries import SignedIn
from service.domain.staff.rules import ROLE_NAMES, may
from service.kit import clock
from service.kit.errors import DomainError
from service.ops.health import span
from service.ops.house import House
from service.web import deps, forms, pages, sessions
from service.web.forms import Form
from service.web.staff import kept

T = TypeVar("T")
IN_FLIGHT = "Recorded; a message already on its way may still arrive."

# Every entry of the menu, and the permission its page asks for.
MENU = {
    "home": "announcements:read",
    "announcements": "announcements:read",
    "notices": "notices:read",
    "templates": "templates:read",
    "people": "people:read",
    "topics": "topics:read",
    "policies": "policies:read",
    "do-not-mail": "people:read",
    "contact": "contact:read",
    "privacy": "people:rights",
    "ledger": "ledger:read",
    "inbox": "inbox:own",
    "health": "health:read",
    "settings": "settings:read",
    "staff": "staff:write",
    "keys": "keys:write",
}
_TITLES = {
    401: "Please sign in",
    403: "Not for your role",
    404: "Not here",
    409: "That does not fit",
    413: "Too large",
    422: "Something is not right",
    429: "Too often",
}


async def show(
    request: Request,
    staff: SignedIn,
    here: str,
    template: str,
    build: Callable[[Session], Mapping[str, Any]],
    *,
    status: int = 200,
) -> HTMLResponse:
    """Read what the page shows, with its frame, in one consistent view of the database, and render it."""
    house = deps.house(request)
    context = await deps.read(
        house, lambda session: {**_frame(session, house, staff, here), **build(session)}
    )
    return pages.html(request, template, {**context, "flashes": pages.flashes(request)}, status=status)


async def show_noted(
    request: Request,
    staff: SignedIn,
    here: str,
    template: str,
    build: Callable[[Session], Mapping[str, Any]],
    *,
    status: int = 200,
) -> HTMLResponse:
    """As `show`, where `build` opens personal data and writes who read it; that is committed first."""
    read = await act(request, build)
    return await show(request, staff, here, template, lambda _: read.value, status=status)


async def act(request: Request, action: Callable[[Session], T]) -> fence.Fenced[T]:
    """Run one action in one transaction; what takes away is waited for."""
    return await fence.perform(deps.house(request), action)


async def change(
    request: Request,
    do: Callable[[Session, Form], None],
    page: Callable[..., Awaitable[Response]],
    *,
    fields: tuple[str, ...],
    path: str,
    words: str,
) -> Response:
    """Do what a form of a page says, and back to that page; or, at once, the page as it was filled in with what is wrong.
    `page` takes what was typed, the faults of `fields`, and a status."""
    form = await forms.read(request)
    try:
        await act(request, lambda session: do(session, form))
    except DomainError as wrong:
        return await page(form.values(), faults(wrong, fields), status=wrong.status)
    return pages.redirect(request, path, flash=("ok", words))


async def done(
    request: Request, staff: SignedIn, fenced: fence.Fenced[Any], path: str, words: str, *, kind: str = "ok"
) -> Response:
    """On to the next page with a word about what was done; or 202: the fence was not reached in time (P1)."""
    if fenced.settled:
        return pages.redirect(request, path, flash=(kind, words))
    context = {"words": words, "in_flight": IN_FLIGHT, "path": path}
    return await show(request, staff, "", "staff/recorded.html", lambda _: context, status=202)


async def error_page(request: Request, error: DomainError | None, status: int) -> Response:
    """The page for whatever went wrong under /staff and /inbox; strangers are asked to sign in."""
    if isinstance(error, sessions.NotSignedIn) and request.method in ("GET", "HEAD"):
        return pages.redirect(request, _login_path(request))
    written = await kept.of_refused(request) if isinstance(error, sessions.NotSignedIn) else None
    if written:
        return kept.sign_in_page(request, {"next": "/staff"}, {}, written, status=status)
    context: dict[str, Any] = {
        "title": _TITLES.get(status, "That went wrong"),
        "sentence": error.detail if error else "Something failed on our side, and nothing was changed.",
        "fix": error.fix
        if error
        else "Try again; if it stays, give the code below to whoever runs this installation.",
        "code": error.code if error else getattr(request.state, "request_id", None),
        "link": _way_on(request),
    }
    framed = await _framed_error(request, context, status)
    if framed is not None:
        return framed
    plain = {
        **context,
        "practice": deps.house(request).settings.practice,
        "link": {"href": "/staff/login", "label": "Sign in"},
    }
    return pages.html(request, "staff/door_error.html", plain, status=status)


def _way_on(request: Request) -> dict[str, str]:
    """Where a refused press leads on: the thing it was about, as it stands now; else the first page."""
    parts = request.url.path.split("/")
    if request.method == "POST" and len(parts) > 4 and parts[2] in ("announcements", "notices", "topics"):
        return {"href": "/".join(parts[:4]), "label": "See how it stands now"}
    return {"href": "/staff", "label": "To the first page"}


async def _framed_error(request: Request, context: dict[str, Any], status: int) -> Response | None:
    """The error inside the usual frame; None for strangers, and when the database itself is what fails."""
    try:
        staff = await sessions.who(request)
        return (
            await show(request, staff, "", "staff/error.html", lambda _: context, status=status)
            if staff
            else None
        )
    except SQLAlchemyError:
        return None


def _login_path(request: Request) -> str:
    """The sign-in page that leads back here (a page's path holds opaque ids only)."""
    path = request.url.path
    return "/staff/login" if path == "/staff" else f"/staff/login?next={path}"


def _frame(session: Session, house: House, staff: SignedIn, here: str) -> dict[str, Any]:
    now = clock.now()
    return {
        "staff": {"name": staff.name, "role": ROLE_NAMES[staff.role]},
        "menu": menu_of(staff.role, practice=house.settings.practice),
        "here": here,
        "practice": house.settings.practice,
        "alarms": _alarms(session, now) + (_breach(session, now) if may(staff.role, "people:rights") else []),
        "sending": [_strip(session, one, staff, now) for one in announcements.running(session)],
    }


def menu_of(role: str, *, practice: bool) -> set[str]:
    """The entries this role may open; the captured inbox only while nothing leaves this machine."""
    return {
        entry
        for entry, permission in MENU.items()
        if may(role, permission) and (practice or entry != "inbox")
    }


def _alarms(session: Session, now: datetime) -> list[dict[str, Any]]:
    """What concerns everybody until it is mended."""
    alarms: list[dict[str, Any]] = [
        {
            "text": f"Sender {one.name} has not been heard of; mail it was sending may wait.",
            "href": "/staff/health",
        }
        for one in senders.suspect(session, now=now)
    ]
    if brands.noted_behind(session):
        text = (
            "This database is a copy from an earlier day, and people may have said no since: nothing leaves."
        )
        alarms.append({"text": text, "href": "/staff/health"})
    elif not brands.setting(session, "sending_on"):
        jump = brands.clock_jump(session)
        since = f" since the clock jumped by {span(jump)}. See that the time is right first" if jump else ""
        text = f"Sending is switched off{since}: nothing leaves."
        alarms.append({"text": text, "href": "/staff/health" if jump else "/staff/settings"})
    return alarms


def _breach(session: Session, now: datetime) -> list[dict[str, Any]]:
    """The authority has to know within 72 hours, and they pass on every page of whoever can tell it."""
    row = privacy.first_unreported(session)
    if row is None:
        return []
    until = rules.report_by(row.noticed_at)
    length = span(abs((until - now).total_seconds())).removeprefix("+")
    left = f"within {length}" if until > now else f"and should have known {length} ago"
    text = f"A breach is on record; the authority has to know of it {left}."
    return [{"text": text, "href": f"/staff/privacy/breaches/{row.public_id}"}]


def _strip(session: Session, shown: Listed, staff: SignedIn, now: datetime) -> dict[str, Any]:
    """One mailing at work, as it stands in the rail of every page."""
    path = f"/staff/announcements/{shown.id}"
    mailing = announcements.mailing_of(session, announcements.by_public_id(session, shown.id))
    progress = reports.progress(session, mailing, now=now) if mailing else None
    planned, settled = (progress.planned, progress.settled) if progress else (0, 0)
    pausable = shown.state in ("freezing", "sending") and may(staff.role, "announcements:write")
    return {
        "name": shown.name,
        "href": f"{path}/report",
        "settled": settled,
        "planned": planned,
        "percent": percent(settled, planned),
        "state": shown.state,
        "pause": f"{path}/pause" if pausable else None,
    }


def percent(part: int, whole: int) -> int:
    """Whole per cent, never 100 before all of it."""
    return part * 100 // whole if whole else 0


def drawing(svg: str, head: list[str], rows: list[list[str]], caption: str | None = None) -> dict[str, Any]:
    """A plot of `reports.plots`, which escapes its words, with its table twin."""
    return {"svg": Markup(svg), "head": head, "rows": rows, "caption": caption}  # noqa: S704


def faults(error: DomainError, fields: Collection[str] | None = None) -> dict[str, str]:
    """What a form shows of an error: its field (the last part of the path), the sentence, how to mend it.

    What belongs to none of the page's `fields` stands above them all.
    """
    name = (error.field or "").rpartition(".")[2]
    sentence = f"{error.detail} {error.fix}" if error.fix else error.detail
    return {name if fields is None or name in fields else "": sentence}


def choice(value: str, label: str, selected: bool = False) -> dict[str, Any]:
    """One option of a select or a group of boxes."""
    return {"value": value, "label": label, "selected": selected}


def tab(label: str, href: str, current: bool, count: int | None = None) -> dict[str, Any]:
    """One of several views of a thing."""
    return {"label": label, "href": href, "current": current, "count": count}


def pager(
    request: Request, following: str | None, text: str = "", *, path: str | None = None, part: str = ""
) -> dict[str, Any] | None:
    """Newer and older: keyset pages lead on; back is the first page. `path`: of the pages, where the answer to a form shows one of
    them, too; `part`: of the page, where the rows are not all of it (`#log`)."""
    first = "after" not in request.query_params
    if first and not following:
        return None
    kept = {name: value for name, value in request.query_params.items() if name != "after"}
    newest, older = urlencode(kept), urlencode({**kept, "after": following or ""})
    base = request.url.path if path is None else path
    return {
        "prev": None if first else f"{base}?{newest}".rstrip("?") + part,
        "next": f"{base}?{older}{part}" if following else None,
        "text": text,
    }
