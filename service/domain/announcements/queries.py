"""Reading announcements: one, a page of them, what they would say and to how many. Writes nothing.

Previews, counts and checks take a `Draft`, so that the composer can show what is typed before it is kept.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import func, select
from sqlmodel import Session, col

from service.config import Settings
from service.domain.announcements import rules
from service.domain.announcements.tables import Announcement
from service.domain.brands import queries as brands
from service.domain.deliveries import compose
from service.domain.deliveries import queries as deliveries
from service.domain.ledger import queries as entries
from service.domain.mailings.tables import Audience, Mailing
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.domain.preferences import queries as preferences
from service.domain.segments import queries as segments
from service.domain.segments import rules as segment_rules
from service.domain.staff import queries as staff
from service.domain.staff.tables import StaffMember
from service.domain.templates import queries as templates
from service.domain.topics import queries as topics
from service.domain.topics.tables import Topic
from service.kit import paging
from service.kit.signing import Keyring
from service.mail import check as checks
from service.mail.letters import build
from service.mail.loaded import Rendered
from service.mail.starters import UnknownStarter

RUNNING = ("freezing", "sending", "paused")
WAITING = ("in_review", "approved", "scheduled", "paused")  # on the way to its time


class State(NamedTuple):
    """Where an announcement stands, and why it stands there (late, staff, an error's code; "" mostly)."""

    state: str
    reason: str


@dataclass(frozen=True)
class Shown:
    """One announcement as its page and the API show it. `approved`: the approval is for what it says now."""

    id: str
    name: str
    state: str
    reason: str
    topic: str
    topic_name: str
    template: str
    content: dict[str, dict[str, str]]
    audience: dict[str, Any]
    default_locale: str
    content_hash: str
    author: str
    approved: bool
    approved_by: str | None
    approved_at: datetime | None
    due_at: datetime | None
    zone: str | None
    wall_time: str | None
    hold_until: datetime | None
    valid_until: datetime | None
    mailing: str | None
    created_at: datetime
    changed_at: datetime


@dataclass(frozen=True)
class Listed:
    """One line of a list."""

    id: str
    name: str
    state: str
    reason: str
    topic: str
    author: str
    due_at: datetime | None
    zone: str | None
    wall_time: str | None
    hold_until: datetime | None
    mailing: str | None
    planned: int | None
    changed_at: datetime


def by_public_id(session: Session, public_id: str) -> Announcement:
    """One announcement. Raises `AnnouncementUnknown`."""
    found = session.scalars(select(Announcement).where(col(Announcement.public_id) == public_id)).first()
    if found is None:
        raise rules.AnnouncementUnknown
    return found


def by_mailings(session: Session, mailing_ids: Collection[int]) -> dict[int, Announcement]:
    """The announcements that these mailings belong to, by the mailing's row number."""
    theirs = select(Announcement).where(col(Announcement.mailing_id).in_(mailing_ids))
    return {row.mailing_id: row for row in session.scalars(theirs) if row.mailing_id is not None}


def mailing_of(session: Session, row: Announcement) -> Mailing | None:
    """Its mailing, once it has been started."""
    return session.get(Mailing, row.mailing_id) if row.mailing_id else None


def state_of(row: Announcement, mailing: Mailing | None, *, retired: bool = False) -> State:
    """Its own state until it is started, its mailing's from then on; under a retired topic it goes to nobody."""
    if mailing is not None:
        return State(mailing.state, mailing.reason)
    return State(row.state, row.reason or ("topic_retired" if retired and row.state in WAITING else ""))


def name_of(row: Announcement) -> str:
    """Its name in lists."""
    return rules.name_of(row.content, row.default_locale)


def shown(session: Session, row: Announcement) -> Shown:
    """One announcement with everything about it."""
    mailing, topic = mailing_of(session, row), topics.by_id(session, row.topic_id)
    state = state_of(row, mailing, retired=topic.state == "retired")
    digest = content_hash(session, draft_of(session, row))
    return Shown(
        id=row.public_id,
        name=name_of(row),
        state=state.state,
        reason=state.reason,
        topic=topic.slug,
        topic_name=topics.wording_for(session, row.topic_id, row.default_locale).title,
        template=row.template,
        content=row.content,
        audience=row.audience,
        default_locale=row.default_locale,
        content_hash=mailing.content_hash if mailing else digest,
        author=row.author,
        approved=row.approved_hash == (mailing.content_hash if mailing else digest),
        approved_by=row.approved_by,
        approved_at=row.approved_at,
        due_at=row.due_at,
        zone=row.zone,
        wall_time=row.wall_time,
        hold_until=row.hold_until,
        valid_until=row.valid_until,
        mailing=mailing.public_id if mailing else None,
        created_at=row.created_at,
        changed_at=row.changed_at,
    )


def page(
    session: Session, *, states: Sequence[str] = (), after: str | None = None, limit: int | None = None
) -> paging.Page[Listed]:
    """Announcements by keyset, newest first, all of them or those in some states."""
    key, size = paging.decode(after), paging.size(limit)
    statement = _lines().order_by(col(Announcement.id).desc()).limit(size + 1)
    if states:
        statement = statement.where(_STATE.in_(states))
    if isinstance(key, int):
        statement = statement.where(col(Announcement.id) < key)
    rows = session.execute(statement).all()
    last = rows[size - 1][0].id if len(rows) > size else None
    return paging.Page(_listed(rows[:size]), paging.encode(last) if last else None)


def counts(session: Session) -> dict[str, int]:
    """How many announcements stand in each state."""
    state = _STATE.label("state")
    inner = select(state).select_from(Announcement).outerjoin(Mailing, _JOINED).subquery()
    rows = session.execute(select(inner.c.state, func.count()).group_by(inner.c.state))
    return {str(row[0]): int(row[1]) for row in rows}


def upcoming(session: Session, *, now: datetime, days: int = 7) -> list[Listed]:
    """What is scheduled for the coming days, the next first."""
    soon = _lines().where(
        col(Announcement.state) == "scheduled", col(Announcement.due_at) <= now + timedelta(days=days)
    )
    return _listed(session.execute(soon.order_by(col(Announcement.due_at))).all())


def running(session: Session) -> list[Listed]:
    """What is being frozen or sent, or stands still on the way."""
    moving = _lines().where(col(Mailing.state).in_(RUNNING))
    return _listed(session.execute(moving.order_by(col(Announcement.id).desc())).all())


def clashes(session: Session, public_id: str | None, due_at: datetime) -> list[Listed]:
    """Other announcements that go on the same day (UTC)."""
    day = due_at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    same = _lines().where(
        col(Announcement.due_at) >= day, col(Announcement.due_at) < day + timedelta(days=1),
        _STATE.in_(("scheduled", *RUNNING)), col(Announcement.public_id) != (public_id or ""),
    )  # fmt: skip
    return _listed(session.execute(same.order_by(col(Announcement.due_at))).all())


_STATE = func.coalesce(col(Mailing.state), col(Announcement.state))
_JOINED = col(Mailing.id) == col(Announcement.mailing_id)


def _lines() -> Any:
    return (
        select(Announcement, Mailing, col(Topic.slug), col(Topic.state))
        .outerjoin(Mailing, _JOINED)
        .join(Topic, col(Topic.id) == col(Announcement.topic_id))
    )


def _listed(rows: Iterable[Any]) -> list[Listed]:
    return [
        Listed(
            id=row.public_id,
            name=name_of(row),
            state=state.state,
            reason=state.reason,
            topic=slug,
            author=row.author,
            due_at=row.due_at,
            zone=row.zone,
            wall_time=row.wall_time,
            hold_until=row.hold_until,
            mailing=mailing.public_id if mailing else None,
            planned=mailing.planned if mailing else None,
            changed_at=row.changed_at,
        )
        for row, mailing, slug, topic_state in rows
        for state in (state_of(row, mailing, retired=topic_state == "retired"),)
    ]


def draft_of(session: Session, row: Announcement) -> rules.Draft:
    """What is written, apart from the row that keeps it."""
    slug = topics.by_id(session, row.topic_id).slug
    return rules.Draft(slug, row.template, row.content, row.audience, row.default_locale)


def topic_of(session: Session, draft: rules.Draft) -> Topic:
    """The topic it goes under. Raises `TopicUnknown`, `TopicNotForAnnouncements` or `TopicRetired`."""
    topic = topics.by_slug(session, draft.topic)
    if topic.mail_class == "service":
        raise rules.TopicNotForAnnouncements(field="topic")
    if topic.state != "active":
        raise rules.TopicRetired(field="topic")
    return topic


def read(session: Session, settings: Settings, draft: rules.Draft) -> rules.Draft:
    """The draft as it may be kept: topic and template exist, the audience is readable and in its stored form,
    and every language can be built (H16 to H20, H26); a postal address may still be missing."""
    topic_of(session, draft)
    try:
        templates.starter(draft.template)
    except UnknownStarter as unknown:
        known = ", ".join(starter.slug for starter in templates.starters())
        raise rules.UnknownTemplate(field="template", fix=f"Known: {known}.") from unknown
    draft = replace(draft, audience=segments.checked(session, draft.audience).as_audience)
    for locale in draft.content:
        words = letter(session, settings, draft, locale)
        look = words["brand"]
        build(**{**words, "brand": replace(look, postal_address=look.postal_address or "-")})
    return draft


def content_hash(session: Session, draft: rules.Draft) -> str:
    """The hash an approval is given for: words, template, topic, audience, and the brand as it looks now."""
    topic = topics.by_slug(session, draft.topic)
    brand = brands.by_id(session, topic.brand_id)
    since = deliveries.words_since(session, topic, draft.audience)
    look = {"words_since": str(since)} if since else {}  # the approval ends when the topic promises more
    look |= {
        "name": brand.title,
        "postal_address": brand.postal_address,
        "colour": brand.colour,
        "logo_url": brand.logo_url,
        "from": brands.from_address(brand, topic.mailbox),
        "reply_to": brands.reply_to(brand),
    }
    return rules.content_hash(draft, segment_rules.check(draft.audience).attributes, look)


def letter(session: Session, settings: Settings, draft: rules.Draft, locale: str) -> dict[str, Any]:
    """What `service.mail.letters.build` needs to make the mail in one language."""
    topic = topics.by_slug(session, draft.topic)
    words = draft.content[locale]
    return {
        "starter": draft.template,
        "mail_class": topic.mail_class,
        "locale": locale,
        "subject": words["subject"],
        "preheader": words["preheader"],
        "body_markdown": words["body"],
        "merge": True,
        "brand": compose.sender_of(
            brands.by_id(session, topic.brand_id), topic.mailbox, settings.base_url
        ).look,
        "fields": sorted(people.attribute_kinds(session)),
        "topic_name": topics.wording_for(session, topic.id or 0, locale).title,
    }


def check(session: Session, settings: Settings, draft: rules.Draft) -> list[checks.Finding]:
    """All checks of the mail in every language, blocks first; a finding in a text names it as
    `content.en.body`."""
    found: list[checks.Finding] = []
    for locale in draft.content:
        _, findings = checks.examine(
            loopback=settings.is_loopback, **letter(session, settings, draft, locale)
        )
        for finding in findings:
            place = (
                f"content.{locale}.{finding.field}"
                if finding.field in draft.content[locale]
                else finding.field
            )
            if finding.level != "ok" or finding.code not in {one.code for one in found}:
                found.append(replace(finding, field=place))
    if not brands.setting(session, "sending_on"):
        found.append(
            checks.Finding("sending_off", "warn", "Sending is switched off: nothing leaves until it is on.")
        )
    return sorted(found, key=lambda finding: ("block", "warn", "ok").index(finding.level))


def audience(session: Session, draft: rules.Draft, *, now: datetime) -> preferences.Counts:
    """How many would get it now, and how many are left out for which reason."""
    matches = segments.matches(segments.checked(session, draft.audience))
    facts = deliveries.facts_for(session, topics.by_slug(session, draft.topic), draft.audience)
    return preferences.audience_counts(session, facts, matches, now)


def preview(
    session: Session,
    ring: Keyring,
    settings: Settings,
    draft: rules.Draft,
    *,
    locale: str,
    as_person: Person | None,
    now: datetime,
) -> Rendered:
    """The mail as a reader of that language gets it, or as one person would; made by the sender's own
    assembler.

    Raises what makes the mail impossible, naming the field.
    """
    chosen = best_locale(draft, locale)
    mail = build(**letter(session, settings, draft, chosen))
    topic = topic_of(session, draft)
    return compose.preview(session, ring, settings, mail, topic, chosen, as_person, now=now)


def best_locale(draft: rules.Draft, wanted: str) -> str:
    """The language a reader who wants that one gets, chosen as the sender does."""
    return compose.best_locale(draft.content, wanted)


def authors(session: Session, row: Announcement) -> set[str]:
    """Everybody who has written in it, by the ledger."""
    written = entries.of_subject(
        session, row.public_id, kinds=("announcement.created", "announcement.edited")
    )
    return {row.author, *(entry.actor for entry in written)}


def test_address(session: Session, member: StaffMember, *, by: str, now: datetime) -> int:
    """The row of the confirmed address a colleague's own test mail goes to (H65).

    Raises `TestOnlyToYourself` for anybody but themselves, `TestTooOften` after 20 within the hour.
    """
    assert member.id is not None
    address = staff.address_row(session, member.id)
    if by != staff.ACTOR + member.public_id or member.state != "active" or address.confirmed_at is None:
        raise rules.TestOnlyToYourself
    lately = (
        select(func.count())
        .select_from(Mailing)
        .join(Audience, col(Audience.mailing_id) == col(Mailing.id))
        .where(col(Mailing.kind) == "test", col(Audience.address_id) == address.id)
        .where(col(Mailing.created_at) > now - timedelta(hours=1))
    )
    if session.execute(lately).scalar_one() >= rules.TESTS_PER_HOUR:
        raise rules.TestTooOften
    assert address.id is not None
    return address.id


def approval_needed(session: Session) -> bool:
    """Whether somebody other than the author has to approve."""
    return bool(brands.setting(session, "two_person_approval"))
