"""Notices: the board, the editor, the review with its two buttons, and the report of what was mailed."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Request
from markupsafe import Markup
from sqlmodel import Session
from starlette.responses import Response

from service.domain.notices import actions, queries, rules
from service.domain.notices.queries import Shown
from service.domain.notices.rules import Draft
from service.domain.reports import queries as reports
from service.domain.staff import queries as members
from service.domain.staff.queries import SignedIn
from service.domain.staff.rules import may
from service.domain.topics import queries as topics
from service.kit import clock
from service.kit.errors import DomainError
from service.mail.markdown import to_html
from service.ops.house import House
from service.web import deps, forms, pages
from service.web.forms import Form
from service.web.sessions import require
from service.web.staff import audience as whom
from service.web.staff import composer
from service.web.staff.announcements import reason_words
from service.web.staff.frame import act, choice, done, faults, show
from service.web.staff.frames import framed, refused
from service.web.staff.reports import NotSent, deliveries_of, figures_of

router = APIRouter()

Reader = Annotated[SignedIn, require("notices:read")]
Writer = Annotated[SignedIn, require("notices:write")]
Publisher = Annotated[SignedIn, require("notices:publish")]

FIELDS = ("title", "preheader", "body", "topic")
COLUMNS = (("draft", "Drafts", "draft"), ("sent", "Live", "published"), ("stopped", "Given up", "cancelled"))
EMPTY = Draft(rules.DEFAULT_TOPIC, None, {}, {"attributes": {}}, "en")


@router.get("/staff/notices")
async def board(request: Request, staff: Reader) -> Response:
    """What is written, what is live, what was given up."""
    may_write = may(staff.role, "notices:write")

    def build(session: Session) -> dict[str, Any]:
        counts = queries.counts(session)
        columns = [
            {
                "sign": sign,
                "title": title,
                "count": counts.get(state, 0),
                "items": [
                    _slip(one, may_write=may_write)
                    for one in queries.page(session, states=(state,), limit=20).rows
                ],
                "more": None,
            }
            for sign, title, state in COLUMNS
        ]
        return {"columns": columns, "tabs": [], "may_write": may_write}

    return await show(request, staff, "notices", "staff/notices.html", build)


def _slip(one: Shown, *, may_write: bool) -> dict[str, Any]:
    base = f"/staff/notices/{one.id}"
    mailed = {"sent": "mailed", "sending": "being mailed", "freezing": "being mailed", None: None}
    return {
        "title": one.title,
        "href": base if may_write and one.state != "cancelled" else f"{base}/review",
        "source": "page and mail" if one.mail else "page",
        "at": one.published_at or one.changed_at,
        "topic": one.topic_name,
        "people": None,
        "missing": None,
        "note": mailed.get(one.mailing_state, f"mail {one.mailing_state}"),
    }


@router.get("/staff/notices/new")
async def new(request: Request, staff: Writer) -> Response:
    """A blank notice."""
    return await _editor(request, staff, None, {}, {})


@router.post("/staff/notices/new")
async def create(request: Request, staff: Writer) -> Response:
    """Keep a new notice."""
    form, house = await forms.read(request), deps.house(request)

    def make(session: Session) -> str:
        draft = _draft(form, EMPTY)
        row = actions.create(
            session,
            house.settings,
            topic=draft.topic,
            content=draft.content,
            audience=draft.audience,
            mail="mail" in form,
            now=clock.now(),
            by=staff.by,
        )
        return row.public_id

    try:
        made = await act(request, make)
    except DomainError as wrong:
        return await _editor(
            request, staff, None, form.values(), faults(wrong, FIELDS), form=form, status=wrong.status
        )
    return pages.redirect(request, _next_path(made.value, form), flash=("ok", "Saved."))


@router.get("/staff/notices/{public_id}")
async def page(request: Request, public_id: str, staff: Writer) -> Response:
    """The editor; what is live is corrected with it."""
    return await _editor(request, staff, public_id, {}, {})


@router.post("/staff/notices/{public_id}")
async def save(request: Request, public_id: str, staff: Writer) -> Response:
    """Keep what was changed; a published notice is corrected on the page and never mailed again."""
    form, house = await forms.read(request), deps.house(request)

    def keep(session: Session) -> None:
        row = queries.by_public_id(session, public_id)
        before = queries.draft_of(session, row)
        after, mail = queries.read(session, house.settings, _draft(form, before)), "mail" in form
        if after != before or mail != row.mail:
            words = {"topic": after.topic, "content": after.content, "audience": after.audience, "mail": mail}
            actions.edit(session, house.settings, public_id, **words, now=clock.now(), by=staff.by)

    try:
        await act(request, keep)
    except DomainError as wrong:
        return await _editor(
            request, staff, public_id, form.values(), faults(wrong, FIELDS), form=form, status=wrong.status
        )
    return pages.redirect(request, _next_path(public_id, form), flash=("ok", "Saved."))


def _next_path(public_id: str, form: Form) -> str:
    base = f"/staff/notices/{public_id}"
    if form.text("to_locale"):
        return f"{base}?locale={composer.safe_locale(form.text('to_locale'))}"
    return (
        f"{base}/review"
        if form.text("then") == "review"
        else f"{base}?locale={composer.safe_locale(form.text('locale'))}"
    )


def _draft(form: Form, before: Draft) -> Draft:
    """The notice as the form has it; the other languages are kept, one left empty is dropped."""
    locale = form.text("locale") or before.default_locale
    kept = before.content.get(locale, {})
    typed = {"title": form.text("title"), "preheader": kept.get("preheader", ""), "body": form.text("body")}
    content: dict[str, Any] = {code: dict(words) for code, words in before.content.items() if code != locale}
    if typed["title"] or typed["body"] or locale == before.default_locale:
        content[locale] = typed
    topic = form.text("topic") or before.topic
    template = before.template if topic == before.topic else None
    return rules.read_draft(
        topic=topic,
        template=template,
        content=content,
        audience=whom.chosen(form),
        default_locale=before.default_locale,
    )


async def _editor(
    request: Request,
    staff: SignedIn,
    public_id: str | None,
    values: Mapping[str, str],
    errors: dict[str, str],
    *,
    form: Form | None = None,
    status: int = 200,
) -> Response:
    asked = (form.text("locale") if form else "") or request.query_params.get("locale", "")

    def build(session: Session) -> dict[str, Any]:
        row = queries.by_public_id(session, public_id) if public_id else None
        draft = queries.draft_of(session, row) if row else EMPTY
        if form:
            draft = Draft(
                form.text("topic") or draft.topic,
                draft.template,
                draft.content,
                whom.chosen(form),
                draft.default_locale,
            )
        locale = asked if asked in {*composer.OFFERED, *draft.content} else draft.default_locale
        words = draft.content.get(locale, {"title": "", "body": ""})
        return {
            "title": queries.title_of(row) if row else "New notice",
            "action": f"/staff/notices/{public_id or 'new'}",
            "state": row.state if row else "draft",
            "topics": _topics(session, draft.topic),
            "locale": locale,
            "locales": composer.locale_list(locale, draft.content),
            "values": {**words, "mail": "1" if row and row.mail else "", **values},
            "errors": errors,
            "audience": _count(session, draft),
            "preview": Markup(to_html(words["body"])) if words["body"] and not errors else None,  # noqa: S704 - cleaned
        }

    return await show(request, staff, "notices", "staff/notice_editor.html", build, status=status)


def _topics(session: Session, current: str) -> list[dict[str, Any]]:
    return [
        choice(topic.slug, topics.wording_for(session, topic.id or 0, "en").title, topic.slug == current)
        for topic in topics.active(session)
        if topic.mail_class in ("notice", "service")
    ]


def _count(session: Session, draft: Draft) -> dict[str, Any]:
    return whom.picture(session, draft.audience, queries.audience(session, draft, now=clock.now()))


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
    live = shown.state == "published"
    return {
        "title": shown.title,
        "base": base,
        "state": shown.state,
        "topic_name": shown.topic_name,
        "body": Markup(to_html(body)),  # noqa: S704 - cleaned
        "audience": _count(session, draft),
        "checks": composer.checks(queries.check(session, house.settings, draft)),
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
    mail = form.text("mail") == "1"

    def go(session: Session) -> None:
        hold = house.settings.hold_seconds
        actions.publish(
            session, house.settings, public_id, mail=mail, hold_seconds=hold, now=clock.now(), by=staff.by
        )

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


@router.get("/staff/notices/{public_id}/report")
async def report(request: Request, public_id: str, staff: Reader) -> Response:
    """What became of its mail."""
    may_stop = may(staff.role, "notices:publish")

    def build(session: Session) -> dict[str, Any]:
        row = queries.by_public_id(session, public_id)
        shown, mailing = queries.shown(session, row), queries.mailing_of(session, row)
        if mailing is None:
            raise NotSent
        figures, base = reports.of_notice(session, row), f"/staff/notices/{public_id}"
        sent, planned = figures["outcomes"]["sent"], figures["planned"]
        return {
            "title": shown.title,
            "base": base,
            "announcement": {
                "state": mailing.state,
                "reason": reason_words(mailing.reason),
                "topic_name": shown.topic_name,
            },
            "acts": {"cancel"} if may_stop and mailing.state in ("freezing", "sending", "paused") else set(),
            "sentence": f"{sent:,} of {planned:,} sent.",
            "held_until": mailing.due_at if mailing.due_at > clock.now() else None,
            "version": _version(session, shown),
            **figures_of(session, mailing, figures, base),
        }

    return await show(request, staff, "notices", "staff/report.html", build)


def _version(session: Session, shown: Shown) -> dict[str, Any]:
    by = members.names(session, [shown.author]).get(shown.author, shown.author)
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
