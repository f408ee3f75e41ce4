"""Writing one announcement: save, live count and checks, preview as any person, test mail to oneself."""

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

from babel import Locale, UnknownLocaleError
from fastapi import APIRouter, Request
from sqlmodel import Session
from starlette.responses import Response

from service.domain.announcements import actions, queries, rules
from service.domain.announcements.rules import Draft
from service.domain.brands import queries as brands
from service.domain.people import actions as people_actions
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.domain.segments import queries as segments
from service.domain.staff import queries as members
from service.domain.staff.queries import SignedIn
from service.domain.templates import queries as templates
from service.domain.topics import queries as topics
from service.kit import clock
from service.kit.errors import DomainError
from service.mail.check import Finding
from service.ops.house import House
from service.web import deps, forms, pages
from service.web.forms import Form
from service.web.sessions import require
from service.web.staff import audience as whom
from service.web.staff.frame import act, choice, faults, show, show_noted
from service.web.staff.frames import framed, refused

router = APIRouter()

Reader = Annotated[SignedIn, require("announcements:read")]
Writer = Annotated[SignedIn, require("announcements:write")]

OFFERED = ("en", "de")
FIELDS = ("topic", "template", "subject", "preheader", "body")
VIEWS = ("desktop", "phone", "text")
LEVELS = {"block": "bad", "warn": "warn", "ok": "ok"}
SAMPLES = {"first_name": "Ana", "last_name": "Ruiz", "company": "Example Ltd"}


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
        return _desk(session, house, public_id, draft, query.get("locale", ""), as_id, view, {}, staff=staff)

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
        if form.text("then") == "stay" and "to_view" not in form and "to_locale" not in form
        else None
    )


def _next_path(base: str, form: Form) -> str:
    if form.text("then") == "review" and "to_view" not in form and "to_locale" not in form:
        return f"{base}/review"
    locale, view = form.text("to_locale") or form.text("locale"), form.text("to_view") or form.text("view")
    return f"{base}?{urlencode({'locale': locale, 'as': form.text('as'), 'view': view})}"


def _save(session: Session, house: House, public_id: str, form: Form, staff: SignedIn) -> None:
    """Keep what the form holds; a form that changes nothing voids nothing."""
    before = queries.draft_of(session, queries.by_public_id(session, public_id))
    after = queries.read(session, house.settings, _draft(form, before))
    if after != before:
        changed = {
            "topic": after.topic,
            "template": after.template,
            "content": after.content,
            "audience": after.audience,
        }
        actions.edit(session, house.settings, public_id, **changed, now=clock.now(), by=staff.by)


def _draft(form: Form, before: Draft) -> Draft:
    """The draft as the form has it: its language replaced, the others kept; one left empty is dropped."""
    locale = form.text("locale") or before.default_locale
    typed = {name: form.text(name) for name in ("subject", "preheader", "body")}
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
    errors = faults(wrong, FIELDS)

    def build(session: Session) -> dict[str, Any]:
        draft = queries.draft_of(session, queries.by_public_id(session, public_id))
        locale, view = form.text("locale"), form.text("view")
        desk = _desk(session, house, public_id, draft, locale, "", view, errors, staff=staff)
        return {**desk, "values": {**desk["values"], **form.values()}}

    return await show(request, staff, "announcements", "staff/composer.html", build, status=wrong.status)


