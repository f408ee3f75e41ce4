"""Notices: the board, the editor, the review with its two buttons, and the report of what was mailed."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Request
from markupsafe import Markup
from sqlmodel import Session
from starlette.responses import Response

from service.domain.mailings import queries as mailings
from service.domain.notices import actions, queries, rules
from service.domain.notices.queries import Shown
from service.domain.notices.rules import Draft
from service.domain.notices.tables import Notice
from service.domain.staff.queries import SignedIn
from service.domain.staff.rules import may
from service.domain.topics import queries as topics
from service.kit import clock
from service.kit.errors import DomainError
from service.mail.markdown import to_html
from service.web import deps, forms, pages
from service.web.forms import Form
from service.web.sessions import require
from service.web.staff import audience as whom
from service.web.staff import desk
from service.web.staff.composer import same_as_kept
from service.web.staff.frame import act, choice, faults, show

router = APIRouter()

Reader = Annotated[SignedIn, require("notices:read")]
Writer = Annotated[SignedIn, require("notices:write")]

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
                    _slip(one, _held_until(session, one), may_write=may_write)
                    for one in queries.page(session, states=(state,), limit=20).rows
                ],
                "more": None,
            }
            for sign, title, state in COLUMNS
        ]
        return {"columns": columns, "tabs": [], "may_write": may_write}

    return await show(request, staff, "notices", "staff/notices.html", build)


def _held_until(session: Session, one: Shown) -> datetime | None:
    """The end of its mail's hold, while that runs."""
    mailing = mailings.by_public_id(session, one.mailing) if one.mailing else None
    if mailing is None or mailing.state not in ("freezing", "sending") or mailing.due_at <= clock.now():
        return None
    return mailing.due_at


def _slip(one: Shown, held_until: datetime | None, *, may_write: bool) -> dict[str, Any]:
    base = f"/staff/notices/{one.id}"
    mailed = {"sent": "mailed", "sending": "being mailed", "freezing": "being mailed", None: None}
    note = f"mail held until {held_until:%H:%M:%S} UTC" if held_until else None
    return {
        "title": one.title,
        "href": base if may_write and one.state != "cancelled" else f"{base}/review",
        "source": "page and mail" if one.mail else "page",
        "at": one.published_at or one.changed_at,
        "topic": one.topic_name,
        "people": None,
        "missing": None,
        "note": note or mailed.get(one.mailing_state, f"mail {one.mailing_state}"),
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
            seen = form.text("over") or form.text("based_on") or None
            actions.edit(
                session, house.settings, public_id, **words, based_on=seen, now=clock.now(), by=staff.by
            )

    try:
        await act(request, keep)
    except DomainError as wrong:
        return await _editor(
            request, staff, public_id, form.values(), faults(wrong, FIELDS), form=form, status=wrong.status,
            is_stale=isinstance(wrong, rules.StaleVersion),
        )  # fmt: skip
    return pages.redirect(request, _next_path(public_id, form), flash=("ok", "Saved."))


def _next_path(public_id: str, form: Form) -> str:
    base = f"/staff/notices/{public_id}"
    if form.text("to_locale"):
        return f"{base}?locale={desk.safe_locale(form.text('to_locale'))}"
    return (
        f"{base}/review"
        if form.text("then") == "review"
        else f"{base}?locale={desk.safe_locale(form.text('locale'))}"
    )


def _draft(form: Form, before: Draft) -> Draft:
    """The notice as the form has it; the other languages are kept, one left empty is dropped."""
    locale = form.text("locale") or before.default_locale
    kept = before.content.get(locale, {})
    typed = {name: form.text(name) for name in ("title", "preheader", "body")}
    typed = same_as_kept(typed, kept)
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
    is_stale: bool = False,
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
        locale = asked if asked in {*desk.OFFERED, *draft.content} else draft.default_locale
        words = draft.content.get(locale, {"title": "", "preheader": "", "body": ""})
        return {
            "title": queries.title_of(row) if row else "New notice",
            "action": f"/staff/notices/{public_id or 'new'}",
            "state": row.state if row else "draft",
            "topics": _topics(session, draft.topic),
            "locale": locale,
            "locales": desk.locale_list(locale, draft.content),
            "values": {**words, "mail": "1" if row and row.mail else "", **values},
            "errors": errors,
            "based_on": (form.text("based_on") if form else "") or (row.content_hash if row else ""),
            "stale": _stale(row) if row and is_stale else None,
            "audience": count(session, draft),
            "preview": Markup(to_html(words["body"])) if words["body"] and not errors else None,  # noqa: S704 - cleaned
        }

    return await show(request, staff, "notices", "staff/notice_editor.html", build, status=status)


def _stale(row: Notice) -> dict[str, Any]:
    """What is kept now, for whoever wrote something else meanwhile."""
    return {"over": row.content_hash, "href": f"/staff/notices/{row.public_id}", "at": row.changed_at}


def _topics(session: Session, current: str) -> list[dict[str, Any]]:
    return [
        choice(topic.slug, topics.wording_for(session, topic.id or 0, "en").title, topic.slug == current)
        for topic in topics.active(session)
        if topic.mail_class in ("notice", "service")
    ]


def count(session: Session, draft: Draft) -> dict[str, Any]:
    """How many would get it by mail now, and why not more."""
    topic, counts = topics.by_slug(session, draft.topic), queries.audience(session, draft, now=clock.now())
    return whom.picture(session, topic, draft.audience, counts)
