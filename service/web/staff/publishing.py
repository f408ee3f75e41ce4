"""Publishing a notice: the review with its two buttons, and the report of what was mailed."""

from typing import Annotated, Any

from fastapi import APIRouter, Request
from markupsafe import Markup
from sqlmodel import Session
from starlette.responses import Response

from service.domain.notices import actions, queries, rules
from service.domain.notices.queries import Shown
from service.domain.reports import queries as reports
from service.domain.staff.queries import SignedIn
from service.domain.staff.rules import may
from service.kit import clock
from service.kit.errors import DomainError
from service.mail.markdown import to_html
from service.ops.house import House
from service.web import deps, forms
from service.web.sessions import require
from service.web.staff import actors, desk
from service.web.staff.announcements import reason_words
from service.web.staff.figures import NotSent, deliveries_of, figures_of
from service.web.staff.frame import act, done, show
from service.web.staff.frames import framed, refused
from service.web.staff.notices import Reader, count
from service.web.staff.reports import acts_of, follows, progress_words, until

router = APIRouter()


Publisher = Annotated[SignedIn, require("notices:publish")]


@router.get("/staff/notices/{public_id}/review")
async def review(request: Request, public_id: str, staff: Reader) -> Response:
    """The page and the mail side by side, and the two buttons."""
    house = deps.house(request)
    return await show(
        request,
        staff,
        "notices",
        "staff/notice_review.html",
        lambda session: _review(session, house, staff, public_id),
    )


def _review(session: Session, house: House, staff: SignedIn, public_id: str) -> dict[str, Any]:
    row = queries.by_public_id(session, public_id)
    shown, draft = queries.shown(session, row), queries.draft_of(session, row)
    base, body = f"/staff/notices/{public_id}", draft.content[draft.default_locale]["body"]
    live, found = shown.state == "published", queries.check(session, house.settings, draft)
    return {
        "title": shown.title,
        "base": base,
        "state": shown.state,
        "topic_name": shown.topic_name,
        "body": Markup(to_html(body)),  # noqa: S704 - cleaned
        "audience": count(session, draft),
        "based_on": shown.content_hash,
        "checks": desk.checks(found, base),
        "sounds_like_offer": shown.mail and any(one.code == rules.ADVERTISING for one in found),
        "checked_at": clock.now(),
        "mail_src": f"{base}/preview" if shown.mail else None,
        "wants_mail": shown.mail,
        "blocked": None if may(staff.role, "notices:publish") else "Your role does not publish.",
        "published": {"at": shown.published_at, "href": f"/changelog/{shown.slug}"} if live else None,
        "mailing": {"state": shown.mailing_state, "href": f"{base}/report"} if shown.mailing_state else None,
    }


@router.get("/staff/notices/{public_id}/preview")
async def preview(request: Request, public_id: str, staff: Reader) -> Response:
    """The notice as a mail, in its frame (H22)."""
    house = deps.house(request)

    def make(session: Session) -> str:
        draft = queries.draft_of(session, queries.by_public_id(session, public_id))
        locale = request.query_params.get("locale") or draft.default_locale
        return queries.preview(
            session, house.ring, house.settings, draft, locale=locale, as_person=None, now=clock.now()
        ).html

    try:
        return framed(await deps.read(house, make), house.settings)
    except DomainError as wrong:
        return refused(wrong)


@router.post("/staff/notices/{public_id}/publish")
async def publish(request: Request, public_id: str, staff: Publisher) -> Response:
    """Put it on the changelog and, by the other button, mail it once."""
    form, house = await forms.read(request), deps.house(request)
    mail, said = form.text("mail") == "1", "not_advertising" in form

    def go(session: Session) -> None:
        hold = house.settings.hold_seconds
        actions.publish(
            session, house.settings, public_id, mail=mail, hold_seconds=hold, not_advertising=said,
            based_on=form.text("based_on") or None, now=clock.now(), by=staff.by,
        )  # fmt: skip

    fenced = await act(request, go)
    path = f"/staff/notices/{public_id}/{'report' if mail else 'review'}"
    return await done(request, staff, fenced, path, "It is live." + (" The mail follows." if mail else ""))


@router.post("/staff/notices/{public_id}/cancel")
async def cancel(request: Request, public_id: str, staff: Publisher) -> Response:
    """Give up a draft, or stop the mail of one that is live."""
    fenced = await act(
        request, lambda session: actions.cancel(session, public_id, now=clock.now(), by=staff.by)
    )
    return await done(request, staff, fenced, "/staff/notices", "Stopped.")


@router.post("/staff/notices/{public_id}/resume")
async def resume(request: Request, public_id: str, staff: Publisher) -> Response:
    """Let a mail that was halted go on where it stood."""
    fenced = await act(
        request, lambda session: actions.resume(session, public_id, now=clock.now(), by=staff.by)
    )
    path = f"/staff/notices/{public_id}/report"
    return await done(request, staff, fenced, path, "It goes on; nobody gets it twice.")


@router.get("/staff/notices/{public_id}/report")
async def report(request: Request, public_id: str, staff: Reader) -> Response:
    """What became of its mail."""
    may_act = may(staff.role, "notices:publish")

    def build(session: Session) -> dict[str, Any]:
        row = queries.by_public_id(session, public_id)
        shown, mailing = queries.shown(session, row), queries.mailing_of(session, row)
        if mailing is None:
            raise NotSent
        figures, base = reports.of_notice(session, row), f"/staff/notices/{public_id}"
        return {
            "title": shown.title,
            "crumb": {"href": "/staff/notices", "label": "Notices"},
            "base": base,
            "announcement": {
                "state": mailing.state,
                "reason": reason_words(mailing.reason),
                "topic_name": shown.topic_name,
            },
            "acts": acts_of(mailing.state, mailing) - {"pause"} if may_act else set(),
            "sentence": progress_words(mailing.state, figures),
            "until": until(mailing),
            "live": follows(request, mailing.state, mailing.due_at),
            "held_until": mailing.due_at if mailing.due_at > clock.now() else None,
            "version": _version(session, shown),
            **figures_of(session, mailing, figures, base),
        }

    return await show(request, staff, "notices", "staff/report.html", build)


def _version(session: Session, shown: Shown) -> dict[str, Any]:
    by = actors.names(session, [shown.author])[shown.author]
    return {
        "hash": shown.content_hash,
        "by": by,
        "at": shown.published_at,
        "approved_by": None,
        "approved_at": None,
        "preview_href": f"/staff/notices/{shown.id}/preview",
    }


@router.get("/staff/notices/{public_id}/deliveries")
async def deliveries(request: Request, public_id: str, staff: Reader) -> Response:
    """Every person its mail was for."""
    house = deps.house(request)

    def build(session: Session) -> dict[str, Any]:
        row = queries.by_public_id(session, public_id)
        mailing = queries.mailing_of(session, row)
        if mailing is None:
            raise NotSent
        back = {"href": f"/staff/notices/{public_id}/report", "label": queries.title_of(row)}
        return deliveries_of(request, session, house, staff, mailing, back)

    return await show(request, staff, "notices", "staff/deliveries.html", build)
