"""Reading preferences, and the gate as SQL: the only way into the audience of a topic's mailing."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import BindParameter, ColumnElement, Select, and_, bindparam, case, func, literal, or_, select
from sqlalchemy.orm import Mapped
from sqlmodel import Session, col

from service.db.bulk import among
from service.domain.consent import jurisdictions
from service.domain.consent.tables import Consent
from service.domain.mailings.tables import Address
from service.domain.people import queries as people_queries
from service.domain.people.tables import Person, PersonAttribute
from service.domain.preferences import rules
from service.domain.preferences.rules import (
    LEGACY,
    NOES,
    PERMITTING,
    REGISTERED,
    RENEWAL,
    WORDED,
    Standing,
    TopicFacts,
)
from service.domain.preferences.tables import Preference
from service.domain.suppressions import queries as suppressions
from service.domain.suppressions.tables import Suppression
from service.domain.topics import queries as topics
from service.domain.topics.tables import Topic
from service.kit import paging


@dataclass(frozen=True)
class Counts:
    """An audience as it would be frozen now: how many people, and how many are left out for which reason."""

    total: int
    excluded: dict[str, int] = field(default_factory=dict)


def refusal(topic: TopicFacts, now: datetime | BindParameter[datetime]) -> ColumnElement[str | None]:
    """The gate as one SQL expression: NULL where we may write, else the reason; `rules.decide` says the same.

    `now`: the instant, or the parameter that will carry it.
    """
    state, basis = func.coalesce(col(Preference.state), "unknown"), col(Preference.basis)
    service = topic.mail_class == "service"
    address_hash, confirmed = col(Address.address_hash), col(Address.confirmed_at).is_not(None)
    no_address = or_(col(Address.id).is_(None), col(Address.ended_at).is_not(None))
    stopped = _why_stopped(topic, no_address)
    if topic.asking == REGISTERED:
        reachable: ColumnElement[bool] = literal(True)
    elif service:
        reachable = or_(confirmed, col(Address.attested).is_(True))
    else:
        reachable = confirmed
    whens: list[tuple[ColumnElement[bool], ColumnElement[str]]] = [
        (col(Person.state) == "erased", literal("erased")),
        (col(Person.state) == "restricted", literal("restricted")),
        (suppressions.applies(address_hash, topic.id, topic.mail_class), stopped),
        (no_address, literal("no_address")),
        (literal(not topic.active), literal("topic_retired")),
        (state == "withdrawn", literal("withdrawn")),
        (state == "refused", literal("refused")),
        (state == "invalidated", literal("invalidated")),
        (state == "unknown", literal("no_consent")),
        (
            or_(
                state == "expired",
                and_(col(Preference.valid_until).is_not(None), col(Preference.valid_until) <= now),
            ),
            literal("expired"),
        ),
        *(
            _not_to_be_asked(state, basis)
            if topic.asking == REGISTERED
            else _not_enough(basis, service=service)
        ),
        (state.not_in(PERMITTING), literal("requested")),
        *_not_covered(basis, topic),
        (and_(literal(not service), col(Person.pending_address_id).is_not(None)), literal("address_pending")),
        (~reachable, literal("unconfirmed")),
        (
            and_(
                literal(not service),
                col(Preference.break_until).is_not(None),
                col(Preference.break_until) > now,
            ),
            literal("on_break"),
        ),
    ]
    return case(*whens, else_=None)


def _why_stopped(topic: TopicFacts, no_address: ColumnElement[bool]) -> ColumnElement[str]:
    """Which cause stands first for an address on the do-not-mail list; asked only of those who are on it."""

    def by(*causes: str) -> ColumnElement[bool]:
        return suppressions.applies(col(Address.address_hash), topic.id, topic.mail_class, causes)

    return case(
        (by("complaint"), literal("complained")),
        (by("withdrawal", "objection", "erasure", "restriction", "legal"), literal("do_not_mail")),
        (no_address, literal("no_address")),
        else_=literal("bounced"),
    )


def _not_enough(
    basis: ColumnElement[str] | Mapped[str], *, service: bool
) -> list[tuple[ColumnElement[bool], ColumnElement[str]]]:
    """What stands, and carries no marketing."""
    return [
        (and_(basis == LEGACY, literal(not service)), literal("legacy_unconfirmed")),
        (and_(literal(not service), _law_wants_a_yes(basis)), literal("law_wants_a_yes")),
    ]


def _not_covered(
    basis: ColumnElement[str] | Mapped[str], topic: TopicFacts
) -> list[tuple[ColumnElement[bool], ColumnElement[str]]]:
    """Whose words do not cover this mail; or of the mail that asks for a new yes, who needs none. Nothing is asked of a topic
    whose words have never changed so."""
    if topic.asking == REGISTERED or topic.mail_class == "service":
        return []
    stood = func.coalesce(col(Preference.wording_version), 0)
    older = and_(basis.in_(WORDED), stood < topic.since_version)
    if topic.asking == RENEWAL:
        return [(~older, literal("covered"))]
    return [(older, literal("older_words"))] if topic.since_version else []


def _not_to_be_asked(
    state: ColumnElement[str], basis: ColumnElement[str] | Mapped[str]
) -> list[tuple[ColumnElement[bool], ColumnElement[str]]]:
    """Who is not asked whether registering meant agreeing: who has answered, and who lives where a mail may not ask."""
    free = sorted(country for one in jurisdictions.TABLE if one.may_ask for country in one.countries)
    return [
        (or_(state.not_in(PERMITTING), basis != LEGACY), literal("answered")),
        (or_(~_lives(), _lives(_country().not_in(free))), literal("law_forbids_asking")),
    ]


def _country() -> ColumnElement[str]:
    """The attribute that says where somebody lives, as the table of jurisdictions writes countries."""
    return func.lower(func.trim(col(PersonAttribute.value)))


def _lives(*where: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether it is known of a person that they live so."""
    mine = (
        col(PersonAttribute.person_id) == col(Person.id), col(PersonAttribute.name) == jurisdictions.COUNTRY,
    )  # fmt: skip
    return select(literal(1)).where(*mine, *where).correlate(Person).exists()


