"""What is past its time (`periods`): counted, found a few rows at a time, and taken away, each class with one entry in the ledger.

Called by `ops.retention`, which the clock and `bidden privacy retention` ask. Everything is asked again in the transaction that
takes it away, behind the ledger's tail: whoever says something meanwhile stays. What is kept of somebody under restriction (GDPR 18)
stays: they may have asked for that in place of its erasure.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, exists, func, or_, update
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from service.db.bulk import delete_some
from service.db.locks import insert_or_skip, lock_ledger_tail
from service.domain.api_keys import actions as api_keys
from service.domain.api_keys import queries as keys
from service.domain.brands import queries as brands
from service.domain.consent.tables import Confirmation, EvidenceKey
from service.domain.ledger import actions as ledger
from service.domain.ledger.tables import LedgerEntry
from service.domain.links.tables import LinkUse, Undo
from service.domain.mailings import rules as mailings
from service.domain.mailings.tables import Address, Audience, Mailing, Outcome
from service.domain.people.tables import AttributeKind, Identity, Person, PersonAttribute
from service.domain.preferences.tables import Preference
from service.domain.privacy import erasing, periods
from service.domain.privacy.tables import ContactRequest, Retention, RightsRequest
from service.domain.staff import actions as staff_actions
from service.domain.staff import queries as staff
from service.domain.suppressions.tables import Suppression
from service.domain.transfers.tables import Import
from service.kit.clock import to_micros
from service.kit.signing import Keyring

PURGED = "retention.purged"
OWN_FORM = "join"  # the source of our own page; who comes from there is nobody's customer yet
MOST = 200  # rows of one transaction (design.md 3)
MOST_PEOPLE = 8  # persons: to forget one is a dozen statements
# All that the ledger says of somebody who has only signed up, or only looked at; the first four begin their time anew. Whatever
# else it says of them (a yes, a no, an objection, a restriction, a sign-in), they are more than a sign-up.
ASKING = ("person.registered", "consent.requested", "confirmation.requested", "link.requested")
LOOKING = ("person.viewed", "person.revealed", "person.exported")
RIGHTS = ("request.received", "request.extended", "request.hastened", "request.closed")
_WRITTEN = ("contact.asked", "contact.answered", "contact.closed")
_NAMES_THE_MESSAGE = ("domains", "topics")  # of a mailing's facts: of what its Message-IDs are made

Forget = Callable[..., None]  # (session, ring, person, *, now): forget a person in the whole house


@dataclass(frozen=True)
class Gone:
    """How many of a class went; of attributes also how many of each name."""

    rows: int
    names: Mapping[str, int] = field(default_factory=dict)


def find(session: Session, name: str, *, after: int, now: datetime) -> list[int]:
    """The next row numbers of a class that are past their time, after that one. Of classes without row numbers: [0] while there
    is anything."""
    if name in _OVER:
        return [0] if any(_count(session, table, when) for table, when in _OVER[name](now)) else []
    if name == periods.ATTRIBUTES:
        person = col(PersonAttribute.person_id)
        stale = or_(_old_attributes(session, now), col(PersonAttribute.set_at).is_(None))
        statement = select(person).where(stale, person > after).distinct().order_by(person).limit(MOST)
        return list(session.exec(statement))
    table, past = _past(session, name, now)
    number, most = table.id, MOST_PEOPLE if name == periods.UNCONFIRMED else MOST
    return list(session.exec(select(number).where(past, number > after).order_by(number).limit(most)))


def due(session: Session, name: str, *, now: datetime) -> int:
    """How many of a class would go now."""
    if name in _OVER:
        return sum(_count(session, table, when) for table, when in _OVER[name](now))
    if name == periods.ATTRIBUTES:
        return sum(_named(session, _old_attributes(session, now)).values())
    return _count(session, *_past(session, name, now))


def take(
    session: Session, ring: Keyring, name: str, numbers: Sequence[int], *, forget: Forget, now: datetime
) -> int:
    """Take away what of these is past its time still, and count it; how many."""
    lock_ledger_tail(session)
    if name == periods.UNCONFIRMED:
        gone = Gone(_forget_people(session, ring, numbers, forget, now))
    elif name == periods.ATTRIBUTES:
        gone = _empty_attributes(session, numbers, now)
    elif name in _ENDING:
        gone = Gone(_ENDING[name](session, now=now))
    else:
        gone = Gone(_TAKING[name](session, numbers, now))
    keep_count(session, name, gone)
    return gone.rows


def keep_count(session: Session, name: str, gone: Gone) -> None:
    """Add to what went since the last entry, in the transaction in which it goes."""
    if gone.rows:
        row = _row(session, name)
        names = {one: row.names.get(one, 0) + gone.names.get(one, 0) for one in {**row.names, **gone.names}}
        row.gone, row.names = row.gone + gone.rows, names
        session.add(row)


def close(session: Session, name: str, *, now: datetime) -> int:
    """A class was gone through to its end: one entry for all that went, also in a run that was cut off; none for nothing."""
    lock_ledger_tail(session)
    row = _row(session, name)
    gone, names = row.gone, row.names
    if gone:
        body: dict[str, Any] = {"class": name, "gone": gone}
        if name == periods.ATTRIBUTES:
            days = {one: kept for one, _, kept in attribute_days(session)}
            body["names"] = {one: {"days": days.get(one, 0), "gone": many} for one, many in names.items()}
        else:
            body["days"] = periods.BY_NAME[name].period(brands.settings(session))
        ledger.append(session, PURGED, subject=None, body=body, by=ledger.SYSTEM, now=now)
    row.gone, row.names, row.ran_at = 0, {}, now
    session.add(row)
    return gone


def last_runs(session: Session) -> dict[str, datetime | None]:
    """When each class was last gone through to its end."""
    return {row.data_class: row.ran_at for row in session.exec(select(Retention))}


def attribute_days(session: Session) -> list[tuple[str, str, int]]:
    """Each declared attribute: name, purpose, days."""
    kinds = session.exec(select(AttributeKind).order_by(col(AttributeKind.name)))
    return [(one.name, one.purpose, one.retention_days) for one in kinds]


def _row(session: Session, name: str) -> Retention:
    """The class's row, made where missing. The ledger's tail is held, so it is ours."""
    fresh = insert_or_skip(session, Retention, ["data_class"])
    session.connection().execute(fresh.values(data_class=name, gone=0, names={}))
    return session.get_one(Retention, name, populate_existing=True)


def _count(session: Session, table: Any, when: ColumnElement[bool]) -> int:
    counted: int = (
        session.connection().execute(select(func.count()).select_from(table).where(when)).scalar_one()
    )
    return counted


# What is past its time


def _past(session: Session, name: str, now: datetime) -> tuple[Any, ColumnElement[bool]]:
    """The table of a class, and which of its rows are."""
    days = periods.BY_NAME[name].period(brands.settings(session)) or 0
    return _PAST[name](now - timedelta(days=days), now)


def unconfirmed(since: datetime, now: datetime) -> tuple[Any, ColumnElement[bool]]:
    """Sign-ups on our own form, last asked for at `since` or before, of which nothing else is known.

    Whom a site or an import brought stays, whatever they confirmed: they are that site's, which has them erased by its own id. So
    stays whoever said anything else (a no above all: it has to be known), has mail under way, a button that still works, a
    request or message open, or a mailbox on the do-not-mail list.
    """
    said = exists().where(
        col(LedgerEntry.subject) == col(Person.public_id),
        or_(
            col(LedgerEntry.kind).not_in((*ASKING, *LOOKING, *RIGHTS)),
            and_(col(LedgerEntry.kind).in_(ASKING), col(LedgerEntry.at) > to_micros(since)),
        ),
    )
    final = exists().where(
        col(Outcome.mailing_id) == col(Audience.mailing_id),
        col(Outcome.pos) == col(Audience.pos),
        col(Outcome.final),
    )
    mine = col(Person.id)
    only_asked = exists().where(
        col(Address.id) == col(Person.address_id),
        col(Address.address_hash).not_in(_kept_mailboxes()),
        col(Address.address_hash).not_in(_open_mailboxes()),
    )
    conditions = [
        col(Person.state) == "active",
        col(Person.created_at) <= since,
        only_asked,
        ~exists().where(
            col(Address.owner_id) == mine,
            col(Address.owner_kind) == "person",
            or_(col(Address.confirmed_at).is_not(None), col(Address.attested)),
        ),
        mine.in_(select(col(Identity.person_id)).where(col(Identity.source) == OWN_FORM)),
        ~exists().where(col(Identity.person_id) == mine, col(Identity.source) != OWN_FORM),
        ~exists().where(
            col(Preference.person_id) == mine, col(Preference.state).not_in(("unknown", "requested"))
        ),
        ~exists().where(
            col(Confirmation.person_id) == mine,
            or_(col(Confirmation.confirmed_at).is_not(None), col(Confirmation.expires_at) > now),
        ),
        ~exists().where(col(RightsRequest.person_id) == mine, col(RightsRequest.closed_at).is_(None)),
        ~exists().where(col(Audience.person_id) == mine, ~final),
        ~said,
    ]
    return Person, and_(*conditions)


def _kept_mailboxes() -> Any:
    return select(col(Suppression.address_hash)).where(col(Suppression.lifted_at).is_(None))


def _open_mailboxes() -> Any:
    """Whoever has a message open with us."""
    theirs = aliased(Address)
    return (
        select(col(theirs.address_hash))
        .join(ContactRequest, col(ContactRequest.address_id) == col(theirs.id))
        .where(col(ContactRequest.state) == "open")
    )


def _messages(since: datetime, now: datetime) -> tuple[Any, ColumnElement[bool]]:
    lately = exists().where(
        col(LedgerEntry.subject) == col(ContactRequest.public_id),
        col(LedgerEntry.kind).in_(_WRITTEN),
        col(LedgerEntry.at) > to_micros(since),
    )
    asked = exists().where(
        col(RightsRequest.contact_id) == col(ContactRequest.id),
        or_(col(RightsRequest.closed_at).is_(None), col(RightsRequest.closed_at) > since),
    )
    return ContactRequest, and_(col(ContactRequest.state) != "open", ~lately, ~asked, ~_wrote_restricted())


def _wrote_restricted() -> ColumnElement[bool]:
    """Whether somebody under restriction wrote a message: from a mailbox of theirs, or as what became a request of theirs."""
    sent, theirs = aliased(Address), aliased(Address)
    same = col(theirs.address_hash) == col(sent.address_hash), col(sent.id) == col(ContactRequest.address_id)
    owned = col(theirs.owner_kind) == "person", col(theirs.confirmed_at).is_not(None)
    made = col(RightsRequest.contact_id) == col(ContactRequest.id), _restricted(col(RightsRequest.person_id))
    return or_(exists().where(*same, *owned, _restricted(col(theirs.owner_id))), exists().where(*made))


def _restricted(person_id: Any) -> ColumnElement[bool]:
    """Whether that person is under restriction, or was merged into somebody who is."""
    one, left = aliased(Person), aliased(Person)
    into = exists().where(col(left.id) == col(one.merged_into), col(left.state) == "restricted")
    return exists().where(col(one.id) == person_id, or_(col(one.state) == "restricted", into))


def _requests(since: datetime, now: datetime) -> tuple[Any, ColumnElement[bool]]:
    return RightsRequest, and_(
        col(RightsRequest.closed_at).is_not(None),
        col(RightsRequest.closed_at) <= since,
        ~_restricted(col(RightsRequest.person_id)),
    )


def _networks(since: datetime, now: datetime) -> tuple[Any, ColumnElement[bool]]:
    """The keys of days; what came late on one of them has its whole time."""
    return EvidenceKey, col(EvidenceKey.id) < since.date().toordinal()


def _mail_words(since: datetime, now: datetime) -> tuple[Any, ColumnElement[bool]]:
    """Single mails of which nothing leaves any more; what they said lies under the house key, or is a link's token."""
    facts = col(Mailing.facts)
    return Mailing, and_(
        col(Mailing.kind).in_(("system", "test")),
        col(Mailing.state).in_(mailings.FINAL),
        func.coalesce(col(Mailing.finished_at), col(Mailing.valid_until)) <= since,
        or_(facts["sealed"].as_string().is_not(None), facts["token"].as_string().is_not(None)),
    )


