"""Making, changing and retiring topics, and publishing their wordings. What a topic rests on never changes
(P7).
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select

from service.db.locks import lock_ledger_tail
from service.domain.brands import queries as brands
from service.domain.brands.rules import check_mailbox
from service.domain.ledger import actions as ledger
from service.domain.policies.rules import PublishedMeanwhile, check_locale
from service.domain.topics import queries, rules
from service.domain.topics.tables import Topic, Wording
from service.kit.ids import new_alias


def create(
    session: Session,
    *,
    slug: str,
    brand_id: int,
    basis: str,
    mail_class: str,
    mailbox: str,
    texts: Mapping[str, rules.WordingText],
    visibility: str = "public",
    double_opt_in: bool = True,
    now: datetime,
    by: str,
) -> Topic:
    """Make a topic with the first version of its wording (locale → text).

    Raises `SlugInvalid`, `SlugTaken`, `TopicInvalid`, `BasisDoesNotFit`, or a rule of mailbox or wording.
    """
    rules.check_slug(slug)
    rules.check_basis(mail_class, basis)
    rules.check_one_of(visibility, rules.VISIBILITIES, field="visibility")
    if session.exec(select(Topic.id).where(col(Topic.slug) == slug)).first() is not None:
        raise rules.SlugTaken(field="slug")
    topic = Topic(
        alias=new_alias(4),
        slug=slug,
        brand_id=brand_id,
        basis=basis,
        mail_class=mail_class,
        visibility=visibility,
        cadences=list(rules.CADENCES),
        double_opt_in=double_opt_in,
        mailbox=check_mailbox(mailbox, reply_to=brands.by_id(session, brand_id).reply_to),
        position=len(queries.everything(session)),
    )
    session.add(topic)
    session.flush()
    body = {"basis": basis, "class": mail_class, "visibility": visibility, "double_opt_in": double_opt_in}
    ledger.append(session, "topic.created", subject=slug, body=body, by=by, now=now)
    publish_wording(session, slug, texts, now=now, by=by)
    return topic


def change(
    session: Session,
    slug: str,
    *,
    visibility: str | None = None,
    double_opt_in: bool | None = None,
    mailbox: str | None = None,
    now: datetime,
    by: str,
) -> list[str]:
    """Change what may change of a topic; returns the names of what differs.

    Class and basis never change: a yes to one would become a yes to another (P7). Raises `TopicUnknown`,
    `TopicInvalid`, or the rule of mailboxes.
    """
    topic = _locked(session, slug)
    wanted: dict[str, Any] = {"double_opt_in": double_opt_in}
    if visibility is not None:
        wanted["visibility"] = rules.check_one_of(visibility, rules.VISIBILITIES, field="visibility")
    if mailbox is not None:
        wanted["mailbox"] = check_mailbox(mailbox, reply_to=brands.by_id(session, topic.brand_id).reply_to)
    changed = [name for name, value in wanted.items() if value is not None and getattr(topic, name) != value]
    for name in changed:
        body = {"field": name, "before": getattr(topic, name), "after": wanted[name]}
        setattr(topic, name, wanted[name])
        ledger.append(session, "topic.changed", subject=slug, body=body, by=by, now=now)
    session.flush()
    return changed


def retire(session: Session, slug: str, *, now: datetime, by: str) -> None:
    """Take a topic out of use, never away: its stop links live for ever (P5). Raises `TopicUnknown`."""
    _turn(session, slug, "retired", "topic.retired", now=now, by=by)


def restore(session: Session, slug: str, *, now: datetime, by: str) -> None:
    """Take a retired topic into use again: every yes and no under it stands as before. Raises `TopicUnknown`."""
    _turn(session, slug, "active", "topic.restored", now=now, by=by)


def _turn(session: Session, slug: str, state: str, kind: str, *, now: datetime, by: str) -> None:
    topic = _locked(session, slug)
    if topic.state != state:
        topic.state = state
        session.flush()
        ledger.append(session, kind, subject=slug, body={}, by=by, now=now)


def publish_wording(
    session: Session,
    slug: str,
    texts: Mapping[str, rules.WordingText],
    *,
    material: bool = False,
    after: int | None = None,
    now: datetime,
    by: str,
) -> list[Wording]:
    """Publish the next version of a wording in the languages given; what people agreed to before stays as it
    was.

    `material`: it promises more or other mail than the words before. A yes to those goes on for what they covered alone
    (`preferences.renewing` asks for a new one).
    `after`: the version the texts were written on.
    Raises `TopicUnknown`, `WordingEmpty`, `WordingTooLong`, `LocaleInvalid`, `WordingLanguageMissing`, `WordingUnchanged`,
    `PublishedMeanwhile`.
    """
    checked = {check_locale(locale): rules.check_wording(text) for locale, text in texts.items()}
    if not checked:
        raise rules.WordingEmpty(field="text")
    topic = _locked(session, slug)
    assert topic.id is not None
    number = max((wording.version for wording in queries.wordings(session, topic.id)), default=0) + 1
    if after is not None and after != number - 1:
        raise PublishedMeanwhile
    if material:
        present = queries.current_wordings(session, topic.id)
        rules.check_material(checked, {locale: one.text for locale, one in present.items()})
    made = [
        Wording(
            public_id=rules.wording_name(slug, number, locale),
            topic_id=topic.id,
            version=number,
            locale=locale,
            title=text.title,
            frequency=text.frequency,
            text=text.text,
            sha256=rules.wording_hash(slug, number, locale, text),
            material=material,
            published_at=now,
        )
        for locale, text in sorted(checked.items())
    ]
    session.add_all(made)
    if material:
        topic.since_version = number
    session.flush()
    body: dict[str, Any] = {"version": number, "texts": {wording.locale: wording.sha256 for wording in made}}
    body |= {"material": True} if material else {}
    ledger.append(session, "wording.published", subject=slug, body=body, by=by, now=now)
    return made


def _locked(session: Session, slug: str) -> Topic:
    """The topic, ours until commit, so that two publications get two numbers. After the ledger's tail, as everybody who writes there
    has that first; and not against whoever only refers to the topic, as a mailing that begins does."""
    lock_ledger_tail(session)
    topic = queries.by_slug(session, slug)
    session.refresh(topic, with_for_update={"key_share": True})
    return topic
