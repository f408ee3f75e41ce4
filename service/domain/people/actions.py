"""Writing persons: registering many at once, their addresses, profiles, attributes; confirming and merging.

Everything works on a chunk, a single PUT being a chunk of one, so that a bulk registration costs a few statements per
200 people. Consents are the business of `preferences.actions`, which calls this.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, insert, update
from sqlmodel import Session, col, select

from service.db.locks import insert_or_skip
from service.domain.ledger import actions as ledger
from service.domain.mailings.actions import seal_address
from service.domain.mailings.tables import Address
from service.domain.people import queries, rules
from service.domain.people.tables import AttributeKind, Identity, Person, PersonAttribute
from service.kit import addresses, sealing
from service.kit.ids import new_alias, person_id
from service.kit.signing import Keyring


@dataclass
class Given:
    """What a door was told about one person, already parsed."""

    external_id: str
    email: addresses.Address
    locale: str | None = None
    zone: str | None = None
    profile: dict[str, str] | None = None
    attributes: dict[str, tuple[str, list[str]]] | None = None
    confirmed: bool = False  # a source that may say so attests that the address is confirmed
    attested: bool = True  # a site under contract gave the address (false for a visitor's form)
    registered: dict[str, Any] = field(default_factory=dict)  # for the registration entry: topics and wordings


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
    address_told: int | None = None  # the entry of a change that waits: the old address is to be told, the new one asked


def upsert_many(session: Session, ring: Keyring, source: str, given: list[Given], *, now: datetime, by: str) -> list[Known]:
    """Make or update the persons of one source. External ids and addresses must differ within one call."""
    hashes = [seal_address(ring, one.email)[0] for one in given] if len(given) == 1 else _hashes(ring, given)
    present = _present(session, ring, source, given)
    confirmed = _confirmed_holders(session, hashes)
    fresh: list[int] = []
    known: list[Known | None] = []
    for index, one in enumerate(given):
        found = present.get(one.external_id)
        holder = confirmed.get(hashes[index])
        if found is None and one.confirmed and holder is not None:
            found = _link(session, ring, source, one, holder, now=now, by=by)
        if found is None:
            fresh.append(index)
        known.append(found)
    made = _make(session, ring, source, [given[i] for i in fresh], [hashes[i] for i in fresh], confirmed, now=now, by=by)
    for index, one_made in zip(fresh, made, strict=True):
        known[index] = one_made
    complete = [one for one in known if one is not None]
    for one, row, digest in zip(given, complete, hashes, strict=True):
        if not row.created:
            same = digest == row.address.address_hash
            _update(session, ring, one, row, digest, now=now, by=by)
            if same and row.person.pending_address_id and row.merged is None:
                _keep_address(session, row, now=now, by=by)
    _set_attributes(session, given, complete, now=now)
    return complete


def _hashes(ring: Keyring, given: list[Given]) -> list[str]:
    return [sealing.keyed_digest(ring.lookup_key, one.email.key) for one in given]


def _present(session: Session, ring: Keyring, source: str, given: list[Given]) -> dict[str, Known]:
    """Who of these the source has named before."""
    statement = (
        select(Identity, Person)
        .join(Person, col(Person.id) == col(Identity.person_id))
        .where(col(Identity.source) == source, col(Identity.external_id).in_([one.external_id for one in given]))
    )
    rows = session.exec(statement).all()
    ids = [person.address_id for _, person in rows if person.address_id]
    rows_by_id = {row.id: row for row in session.exec(select(Address).where(col(Address.id).in_(ids)))} if ids else {}
    found = {}
    for identity, person in rows:
        address = rows_by_id.get(person.address_id)
        if address is None:
            raise rules.UnknownPerson("This person was erased.", field="external_id")
        found[identity.external_id] = Known(person, identity, address, queries.person_key(ring, person))
    return found


def _confirmed_holders(session: Session, hashes: list[str]) -> dict[str, tuple[Person, Address]]:
    """Who holds these addresses confirmed."""
    statement = (
        select(Address, Person)
        .join(Person, col(Person.id) == col(Address.owner_id))
        .where(
            col(Address.owner_kind) == "person",
            col(Address.address_hash).in_(hashes),
            col(Address.ended_at).is_(None),
            col(Address.confirmed_at).is_not(None),
        )
    )
    return {address.address_hash: (person, address) for address, person in session.exec(statement)}


def _link(session: Session, ring: Keyring, source: str, one: Given, holder: tuple[Person, Address], *, now: datetime, by: str) -> Known:
    """An attested address links a new identity to its holder at once (design.md 4); it is a registration of its own."""
    person, address = holder
    assert person.id is not None
    key = queries.person_key(ring, person)
    identity = Identity(
        source=source,
        external_id=one.external_id,
        person_id=person.id,
        profile=_seal_profile(key, source, one.external_id, one.profile or {}),
        created_at=now,
        changed_at=now,
    )
    session.add(identity)
    session.flush()
    body = {"source": source, "confirmed": True, **one.registered}
    seq = ledger.append(session, "person.registered", subject=person.public_id, body=body, by=by, now=now)
    return Known(person, identity, address, key, changed=["identity"], registered_seq=seq)


def _make(
    session: Session,
    ring: Keyring,
    source: str,
    given: list[Given],
    hashes: list[str],
    confirmed: dict[str, tuple[Person, Address]],
    *,
    now: datetime,
    by: str,
) -> list[Known]:
    """New persons with address and identity, in four statements for all of them."""
    if not given:
        return []
    keys = [sealing.new_key() for _ in given]
    aliases = [new_alias(8) for _ in given]
    persons = [
        {
            "alias": alias,
            "public_id": person_id(alias),
            "state": "active",
            "locale": one.locale or "en",
            "zone": one.zone or "",
            "wrapped_key": wrap(ring, alias, key),
            "created_at": now,
        }
        for one, alias, key in zip(given, aliases, keys, strict=True)
    ]
    person_ids = session.scalars(insert(Person).returning(col(Person.id), sort_by_parameter_order=True), persons).all()
    rows = [
        {
            "owner_kind": "person",
            "owner_id": row_id,
            "sealed": seal_address(ring, one.email, key)[1],
            "address_hash": digest,
            "attested": one.attested,
            "created_at": now,
            "confirmed_at": now if one.confirmed and digest not in confirmed else None,
        }
        for one, row_id, key, digest in zip(given, person_ids, keys, hashes, strict=True)
    ]
    address_ids = session.scalars(insert(Address).returning(col(Address.id), sort_by_parameter_order=True), rows).all()
    session.connection().execute(
        update(Person).where(col(Person.id) == bindparam("the_id")).values(address_id=bindparam("its_address")),
        [{"the_id": p, "its_address": a} for p, a in zip(person_ids, address_ids, strict=True)],
    )
    idents = [
        {
            "source": source,
            "external_id": one.external_id,
            "person_id": row_id,
            "profile": _seal_profile(key, source, one.external_id, one.profile or {}),
            "created_at": now,
            "changed_at": now,
        }
        for one, row_id, key in zip(given, person_ids, keys, strict=True)
    ]
    session.connection().execute(insert(Identity), idents)
    made = []
    for index, one in enumerate(given):
        person = Person(**persons[index], id=person_ids[index], address_id=address_ids[index])
        address = Address(**rows[index], id=address_ids[index])
        body = {"source": source, "confirmed": one.confirmed, **one.registered}
        seq = ledger.append(session, "person.registered", subject=person.public_id, body=body, by=by, now=now)
        made.append(Known(person, Identity(**idents[index]), address, keys[index], created=True, registered_seq=seq))
    return made


def wrap(ring: Keyring, alias: int, key: bytes) -> bytes:
    """A person's key under the newest wrapping key, whose id is the first octet."""
    kid = ring.newest
    return bytes([kid]) + sealing.seal(ring.wrap_keys[kid], key, queries.KEY_AT.format(alias))


