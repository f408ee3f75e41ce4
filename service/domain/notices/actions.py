"""The steps of a notice: written, published on the changelog, mailed once, resumed, corrected. One ledger entry each.

Called by the pages, the API, `bidden post` and `bidden notice`.
"""

from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import select
from sqlmodel import Session, col

from service.config import Settings
from service.db.locks import for_update, lock_ledger_tail
from service.domain.brands import queries as brands
from service.domain.deliveries import actions as deliveries
from service.domain.ledger import actions as ledger
from service.domain.mailings.rules import WrongState
from service.domain.mailings.tables import Mailing
from service.domain.notices import queries, rules
from service.domain.notices.tables import Notice
from service.domain.policies import queries as policies
from service.domain.templates import actions as templates
from service.domain.topics import queries as topics
from service.domain.topics.rules import TopicUnknown
from service.domain.topics.tables import Topic
from service.kit.ids import new_id
from service.mail.check import blocks

VALID_FOR = timedelta(
    days=3
)  # after the start what has not left expires; a notice keeps longer than an offer


def create(
    session: Session,
    settings: Settings,
    *,
    topic: str,
    content: object,
    template: str | None = None,
    audience: object = None,
    default_locale: str | None = None,
    mail: bool = False,
    slug: str | None = None,
    now: datetime,
    by: str,
) -> Notice:
    """A new draft. `content` is {"en": {"title", "preheader", "body"}}; `slug` None: made from the title.

    Raises what cannot be kept: `queries.read`, SlugInvalid, SlugTaken, and the errors of words and links.
    """
    given = rules.read_draft(
        topic=topic, template=template, content=content, audience=audience, default_locale=default_locale
    )
    draft = queries.read(session, settings, given)
    row = Notice(
        public_id=new_id("n"),
        slug=_free_slug(session, slug, draft.content[draft.default_locale]["title"]),
        mail=mail,
        author=by,
        created_at=now,
        changed_at=now,
        **_columns(session, draft),
    )
    _note(session, row, "created", {"slug": row.slug, "content": row.content_hash}, now=now, by=by)
    return row


def tell_of_policy(session: Session, settings: Settings, slug: str, *, now: datetime, by: str) -> Notice:
    """The draft of the important notice that tells everybody of a policy's newest version (standards J8), with its difference from
    the one before. Once for each version, unless that was cancelled; whoever publishes it says what it means for them.

    Raises `PolicyUnknown`, `NothingAmended` of a first version, `TopicUnknown` where there is no topic for such notices.
    """
    lock_ledger_tail(session)
    texts = policies.versions(session, slug)
    number = texts[0].version
    known = queries.of_policy(session, slug, number)
    if known is not None:
        return known
    if number == 1:
        raise rules.NothingAmended
    topic = next((one for one in topics.active(session) if one.mail_class == "service"), None)
    if topic is None:
        raise TopicUnknown(field="topic")
    link = f"{settings.base_url}/policies/{slug}?version={number}"
    told = [
        rules.Amended(
            one.title,
            number,
            one.locale,
            one.effective_at,
            link + (f"&since={since}" if (since := policies.before(texts, one)) else ""),
        )
        for one in policies.of_version(texts, number).values()
    ]
    content = rules.amended(told, now=now)
    name = _free_slug(session, None, rules.amended_slug(slug, number))
    return create(session, settings, topic=topic.slug, content=content, mail=True, slug=name, now=now, by=by)


def post(
    session: Session,
    settings: Settings,
    posted: rules.PostedNotice,
    *,
    again: bool = False,
    now: datetime,
    by: str,
) -> Notice:
    """A new draft from a Markdown file, as `rules.read_post` read it.

    The same text for the same people is posted once: AlreadyPosted, unless `again` (a script that runs twice would
    mail everybody twice).
    """
    words = {"title": posted.title, "preheader": posted.preheader, "body": posted.body}
    given: dict[str, Any] = {
        "topic": posted.topic,
        "content": {posted.locale: words},
        "template": posted.template,
        "audience": posted.audience,
    }
    draft = queries.read(session, settings, rules.read_draft(**given))
    known = None if again else queries.same_text(session, queries.content_hash(draft))
    if known is not None:
        where = f"a draft, {known.public_id}" if known.state == "draft" else f"published as {known.slug}"
        fix = f"It is {where}. To post it once more, say --again."
        raise rules.AlreadyPosted(fix=fix)
    slug = None if again else posted.slug
    return create(session, settings, **given, mail=bool(posted.mail), slug=slug, now=now, by=by)


