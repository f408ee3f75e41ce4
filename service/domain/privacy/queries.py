"""Listing contact requests without their text, and opening one for the action that records the look; requests under a person's
rights the same way, those first that are due first."""

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime

from sqlalchemy import and_, func, or_
from sqlmodel import Session, col, select

from service.domain.ledger import queries as ledger
from service.domain.mailings import queries as mailings
from service.domain.mailings.tables import Address
from service.domain.people import erasing as people_erasing
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.domain.preferences import changes
from service.domain.preferences import queries as preferences
from service.domain.privacy import rules
from service.domain.privacy.tables import Breach, ContactRequest, RightsRequest
from service.kit import addresses, paging, sealing
from service.kit.signing import Keyring

ASKED_AT, ANSWERED_AT = "contact|{}", "contact|{}|answers"  # where the ciphers belong
REQUESTED_AT = "request|{}"


@dataclass(frozen=True)
class Listed:
    """A request in a list: who, masked, and about what."""

    public_id: str
    masked: str
    subject: str
    state: str
    created_at: datetime


@dataclass(frozen=True)
class Reply:
    """An answer that was mailed: by whom, when, what."""

    by: str
    at: datetime
    text: str


@dataclass(frozen=True)
class Opened:
    """A request with everything in clear."""

    public_id: str
    address: addresses.Address
    name: str
    subject: str
    text: str
    locale: str
    state: str
    created_at: datetime
    answers: list[Reply] = field(default_factory=list)


@dataclass(frozen=True)
class Requested:
    """A request under somebody's rights: the row, whose it is as far as that is known, and what was said, in clear."""

    row: RightsRequest
    person: Person | None
    message: ContactRequest | None
    who: str  # masked in a list
    text: str


def by_public_id(session: Session, public_id: str) -> ContactRequest:
    """One request, still sealed. Raises `ContactUnknown`."""
    row = session.exec(select(ContactRequest).where(col(ContactRequest.public_id) == public_id)).first()
    if row is None:
        raise rules.ContactUnknown
    return row


def opened(session: Session, ring: Keyring, row: ContactRequest) -> Opened:
    """A request in clear; `actions.open_request` records that somebody looked. Raises `ContactUnknown`: it was erased meanwhile."""
    written, place = asked(ring, row), session.get_one(Address, row.address_id)
    if place.sealed is None:
        raise rules.ContactUnknown
    return Opened(
        row.public_id,
        mailings.open_address(ring, place),
        written["name"],
        written["subject"],
        written["text"],
        row.locale,
        row.state,
        row.created_at,
        answers(ring, row),
    )


def asked(ring: Keyring, row: ContactRequest) -> dict[str, str]:
    """What was written: name, subject, text."""
    written: dict[str, str] = json.loads(
        sealing.unseal(ring.house_key, row.sealed, ASKED_AT.format(row.public_id))
    )
    return written


def answers(ring: Keyring, row: ContactRequest) -> list[Reply]:
    """What was answered so far, oldest first."""
    if row.answer is None:
        return []
    given = json.loads(sealing.unseal(ring.house_key, row.answer, ANSWERED_AT.format(row.public_id)))
    return [Reply(one["by"], datetime.fromisoformat(one["at"]), one["text"]) for one in given]


def page(
    session: Session,
    ring: Keyring,
    *,
    state: str | None = None,
    after: str | None = None,
    limit: int | None = None,
) -> paging.Page[Listed]:
    """Requests by keyset, newest first, of one state or all."""
    key, size = paging.decode(after), paging.size(limit)
    statement = select(ContactRequest).order_by(col(ContactRequest.id).desc()).limit(size + 1)
    if state:
        statement = statement.where(col(ContactRequest.state) == state)
    if isinstance(key, int):
        statement = statement.where(col(ContactRequest.id) < key)
    rows = session.exec(statement).all()
    listed = []
    for row in rows[:size]:
        with suppress(rules.ContactUnknown):  # erased just now
            listed.append(_listed(opened(session, ring, row)))
    return paging.Page(listed, paging.encode(rows[size - 1].id or 0) if len(rows) > size else None)


def _listed(one: Opened) -> Listed:
    return Listed(one.public_id, one.address.masked, one.subject, one.state, one.created_at)


def counts(session: Session) -> dict[str, int]:
    """How many requests are open, answered and closed."""
    rows = session.exec(select(ContactRequest.state, func.count()).group_by(col(ContactRequest.state)))
    return {"open": 0, "answered": 0, "closed": 0, **dict(rows.all())}


def recent(session: Session, address_hash: str, *, since: datetime) -> Sequence[ContactRequest]:
    """The requests that came from one address since then."""
    statement = (
        select(ContactRequest)
        .join(Address, col(Address.id) == col(ContactRequest.address_id))
        .where(col(Address.address_hash) == address_hash, col(ContactRequest.created_at) > since)
    )
    return session.exec(statement).all()


