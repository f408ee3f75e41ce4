"""What a reader's pages show: everything they get and why, one mail's reason, what a confirmation asks. Read only.

Called by the public pages and the API; nothing here changes anything.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func
from sqlmodel import Session, col, select

from service.domain.consent import queries as consents
from service.domain.consent.evidence import Opener
from service.domain.consent.tables import Confirmation
from service.domain.ledger import queries as ledger
from service.domain.links import rules as links
from service.domain.mailings import queries as mailings
from service.domain.mailings.tables import Address, Audience, Mailing, MailingContent, Outcome
from service.domain.people import mailbox
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.domain.policies.rules import best_locale
from service.domain.preferences import changes, queries, rules
from service.domain.preferences.tables import Preference
from service.domain.templates.tables import TemplateVersion
from service.domain.topics import queries as topics
from service.domain.topics.tables import Topic, Wording
from service.kit import sealing
from service.kit.signing import Keyring

LAST = 3
# What somebody does about the mails they get, by whichever door.
CHANGES = (
    "consent.given",
    "consent.renewed",
    "consent.refused",
    "consent.withdrawn",
    "consent.restored",
    "preference.changed",
    "preference.break_set",
    "preference.break_ended",
)


@dataclass(frozen=True)
class TopicRow:
    """One topic on a preference page."""

    topic: Topic
    wording: Wording
    state: str
    basis: str
    cadence: str
    break_until: datetime | None
    since_at: datetime | None
    how: str
    source: str
    last_mails: list[tuple[str, datetime]]
    always_on: bool
    older: bool = False  # their yes was to words before the last material change
    wants_yes: bool = False  # what stands is no yes of theirs, and carries nothing to them without one


@dataclass(frozen=True)
class Overview:
    """A whole preference page."""

    masked_address: str
    rows: list[TopicRow]
    break_until: datetime | None
    max_per_week: int | None


@dataclass(frozen=True)
class Why:
    """Why one mail was sent; what is not known any more is None."""

    person: Person | None
    topic: Topic | None
    wording: Wording | None
    subject: str | None
    sent_at: datetime | None
    basis: str
    given_at: datetime | None
    how: str | None
    source: str | None
    url: str | None
    confirmed_at: datetime | None
    audience: dict[str, object]
    mails_so_far: int
    last_change: ledger.Seen | None


@dataclass(frozen=True)
class Asked:
    """What the button of a confirmation mail will make true."""

    person: Person
    topics: list[Topic]
    confirmation: Confirmation
    expired: bool
    done: bool
    void: bool  # a no was said since


def overview(session: Session, ring: Keyring, person: Person, locale: str, now: datetime) -> Overview:
    """Every public topic, and those the person has a word on, with the person's choice and its history."""
    assert person.id is not None
    mine = queries.of_person(session, person.id)
    said = {state["topic"]: state for state in consents.states(session, person.public_id)}
    rows = []
    for topic in topics.active(session):
        assert topic.id is not None
        preference = mine.get(topic.id)
        if topic.visibility != "public" and preference is None:
            continue
        if topic.mail_class == "service" and preference is None:
            continue
        event = said.get(topic.slug, {})
        rows.append(
            TopicRow(
                topic,
                topics.wording_for(session, topic.id, locale),
                preference.state if preference else "unknown",
                preference.basis if preference else topic.basis,
                preference.cadence if preference else "each",
                preference.break_until if preference else None,
                preference.since_at if preference else None,
                str(event.get("method") or ""),
                str(event.get("source") or ""),
                last_mails(session, person.id, topic.id),
                topic.mail_class == "service",
                queries.agreed_to_less(preference, topic),
                queries.wants_a_yes(session, person, preference, topic),
            )
        )
    address = people.address_of(session, ring, person)
    breaks = [row.break_until for row in rows if row.break_until and row.break_until > now]
    return Overview(address.masked if address else "", rows, max(breaks, default=None), person.max_per_week)


def last_mails(
    session: Session, person_id: int, topic_id: int, limit: int = LAST
) -> list[tuple[str, datetime]]:
    """The last mails of a topic this person was sent: subject as it was written, and when."""
    statement = (
        select(
            col(Outcome.at), col(Audience.locale), col(MailingContent.locale), col(TemplateVersion.subject)
        )
        .select_from(Audience)
        .join(Mailing, col(Mailing.id) == col(Audience.mailing_id))
        .join(
            Outcome,
            (col(Outcome.mailing_id) == col(Audience.mailing_id)) & (col(Outcome.pos) == col(Audience.pos)),
        )
        .join(MailingContent, col(MailingContent.mailing_id) == col(Mailing.id))
        .join(TemplateVersion, col(TemplateVersion.id) == col(MailingContent.template_version_id))
        .where(
            col(Audience.person_id) == person_id,
            col(Mailing.topic_id) == topic_id,
            col(Outcome.state) == "sent",
        )
        .order_by(col(Outcome.at).desc())
        .limit(limit * 20)  # a row for each language a mailing has
    )
    found: dict[datetime, tuple[str, dict[str, str]]] = {}
    for at, wanted, locale, subject in session.exec(statement):
        found.setdefault(at, (wanted, {}))[1][locale] = subject
    return [(_as_sent(wanted, subjects), at) for at, (wanted, subjects) in list(found.items())[:limit]]


def _as_sent(wanted: str, subjects: dict[str, str]) -> str:
    """The subject of the language a mail was sent in."""
    return subjects[best_locale(set(subjects), wanted)]