def _seal_profile(key: bytes, source: str, external_id: str, profile: dict[str, str]) -> bytes:
    return sealing.seal(key, json.dumps(profile).encode(), queries.PROFILE_AT.format(source, external_id))


def _update(session: Session, ring: Keyring, one: Given, row: Known, digest: str, *, now: datetime, by: str) -> None:
    """Bring a known person up to what the source says now; each source changes its own profile only."""
    person = row.person
    if one.locale and person.locale != one.locale:
        person.locale = one.locale
        row.changed.append("locale")
    if one.zone and person.zone != one.zone:
        person.zone = one.zone
        row.changed.append("zone")
    if one.profile is not None and "identity" not in row.changed:
        before = queries.open_profile(row.key, row.identity)
        after = {**before, **one.profile}
        if after != before:
            row.identity.profile = _seal_profile(row.key, row.identity.source, row.identity.external_id, after)
            row.identity.changed_at = now
            session.add(row.identity)
            row.changed.append("profile")
    if digest != row.address.address_hash:
        change_address(session, ring, row, one.email, confirmed=one.confirmed, now=now, by=by)
    elif one.confirmed and row.address.confirmed_at is None:
        confirm_address(session, ring, row, row.address, now=now, by=by)
    session.add(person)
    if row.changed:
        body = {"source": row.identity.source, "fields": sorted(set(row.changed))}
        ledger.append(session, "person.changed", subject=row.person.public_id, body=body, by=by, now=now)


