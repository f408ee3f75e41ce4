"""The register of breaches: each with its 72 hours, what is known of it, and who was told."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Request
from sqlmodel import Session
from starlette.responses import Response

from service.domain.privacy import breaches, queries, rules
from service.domain.privacy.tables import Breach
from service.domain.staff.queries import SignedIn
from service.kit import clock
from service.kit.errors import DomainError
from service.kit.ids import new_id
from service.ops.health import span
from service.web import forms, pages
from service.web.forms import Form
from service.web.sessions import require
from service.web.staff import actors
from service.web.staff.frame import act, change, choice, faults, show
from service.web.staff.requests import rooms, typed

router = APIRouter()

Officer = Annotated[SignedIn, require("people:rights")]
HERE = "/staff/privacy/breaches"
FIELDS = (*rules.BREACH_FACTS, "noticed_at", "reported_at", "to", "why", "told", "how")
MINUTE = "%Y-%m-%dT%H:%M"


@router.get("/staff/privacy/breaches")
async def listing(request: Request, staff: Officer) -> Response:
    """All of them, open ones first."""

    def build(session: Session) -> dict[str, Any]:
        now = clock.now()
        rows = [
            {
                "href": f"{HERE}/{one.public_id}",
                "what": one.what.partition("\n")[0][:120],
                "noticed_at": one.noticed_at,
                "how_many": one.how_many or "not known yet",
                "people": _people_words(one),
                **_standing(one, now),
            }
            for one in queries.breaches(session)
        ]
        return {"rooms": rooms("breaches"), "rows": rows}

    return await show(request, staff, "privacy", "staff/breaches.html", build)


def _standing(one: Breach, now: datetime) -> dict[str, str]:
    """The authority's clock, in words and with its sign."""
    until = rules.report_by(one.noticed_at)
    if one.reported_at is not None:
        late = one.reported_at > until
        words = f"Reported {_span(one.reported_at, until)} late" if late else "Reported in time"
        state = "closed" if one.closed_at else "warn" if late else "approved"
        return {"state": state, "words": words}
    if not breaches.clock_runs(one):
        return {"state": "closed", "words": "Not to be reported"}
    if now > until:
        return {"state": "bad", "words": f"Overdue by {_span(now, until)}"}
    return {"state": "warn", "words": f"{_span(until, now)} left to report"}


def _span(later: datetime, earlier: datetime) -> str:
    return span((later - earlier).total_seconds()).removeprefix("+")


def _people_words(one: Breach) -> str:
    return {None: "not settled yet", True: "told", False: "not told"}[one.people_told]


@router.get("/staff/privacy/breaches/new")
async def blank(request: Request, staff: Officer) -> Response:
    """The form."""
    values = {"noticed_at": clock.now().strftime(MINUTE), "reference": new_id("b")}
    return await _blank(request, staff, values, {})


@router.post("/staff/privacy/breaches/new")
async def notice(request: Request, staff: Officer) -> Response:
    """Write one down; its clock runs from when it was noticed."""
    form = await forms.read(request)

    def keep(session: Session) -> str:
        at = _moment(form, "noticed_at")
        reference = form.text("reference")
        row = breaches.notice(
            session, noticed_at=at, given=form.values(), reference=reference, now=clock.now(), by=staff.by
        )
        return row.public_id

    try:
        made = (await act(request, keep)).value
    except DomainError as wrong:
        values = typed(form, wrong, "b")
        return await _blank(request, staff, values, faults(wrong, FIELDS), status=wrong.status)
    return pages.redirect(request, f"{HERE}/{made}", flash=("ok", "Written down; the 72 hours run."))


async def _blank(
    request: Request, staff: SignedIn, values: dict[str, str], errors: dict[str, str], *, status: int = 200
) -> Response:
    context = {"values": values, "errors": errors, "latest": clock.now().strftime(MINUTE)}
    return await show(request, staff, "privacy", "staff/breach_new.html", lambda _: context, status=status)


