"""From words to mailings: compile each language into an immutable version, begin the mailing, enqueue a test.

Called by the announcements' actions only, which check the step and write its ledger entry.
"""

from datetime import datetime, timedelta

from sqlmodel import Session

from service.config import Settings
from service.domain.announcements import queries, rules
from service.domain.announcements.tables import Announcement
from service.domain.brands import queries as brands
from service.domain.deliveries import actions as deliveries
from service.domain.deliveries import compose as deliveries_compose
from service.domain.mailings import actions as mailings
from service.domain.mailings.tables import Mailing, MailingContent
from service.domain.people.tables import Person
from service.domain.templates import actions as templates
from service.domain.templates.tables import TemplateVersion
from service.domain.topics import queries as topics
from service.domain.topics.tables import Topic
from service.kit.signing import Keyring

TEST_MARK = "[Test] "
TEST_VALID = timedelta(hours=1)  # a test that comes later only confuses


def compile_language(
    session: Session, settings: Settings, draft: rules.Draft, locale: str, *, now: datetime, mark: str = ""
) -> TemplateVersion:
    """The version of one language, its subject after `mark`. Raises what keeps it from being
    built."""
    words = queries.letter(session, settings, draft, locale)
    brand = brands.by_id(session, topics.by_slug(session, draft.topic).brand_id)
    words |= {"subject": mark + words["subject"], "body": words.pop("body_markdown"), "brand": brand}
    base_url = brand.public_url or settings.base_url
    return templates.compile_version(session, **words, base_url=base_url, now=now)


def begin(session: Session, settings: Settings, row: Announcement, *, now: datetime, by: str) -> Mailing:
    """The mailing of what is due, in every language. Raises, before anything is written down, what makes it
    impossible."""
    draft = queries.draft_of(session, row)
    topic = queries.topic_of(session, draft)
    versions = {
        locale: compile_language(session, settings, draft, locale, now=now) for locale in draft.content
    }
    assert row.due_at is not None
    assert row.valid_until is not None
    return deliveries.start(
        session,
        kind="announcement",
        topic=topic,
        audience=row.audience,
        contents={locale: version.id for locale, version in versions.items() if version.id is not None},
        content_hash=row.content_hash,
        now=now,
        due_at=row.due_at,
        valid_until=row.valid_until,
        local=(row.wall_time, row.zone) if row.wall_time and rules.is_local(row.wall_time) else None,
        by=by,
    )


def enqueue_test(
    session: Session,
    ring: Keyring,
    version: TemplateVersion,
    *,
    topic: Topic,
    address_id: int,
    as_person: Person | None,
    warrant: int,
    now: datetime,
) -> Mailing:
    """One mail of kind test to one address, resting on the entry that asked for it.

    The values it is filled with lie sealed in its facts; no person is its member, so its links act on nobody
    and no report counts it.
    """
    values = deliveries_compose.reader_values(session, ring, as_person, version.fields)
    mailing = mailings.enqueue_single(
        session,
        purpose="test",
        kind="test",
        mail_class=topic.mail_class,
        brand_id=topic.brand_id,
        address_id=address_id,
        person_id=None,
        locale=version.locale,
        facts=mailings.seal_facts(ring, "test", values),
        warrant_seq=warrant,
        now=now,
        valid_for=TEST_VALID,
    )
    assert mailing.id is not None
    assert version.id is not None
    mailing.topic_id = topic.id
    session.add(MailingContent(mailing_id=mailing.id, locale=version.locale, template_version_id=version.id))
    session.flush()
    return mailing