def _uploads(since: datetime, now: datetime) -> tuple[Any, ColumnElement[bool]]:
    """Cells of files that lie there no more (`ops.uploads`)."""
    idle = col(Import.state).not_in(("running", "taking_back"))
    return Import, and_(idle, col(Import.mended).is_not(None), col(Import.created_at) <= since)


def _old_attributes(session: Session, now: datetime) -> ColumnElement[bool]:
    """Each by its own days, from when it was last said."""
    old = [
        and_(col(PersonAttribute.name) == name, col(PersonAttribute.set_at) <= now - timedelta(days=days))
        for name, _, days in attribute_days(session)
    ]
    return and_(or_(False, *old), ~_restricted(col(PersonAttribute.person_id)))


def _named(session: Session, when: ColumnElement[bool]) -> dict[str, int]:
    """Attribute → how many people have one."""
    people = func.count(func.distinct(col(PersonAttribute.person_id)))
    statement = select(col(PersonAttribute.name), people).where(when).group_by(col(PersonAttribute.name))
    return {name: many for name, many in session.connection().execute(statement)}


_PAST: dict[str, Callable[[datetime, datetime], tuple[Any, ColumnElement[bool]]]] = {
    periods.UNCONFIRMED: unconfirmed,
    periods.MESSAGES: _messages,
    periods.REQUESTS: _requests,
    periods.NETWORKS: _networks,
    periods.MAIL_WORDS: _mail_words,
    periods.UPLOADS: _uploads,
}


