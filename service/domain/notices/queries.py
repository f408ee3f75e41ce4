"""Reading notices: for staff, for the changelog and its feeds, and what one would look like as a mail. Writes
nothing."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import and_, func, or_, select
from sqlmodel import Session, col

from service.config import Settings
from service.domain.brands import queries as brands
from service.domain.deliveries import compose
from service.domain.deliveries import queries as deliveries
from service.domain.mailings.tables import Mailing
from service.domain.notices import rules
from service.domain.notices.tables import Notice
from service.domain.people.tables import Person
from service.domain.preferences import queries as preferences
from service.domain.segments import queries as segments
from service.domain.segments import rules as segment_rules
from service.domain.templates import queries as templates
from service.domain.topics import queries as topics
from service.domain.topics.tables import Topic
from service.kit import paging
from service.kit.clock import from_micros, to_micros
from service.kit.signing import Keyring
from service.mail import check as checks
from service.mail.letters import build
from service.mail.loaded import Rendered
from service.mail.markdown import to_html
from service.mail.offers import signs
from service.mail.starters import UnknownStarter


@dataclass(frozen=True)
class Shown:
    """One notice as its page and the API show it. `state` is the page's (draft, published, cancelled),
    `mailing_state` the mail's, None while there is none."""

    id: str
    slug: str
    title: str
    state: str
    mailing_state: str | None
    topic: str
    topic_name: str
    template: str
    content: dict[str, dict[str, str]]
    audience: dict[str, Any]
    default_locale: str
    mail: bool
    content_hash: str
    author: str
    mailing: str | None
    planned: int | None
    published_at: datetime | None
    corrected_at: datetime | None
    created_at: datetime
    changed_at: datetime


@dataclass(frozen=True)
class Entry:
    """One published notice as its readers see it: `body` in Markdown, `html` of it clean for a page."""

    public_id: str
    slug: str
    title: str
    body: str
    html: str
    locale: str
    topic: str
    topic_name: str
    published_at: datetime
    corrected_at: datetime | None


def by_public_id(session: Session, public_id: str) -> Notice:
    """One notice. Raises `NoticeUnknown`."""
    found = session.scalars(select(Notice).where(col(Notice.public_id) == public_id)).first()
    if found is None:
        raise rules.NoticeUnknown
    return found


def of_policy(session: Session, slug: str, version: int) -> Notice | None:
    """The notice that tells everybody of a version of a policy, if one was written and not cancelled: by that name, with a number
    where it was taken, and under a topic that everybody gets. Another's name may begin like it."""
    name = rules.amended_slug(slug, version)
    found = (
        select(Notice)
        .join(Topic, col(Topic.id) == col(Notice.topic_id))
        .where(col(Notice.slug).startswith(name, autoescape=True), col(Topic.mail_class) == "service")
        .where(col(Notice.state) != "cancelled")
    )
    mine = re.compile(rf"{re.escape(name)}(?:-[0-9]+)?")
    return next((one for one in session.scalars(found) if mine.fullmatch(one.slug)), None)


def same_text(session: Session, content_hash: str) -> Notice | None:
    """The first notice with the same words for the same people (`content_hash`), that was not given up."""
    alike = select(Notice).where(col(Notice.content_hash) == content_hash, col(Notice.state) != "cancelled")
    return session.scalars(alike.order_by(col(Notice.id)).limit(1)).first()


def by_mailings(session: Session, mailing_ids: Collection[int]) -> dict[int, Notice]:
    """The notices that these mailings belong to, by the mailing's row number."""
    theirs = select(Notice).where(col(Notice.mailing_id).in_(mailing_ids))
    return {row.mailing_id: row for row in session.scalars(theirs) if row.mailing_id is not None}


def mailing_of(session: Session, row: Notice) -> Mailing | None:
    """Its mailing, once it was mailed."""
    return session.get(Mailing, row.mailing_id) if row.mailing_id else None


def title_of(row: Notice) -> str:
    """Its title in its first language."""
    return str(row.content[row.default_locale]["title"])


def shown(session: Session, row: Notice) -> Shown:
    """One notice with everything about it."""
    mailing, topic = mailing_of(session, row), topics.by_id(session, row.topic_id)
    return Shown(
        id=row.public_id,
        slug=row.slug,
        title=title_of(row),
        state=row.state,
        mailing_state=mailing.state if mailing else None,
        topic=topic.slug,
        topic_name=topics.wording_for(session, row.topic_id, row.default_locale).title,
        template=row.template,
        content=row.content,
        audience=row.audience,
        default_locale=row.default_locale,
        mail=row.mail,
        content_hash=row.content_hash,
        author=row.author,
        mailing=mailing.public_id if mailing else None,
        planned=mailing.planned if mailing else None,
        published_at=row.published_at,
        corrected_at=row.corrected_at,
        created_at=row.created_at,
        changed_at=row.changed_at,
    )


