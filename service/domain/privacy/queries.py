"""Listing contact requests without their text, and opening one for the action that records the look."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import func
from sqlmodel import Session, col, select

from service.domain.mailings import queries as mailings
from service.domain.mailings.tables import Address
from service.domain.privacy import rules
from service.domain.privacy.tables import ContactRequest
from service.kit import addresses, paging, sealing
from service.kit.signing import Keyring

ASKED_AT, ANSWERED_AT = "contact|{}", "contact|{}|answers"  # where the ciphers belong


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


def by_public_id(session: Session, public_id: str) -> ContactRequest:
    """One request, still sealed. Raises `ContactUnknown`."""
    row = session.exec(select(ContactRequest).where(col(ContactRequest.public_id) == public_id)).first()
    if row is None:
        raise rules.ContactUnknown
    return row


def opened(session: Session, ring: Keyring, row: ContactRequest) -> Opened:
    """A request in clear; `actions.open_request` records that somebody looked."""
    written = asked(ring, row)
    return Opened(
        row.public_id,
        mailings.open_address(ring, session.get_one(Address, row.address_id)),
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
    listed = [_listed(opened(session, ring, row)) for row in rows[:size]]
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


def written_from(session: Session, hashes: set[str]) -> Sequence[ContactRequest]:
    """Every request that came from one of these mailboxes, by keyed hash."""
    statement = (
        select(ContactRequest)
        .join(Address, col(Address.id) == col(ContactRequest.address_id))
        .where(col(Address.address_hash).in_(hashes - {""}))
    )
    return session.exec(statement).all()