def _links(now: datetime) -> list[tuple[Any, ColumnElement[bool]]]:
    since = now - timedelta(days=periods.BY_NAME[periods.LINKS].days or 0)
    return [(LinkUse, col(LinkUse.used_at) <= since), (Undo, col(Undo.expires_at) <= since)]


_OVER: dict[str, Callable[[datetime], list[tuple[Any, ColumnElement[bool]]]]] = {
    periods.LINKS: _links,
    periods.SIGN_INS: staff.over,
    periods.ANSWERS: keys.over,
}


# Taking it away


def _forget_people(
    session: Session, ring: Keyring, numbers: Sequence[int], forget: Forget, now: datetime
) -> int:
    table, past = _past(session, periods.UNCONFIRMED, now)
    rows = session.exec(select(Person).where(table.id.in_(numbers), past).order_by(table.id)).all()
    for person in rows:
        forget(session, ring, person, now=now)
    return len(rows)


def _empty_attributes(session: Session, numbers: Sequence[int], now: datetime) -> Gone:
    """What nobody dated yet is dated: its days begin when the clock first sees it."""
    theirs = col(PersonAttribute.person_id).in_(numbers)
    undated = theirs & col(PersonAttribute.set_at).is_(None)
    session.connection().execute(update(PersonAttribute).where(undated).values(set_at=now))
    past = theirs & _old_attributes(session, now)
    names = _named(session, past)
    session.connection().execute(delete(PersonAttribute).where(past))
    return Gone(sum(names.values()), names)