def _moment(form: Form, name: str) -> datetime:
    """What a date and time field says, in UTC where it names no offset. Raises `MomentInvalid`."""
    try:
        given = datetime.fromisoformat(form.text(name))
        return (given if given.tzinfo else given.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as odd:
        raise rules.MomentInvalid(field=name) from odd


@router.get("/staff/privacy/breaches/{public_id}")
async def page(request: Request, public_id: str, staff: Officer) -> Response:
    """One breach."""
    return await _page(request, public_id, staff, {}, {})


@router.post("/staff/privacy/breaches/{public_id}/facts")
async def note(request: Request, public_id: str, staff: Officer) -> Response:
    """What is known better by now."""

    def save(session: Session, form: Form) -> None:
        breaches.note(session, public_id, given=form.values(), now=clock.now(), by=staff.by)

    return await _change(request, public_id, staff, save, "Written down.")


@router.post("/staff/privacy/breaches/{public_id}/report")
async def report(request: Request, public_id: str, staff: Officer) -> Response:
    """The authority was told, or need not be (`do` = leave)."""

    def say(session: Session, form: Form) -> None:
        at = None if form.text("do") == "leave" else _moment(form, "reported_at")
        to, why = form.text("to"), form.text("why")
        breaches.report(session, public_id, to=to, reported_at=at, why=why, now=clock.now(), by=staff.by)

    return await _change(request, public_id, staff, say, "Written down; the clock has stopped.")


@router.post("/staff/privacy/breaches/{public_id}/people")
async def people(request: Request, public_id: str, staff: Officer) -> Response:
    """Whether those concerned were told."""

    def say(session: Session, form: Form) -> None:
        told, how = form.text("told") == "yes", form.text("how")
        breaches.people(session, public_id, told=told, how=how, now=clock.now(), by=staff.by)

    return await _change(request, public_id, staff, say, "Written down.")


@router.post("/staff/privacy/breaches/{public_id}/close")
async def close(request: Request, public_id: str, staff: Officer) -> Response:
    """Put it away."""

    def end(session: Session, form: Form) -> None:
        breaches.close(session, public_id, now=clock.now(), by=staff.by)

    return await _change(request, public_id, staff, end, "Closed.")


async def _change(
    request: Request, public_id: str, staff: SignedIn, do: Callable[[Session, Form], None], words: str
) -> Response:
    page = partial(_page, request, public_id, staff)
    return await change(request, do, page, fields=FIELDS, path=f"{HERE}/{public_id}", words=words)


async def _page(
    request: Request,
    public_id: str,
    staff: SignedIn,
    values: dict[str, str],
    errors: dict[str, str],
    *,
    status: int = 200,
) -> Response:
    def build(session: Session) -> dict[str, Any]:
        now, row = clock.now(), queries.breach_by_id(session, public_id)
        return _facts(session, row, now) | {"values": _values(row, now) | values, "errors": errors}

    return await show(request, staff, "privacy", "staff/breach.html", build, status=status)


def _values(row: Breach, now: datetime) -> dict[str, str]:
    """What the forms hold: the facts as they stand, this minute for a report."""
    facts = {name: str(getattr(row, name)) for name in rules.BREACH_FACTS}
    at = (row.reported_at or now).strftime(MINUTE)
    return facts | {"reported_at": at, "to": row.reported_to, "why": row.report_note, "how": row.people_note}


def _facts(session: Session, row: Breach, now: datetime) -> dict[str, Any]:
    names = actors.names(session, [row.created_by, row.closed_by])
    told = {True: "yes", False: "no", None: ""}[row.people_told]
    known = [
        {"name": label, "value": getattr(row, name)}
        for name, label in {
            "what": "What happened",
            "whom": "Whom and what it concerns",
            "how_many": "How many people",
            "consequences": "What may come of it",
            "done": "What was done",
        }.items()
    ]
    return {
        "base": f"{HERE}/{row.public_id}",
        "title": row.what.partition("\n")[0][:80],
        "reference": row.public_id,
        "noticed_at": row.noticed_at,
        "report_by": rules.report_by(row.noticed_at),
        "reported": {"at": row.reported_at, "to": row.reported_to, "note": row.report_note},
        "people": {"words": _people_words(row), "note": row.people_note},
        "noted": {"by": names[row.created_by], "at": row.created_at},
        "closed": {"at": row.closed_at, "by": names[row.closed_by]} if row.closed_by else None,
        "known": known,
        "latest": now.strftime(MINUTE),
        "told": [
            choice("yes", "They were told", told == "yes"),
            choice("no", "They were not", told != "yes"),
        ],
        **_standing(row, now),
    }