def _law_wants_a_yes(basis: ColumnElement[str] | Mapped[str]) -> ColumnElement[bool]:
    """Whether what stands without a yes may not carry marketing where somebody lives; asked only of those without a yes."""
    outside = [
        and_(basis == one, _lives(_country().not_in(sorted(jurisdictions.where(one)))))
        for one in jurisdictions.WITHOUT_A_YES
    ]
    return and_(basis.in_(jurisdictions.WITHOUT_A_YES), or_(~_lives(), *outside))


def standing_of_everyone(topic: TopicFacts) -> Select[Any]:
    """FROM and JOINs that `refusal` and `eligible` speak of: every person not merged away, with address and preference."""
    return (
        select(col(Person.id))
        .select_from(Person)
        .outerjoin(Address, col(Address.id) == col(Person.address_id))
        .outerjoin(
            Preference,
            and_(col(Preference.person_id) == col(Person.id), col(Preference.topic_id) == topic.id),
        )
        .where(col(Person.state) != "merged")
    )


def eligible(
    topic: TopicFacts, matches: ColumnElement[bool], now: datetime
) -> Select[int | None, int | None, str, int | None]:
    """The people we may write to under a topic, in order of their ids: address, person, locale, warrant."""
    return (
        standing_of_everyone(topic)
        .with_only_columns(col(Address.id), col(Person.id), col(Person.locale), col(Preference.warrant_seq))
        .where(refusal(topic, now).is_(None), matches)
        .order_by(col(Person.id))
    )


