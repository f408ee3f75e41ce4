"""Writing one announcement: save, live count and checks, preview as any person, test mail to oneself."""

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from sqlmodel import Session
from starlette.responses import Response

from service.domain.announcements import actions, queries, rules
from service.domain.announcements.rules import Draft
from service.domain.staff import queries as members
from service.domain.staff.queries import SignedIn
from service.kit import clock
from service.kit.errors import DomainError
from service.mail.check import Finding
from service.ops.house import House
from service.web import deps, forms, pages
from service.web.forms import Form
from service.web.sessions import require
from service.web.staff import audience as whom
from service.web.staff import desk
from service.web.staff.frame import act, faults, show, show_noted
from service.web.staff.frames import framed, refused

router = APIRouter()

Reader = Annotated[SignedIn, require("announcements:read")]
Writer = Annotated[SignedIn, require("announcements:write")]

WORDS = ("subject", "preheader", "body")


@router.get("/staff/announcements/{public_id}")
async def page(request: Request, public_id: str, staff: Writer) -> Response:
    """The composer; what has been scheduled is shown as its report."""
    state = await deps.read(
        deps.house(request),
        lambda session: queries.shown(session, queries.by_public_id(session, public_id)).state,
    )
    if state not in ("draft", "in_review", "approved"):
        return pages.redirect(request, f"/staff/announcements/{public_id}/report")
    query = request.query_params
    as_id, view = query.get("as", ""), query.get("view", "")
    house = deps.house(request)

    def build(session: Session) -> dict[str, Any]:
        draft = queries.draft_of(session, queries.by_public_id(session, public_id))
        return desk.desk(
            session, house, public_id, draft, query.get("locale", ""), as_id, view, {}, staff=staff
        )

    return await (show_noted if as_id else show)(
        request, staff, "announcements", "staff/composer.html", build
    )


@router.post("/staff/announcements/{public_id}")
async def save(request: Request, public_id: str, staff: Writer) -> Response:
    """Save, then stay, turn to another language or view, or go on to the review."""
    form, house = await forms.read(request), deps.house(request)
    try:
        await act(request, lambda session: _save(session, house, public_id, form, staff))
    except DomainError as wrong:
        return await _again(request, staff, public_id, form, wrong)
    return pages.redirect(request, _next_path(f"/staff/announcements/{public_id}", form), flash=_flash(form))


def _flash(form: Form) -> tuple[str, str] | None:
    return (
        ("ok", "Saved.")
        if (form.text("then") == "stay" or "over" in form)
        and "to_view" not in form
        and "to_locale" not in form
        else None
    )


def _next_path(base: str, form: Form) -> str:
    if form.text("then") == "review" and "to_view" not in form and "to_locale" not in form:
        return f"{base}/review"
    locale, view = form.text("to_locale") or form.text("locale"), form.text("to_view") or form.text("view")
    return f"{base}?{urlencode({'locale': locale, 'as': form.text('as'), 'view': view})}"


def _save(session: Session, house: House, public_id: str, form: Form, staff: SignedIn) -> None:
    """Keep what the form holds; a form that changes nothing voids nothing. Raises StaleVersion when what it was
    made from is not what is kept now, unless somebody has seen that and saves over it."""
    before = queries.draft_of(session, queries.by_public_id(session, public_id))
    after = queries.read(session, house.settings, _draft(form, before))
    if after != before:
        changed = {
            "topic": after.topic,
            "template": after.template,
            "content": after.content,
            "audience": after.audience,
        }
        seen = form.text("over") or form.text("based_on") or None
        actions.edit(
            session, house.settings, public_id, **changed, based_on=seen, now=clock.now(), by=staff.by
        )


def same_as_kept(typed: dict[str, str], kept: Mapping[str, str]) -> dict[str, str]:
    """What was typed; where it differs from what is kept only in white space at its ends, what is kept."""
    return {
        name: kept[name] if name in kept and kept[name].strip() == text else text
        for name, text in typed.items()
    }


def _draft(form: Form, before: Draft) -> Draft:
    """The draft as the form has it: its language replaced, the others kept; one left empty is dropped."""
    locale = form.text("locale") or before.default_locale
    typed = same_as_kept({name: form.text(name) for name in WORDS}, before.content.get(locale, {}))
    content = {code: dict(written) for code, written in before.content.items()}
    content.pop(locale, None)
    if any(typed.values()) or locale == before.default_locale:
        content = {**content, locale: typed}
    return rules.read_draft(
        topic=form.text("topic") or before.topic,
        template=form.text("template") or before.template,
        content=content,
        audience=whom.chosen(form),
        default_locale=before.default_locale,
    )