def page(
    session: Session, *, states: Sequence[str] = (), after: str | None = None, limit: int | None = None
) -> paging.Page[Shown]:
    """Notices by keyset, newest first, all of them or those in some states."""
    key, size = paging.decode(after), paging.size(limit)
    statement = select(Notice).order_by(col(Notice.id).desc()).limit(size + 1)
    if states:
        statement = statement.where(col(Notice.state).in_(states))
    if isinstance(key, int):
        statement = statement.where(col(Notice.id) < key)
    rows = session.scalars(statement).all()
    more = paging.encode(rows[size - 1].id or 0) if len(rows) > size else None
    return paging.Page([shown(session, row) for row in rows[:size]], more)


def standing_still(session: Session) -> list[Shown]:
    """The notices whose mail has halted, or was paused by a restore, and waits for a person, newest first; five at most."""
    statement = (
        select(Notice)
        .join(Mailing, col(Mailing.id) == col(Notice.mailing_id))
        .where(col(Mailing.state).in_(("halted", "paused")))
    )
    rows = session.scalars(statement.order_by(col(Notice.id).desc()).limit(5))
    return [shown(session, row) for row in rows]


def counts(session: Session) -> dict[str, int]:
    """How many notices stand in each state."""
    rows = session.execute(select(col(Notice.state), func.count()).group_by(col(Notice.state)))
    return {str(row[0]): int(row[1]) for row in rows}


def published(
    session: Session,
    *,
    topic: str | None = None,
    after: str | None = None,
    limit: int | None = None,
    locale: str = "en",
) -> paging.Page[Entry]:
    """The changelog by keyset, newest first, of all topics or one, in the reader's language where it is
    written."""
    size = paging.size(limit)
    newest_first = (col(Notice.published_at).desc(), col(Notice.id).desc())
    statement = _published().order_by(*newest_first).limit(size + 1)
    if topic is not None:
        statement = statement.where(col(Topic.slug) == topic)
    if after:
        statement = statement.where(_before(after))
    rows = session.execute(statement).all()
    more = None
    if len(rows) > size:
        last = rows[size - 1][0]
        more = paging.encode(f"{to_micros(last.published_at)}.{last.id}")
    return paging.Page(_entries(session, rows[:size], locale), more)


def _before(after: str) -> Any:
    """What comes after the cursor's notice in a list that runs from the newest to the oldest."""
    micros, _, number = str(paging.decode(after)).partition(".")
    made = micros.isdecimal() and number.isdecimal() and len(micros) <= 17 and len(number) <= 15
    if not made or int(number) >= paging.ROWS:
        raise paging.CursorInvalid(field="cursor")
    at = from_micros(int(micros))
    same = and_(col(Notice.published_at) == at, col(Notice.id) < int(number))
    return or_(col(Notice.published_at) < at, same)


def by_slug(session: Session, slug: str, *, locale: str = "en") -> Entry:
    """One published notice by its address. Raises `NoticeUnknown`, for drafts too."""
    rows = session.execute(_published().where(col(Notice.slug) == slug)).all()
    if not rows:
        raise rules.NoticeUnknown
    return _entries(session, rows, locale)[0]


def topics_published(session: Session) -> list[str]:
    """The topics the changelog has anything of, by slug."""
    chosen = select(col(Topic.slug)).join(Notice, col(Notice.topic_id) == col(Topic.id))
    rows = session.scalars(
        chosen.where(col(Notice.state) == "published").distinct().order_by(col(Topic.slug))
    )
    return list(rows)


def _published() -> Any:
    return (
        select(Notice, Topic)
        .join(Topic, col(Topic.id) == col(Notice.topic_id))
        .where(col(Notice.state) == "published")
    )


def _entries(session: Session, rows: Iterable[Any], locale: str) -> list[Entry]:
    return [_entry(session, row, topic, locale) for row, topic in rows]


def _entry(session: Session, row: Notice, topic: Topic, locale: str) -> Entry:
    chosen = compose.best_locale(row.content, locale)
    words = row.content[chosen]
    assert row.published_at is not None
    return Entry(
        public_id=row.public_id,
        slug=row.slug,
        title=words["title"],
        body=words["body"],
        html=to_html(words["body"]),
        locale=chosen,
        topic=topic.slug,
        topic_name=topics.wording_for(session, row.topic_id, locale).title,
        published_at=row.published_at,
        corrected_at=row.corrected_at,
    )


