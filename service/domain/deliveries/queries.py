"""Reading what a batch needs in a few statements, and what is due. Called by the freeze and the sender."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Row, Select, bindparam, case, func, literal, or_, select
from sqlmodel import Session, UTCDateTime, col

from service.domain.consent.rules import WordingUnknown
from service.domain.mailings.rules import ASK_AGAIN, ASK_ANEW
from service.domain.mailings.tables import Address, Audience, Batch, Mailing, MailingContent, Outcome
from service.domain.people import queries as people
from service.domain.people.tables import Identity, Person, PersonAttribute
from service.domain.preferences import queries as preferences
from service.domain.preferences.rules import REGISTERED, RENEWAL, TopicFacts
from service.domain.preferences.tables import Preference
from service.domain.suppressions import queries as suppressions
from service.domain.templates.tables import TemplateVersion
from service.domain.topics import queries as topics
from service.domain.topics.rules import covered_since, version_of
from service.domain.topics.tables import Topic
from service.kit import sealing
from service.kit.signing import Keyring

# What a button is not mailed for: whoever said no takes that back by one alone, and is asked; whom the law bars, nobody.
BARS = ("legal",)
MINIMUM = {"first_name", "last_name", "company"}
ASKING = {ASK_AGAIN: REGISTERED, ASK_ANEW: RENEWAL}
SINCE_VERSION = (
    "since_version"  # in a mailing's facts: the oldest words that cover it, where any words would not do
)


class Sealed(NamedTuple):
    """What it takes to write to a member, as it is stored."""

    key: bytes | None  # the person's own, wrapped; None: the house's
    address: bytes
    address_hash: str
    profile: tuple[str, str, bytes] | None  # source, external id, sealed


class Member(NamedTuple):
    """One position of a claimed batch. `refusal` None: it may be sent; address and profile are in it once it is `opened`."""

    pos: int
    attempt: int
    refusal: str | None
    warrant: int
    subject: str  # the person's opaque id, "" for staff and visitors
    alias: int
    address: str
    locale: str
    zone: str
    consent_since: datetime | None
    values: dict[str, str]
    doubts: int = 0  # how many earlier tries ended unknown: it may have arrived already
    most: int | None = None  # announcements a week, as the person wants it
    sealed: Sealed | None = None
    basis: str = ""  # what their consent stands on; "": the topic's own
    mailbox: str = ""  # keyed hash of the address, once `opened`: a no for it may name another registration


def topic_facts(topic: Topic, since_version: int = 0) -> TopicFacts:
    """A topic as the gate sees it. `since_version`: the oldest words that cover the mail it is asked about (`words_since`)."""
    assert topic.id is not None
    active = topic.state == "active"
    return TopicFacts(topic.id, topic.mail_class, topic.basis, active, since_version=since_version)


def words_since(session: Session, topic: Topic, audience: Mapping[str, Any] | None) -> int:
    """The oldest words whose yes covers a mail: what the topic says now, or the words that its audience names.

    Raises `WordingUnknown` where those are none of the topic's.
    """
    named = (audience or {}).get("words")
    if not named:
        return topic.since_version
    kept = topics.wordings(session, topic.id or 0)
    if named not in {one.public_id for one in kept}:
        raise WordingUnknown(field="audience.words")
    version = version_of(topic.slug, named)
    return covered_since([(one.version, one.material) for one in kept], version)


def facts_for(session: Session, topic: Topic, audience: Mapping[str, Any] | None) -> TopicFacts:
    """The topic as the gate sees it for a mail that is being written."""
    return topic_facts(topic, words_since(session, topic, audience))


def facts_of(mailing: Mailing, topic: Topic) -> TopicFacts:
    """The topic as the gate sees it for a mailing: with the words it was begun under, or as the mail that asks."""
    asking = ASKING.get(mailing.purpose, "")
    since = topic.since_version if asking else (mailing.facts or {}).get(SINCE_VERSION, 0)
    return replace(topic_facts(topic, since), asking=asking)


def due_batches(*, now: datetime, limit: int, system: bool, important_first: bool = False) -> Select[Any]:
    """The open batches whose time has come, of mailings that are sending; the sender locks what it takes. `important_first`:
    those of mailings that nobody can refuse go before all others, which else are taken as they became due."""
    first = [case((col(Mailing.mail_class) == "service", 0), else_=1)] if important_first else []
    kind = col(Mailing.kind).in_(["system", "test"])
    return (
        select(col(Batch.id))
        .join(Mailing, col(Mailing.id) == col(Batch.mailing_id))
        .where(
            col(Batch.state) == "open",
            col(Batch.due_at) <= now,
            col(Mailing.state) == "sending",
            col(Mailing.valid_until) > now,
            kind if system else ~kind,
        )
        .order_by(*first, col(Batch.due_at), col(Batch.id))
        .limit(limit)
    )


def contents(session: Session, mailing_id: int) -> dict[str, TemplateVersion]:
    """The frozen versions of a mailing by locale."""
    statement = (
        select(col(MailingContent.locale), TemplateVersion)
        .join(TemplateVersion, col(TemplateVersion.id) == col(MailingContent.template_version_id))
        .where(col(MailingContent.mailing_id) == mailing_id)
    )
    return {row[0]: row[1] for row in session.execute(statement)}


def members(
    session: Session,
    batch: Batch,
    mailing: Mailing,
    topic: Topic | None,
    fields: set[str],
    *,
    now: datetime,
) -> list[Member]:
    """Every position of a batch with its standing now and, where it may be sent, what is needed to write to it, sealed: it is
    opened when its turn comes, and no lock is held meanwhile."""
    attempts = {pos: attempt for pos, attempt in batch.positions} if batch.positions else {}
    doubts = unknown_ends(session, batch.mailing_id, list(attempts))
    rows = _rows(session, batch, mailing, topic, now=now)
    wanted = [row.person_id for row in rows if row.refusal is None and row.person_id]
    profiles = _profiles(session, wanted) if fields & MINIMUM else {}
    attributes = _attributes(session, wanted, fields - MINIMUM) if fields - MINIMUM else {}
    return [
        _member(row, attempts.get(row.pos, 1), doubts.get(row.pos, 0), profiles, attributes) for row in rows
    ]


def unknown_ends(session: Session, mailing_id: int, positions: list[int]) -> dict[int, int]:
    """How many tries of each of these positions ended unknown."""
    if not positions:
        return {}
    statement = (
        select(col(Outcome.pos), func.count())
        .where(
            col(Outcome.mailing_id) == mailing_id,
            col(Outcome.pos).in_(positions),
            col(Outcome.state) == "unknown",
        )
        .group_by(col(Outcome.pos))
    )
    return {pos: count for pos, count in session.execute(statement)}


def _rows(
    session: Session, batch: Batch, mailing: Mailing, topic: Topic | None, *, now: datetime
) -> Sequence[Row[Any]]:
    """One statement: the members, and the gate's word on each. The frozen address must still be the person's own."""
    single = mailing.kind in ("system", "test") and mailing.purpose not in ASKING
    facts = None if single or topic is None else facts_of(mailing, topic)
    statement = _standing(
        facts, mailing.purpose in ("confirm", "address-confirm"), listed=bool(batch.positions)
    )
    positions = [pos for pos, _ in batch.positions or []]
    given: dict[str, Any] = {"topic": topic.id if topic else 0, "mailing": batch.mailing_id, "now": now}
    given |= {"positions": positions} if positions else {"first": batch.first_pos, "last": batch.last_pos}
    return session.execute(statement, given).all()


@lru_cache(maxsize=64)
def _standing(topic: TopicFacts | None, unconfirming: bool, *, listed: bool) -> Select[Any]:
    """That statement, built once for a topic as it stands; building takes longer than running it for a batch.

    Parameters: mailing, topic, now, and positions or first and last.
    """
    moved = or_(col(Address.ended_at).is_not(None), col(Address.id).is_(None))
    gone = (
        col(Person.state) == "erased",
        literal("erased"),
    )  # their address ended, too: the graver word first
    if topic is None:
        barred = suppressions.applies(col(Address.address_hash), 0, "service", BARS if unconfirming else ())
        gate = case(
            gone,
            (moved, literal("address_changed")),
            (barred, literal("do_not_mail")),
            else_=None,
        )
    else:
        changed = or_(moved, col(Person.address_id).is_distinct_from(col(Address.id)))
        refusal = preferences.refusal(topic, bindparam("now", type_=UTCDateTime()))
        gate = case(gone, (changed, literal("address_changed")), else_=refusal)
    statement = (
        select(
            col(Audience.pos),
            col(Audience.person_id),
            col(Audience.locale),
            func.coalesce(col(Preference.warrant_seq), col(Audience.warrant_seq)).label("warrant_seq"),
            gate.label("refusal"),
            col(Address.sealed),
            col(Address.address_hash),
            col(Address.owner_kind),
            col(Person.alias),
            col(Person.public_id),
            col(Person.wrapped_key),
            col(Person.zone),
            col(Preference.since_at),
            col(Preference.basis),
            col(Person.max_per_week),
        )
        .select_from(Audience)
        .outerjoin(Address, col(Address.id) == col(Audience.address_id))
        .outerjoin(Person, col(Person.id) == col(Audience.person_id))
        .outerjoin(
            Preference,
            (col(Preference.person_id) == col(Audience.person_id))
            & (col(Preference.topic_id) == bindparam("topic")),
        )
        .where(col(Audience.mailing_id) == bindparam("mailing"))
        .order_by(col(Audience.pos))
    )
    if listed:
        return statement.where(col(Audience.pos).in_(bindparam("positions", expanding=True)))
    return statement.where(col(Audience.pos).between(bindparam("first"), bindparam("last")))


def _profiles(session: Session, person_ids: list[int]) -> dict[int, tuple[str, str, bytes]]:
    """The profile of each person that mails use (`people.queries.identities`), sealed."""
    if not person_ids:
        return {}
    statement = (
        select(
            col(Identity.person_id), col(Identity.source), col(Identity.external_id), col(Identity.profile)
        )
        .where(col(Identity.person_id).in_(person_ids), col(Identity.profile).is_not(None))
        .order_by(col(Identity.source) == people.OWN, col(Identity.changed_at), col(Identity.id))
    )
    return {row.person_id: (row.source, row.external_id, row.profile) for row in session.execute(statement)}


def _attributes(session: Session, person_ids: list[int], names: set[str]) -> dict[int, dict[str, str]]:
    if not person_ids:
        return {}
    statement = select(
        col(PersonAttribute.person_id), col(PersonAttribute.name), col(PersonAttribute.value)
    ).where(col(PersonAttribute.person_id).in_(person_ids), col(PersonAttribute.name).in_(names))
    found: dict[int, dict[str, str]] = {}
    for row in session.execute(statement):
        mine = found.setdefault(row.person_id, {})
        mine[row.name] = f"{mine[row.name]}, {row.value}" if row.name in mine else row.value
    return found


def _member(
    row: Row[Any],
    attempt: int,
    doubts: int,
    profiles: dict[int, tuple[str, str, bytes]],
    attributes: dict[int, dict[str, str]],
) -> Member:
    refusal, sealed = row.refusal, None
    if refusal is None:
        own = row.owner_kind == "person"
        if row.sealed is None or (own and row.wrapped_key is None):
            refusal = "erased"
        else:
            key = row.wrapped_key if own else None
            sealed = Sealed(key, row.sealed, row.address_hash, profiles.get(row.person_id))
    return Member(
        row.pos,
        attempt,
        refusal,
        row.warrant_seq,
        row.public_id or "",
        row.alias or 0,
        "",
        row.locale,
        row.zone or "",
        row.since_at,
        attributes.get(row.person_id, {}),
        doubts,
        row.max_per_week,
        sealed,
        row.basis or "",
    )


def opened(ring: Keyring, member: Member) -> Member:
    """The member in clear: address, and profile among the values. Raises `sealing.Unsealable` where the key does not fit."""
    sealed = member.sealed
    if sealed is None:
        return member
    key = ring.house_key if sealed.key is None else people.unwrap(ring, member.alias, sealed.key)
    address = sealing.unseal(key, sealed.address, f"address|{sealed.address_hash}").decode()
    values = member.values
    if sealed.profile is not None:
        source, external_id, profile = sealed.profile
        place = people.PROFILE_AT.format(source, external_id)
        values = {**values, **json.loads(sealing.unseal(key, profile, place).decode())}
    return member._replace(address=address, values=values, sealed=None, mailbox=sealed.address_hash)
