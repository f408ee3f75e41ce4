"""What the composer shows of one draft: choices, count, checks, preview. Shared with review and notices."""

from collections.abc import Mapping
from typing import Any

from babel import Locale, UnknownLocaleError
from sqlmodel import Session

from service.domain.announcements import queries
from service.domain.announcements.rules import Draft
from service.domain.brands import queries as brands
from service.domain.people import actions as people_actions
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.domain.segments import queries as segments
from service.domain.staff.queries import SignedIn
from service.domain.templates import queries as templates
from service.domain.topics import queries as topics
from service.kit import clock
from service.kit.errors import DomainError
from service.mail.check import Finding
from service.ops.house import House
from service.web.forms import Form
from service.web.staff import actors
from service.web.staff import audience as whom
from service.web.staff.frame import choice

OFFERED = ("en", "de")


FIELDS = ("topic", "template", "subject", "preheader", "body")


JUMPS = (*FIELDS, "title")
VIEWS = ("desktop", "phone", "text")


LEVELS = {"block": "bad", "warn": "warn", "ok": "ok"}


SAMPLES = {"first_name": "Ana", "last_name": "Ruiz", "company": "Example Ltd"}


def desk(
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
    person = reader(session, as_id, "preview", staff)
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
        "based_on": shown.content_hash,
        "stale": None,
        "audience": count(session, draft),
        "fields": _fields(session),
        "checks": checks(queries.check(session, house.settings, draft)),
        "checked_at": clock.now(),
        "voids": _voids(session, shown),
        "preview": preview(session, house, draft, base, locale, person, view),
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


def written_on(form: Form) -> int | None:
    """The version that was the newest when a form was made; None where it does not say."""
    text = form.text("based_on")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 7 else None


def language(code: str, told_in: str | None = None) -> str:
    """A language in its own words, or in those of another."""
    try:
        return (Locale.parse(code.replace("-", "_")).get_display_name(told_in) or code).capitalize()
    except (UnknownLocaleError, ValueError):
        return code


def count(session: Session, draft: Draft) -> dict[str, Any]:
    """How many would get it now, and why not more."""
    counts = queries.audience(session, draft, now=clock.now())
    return whom.picture(session, topics.by_slug(session, draft.topic), draft.audience, counts)


def checks(findings: list[Finding], editor: str = "") -> list[dict[str, Any]]:
    """What was examined, as the pages list it; `editor` is where the fields are, when not on the same page."""
    return [
        {
            "level": LEVELS[one.level],
            "text": f"{one.sentence} {one.fix}" if one.fix and one.level != "ok" else one.sentence,
            "link": _jump(one, editor),
        }
        for one in findings
    ]


def _jump(one: Finding, editor: str) -> dict[str, str] | None:
    if one.level == "ok":
        return None
    field = (one.field or "").rpartition(".")[2]
    if one.code == "postal_address_missing":
        return {"href": "/staff/settings#postal_address", "label": "To the settings"}
    return {"href": f"{editor}#{field}", "label": "Go there"} if field in JUMPS else None


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
        who = actors.names(session, [shown.approved_by])[shown.approved_by]
        return f"{who}’s approval ends when you change anything; it has to be given again."
    return "Approval is asked for; a change takes it back to draft." if shown.state == "in_review" else None


def reader(session: Session, public_id: str, what: str, staff: SignedIn) -> Person | None:
    """The person it is shown as; looking is written down. None: the sample person, also in the place of somebody who was erased or
    merged, or is restricted: what is kept of them is not used (GDPR Art. 18(2))."""
    person = people.by_public_id(session, public_id) if public_id else None
    if person is None or person.state != "active":
        return None
    people_actions.note_read(session, person, "viewed", reason=what, now=clock.now(), by=staff.by)
    return person


def preview(
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
        "live": None if person else f"{base}/preview",
        "text": mail["text"],
        "view": view,
        "as": [choice("", "A sample person", person is None), *_sample_readers(session, as_id)],
    }


def _sample_readers(session: Session, current: str) -> list[dict[str, Any]]:
    """Some real people to read it as, by what is not personal; the one chosen is always among them."""
    some = [one for one in people.page(session, after=None, limit=12).rows if one.state == "active"]
    if current and all(person.public_id != current for person in some):
        some += [person for person in [people.by_public_id(session, current)] if person]
    return [
        choice(
            person.public_id,
            ", ".join([language(person.locale, "en"), *_plain(session, person), f"…{person.public_id[-5:]}"]),
            person.public_id == current,
        )
        for person in some
    ]


def _plain(session: Session, person: Person) -> list[str]:
    attributes = people.attributes(session, person.id or 0)
    return [f"{name} {' '.join(values)}" for name, values in attributes.items()][:2]