def audience_counts(
    session: Session, topic: TopicFacts, matches: ColumnElement[bool], now: datetime
) -> Counts:
    """How many the audience would hold now, and why the others are not in it (`not_in_audience`: another attribute)."""
    reason = func.coalesce(
        refusal(topic, now), case((matches, literal("")), else_=literal("not_in_audience"))
    ).label("reason")
    inner = standing_of_everyone(topic).with_only_columns(reason, col(Address.address_hash)).subquery()
    rows = session.connection().execute(select(inner.c.reason, func.count()).group_by(inner.c.reason))
    counts = {reason: count for reason, count in rows}
    total = people = counts.pop("", 0)
    if topic.mail_class == "service":  # unconfirmed registrations of one mailbox get one message (H10)
        mailboxes = select(func.count(inner.c.address_hash.distinct())).where(inner.c.reason == "")
        total = session.connection().execute(mailboxes).scalar_one()
    return Counts(total, counts | ({"same_mailbox": people - total} if people > total else {}))


class Named(NamedTuple):
    """Whom and what a link names, with what stands between them: a session does not ask again for what somebody holds."""

    person: Person | None
    topic: Topic | None
    preference: Preference | None
    address: Address | None


# Made once, and asked once: every no begins with it, at the ledger's tail, where everybody else waits.
_NAMED = (
    select(Person, Topic, Preference, Address)
    .select_from(Person)
    .outerjoin(Topic, col(Topic.alias) == bindparam("topic"))
    .outerjoin(
        Preference,
        and_(col(Preference.person_id) == col(Person.id), col(Preference.topic_id) == col(Topic.id)),
    )
    .outerjoin(Address, col(Address.id) == col(Person.address_id))
    .where(col(Person.alias) == bindparam("person"))
)


def named(session: Session, person: int, topic: int) -> Named:
    """Who and what the two numbers of a link are; of somebody merged, who is left (whose preference is not looked up here)."""
    row = session.execute(_NAMED, {"person": person, "topic": topic}).first()
    if row is None:
        return Named(None, topics.by_alias(session, topic), None, None)
    return Named(people_queries.followed(session, row[0]), *row[1:])


def of_person(session: Session, person_id: int) -> dict[int, Preference]:
    """A person's preferences by topic id."""
    rows = session.scalars(select(Preference).where(col(Preference.person_id) == person_id))
    return {row.topic_id: row for row in rows}


def standing(session: Session, person: Person, topic: TopicFacts) -> Standing:
    """What the gate reads, for one person and topic (the composer's preview and the person page ask this way)."""
    address = session.get(Address, person.address_id) if person.address_id else None
    preference = session.get(Preference, (person.id, topic.id))
    live: list[Suppression] = (
        suppressions.live_for(session, [address.address_hash]).get(address.address_hash, [])
        if address
        else []
    )
    return Standing(
        person_state=person.state,
        has_address=address is not None and address.ended_at is None,
        address_confirmed=address is not None and address.confirmed_at is not None,
        address_attested=address is not None and address.attested,
        address_pending=person.pending_address_id is not None,
        suppressed=suppressions.scopes_for(live, topic.id, topic.mail_class),
        state=preference.state if preference else "unknown",
        basis=preference.basis if preference else "consent",
        break_until=preference.break_until if preference else None,
        valid_until=preference.valid_until if preference else None,
        countries=countries(session, person),
        wording_version=(preference.wording_version or 0) if preference else 0,
    )


def countries(session: Session, person: Person) -> frozenset[str]:
    """Where somebody lives, as far as their site said."""
    said = select(col(PersonAttribute.value)).where(
        col(PersonAttribute.person_id) == person.id, col(PersonAttribute.name) == jurisdictions.COUNTRY
    )
    return frozenset(session.scalars(said))


def noes_at(session: Session, hashes: Sequence[str]) -> dict[tuple[str, int], str]:
    """(keyed hash of a mailbox, topic) → the state of a no by anybody who is or was registered there.

    Who moves away takes their no along, and leaves it: nobody knows whether the mailbox has another owner now or they have two,
    and a button in it asks whoever reads there (P7).
    """
    found = session.connection().execute(_NOES_AT, {"hashes": list(hashes)})
    return {(digest, topic): state for digest, topic, state in found}


