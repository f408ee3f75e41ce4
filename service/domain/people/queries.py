"""Reading persons: by a source's id, by address, by the alias in a link; opening what is sealed."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, LargeBinary, and_, bindparam, func, literal_column
from sqlmodel import Session, col, select

from service.db.bulk import among
from service.domain.ledger import queries as ledger
from service.domain.mailings import queries as mailings
from service.domain.mailings.tables import Address
from service.domain.people import rules
from service.domain.people.rules import PROFILE
from service.domain.people.tables import AttributeKind, Identity, Person, PersonAttribute
from service.kit import addresses, paging, sealing
from service.kit.signing import Keyring

KEY_AT = "person|{}|key"
PROFILE_AT = "identity|{}|{}"
OWN = "me"  # the source of what people correct themselves
# Written out, for a parameter there would make two expressions of one in a GROUP BY.
_wrapped_by = func.substr(
    col(Person.wrapped_key), literal_column("1"), literal_column("1"), type_=LargeBinary
)


class MasterUnknown(sealing.Unsealable):
    """The ring has not the master that wraps this person's key: nobody was erased, the ring is not the right one."""


@dataclass(frozen=True)
class Opened:
    """What one source sent about somebody, in clear."""

    source: str
    external_id: str
    profile: dict[str, str]


def person_key(ring: Keyring, person: Person) -> bytes:
    """The person's own key, unwrapped. Raises `Unsealable` once it was destroyed."""
    if not person.wrapped_key:
        raise sealing.Unsealable("person")
    return unwrap(ring, person.alias, person.wrapped_key)


def unwrap(ring: Keyring, alias: int, wrapped: bytes) -> bytes:
    """Open a wrapped key: its first octet is the id of the key that wrapped it. Raises `MasterUnknown`, `Unsealable`."""
    wrapping = ring.wrap_keys.get(wrapped[0])
    if wrapping is None:
        raise MasterUnknown("person")
    return sealing.unseal(wrapping, wrapped[1:], KEY_AT.format(alias))


def wrapped_by_another(ring: Keyring) -> ColumnElement[bool]:
    """The condition on persons whose key is wrapped by another master of the ring than the one in use."""
    _, *others = ring.wrap_keys
    return and_(col(Person.wrapped_key).is_not(None), _wrapped_by.in_([bytes([number]) for number in others]))


def masters(session: Session) -> dict[int, int]:
    """How many persons' keys each master wraps, by its id."""
    counted = (
        select(_wrapped_by, func.count()).where(col(Person.wrapped_key).is_not(None)).group_by(_wrapped_by)
    )
    return {octet[0]: persons for octet, persons in session.connection().execute(counted)}


def unreadable(session: Session, ring: Keyring) -> dict[int, int]:
    """How many persons' keys are wrapped by masters that the ring has not, by their ids."""
    return {kid: number for kid, number in masters(session).items() if kid not in ring.wrap_keys}


# Made once: every no asks it, and making a statement costs as much as running it.
_BY_ALIAS = select(Person).where(col(Person.alias) == bindparam("alias"))


def by_alias(session: Session, alias: int) -> Person | None:
    """The person a link names; whoever they were merged into, if they were."""
    return followed(session, session.exec(_BY_ALIAS, params={"alias": alias}).first())


_KNOWN_AS = select(Identity.external_id, Identity.person_id).where(
    col(Identity.source) == bindparam("of"), among(col(Identity.external_id), "names")
)


def known_as(session: Session, source: str, names: list[str]) -> dict[str, int]:
    """Whom a source has told of by these ids: id → row of the person."""
    return dict(session.exec(_KNOWN_AS, params={"of": source, "names": names}).all())


def by_public_id(session: Session, public_id: str) -> Person | None:
    """The person by opaque id, merged ones followed."""
    return followed(session, session.exec(select(Person).where(col(Person.public_id) == public_id)).first())


def followed(session: Session, person: Person | None) -> Person | None:
    """Through merges to the person who is left."""
    while person is not None and person.merged_into:
        person = session.get(Person, person.merged_into)
    return person


def identity(session: Session, source: str, external_id: str) -> Identity | None:
    """One source's identity."""
    return session.exec(
        select(Identity).where(col(Identity.source) == source, col(Identity.external_id) == external_id)
    ).first()


def identities(session: Session, person_id: int) -> Sequence[Identity]:
    """All identities of a person, the most recently changed last; what they corrected themselves goes before what any site
    says later."""
    return session.exec(
        select(Identity)
        .where(col(Identity.person_id) == person_id)
        .order_by(col(Identity.source) == OWN, col(Identity.changed_at), col(Identity.id))
    ).all()


_LIVING = (
    col(Address.owner_kind) == "person",
    col(Address.ended_at).is_(None),
    col(Person.state) != "merged",
)
_CONFIRMED_FIRST = (col(Address.confirmed_at).is_(None), col(Person.id))