def alone_with_it(session: Session, ring: Keyring, public_id: str) -> list[str]:
    """The address a message came from, in clear, where nobody else here has it and nothing else came from it."""
    held = select(Address).join(ContactRequest, col(ContactRequest.address_id) == col(Address.id))
    row = session.exec(held.where(col(ContactRequest.public_id) == public_id)).first()
    if row is None or row.sealed is None:
        return []
    others = select(Address.id).where(
        col(Address.address_hash) == row.address_hash,
        col(Address.id) != row.id,
        col(Address.ended_at).is_(None),
    )
    return [] if session.exec(others).first() else [mailings.open_address(ring, row).text]


def left_by(session: Session, address_hash: str, *, before: datetime) -> Sequence[ContactRequest]:
    """The messages that came from one mailbox before that moment, whoever had it."""
    statement = (
        select(ContactRequest)
        .join(Address, col(Address.id) == col(ContactRequest.address_id))
        .where(col(Address.address_hash) == address_hash, col(ContactRequest.created_at) < before)
    )
    return session.exec(statement).all()


def whole(session: Session, person: Person) -> list[Person]:
    """Whose data goes with an erasure and into a copy: the person's, theirs who were merged into them, and, where the mailbox is
    confirmed theirs, of whatever else was registered with it: one mailbox is one person (design.md 4)."""
    found = people_erasing.with_merged(session, person)
    address = session.get(Address, person.address_id) if person.address_id else None
    if address is not None and address.confirmed_at is not None and address.ended_at is None:
        for other in changes.neighbours(session, person, address.address_hash):
            found += people_erasing.with_merged(session, other)
    return found


def messages_of(session: Session, persons: Sequence[Person]) -> list[ContactRequest]:
    """What these persons wrote, oldest first: from their mailboxes, and what was found to be a request of theirs from elsewhere."""
    found = {row.id: row for row in written_from(session, people_erasing.addresses_of(session, persons))}
    asked = (
        select(ContactRequest)
        .join(RightsRequest, col(RightsRequest.contact_id) == col(ContactRequest.id))
        .where(col(RightsRequest.person_id).in_([one.id for one in persons]))
    )
    found |= {row.id: row for row in session.exec(asked)}
    return sorted(found.values(), key=lambda row: row.id or 0)


def while_theirs(own: Iterable[Address]) -> dict[str, datetime | None]:
    """The keyed hash of each mailbox that was confirmed theirs, with the moment they left it; None: not yet."""
    until: dict[str, datetime | None] = {}
    for row in own:
        if row.confirmed_at is not None and row.address_hash:
            ends = (row.ended_at, until.get(row.address_hash, row.ended_at))
            until[row.address_hash] = None if None in ends else max(one for one in ends if one)
    return until


def written_from(session: Session, own: Iterable[Address]) -> Sequence[ContactRequest]:
    """Every message that came from one of these mailboxes while it was theirs."""
    until = while_theirs(own)
    statement = (
        select(ContactRequest, Address.address_hash)
        .join(Address, col(Address.id) == col(ContactRequest.address_id))
        .where(col(Address.address_hash).in_(until))
    )
    return [
        message
        for message, digest in session.exec(statement)
        if (ended := until[digest]) is None or message.created_at <= ended
    ]


def request_by_id(session: Session, public_id: str) -> RightsRequest:
    """One request under somebody's rights, still sealed. Raises `RequestUnknown`."""
    row = session.exec(select(RightsRequest).where(col(RightsRequest.public_id) == public_id)).first()
    if row is None:
        raise rules.RequestUnknown
    return row


def request_written(
    session: Session, public_id: str, contact: ContactRequest | None, right: str
) -> RightsRequest | None:
    """The request of that id, or the open one that a message was made before."""
    same = col(RightsRequest.public_id) == public_id
    if contact is not None:
        same = (
            (col(RightsRequest.contact_id) == contact.id)
            & (col(RightsRequest.right) == right)
            & col(RightsRequest.closed_at).is_(None)
        )
    return session.exec(select(RightsRequest).where(same)).first()


def requested(session: Session, ring: Keyring, row: RightsRequest) -> Requested:
    """A request in clear; `requests.open_request` records that somebody looked."""
    person = people.followed(session, session.get(Person, row.person_id)) if row.person_id else None
    message = session.get(ContactRequest, row.contact_id) if row.contact_id else None
    wrote = said(ring, row)
    who = wrote["who"]
    if message is not None:
        with suppress(rules.ContactUnknown):  # erased just now
            who, wrote = opened(session, ring, message).address.masked, asked(ring, message)
    if person is not None:
        address = people.address_of(session, ring, person)
        who = address.masked if address else person.public_id
    return Requested(row, person, message, who, wrote["text"])


def said(ring: Keyring, row: RightsRequest) -> dict[str, str]:
    """Who is said to ask for it, and in which words, as staff wrote them down; empty where that is gone, or stands in a message."""
    if row.sealed is None:
        return {"who": "", "text": ""}
    found: dict[str, str] = json.loads(
        sealing.unseal(ring.house_key, row.sealed, REQUESTED_AT.format(row.public_id))
    )
    return found