_NOES_AT = (
    select(col(Address.address_hash), col(Preference.topic_id), col(Preference.state))
    .join(Preference, col(Preference.person_id) == col(Address.owner_id))
    .where(
        col(Address.owner_kind) == "person",
        among(col(Address.address_hash), "hashes"),
        col(Preference.state).in_(NOES),
    )
)


@dataclass(frozen=True)
class Listed:
    """A line of the do-not-mail list, with who is registered at that mailbox, if anybody, and the topic, where it is about one."""

    row: Suppression
    person: Person | None
    topic: Topic | None


def do_not_mail(
    session: Session, *, after: str | None, limit: int | None, cause: str | None = None
) -> paging.Page[Listed]:
    """The do-not-mail list, newest first. Raises `CursorInvalid`."""
    found = suppressions.page(session, after=after, limit=limit, cause=cause)
    return paging.Page(_listed(session, found.rows), found.next)


def listed_for(session: Session, address_hash: str) -> list[Listed]:
    """The same of one mailbox, newest first."""
    rows = suppressions.live_for(session, [address_hash]).get(address_hash, [])
    return _listed(session, sorted(rows, key=lambda row: row.id or 0, reverse=True))


def whose(found: Sequence[Listed]) -> list[Person]:
    """Who is registered at the mailboxes of these lines, each once."""
    return list({one.person.id: one.person for one in found if one.person is not None}.values())


def _listed(session: Session, rows: Sequence[Suppression]) -> list[Listed]:
    people = people_queries.registered_at(session, [row.address_hash for row in rows])
    known = {topic.id: topic for topic in topics.everything(session)}
    return [Listed(row, people.get(row.address_hash), known.get(row.topic_id)) for row in rows]


def suppressed(session: Session, person: Person) -> list[Suppression]:
    """What is in force for the mailbox of a person, also of one who was erased."""
    address = session.get(Address, person.address_id) if person.address_id else None
    return (
        suppressions.live_for(session, [address.address_hash]).get(address.address_hash, [])
        if address
        else []
    )


def people_per_topic(session: Session, resting_on: ColumnElement[bool] | None = None) -> dict[int, int]:
    """How many people's yes stands, by topic id; what erased people had said counts no more, nor what was said under a registration
    that was merged into another, nor that somebody registered long ago.

    `resting_on`: only where the record (`Consent`) of that yes is such a one, of a wording or a version of a policy, say. They
    would have to be asked anew if that text fell.
    """
    counted = (
        select(col(Preference.topic_id), func.count())
        .join(Person, col(Person.id) == col(Preference.person_id))
        .where(
            col(Preference.state).in_(PERMITTING),
            col(Preference.basis) != LEGACY,
            col(Person.state).not_in(("erased", "merged")),
        )
        .group_by(col(Preference.topic_id))
    )
    if resting_on is not None:
        record = (col(Consent.person_id) == col(Preference.person_id)) & (
            col(Consent.topic_id) == col(Preference.topic_id)
        )
        counted = counted.join(Consent, record).where(resting_on)
    return {topic_id: people for topic_id, people in session.connection().execute(counted)}


def wants_a_yes(session: Session, person: Person, row: Preference | None, topic: Topic) -> bool:
    """Whether somebody is on record for a topic and gets nothing of it before they say yes themselves."""
    return row is not None and rules.wants_a_yes(
        row.state, row.basis, topic.mail_class, countries(session, person)
    )


def agreed_to_less(row: Preference | None, topic: Topic) -> bool:
    """Whether somebody's yes was to words older than the topic's last material change."""
    return row is not None and rules.agreed_to_less(
        row.state, row.basis, row.wording_version, topic.since_version
    )
