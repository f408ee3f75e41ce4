"""A person's mailbox: the address that changes, waits and is confirmed, and two persons who turn out to be one.

Called by `people.actions` for what a site says, by `preferences` for what somebody does with a link.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import delete, insert
from sqlmodel import Session, col, select

from service.db.bulk import among
from service.db.locks import lock_ledger_tail
from service.domain.ledger import actions as ledger
from service.domain.mailings.actions import seal_address
from service.domain.mailings.tables import Address
from service.domain.people import queries, rules
from service.domain.people.tables import AttributeKind, Identity, Person, PersonAttribute
from service.domain.suppressions import actions as suppressions
from service.kit import addresses, sealing
from service.kit.signing import Keyring


@dataclass
class Known:
    """A person as this transaction knows them."""

    person: Person
    identity: Identity
    address: Address
    key: bytes
    created: bool = False
    changed: list[str] = field(default_factory=list)
    registered_seq: int | None = None
    merged: Person | None = None  # who turned out to be this person, too
    moved: bool = False  # mail goes to another mailbox than before
    address_told: int | None = (
        None  # the entry of a change that waits: the old address is to be told, the new one asked
    )


def who_is_left(session: Session, person: Person) -> Person:
    """The person as they stand at the ledger's tail, which is held from now on: whoever waited for it has perhaps read them before
    they moved, were erased, or were made one with somebody, who is the answer then. What is said of a person begins with this
    where they were looked up before the tail was held; else it is acknowledged, and said of a row that is nobody any more."""
    lock_ledger_tail(session)
    session.flush()  # reading anew would forget what this transaction has changed itself
    left = session.get_one(Person, person.id, populate_existing=True)
    while left.merged_into:
        left = session.get_one(Person, left.merged_into, populate_existing=True)
    return left


def themselves(session: Session, person: Person) -> Person:
    """Whoever speaks for themselves, as they stand at the ledger's tail. Raises `UnknownPerson` where they were erased meanwhile, or
    made one with somebody, who has not said this."""
    left = who_is_left(session, person)
    if left.id != person.id or left.state == "erased":
        raise rules.UnknownPerson
    return left


def change_address(
    session: Session,
    ring: Keyring,
    row: Known,
    address: addresses.Address,
    *,
    confirmed: bool,
    now: datetime,
    by: str,
) -> Address:
    """A changed address is pending until confirmed; the old one is told, and marketing waits (design.md 4).

    Somebody whose old address was never confirmed simply gets the new one. Asking for the address that is already
    waiting changes nothing.
    """
    person = row.person
    digest, sealed = seal_address(ring, address, row.key)
    waiting = session.get(Address, person.pending_address_id) if person.pending_address_id else None
    if waiting is not None and waiting.address_hash == digest and not confirmed:
        return waiting
    if waiting is not None:
        waiting.ended_at = now
        session.add(waiting)
    new = Address(
        owner_kind="person",
        owner_id=person.id,
        sealed=sealed,
        address_hash=digest,
        attested=row.address.attested,
        created_at=now,
    )
    session.add(new)
    session.flush()
    body = {"pending": row.address.confirmed_at is not None and not confirmed}
    seq = ledger.append(session, "address.changed", subject=person.public_id, body=body, by=by, now=now)
    row.changed.append("email")
    if row.address.confirmed_at is None:
        person.pending_address_id = None
        _replace_address(session, row, new, now=now, by=by)
    else:
        person.pending_address_id = new.id
        row.address_told = None if confirmed else seq
    if confirmed:
        confirm_address(session, ring, row, new, now=now, by=by)
    session.add(person)
    return new


def _replace_address(session: Session, row: Known, new: Address, *, now: datetime, by: str) -> None:
    _take_along(session, row, new, now=now, by=by)
    row.moved = True
    row.address.ended_at = now
    session.add(row.address)
    row.person.address_id = new.id
    row.address = new


def _take_along(session: Session, row: Known, new: Address, *, now: datetime, by: str) -> None:
    """An objection binds us to the person, not to where their mail went when they said it (P7)."""
    suppressions.take_along(
        session,
        row.address.address_hash,
        new.address_hash,
        subject=row.person.public_id,
        owned=row.address.confirmed_at is not None,
        now=now,
        by=by,
    )


def confirm_address(
    session: Session, ring: Keyring, row: Known, address: Address, *, now: datetime, by: str
) -> Person:
    """The owner of this mailbox pressed the button (or a trusted source says so): the address is live and confirmed.

    Where another person holds it confirmed already, this one is merged into that one. Returns the person who is left, whom
    `row` names from then on; the caller carries over what was chosen (`preferences.changes.carry_over`).
    """
    person = row.person
    holder = holders(session, [address.address_hash]).get(address.address_hash)
    if holder is not None and holder[0].id != person.id:
        _take_along(session, row, holder[1], now=now, by=by)
        left = merge(session, ring, row, holder[0], now=now, by=by)
        row.merged, row.person, row.address, row.key = person, left, holder[1], queries.person_key(ring, left)
        return left
    if address.confirmed_at is None:
        address.confirmed_at = now
        session.add(address)
        if "email" not in row.changed:
            row.changed.append("address_confirmed")
        ledger.append(session, "address.confirmed", subject=person.public_id, body={}, by=by, now=now)
    if address.id == person.pending_address_id:
        if "email" not in row.changed:  # else `change_address` has just said so
            # Only now is the old address taken away: what was claimed for it must not depart any more (P1).
            body = {"pending": False}
            ledger.append(session, "address.changed", subject=person.public_id, body=body, by=by, now=now)
        person.pending_address_id = None
        _replace_address(session, row, address, now=now, by=by)
    session.add(person)
    session.flush()
    return person


def merge(session: Session, ring: Keyring, row: Known, into: Person, *, now: datetime, by: str) -> Person:
    """Two persons turned out to share one mailbox: identities and attributes go to the one who held it confirmed.

    Profiles are sealed anew under that person's key; the merged person's own key stays until erasure, for their entries.
    """
    person, key = row.person, queries.person_key(ring, into)
    assert person.id is not None
    assert into.id is not None
    for identity in queries.identities(session, person.id):
        identity.profile = seal_profile(
            key, identity.source, identity.external_id, queries.open_profile(row.key, identity)
        )
        identity.person_id = into.id
        session.add(identity)
    _merge_attributes(session, person.id, into.id)
    if person.state == "restricted" and into.state == "active":  # a no goes along, whoever said it
        into.state = "restricted"
        session.add(into)
        ledger.append(
            session, "person.restricted", subject=into.public_id, body={"how": "merge"}, by=by, now=now
        )
    _merge_limits(session, person, into, now=now, by=by)
    for address in session.exec(
        select(Address).where(col(Address.owner_kind) == "person", col(Address.owner_id) == person.id)
    ):
        address.ended_at = address.ended_at or now
        session.add(address)
    person.state, person.merged_into, person.address_id, person.pending_address_id = (
        "merged",
        into.id,
        None,
        None,
    )
    session.add(person)
    session.flush()
    ledger.append(
        session, "person.merged", subject=person.public_id, body={"into": into.public_id}, by=by, now=now
    )
    return into


def _merge_limits(session: Session, person: Person, into: Person, *, now: datetime, by: str) -> None:
    """Of two limits on mails a week the lower one holds."""
    most = person.max_per_week
    if most is not None and (into.max_per_week is None or most < into.max_per_week):
        into.max_per_week = most
        session.add(into)
        body = {"max_per_week": most, "method": "merge"}
        ledger.append(session, "preference.changed", subject=into.public_id, body=body, by=by, now=now)


def _merge_attributes(session: Session, person_id: int, into_id: int) -> None:
    """What the remaining person has stays; tags are joined, and countries."""
    tags = {*session.exec(select(AttributeKind.name).where(col(AttributeKind.type) == "tags")), rules.COUNTRY}
    present = queries.attributes(session, into_id)
    new = [
        {"person_id": into_id, "name": row.name, "value": row.value, "set_at": row.set_at}
        for row in session.exec(select(PersonAttribute).where(col(PersonAttribute.person_id) == person_id))
        if row.name not in present or (row.name in tags and row.value not in present[row.name])
    ]
    if new:
        session.connection().execute(insert(PersonAttribute), new)
    session.connection().execute(delete(PersonAttribute).where(col(PersonAttribute.person_id) == person_id))


def holders(session: Session, hashes: list[str]) -> dict[str, tuple[Person, Address]]:
    """Who holds these addresses confirmed."""
    found = session.exec(_HOLDERS, params={"hashes": hashes})
    return {address.address_hash: (person, address) for address, person in found}


_HELD = (
    col(Address.owner_kind) == "person",
    among(col(Address.address_hash), "hashes"),
    col(Address.ended_at).is_(None),
    col(Address.confirmed_at).is_not(None),
)
_HOLDERS = select(Address, Person).join(Person, col(Person.id) == col(Address.owner_id)).where(*_HELD)
_HOLDING = select(Address.address_hash, Address.owner_id).where(*_HELD)


def holding(session: Session, hashes: list[str]) -> dict[str, int]:
    """The same by the persons' row numbers alone."""
    found = session.exec(_HOLDING, params={"hashes": hashes})
    return {digest: person for digest, person in found if person is not None}


def known(session: Session, ring: Keyring, person: Person) -> Known:
    """A person as the other actions want them."""
    assert person.id is not None
    address = session.get(Address, person.address_id)
    if address is None:
        raise rules.UnknownPerson
    identity = (
        queries.identities(session, person.id)
        or [
            Identity(
                source="",
                external_id="",
                person_id=person.id,
                created_at=person.created_at,
                changed_at=person.created_at,
            )
        ]
    )[-1]
    return Known(person, identity, address, queries.person_key(ring, person))


def seal_profile(key: bytes, source: str, external_id: str, profile: Mapping[str, str]) -> bytes:
    return sealing.seal(key, json.dumps(profile).encode(), queries.PROFILE_AT.format(source, external_id))