async def _again(
    request: Request, staff: SignedIn, public_id: str, form: Form, wrong: DomainError
) -> Response:
    """The composer as it was typed, with what has to be mended."""
    house = deps.house(request)
    errors = faults(wrong, desk.FIELDS)

    def build(session: Session) -> dict[str, Any]:
        row = queries.by_public_id(session, public_id)
        draft, stale = queries.draft_of(session, row), None
        if isinstance(wrong, rules.StaleVersion):
            over, href = queries.content_hash(session, draft), f"/staff/announcements/{public_id}"
            stale = {"over": over, "href": href, "at": row.changed_at}
            draft = _draft(form, draft)
        locale, view = form.text("locale"), form.text("view")
        shown = desk.desk(session, house, public_id, draft, locale, "", view, errors, staff=staff)
        based_on = form.text("based_on") or shown["based_on"]
        values = {**shown["values"], **form.values()}
        return {**shown, "values": values, "based_on": based_on, "stale": stale}

    return await show(request, staff, "announcements", "staff/composer.html", build, status=wrong.status)


@router.get("/staff/announcements/{public_id}/preview")
async def preview(request: Request, public_id: str, staff: Reader) -> Response:
    """The mail in its frame: no script, no cookie, nothing of ours but pictures (H22)."""
    house, query = deps.house(request), request.query_params

    def make(session: Session) -> str:
        draft = queries.draft_of(session, queries.by_public_id(session, public_id))
        person = desk.reader(session, query.get("as", ""), "preview", staff)
        locale = query.get("locale") or draft.default_locale
        return queries.preview(
            session, house.ring, house.settings, draft, locale=locale, as_person=person, now=clock.now()
        ).html

    try:
        html = (await act(request, make)).value if query.get("as") else await deps.read(house, make)
    except DomainError as wrong:
        return refused(wrong)
    return framed(html, house.settings)


@router.post("/staff/announcements/{public_id}/preview")
async def live_preview(request: Request, public_id: str, staff: Writer) -> Response:
    """What is being typed, as a sample person would get it; nothing is saved, nobody is looked at. `part=head`:
    subject, preview line and text part for the page around the frame."""
    form, house = await forms.read(request), deps.house(request)
    part, base = request.query_params.get("part"), f"/staff/announcements/{public_id}"

    def make(session: Session) -> Any:
        draft = _draft(form, queries.draft_of(session, queries.by_public_id(session, public_id)))
        locale = form.text("locale") or draft.default_locale
        if part == "head":
            view = form.text("view")
            return {"preview": desk.preview(session, house, draft, base, locale, None, view)}
        return queries.preview(
            session, house.ring, house.settings, draft, locale=locale, as_person=None, now=clock.now()
        ).html

    try:
        made = await deps.read(house, make)
    except DomainError as wrong:
        return Response(status_code=204) if part == "head" else refused(wrong, status=200)
    if part == "head":
        return pages.html(request, "staff/partials/preview_head.html", made)
    return framed(made, house.settings)


@router.post("/staff/announcements/{public_id}/count")
async def live_count(request: Request, public_id: str, staff: Writer) -> Response:
    """The number for what is being typed; nothing is saved."""
    form = await forms.read(request)

    def build(session: Session) -> dict[str, Any]:
        draft = _draft(form, queries.draft_of(session, queries.by_public_id(session, public_id)))
        return {"audience": desk.count(session, draft)}

    context = await deps.read(deps.house(request), build)
    return pages.html(request, "staff/partials/audience.html", context)


@router.post("/staff/announcements/{public_id}/checks")
async def live_checks(request: Request, public_id: str, staff: Writer) -> Response:
    """The checks of what is being typed; nothing is saved, and what cannot be read is itself a finding."""
    form, house = await forms.read(request), deps.house(request)

    def build(session: Session) -> dict[str, Any]:
        try:
            draft = _draft(form, queries.draft_of(session, queries.by_public_id(session, public_id)))
            found = queries.check(session, house.settings, draft)
        except DomainError as wrong:
            found = [Finding(wrong.code, "block", wrong.detail, wrong.field, wrong.fix)]
        return {"checks": desk.checks(found), "checked_at": clock.now()}

    return pages.html(request, "staff/partials/checks.html", await deps.read(house, build))


@router.post("/staff/announcements/{public_id}/test")
async def test(request: Request, public_id: str, staff: Writer) -> Response:
    """Save, and mail it to whoever asks, and to nobody else (H65)."""
    form, house = await forms.read(request), deps.house(request)

    def send(session: Session) -> None:
        _save(session, house, public_id, form, staff)
        person = desk.reader(session, form.text("as"), "test", staff)
        member = members.by_public_id(session, staff.public_id)
        locale = form.text("locale") or queries.by_public_id(session, public_id).default_locale
        actions.test_mail(
            session, house.ring, house.settings, public_id,
            member=member, as_person=person, locale=locale, now=clock.now(), by=staff.by,
        )  # fmt: skip

    try:
        await act(request, send)
    except DomainError as wrong:
        return await _again(request, staff, public_id, form, wrong)
    return pages.redirect(
        request,
        _next_path(f"/staff/announcements/{public_id}", form),
        flash=("ok", "A test is on its way to you."),
    )