def by_address(session: Session, ring: Keyring, address: addresses.Address) -> Sequence[Person]:
    """Everybody with this live address; the one who confirmed it, if any, first."""
    statement = (
        select(Person)
        .join(Address, col(Address.owner_id) == col(Person.id))
        .where(*_LIVING, col(Address.address_hash) == mailings.address_hash(ring, address))
        .order_by(*_CONFIRMED_FIRST)
    )
    return session.exec(statement).all()


_REGISTERED_AT = (
    select(Address.address_hash, Person)
    .join(Person, col(Address.owner_id) == col(Person.id))
    .where(*_LIVING, among(col(Address.address_hash), "hashes"))
    .order_by(*_CONFIRMED_FIRST)
)


def registered_at(session: Session, hashes: Sequence[str]) -> dict[str, Person]:
    """Keyed hash of a mailbox → who is registered there: the one who confirmed it, else who came first."""
    found: dict[str, Person] = {}
    for digest, person in session.exec(_REGISTERED_AT, params={"hashes": sorted(set(hashes))}):
        found.setdefault(digest, person)
    return found


def address_of(session: Session, ring: Keyring, person: Person) -> addresses.Address | None:
    """Where a person's mail goes, in clear; None when there is nothing or it cannot be opened."""
    row = session.get(Address, person.address_id) if person.address_id else None
    if row is None or row.sealed is None or not person.wrapped_key:
        return None
    return mailings.open_address(ring, row, person_key(ring, person))


def open_profile(key: bytes, row: Identity) -> dict[str, str]:
    """The profile one source sent, all five fields, empty where nothing is known."""
    known: dict[str, str] = {}
    if row.profile:
        known = json.loads(sealing.unseal(key, row.profile, PROFILE_AT.format(row.source, row.external_id)))
    return {name: known.get(name, "") for name in PROFILE}


def profiles(session: Session, ring: Keyring, person: Person) -> list[Opened]:
    """Every source's profile of a person, the one mails use last."""
    key = person_key(ring, person)
    assert person.id is not None
    return [
        Opened(row.source, row.external_id, open_profile(key, row)) for row in identities(session, person.id)
    ]


def corrected(session: Session, person: Person, name: str) -> bool:
    """Whether the person had their language (`locale`) or `zone` corrected: that goes before what any site says later, as their
    profile does. To be asked only where a site says otherwise: it reads their entries."""
    changes = ledger.of_subject(session, person.public_id, kinds=("person.changed",))
    return any(one.body.get("source") == OWN and name in one.body.get("fields", ()) for one in changes)


def attribute_kinds(session: Session) -> dict[str, str]:
    """The declared attributes: name → type."""
    return {row.name: row.type for row in session.exec(_KINDS)}


_KINDS = select(AttributeKind).order_by(col(AttributeKind.name))


def attributes(session: Session, person_id: int) -> dict[str, list[str]]:
    """A person's attributes, every value as text."""
    found: dict[str, list[str]] = {}
    for row in session.exec(
        select(PersonAttribute)
        .where(col(PersonAttribute.person_id) == person_id)
        .order_by(col(PersonAttribute.value))
    ):
        found.setdefault(row.name, []).append(row.value)
    return found


def attributes_as_given(session: Session, person_id: int) -> dict[str, Any]:
    """A person's attributes by their declared types, as a site reads back what it wrote."""
    found = attributes(session, person_id)
    kinds = session.exec(select(AttributeKind).where(col(AttributeKind.name).in_(found))).all()
    types = {kind.name: kind.type for kind in kinds}
    return {name: rules.as_given(types.get(name, "text"), values) for name, values in sorted(found.items())}


def page(session: Session, *, after: str | None, limit: int | None) -> paging.Page[Person]:
    """Persons, newest first."""
    key, size = paging.decode(after), paging.size(limit)
    statement = (
        select(Person).where(col(Person.state) != "merged").order_by(col(Person.id).desc()).limit(size + 1)
    )
    if isinstance(key, int):
        statement = statement.where(col(Person.id) < key)
    rows = session.exec(statement).all()
    return paging.Page(rows[:size], paging.encode(rows[size - 1].id or 0) if len(rows) > size else None)


def by_external_id(session: Session, external_id: str, *, most: int = 20) -> list[Person]:
    """Everybody whom some source calls by this id, merged ones followed; for staff, who may not know the source."""
    statement = (
        select(Person)
        .join(Identity, col(Identity.person_id) == col(Person.id))
        .where(col(Identity.external_id) == external_id)
    )
    found = [
        followed(session, person) for person in session.exec(statement.order_by(col(Person.id)).limit(most))
    ]
    return list({person.id: person for person in found if person}.values())


def count(session: Session) -> int:
    """How many people there are, merged ones not counted."""
    return session.exec(select(func.count()).select_from(Person).where(col(Person.state) != "merged")).one()