def _keep_address(session: Session, row: Known, *, now: datetime, by: str) -> None:
    """The present address was given again: the change that waited was a mistake, and its button works no more."""
    waiting = session.get_one(Address, row.person.pending_address_id)
    waiting.ended_at, row.person.pending_address_id = now, None
    session.add(waiting)
    row.changed.append("email")
    ledger.append(session, "address.kept", subject=row.person.public_id, body={}, by=by, now=now)


def change_address(
    session: Session, ring: Keyring, row: Known, address: addresses.Address, *, confirmed: bool, now: datetime, by: str
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
    new = Address(owner_kind="person", owner_id=person.id, sealed=sealed, address_hash=digest, attested=row.address.attested, created_at=now)
    session.add(new)
    session.flush()
    body = {"pending": row.address.confirmed_at is not None}
    seq = ledger.append(session, "address.changed", subject=person.public_id, body=body, by=by, now=now)
    row.changed.append("email")
    if row.address.confirmed_at is None:
        person.pending_address_id = None
        _replace_address(session, row, new, now=now)
    else:
        person.pending_address_id = new.id
        row.address_told = None if confirmed else seq
    if confirmed:
        confirm_address(session, ring, row, new, now=now, by=by)
    session.add(person)
    return new


def _replace_address(session: Session, row: Known, new: Address, *, now: datetime) -> None:
    row.address.ended_at = now
    session.add(row.address)
    row.person.address_id = new.id
    row.address = new


def confirm_address(session: Session, ring: Keyring, row: Known, address: Address, *, now: datetime, by: str) -> Person:
    """The owner of this mailbox pressed the button (or a trusted source says so): the address is live and confirmed.

    Where another person holds it confirmed already, this one is merged into that one. Returns the person who is left, whom
    `row` names from then on; the caller carries over what was chosen (`preferences.changes.carry_over`).
    """
    person = row.person
    holder = _confirmed_holders(session, [address.address_hash]).get(address.address_hash)
    if holder is not None and holder[0].id != person.id:
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
        person.pending_address_id = None
        _replace_address(session, row, address, now=now)
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
        identity.profile = _seal_profile(key, identity.source, identity.external_id, queries.open_profile(row.key, identity))
        identity.person_id = into.id
        session.add(identity)
    _merge_attributes(session, person.id, into.id)
    for address in session.exec(select(Address).where(col(Address.owner_kind) == "person", col(Address.owner_id) == person.id)):
        address.ended_at = address.ended_at or now
        session.add(address)
    person.state, person.merged_into, person.address_id, person.pending_address_id = "merged", into.id, None, None
    session.add(person)
    session.flush()
    ledger.append(session, "person.merged", subject=person.public_id, body={"into": into.public_id}, by=by, now=now)
    return into


def _merge_attributes(session: Session, person_id: int, into_id: int) -> None:
    """What the remaining person has stays; tags are joined."""
    tags = set(session.exec(select(AttributeKind.name).where(col(AttributeKind.type) == "tags")))
    present = queries.attributes(session, into_id)
    for name, values in queries.attributes(session, person_id).items():
        new = [one for one in values if one not in present.get(name, [])] if name in tags or name not in present else []
        if new:
            session.connection().execute(insert(PersonAttribute), [{"person_id": into_id, "name": name, "value": one} for one in new])
    session.connection().execute(delete(PersonAttribute).where(col(PersonAttribute.person_id) == person_id))


def known(session: Session, ring: Keyring, person: Person) -> Known:
    """A person as the other actions want them."""
    assert person.id is not None
    address = session.get(Address, person.address_id)
    if address is None:
        raise rules.UnknownPerson
    identity = (queries.identities(session, person.id) or [Identity(source="", external_id="", person_id=person.id, created_at=person.created_at, changed_at=person.created_at)])[-1]
    return Known(person, identity, address, queries.person_key(ring, person))


def correct(
    session: Session, ring: Keyring, person: Person, *, profile: dict[str, str], locale: str | None, zone: str | None, now: datetime, by: str
) -> list[str]:
    """A person's own correction of what is held (source `me`, which mails then use); returns the changed fields."""
    row = known(session, ring, person)
    own = queries.identity(session, "me", person.public_id)
    before = queries.open_profile(row.key, row.identity)
    if own is None:
        assert person.id is not None
        sealed = _seal_profile(row.key, "me", person.public_id, before)
        own = Identity(source="me", external_id=person.public_id, person_id=person.id, profile=sealed, created_at=now, changed_at=now)
    row.identity = own
    one = Given(person.public_id, queries.address_of(session, ring, person) or addresses.Address("", ""), locale, zone, profile)
    _update(session, ring, one, row, row.address.address_hash, now=now, by=by)
    return row.changed


def note_read(session: Session, person: Person, what: str, *, reason: str = "", now: datetime, by: str) -> None:
    """Somebody of the staff looked at personal data: `what` is viewed, revealed or exported (standards K8)."""
    ledger.append(session, f"person.{what}", subject=person.public_id, body={"reason": reason}, by=by, now=now)


def note_list(session: Session, listed: Sequence[Person], *, now: datetime, by: str) -> None:
    """Somebody of the staff was shown a list of people with names and masked addresses: one entry for all (standards K8)."""
    ledger.append(session, "people.listed", subject=None, body={"people": [one.public_id for one in listed]}, by=by, now=now)


def _set_attributes(session: Session, given: list[Given], known_people: list[Known], *, now: datetime) -> None:
    """Replace the attributes that were said; unknown names are declared by their first use, with the plainest purpose."""
    said = [(row, one.attributes) for one, row in zip(given, known_people, strict=True) if one.attributes]
    if not said:
        return
    names = {name: kind for _, attributes in said for name, (kind, _) in attributes.items()}
    declare = [
        {"name": name, "type": kind, "purpose": "choosing who a mail concerns", "retention_days": 1095, "declared_at": now}
        for name, kind in sorted(names.items())
    ]
    session.connection().execute(insert_or_skip(session, AttributeKind, ["name"]), declare)
    old = [(row.person.id, name) for row, attributes in said if not row.created for name in attributes]
    for person, name in old:
        session.connection().execute(
            delete(PersonAttribute).where(col(PersonAttribute.person_id) == person, col(PersonAttribute.name) == name)
        )
    rows = [
        {"person_id": row.person.id, "name": name, "value": value}
        for row, attributes in said
        for name, (_, values) in attributes.items()
        for value in dict.fromkeys(values)
    ]
    if rows:
        session.connection().execute(insert(PersonAttribute), rows)