def _desk(
    session: Session,
    house: House,
    public_id: str,
    draft: Draft,
    locale: str,
    as_id: str,
    view: str,
    errors: dict[str, str],
    *,
    staff: SignedIn,
) -> dict[str, Any]:
    """Everything the composer shows of one draft."""
    shown = queries.shown(session, queries.by_public_id(session, public_id))
    locale = locale if locale in {*OFFERED, *draft.content} else draft.default_locale
    view = view if view in VIEWS else "desktop"
    person = _reader(session, as_id, "preview", staff)
    written = draft.content.get(locale) or {"subject": "", "preheader": "", "body": ""}
    base = f"/staff/announcements/{public_id}"
    return {
        "title": shown.name or "Announcement",
        "base": base,
        "announcement": {
            "state": shown.state,
            "saved_at": shown.changed_at,
            "content_hash": shown.content_hash,
        },
        "topics": topic_choices(session, draft.topic),
        "templates": [
            choice(one.slug, one.name["en"], one.slug == draft.template) for one in templates.starters()
        ],
        "locale": locale,
        "locales": locale_list(locale, draft.content),
        "values": written,
        "errors": errors,
        "audience": count(session, draft),
        "fields": _fields(session),
        "checks": checks(queries.check(session, house.settings, draft)),
        "checked_at": clock.now(),
        "voids": _voids(session, shown),
        "preview": _preview(session, house, draft, base, locale, person, view),
    }


def topic_choices(session: Session, current: str) -> list[dict[str, Any]]:
    """The topics an announcement may go under."""
    return [
        choice(topic.slug, topics.wording_for(session, topic.id or 0, "en").title, topic.slug == current)
        for topic in topics.active(session)
        if topic.mail_class != "service" or topic.slug == current
    ]