def proven(session: Session, row: RightsRequest) -> bool:
    """Whether something shows that a request is made by the person it is taken for. An address typed into the contact form does
    not: they signed in by a mailed link since it came, or staff wrote down how they showed it (GDPR 12(6)). What came to staff by
    letter, or of nobody known here, is theirs to judge."""
    person = people.followed(session, session.get(Person, row.person_id)) if row.person_id else None
    if row.door != "form" or person is None or noted(row):
        return True
    message = session.get(ContactRequest, row.contact_id) if row.contact_id else None
    came = message.created_at if message else row.created_at
    return any(
        seen.at >= came
        for one in people_erasing.with_merged(session, person)
        for seen in ledger.of_subject(session, one.public_id, kinds=("person.signed_in",))
    )


def countries(session: Session, row: RightsRequest) -> frozenset[str]:
    """Where whoever asks is known to live."""
    person = people.followed(session, session.get(Person, row.person_id)) if row.person_id else None
    return preferences.countries(session, person) if person else frozenset()


def due_by_law(session: Session, row: RightsRequest) -> date:
    """The day a request is due as far as is known of them now; never later than it was."""
    day = rules.due_on if row.extended_at is None else rules.longest
    return min(row.due_on, day(row.right, row.came_on, countries(session, row)))


def too_late(session: Session) -> list[str]:
    """The open requests that are due sooner than their row says: since it came, a quicker law turned out to be theirs."""
    statement = select(RightsRequest).where(
        col(RightsRequest.closed_at).is_(None), col(RightsRequest.person_id).is_not(None)
    )
    rows = session.exec(statement.order_by(col(RightsRequest.id)))
    return [row.public_id for row in rows if due_by_law(session, row) < row.due_on]


def noted(row: RightsRequest) -> bool:
    """Whether staff, closing it as done, wrote down how it was shown to be theirs."""
    return row.outcome == "done" and bool(row.note)


def requests_page(
    session: Session, ring: Keyring, *, closed: bool, after: str | None = None, limit: int | None = None
) -> paging.Page[Requested]:
    """Open requests, the first due first; or closed ones, the last closed first."""
    key, size = paging.decode(after), paging.size(limit)
    due, ended, number = col(RightsRequest.due_on), col(RightsRequest.closed_at), col(RightsRequest.id)
    if closed:
        statement = select(RightsRequest).where(ended.is_not(None)).order_by(number.desc())
        if isinstance(key, int):
            statement = statement.where(number < key)
    else:
        statement = select(RightsRequest).where(ended.is_(None)).order_by(due, number)
        if key is not None:
            day, last_one = _due_after(str(key))
            statement = statement.where(or_(due > day, and_(due == day, number > last_one)))
    rows = session.exec(statement.limit(size + 1)).all()
    following = None
    if len(rows) > size:
        last = rows[size - 1]
        following = paging.encode(last.id or 0 if closed else f"{last.due_on} {last.id}")
    return paging.Page([requested(session, ring, row) for row in rows[:size]], following)


def _due_after(key: str) -> tuple[date, int]:
    day, _, number = key.partition(" ")
    try:
        return date.fromisoformat(day), min(int(number[:18]), paging.ROWS - 1)
    except ValueError as odd:
        raise paging.CursorInvalid(field="cursor") from odd


def request_counts(session: Session, today: date) -> dict[str, int]:
    """How many requests are open, how many of them past their day, and how many were closed."""
    ended, due = col(RightsRequest.closed_at), col(RightsRequest.due_on)
    statement = select(
        func.count().filter(ended.is_(None)),
        func.count().filter(ended.is_(None), due < today),
        func.count().filter(ended.is_not(None)),
    ).select_from(RightsRequest)
    opened_ones, overdue, closed = session.exec(statement).one()
    return {"open": opened_ones, "overdue": overdue, "closed": closed}


def breach_by_id(session: Session, public_id: str) -> Breach:
    """One breach. Raises `BreachUnknown`."""
    row = breach_written(session, public_id)
    if row is None:
        raise rules.BreachUnknown
    return row


def breach_written(session: Session, public_id: str) -> Breach | None:
    """The breach of that id, if there is one."""
    return session.exec(select(Breach).where(col(Breach.public_id) == public_id)).first()


def breaches(session: Session) -> Sequence[Breach]:
    """All of them: open ones first, the last noticed first."""
    return session.exec(
        select(Breach).order_by(col(Breach.closed_at).is_not(None), col(Breach.noticed_at).desc())
    ).all()


def first_unreported(session: Session) -> Breach | None:
    """The breach whose 72 hours end first, of those the authority has not been told of and has to be."""
    statement = select(Breach).where(*_UNREPORTED)
    return session.exec(statement.order_by(col(Breach.noticed_at)).limit(1)).first()


def breaches_late(session: Session, now: datetime) -> int:
    """How many of those are past their 72 hours."""
    late = col(Breach.noticed_at) < now - rules.REPORT_WITHIN
    return session.exec(select(func.count()).select_from(Breach).where(*_UNREPORTED, late)).one()


_UNREPORTED = (
    col(Breach.reported_at).is_(None), col(Breach.report_note) == "", col(Breach.closed_at).is_(None)
)  # fmt: skip