def why(session: Session, ring: Keyring, link: links.Link, locale: str) -> Why:
    """Everything that is still known about why this link's mail was sent."""
    person, topic = people.by_alias(session, link.person), topics.by_alias(session, link.topic)
    mailing = mailings.by_alias(session, link.mailing)
    member = mailings.member(session, mailing.id, link.position) if mailing and mailing.id else None
    grant = ledger.entry(session, member.warrant_seq) if member else None
    evidence = _evidence(session, ring, person, grant)
    wording = (
        topics.wording_by_public_id(session, str(grant.body["wording"]))
        if grant and grant.body.get("wording")
        else None
    )
    if wording is None and topic and topic.id:
        wording = topics.wording_for(session, topic.id, locale) if topic.basis == "contract" else None
    return Why(
        person,
        topic,
        wording,
        _subject(session, mailing, member),
        _sent_at(session, mailing, link.position),
        _basis(grant, topic),
        grant.at if grant else None,
        str(grant.body.get("method") or "") if grant else None,
        str(grant.body.get("source") or "") if grant else None,
        evidence.get("url"),
        grant.at if grant and grant.body.get("method") == "doi_click" else None,
        (mailing.audience or {}).get("attributes", {}) if mailing else {},
        _mails_so_far(session, person, topic),
        _last_change(session, person, topic),
    )


def _basis(grant: ledger.Seen | None, topic: Topic | None) -> str:
    """What the mail stood on: what its warrant says (a registration's speaks of none), else the topic's."""
    said = str(grant.body.get("basis") or "") if grant else ""
    return said or (topic.basis if topic else "consent")


def _last_change(session: Session, person: Person | None, topic: Topic | None) -> ledger.Seen | None:
    """What the person did last about this topic, or about all mails at once (a break, a weekly limit)."""
    if person is None or topic is None:
        return None
    every = ledger.of_subject(session, person.public_id, kinds=CHANGES)
    mine = [seen for seen in every if seen.body.get("topic", topic.slug) == topic.slug]
    return mine[-1] if mine else None


def _evidence(
    session: Session, ring: Keyring, person: Person | None, grant: ledger.Seen | None
) -> dict[str, str]:
    """The evidence of a grant in clear, for its owner."""
    part = grant.body.get("evidence") if grant else None
    if person is None or grant is None or not part or person.public_id != grant.subject:
        return {}
    try:
        key = people.person_key(ring, person)
        return Opener(session, ring).open(key, part, subject=person.public_id, kind=grant.kind)
    except sealing.Unsealable:
        return {}


def _subject(session: Session, mailing: Mailing | None, member: Audience | None) -> str | None:
    if mailing is None:
        return None
    statement = (
        select(col(MailingContent.locale), col(TemplateVersion.subject))
        .join(TemplateVersion, col(TemplateVersion.id) == col(MailingContent.template_version_id))
        .where(col(MailingContent.mailing_id) == mailing.id)
    )
    subjects = dict(session.exec(statement).all())
    return _as_sent(member.locale if member else "en", subjects) if subjects else None


def _sent_at(session: Session, mailing: Mailing | None, position: int) -> datetime | None:
    if mailing is None:
        return None
    statement = select(col(Outcome.at)).where(
        col(Outcome.mailing_id) == mailing.id, col(Outcome.pos) == position, col(Outcome.state) == "sent"
    )
    return session.exec(statement).first() or mailing.started_at


def _mails_so_far(session: Session, person: Person | None, topic: Topic | None) -> int:
    if person is None or topic is None:
        return 0
    statement = (
        select(func.count())
        .select_from(Audience)
        .join(Mailing, col(Mailing.id) == col(Audience.mailing_id))
        .join(
            Outcome,
            (col(Outcome.mailing_id) == col(Audience.mailing_id)) & (col(Outcome.pos) == col(Audience.pos)),
        )
        .where(
            col(Audience.person_id) == person.id,
            col(Mailing.topic_id) == topic.id,
            col(Outcome.state) == "sent",
        )
    )
    return session.exec(statement).one()


def confirmation(session: Session, link: links.Link, now: datetime) -> Asked:
    """What a confirmation link asks. Raises `LinkNotRecognised` when nothing is known of it."""
    mailing, person = mailings.by_alias(session, link.mailing), people.by_alias(session, link.person)
    row = session.get(Confirmation, mailing.id) if mailing else None
    if row is None or person is None:
        raise links.LinkNotRecognised
    if person.state == "erased":
        raise links.LinkExpired
    asked = consents.topics_of(session, row)
    asked_of = session.get(Address, row.address_id)
    void = asked_of is not None and any(
        changes.refused_since(session, person, row, asked_of.address_hash, topic) for topic in asked
    )
    done = row.confirmed_at is not None or _stands(session, row, asked, asked_of)
    return Asked(person, asked, row, row.expires_at <= now, done, void)


def _stands(session: Session, asking: Confirmation, asked: list[Topic], asked_of: Address | None) -> bool:
    """Whether everything a button asks for was made true by another one: two mails were sent, one was pressed.

    Whoever holds the mailbox counts: a second sign-up is a person of its own until its button is pressed.
    """
    holder = (
        mailbox.holders(session, [asked_of.address_hash]).get(asked_of.address_hash) if asked_of else None
    )
    if not asked or holder is None:
        return False
    shown = {one["topic"]: one.get("wording") for one in asking.topics}
    return all(_covers(session, session.get(Preference, (holder[0].id, one.id)), one, shown) for one in asked)


def _covers(session: Session, row: Preference | None, topic: Topic, shown: dict[int, int | None]) -> bool:
    """Whether somebody's own yes stands already, for the words that are asked about, too."""
    if row is None or row.basis == rules.SALE or not rules.own_yes(row.state, row.basis):
        return False
    wording = shown.get(topic.id or 0)
    version = topics.wording_by_id(session, wording).version if wording else 0
    return not rules.covers_less(row.basis, row.wording_version, topic.since_version, version)