def edit(
    session: Session,
    settings: Settings,
    public_id: str,
    *,
    topic: str | None = None,
    content: object = None,
    template: str | None = None,
    audience: object = None,
    default_locale: str | None = None,
    mail: bool | None = None,
    based_on: str | None = None,
    now: datetime,
    by: str,
) -> Notice:
    """Change what is named. What is published already is corrected on the page, with the day; nothing is
    mailed again.

    `based_on` is the hash of what the editor saw: another one now raises StaleVersion.
    """
    row = _locked(session, public_id)
    if row.state == "cancelled":
        raise WrongState("This notice was cancelled; write a new one.")
    before = queries.draft_of(session, row)
    if based_on is not None and based_on != row.content_hash:
        raise rules.StaleVersion
    given = rules.changed(before, topic, template, content, audience, default_locale)
    for name, value in _columns(session, queries.read(session, settings, given)).items():
        setattr(row, name, value)
    row.mail, row.changed_at = row.mail if mail is None else mail, now
    if row.state == "published":
        row.corrected_at = now
    step = "corrected" if row.state == "published" else "edited"
    _note(session, row, step, {"content": row.content_hash}, now=now, by=by)
    return row


def publish(
    session: Session,
    settings: Settings,
    public_id: str,
    *,
    mail: bool | None = None,
    hold_seconds: int = 0,
    not_advertising: bool = False,
    based_on: str | None = None,
    now: datetime,
    by: str,
) -> Notice:
    """Put it on the changelog at once and, where wanted (`mail`; None: as it was written), mail it after the
    hold.

    One that is on the changelog already may still be mailed, once. `not_advertising` answers the check that an
    important notice sounds like an offer; the answer stands in the entry. `based_on` is the hash of what the publisher
    saw. Raises AlreadyMailed, NotReady while a check forbids the mail, StaleVersion, TopicRetired.
    """
    row = _locked(session, public_id)
    if based_on is not None and based_on != row.content_hash:
        raise rules.StaleVersion
    if row.state == "cancelled":
        raise WrongState("This notice was cancelled; write a new one.")
    wanted = row.mail if mail is None else mail
    if row.state == "published" and row.mailing_id is not None and wanted:
        raise rules.AlreadyMailed
    answered = _check(session, settings, row, not_advertising=not_advertising) if wanted else []
    mailing = _mail(session, settings, row, now, hold_seconds, by) if wanted else None
    row.mail = row.mail or wanted
    row.state, row.published_at, row.changed_at = "published", row.published_at or now, now
    body: dict[str, Any] = {"slug": row.slug, "content": row.content_hash}
    body["mailing"] = mailing.public_id if mailing else None
    if answered:
        body["not_advertising"] = answered
    _note(session, row, "published", body, now=now, by=by)
    return row


def pause_mail(session: Session, mailing_id: int, *, reason: str, now: datetime, by: str) -> None:
    """Nothing more of a notice's mail leaves until somebody resumes it: of a restored copy it may have left already."""
    found = select(col(Notice.public_id)).where(col(Notice.mailing_id) == mailing_id)
    row = _locked(session, session.scalars(found).one())
    mailing = _mailing(session, row)
    deliveries.pause(session, mailing, reason, now=now, by=by)
    _note(session, row, "paused", {"mailing": mailing.public_id, "reason": reason}, now=now, by=by)


def resume(session: Session, public_id: str, *, now: datetime, by: str) -> Notice:
    """Let a mail that was halted, or paused by a restore, go on with who is left; nobody gets it twice, and what was
    counted so far counts as seen (`guard`). Raises WrongState where nothing stands still, TimeRanOut where it may not leave any more."""
    row = _locked(session, public_id)
    mailing = _mailing(session, row)
    deliveries.resume(session, mailing, now=now, by=by)
    row.changed_at = now
    _note(session, row, "resumed", {"mailing": mailing.public_id}, now=now, by=by)
    return row