def _forget_messages(session: Session, numbers: Sequence[int], now: datetime) -> int:
    table, past = _past(session, periods.MESSAGES, now)
    rows = session.exec(select(ContactRequest).where(table.id.in_(numbers), past)).all()
    erasing.forget_messages(session, rows, now=now)
    return len(rows)


def _forget_requests(session: Session, numbers: Sequence[int], now: datetime) -> int:
    table, past = _past(session, periods.REQUESTS, now)
    return session.connection().execute(delete(RightsRequest).where(table.id.in_(numbers), past)).rowcount


def _end_networks(session: Session, numbers: Sequence[int], now: datetime) -> int:
    table, past = _past(session, periods.NETWORKS, now)
    return session.connection().execute(delete(EvidenceKey).where(table.id.in_(numbers), past)).rowcount


def _empty_mails(session: Session, numbers: Sequence[int], now: datetime) -> int:
    table, past = _past(session, periods.MAIL_WORDS, now)
    rows = session.exec(select(Mailing).where(table.id.in_(numbers), past)).all()
    for row in rows:
        row.facts = {name: value for name, value in row.facts.items() if name in _NAMES_THE_MESSAGE}
        session.add(row)
    return len(rows)


def _empty_imports(session: Session, numbers: Sequence[int], now: datetime) -> int:
    table, past = _past(session, periods.UPLOADS, now)
    emptied = update(Import).where(table.id.in_(numbers), past).values(mended=None)
    return session.connection().execute(emptied).rowcount


def _end_links(session: Session, *, now: datetime) -> int:
    return sum(delete_some(session, table, when) for table, when in _links(now))


_TAKING: dict[str, Callable[[Session, Sequence[int], datetime], int]] = {
    periods.MESSAGES: _forget_messages,
    periods.REQUESTS: _forget_requests,
    periods.NETWORKS: _end_networks,
    periods.MAIL_WORDS: _empty_mails,
    periods.UPLOADS: _empty_imports,
}
_ENDING: dict[str, Callable[..., int]] = {
    periods.LINKS: _end_links,
    periods.SIGN_INS: staff_actions.forget_old,
    periods.ANSWERS: api_keys.forget_answers,
}