def locale_list(current: str, content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The languages a text may be written in, each in its own name."""
    codes = dict.fromkeys((*OFFERED, *sorted(content)))
    return [
        {"code": code, "name": language(code), "current": code == current, "filled": code in content}
        for code in codes
    ]


def safe_locale(text: str) -> str:
    """A language tag as it may stand in a URL."""
    return "".join(sign for sign in text if sign.isalnum() or sign == "-")[:20]


def language(code: str) -> str:
    """A language in its own words."""
    try:
        return (Locale.parse(code.replace("-", "_")).display_name or code).capitalize()
    except (UnknownLocaleError, ValueError):
        return code


def count(session: Session, draft: Draft) -> dict[str, Any]:
    """How many would get it now, and why not more."""
    counts = queries.audience(session, draft, now=clock.now())
    return whom.picture(session, draft.audience, counts)


def checks(findings: list[Finding]) -> list[dict[str, Any]]:
    """What was examined, as the pages list it."""
    return [
        {
            "level": LEVELS[one.level],
            "text": f"{one.sentence} {one.fix}" if one.fix and one.level != "ok" else one.sentence,
            "link": _jump(one),
        }
        for one in findings
    ]


def _jump(one: Finding) -> dict[str, str] | None:
    if one.level == "ok":
        return None
    field = (one.field or "").rpartition(".")[2]
    if one.code == "postal_address_missing":
        return {"href": "/staff/settings#postal_address", "label": "To the settings"}
    return {"href": f"#{field}", "label": "Go there"} if field in FIELDS else None


def _fields(session: Session) -> list[dict[str, Any]]:
    """Merge fields: the profile's, whose share is sealed and not counted, and the declared attributes."""
    profile = [{"name": name, "sample": sample, "filled": None} for name, sample in SAMPLES.items()]
    known = people.count(session)
    return profile + [
        {
            "name": one.name,
            "sample": one.values[0][0] if one.values else "",
            "filled": min(100, sum(n for _, n in one.values) * 100 // known) if known else 0,
        }
        for one in segments.values(session)
    ]


def _voids(session: Session, shown: Any) -> str | None:
    """What a change would undo."""
    if shown.state == "approved" and shown.approved_by:
        who = members.names(session, [shown.approved_by]).get(shown.approved_by, "the")
        return f"{who}’s approval ends when you change anything; it has to be given again."
    return "Approval is asked for; a change takes it back to draft." if shown.state == "in_review" else None


def _reader(session: Session, public_id: str, what: str, staff: SignedIn) -> Person | None:
    """The person it is shown as; looking is written down."""
    person = people.by_public_id(session, public_id) if public_id else None
    if person is not None:
        people_actions.note_read(session, person, what, now=clock.now(), by=staff.by)
    return person


def _preview(
    session: Session, house: House, draft: Draft, base: str, locale: str, person: Person | None, view: str
) -> dict[str, Any]:
    """Subject and text part as made by the sender's own assembler; the HTML comes by itself, in a frame."""
    topic, as_id = topics.by_slug(session, draft.topic), person.public_id if person else ""
    brand = brands.by_id(session, topic.brand_id)
    written = draft.content[queries.best_locale(draft, locale)]
    mail = {"subject": written["subject"], "text": ""}
    try:
        made = queries.preview(
            session, house.ring, house.settings, draft, locale=locale, as_person=person, now=clock.now()
        )
        mail = {"subject": made.subject, "text": made.text}
    except DomainError as wrong:
        mail["text"] = wrong.detail
    return {
        "sender": f"{brand.title} <{brands.from_address(brand, topic.mailbox)}>",
        "subject": mail["subject"],
        "preheader": written["preheader"],
        "src": f"{base}/preview?locale={locale}&as={as_id}",
        "text": mail["text"],
        "view": view,
        "as": [choice("", "A sample person", person is None), *_sample_readers(session, as_id)],
    }


def _sample_readers(session: Session, current: str) -> list[dict[str, Any]]:
    """Some real people to read it as, by what is not personal; the one chosen is always among them."""
    some = list(people.page(session, after=None, limit=12).rows)
    if current and all(person.public_id != current for person in some):
        some += [person for person in [people.by_public_id(session, current)] if person]
    return [
        choice(
            person.public_id,
            ", ".join([person.public_id, person.locale, *_plain(session, person)]),
            person.public_id == current,
        )
        for person in some
    ]


def _plain(session: Session, person: Person) -> list[str]:
    attributes = people.attributes(session, person.id or 0)
    return [f"{name} {' '.join(values)}" for name, values in attributes.items()][:2]


@router.get("/staff/announcements/{public_id}/preview")
async def preview(request: Request, public_id: str, staff: Reader) -> Response:
    """The mail in its frame: no script, no cookie, nothing of ours but pictures (H22)."""
    house, query = deps.house(request), request.query_params

    def make(session: Session) -> str:
        draft = queries.draft_of(session, queries.by_public_id(session, public_id))
        person = _reader(session, query.get("as", ""), "preview", staff)
        locale = query.get("locale") or draft.default_locale
        return queries.preview(
            session, house.ring, house.settings, draft, locale=locale, as_person=person, now=clock.now()
        ).html

    try:
        html = (await act(request, make)).value if query.get("as") else await deps.read(house, make)
    except DomainError as wrong:
        return refused(wrong)
    return framed(html, house.settings)


@router.post("/staff/announcements/{public_id}/count")
async def live_count(request: Request, public_id: str, staff: Writer) -> Response:
    """The number for what is being typed; nothing is saved."""
    form = await forms.read(request)

    def build(session: Session) -> dict[str, Any]:
        draft = _draft(form, queries.draft_of(session, queries.by_public_id(session, public_id)))
        return {"audience": count(session, draft)}

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
        return {"checks": checks(found), "checked_at": clock.now()}

    return pages.html(request, "staff/partials/checks.html", await deps.read(house, build))


@router.post("/staff/announcements/{public_id}/test")
async def test(request: Request, public_id: str, staff: Writer) -> Response:
    """Save, and mail it to whoever asks, and to nobody else (H65)."""
    form, house = await forms.read(request), deps.house(request)

    def send(session: Session) -> None:
        _save(session, house, public_id, form, staff)
        person = _reader(session, form.text("as"), "test", staff)
        member = members.by_public_id(session, staff.public_id)
        locale = form.text("locale") or queries.by_public_id(session, public_id).default_locale
        actions.test_mail(
            session, house.settings, public_id,
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