def draft_of(session: Session, row: Notice) -> rules.Draft:
    """What is written, apart from the row that keeps it."""
    slug = topics.by_id(session, row.topic_id).slug
    return rules.Draft(slug, row.template, row.content, row.audience, row.default_locale)


def topic_of(session: Session, draft: rules.Draft) -> Topic:
    """The topic it goes under. Raises `TopicUnknown`, `TopicNotForNotices` or `TopicRetired`."""
    topic = topics.by_slug(session, draft.topic)
    if topic.mail_class not in ("notice", "service"):
        raise rules.TopicNotForNotices(field="topic")
    if topic.state != "active":
        raise rules.TopicRetired(field="topic")
    return topic


def read(session: Session, settings: Settings, draft: rules.Draft) -> rules.Draft:
    """The draft as it may be kept: topic and template exist, the audience is readable and in its stored form,
    and every language can be built."""
    topic = topic_of(session, draft)
    template = draft.template or rules.default_template(topic.mail_class)
    try:
        starter = templates.starter(template)
    except UnknownStarter as unknown:
        raise rules.UnknownTemplate(field="template") from unknown
    if starter.topic_class == "marketing":
        raise rules.UnknownTemplate("That template is for announcements.", field="template")
    audience = segments.checked(session, draft.audience).as_audience
    deliveries.words_since(session, topic, audience)
    draft = replace(draft, template=template, audience=audience)
    for locale in draft.content:
        build(**letter(session, settings, draft, locale))
    return draft


def content_hash(draft: rules.Draft) -> str:
    """The hash of everything it says and whom it goes to."""
    audience = segment_rules.check(draft.audience)
    return rules.content_hash(draft, audience.attributes, audience.words)


def letter(session: Session, settings: Settings, draft: rules.Draft, locale: str) -> dict[str, Any]:
    """What `service.mail.letters.build` needs to make the mail in one language; braces in it are shown as
    written."""
    topic = topics.by_slug(session, draft.topic)
    words = draft.content[locale]
    brand = brands.by_id(session, topic.brand_id)
    return {
        "starter": draft.template or rules.default_template(topic.mail_class),
        "mail_class": topic.mail_class,
        "locale": locale,
        "subject": words["title"],
        "preheader": words["preheader"],
        "body_markdown": words["body"],
        "merge": False,
        "brand": compose.sender_of(brand, topic.mailbox, settings.base_url).look,
        "topic_name": topics.wording_for(session, topic.id or 0, locale).title,
    }


def check(session: Session, settings: Settings, draft: rules.Draft) -> list[checks.Finding]:
    """All checks of the mail in every language, blocks first; a finding in a text names it as
    `content.en.body`."""
    found: list[checks.Finding] = []
    if topics.by_slug(session, draft.topic).mail_class == "service":
        heard = {locale: signs(*words.values()) for locale, words in draft.content.items()}
        found = [_no_offer(phrases, locale) for locale, phrases in heard.items() if phrases]
    for locale in draft.content:
        _, findings = checks.examine(
            loopback=settings.is_loopback, **letter(session, settings, draft, locale)
        )
        for finding in findings:
            field = "title" if finding.field == "subject" else finding.field
            place = f"content.{locale}.{field}" if field in draft.content[locale] else field
            if finding.level != "ok" or finding.code not in {one.code for one in found}:
                found.append(replace(finding, field=place))
    return sorted(found, key=lambda finding: ("block", "warn", "ok").index(finding.level))


def _no_offer(heard: list[str], locale: str) -> checks.Finding:
    """An important notice reaches people who never asked for marketing; what sounds like it is answered for
    by name (G7)."""
    phrases = ", ".join(f"“{phrase}”" for phrase in heard)
    sentence = f"{phrases}: that sounds like advertising, which an important notice must not carry."
    fix = "Take it out, send it as an announcement, or say that it is none."
    return checks.Finding(rules.ADVERTISING, "block", sentence, f"content.{locale}.body", fix)


def audience(session: Session, draft: rules.Draft, *, now: datetime) -> preferences.Counts:
    """How many would get it by mail now, and how many are left out for which reason."""
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
    assembler."""
    chosen = compose.best_locale(draft.content, locale)
    mail = build(**letter(session, settings, draft, chosen))
    topic = topic_of(session, draft)
    return compose.preview(session, ring, settings, mail, topic, chosen, as_person, now=now)