def cancel(session: Session, public_id: str, *, now: datetime, by: str) -> Notice:
    """Give up a draft, or stop the mail of a published one, which stays on the changelog. The entry is one
    the fence waits for. Raises WrongState when there is nothing left to stop."""
    row = _locked(session, public_id)
    mailing = None
    if row.state == "draft":
        row.state = "cancelled"
    else:
        mailing = _mailing(session, row)
        deliveries.cancel(session, mailing, now=now, by=by)
    row.changed_at = now
    body = {"mailing": mailing.public_id if mailing else None}
    _note(session, row, "cancelled", body, now=now, by=by)
    return row


def _check(session: Session, settings: Settings, row: Notice, *, not_advertising: bool) -> list[str]:
    """Nothing that the checks forbid is mailed; the sentences that `not_advertising` answered. Raises NotReady."""
    found = blocks(queries.check(session, settings, queries.draft_of(session, row)))
    answered = [one for one in found if not_advertising and one.code == rules.ADVERTISING]
    if left := [one for one in found if one not in answered]:
        raise rules.NotReady(left)
    return [one.sentence for one in answered]


def _mail(
    session: Session, settings: Settings, row: Notice, now: datetime, hold_seconds: int, by: str
) -> Mailing:
    """Compile every language and hand the mailing to deliveries."""
    draft = queries.draft_of(session, row)
    topic = queries.topic_of(session, draft)
    due_at = now + timedelta(seconds=hold_seconds)
    mailing = deliveries.start(
        session,
        kind="notice",
        topic=topic,
        audience=row.audience,
        contents={locale: _compile(session, settings, draft, topic, locale, now) for locale in draft.content},
        content_hash=row.content_hash,
        now=now,
        due_at=due_at,
        valid_until=due_at + VALID_FOR,
        by=by,
    )
    row.mailing_id = mailing.id
    return mailing


def _compile(
    session: Session, settings: Settings, draft: rules.Draft, topic: Topic, locale: str, now: datetime
) -> int:
    words = queries.letter(session, settings, draft, locale)
    words["body"], words["brand"] = words.pop("body_markdown"), brands.by_id(session, topic.brand_id)
    base_url = words["brand"].public_url or settings.base_url
    version = templates.compile_version(session, **words, base_url=base_url, now=now)
    assert version.id is not None
    return version.id


def _columns(session: Session, draft: rules.Draft) -> dict[str, Any]:
    """The draft, as `queries.read` gave it, as the columns that keep it."""
    return {
        "topic_id": topics.by_slug(session, draft.topic).id,
        "template": draft.template,
        "content": draft.content,
        "default_locale": draft.default_locale,
        "audience": draft.audience,
        "content_hash": queries.content_hash(draft),
    }


def _locked(session: Session, public_id: str) -> Notice:
    """The row, ours until commit and read anew."""
    found = session.scalars(
        for_update(session, select(Notice).where(col(Notice.public_id) == public_id)),
        execution_options={"populate_existing": True},
    ).first()
    if found is None:
        raise rules.NoticeUnknown
    return cast(Notice, found)


def _mailing(session: Session, row: Notice) -> Mailing:
    """Its mailing, ours until commit and read anew. Raises WrongState where there is none."""
    if row.mailing_id is None:
        raise WrongState("This notice is not being mailed.")
    ours = for_update(session, select(Mailing).where(col(Mailing.id) == row.mailing_id))
    mailing: Mailing = session.scalars(ours, execution_options={"populate_existing": True}).one()
    return mailing


def _free_slug(session: Session, chosen: str | None, title: str) -> str:
    """The short name chosen, if nobody has it; else the title's, with a number where it is taken."""
    name = rules.check_slug(chosen) if chosen else rules.slug_of(title)
    taken = set(
        session.scalars(select(col(Notice.slug)).where(col(Notice.slug).startswith(name, autoescape=True)))
    )
    if name not in taken:
        return name
    if chosen:
        raise rules.SlugTaken(field="slug")
    return next(f"{name}-{number}" for number in range(2, len(taken) + 3) if f"{name}-{number}" not in taken)


def _note(session: Session, row: Notice, step: str, body: dict[str, Any], *, now: datetime, by: str) -> int:
    """The row kept and the entry of this step written."""
    session.add(row)
    session.flush()
    return ledger.append(session, f"notice.{step}", subject=row.public_id, body=body, by=by, now=now)
