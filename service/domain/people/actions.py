"""Writing persons: registering many at once, their addresses and profiles; confirming and merging.

Everything works on a chunk, a single PUT being a chunk of one, so that a bulk registration costs a few statements per
200 people. Consents are the business of `preferences.actions`, which calls this.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam
from sqlmodel import Session, col, select

from service.db.bulk import among, insert_rows, next_numbers
from service.db.types import loaded
from service.domain.ledger import actions as ledger
from service.domain.mailings.tables import Address
from service.domain.people import attributes, mailbox, queries, rules
from service.domain.people.mailbox import Known
from service.domain.people.newcomers import Newcomer, newcomer
from service.domain.people.tables import AttributeKind, Identity, Person
from service.kit import addresses
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
    registered: dict[str, Any] = field(
        default_factory=dict
    )  # for the registration entry: topics and wordings
    address_hash: str = ""  # the keyed hash of `email`; registration computes it where the door has not
    new: Newcomer | None = None  # made before, for the case that they are


def upsert_many(
    session: Session, ring: Keyring, source: str, given: list[Given], *, now: datetime, by: str
) -> list[Known]:
    """Make or update the persons of one source. External ids and addresses must differ within one call."""
    hashes = [one.address_hash for one in given]
    present = _present(session, ring, source, given)
    confirmed = mailbox.holders(session, hashes)
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
    made = _make(session, ring, source, [given[i] for i in fresh], confirmed, now=now, by=by)
    for index, one_made in zip(fresh, made, strict=True):
        known[index] = one_made
    complete = [one for one in known if one is not None]
    kept = [digest == row.address.address_hash for row, digest in zip(complete, hashes, strict=True)]
    for one, row, digest in zip(given, complete, hashes, strict=True):
        if not row.created:
            _update(session, ring, one, row, digest, now=now, by=by)
    said = [(row, one.attributes) for row, one in zip(complete, given, strict=True) if one.attributes]
    attributes.replace(session, said, now=now)  # after merges: what a site says last stands
    for row, same in zip(complete, kept, strict=True):
        _note_changes(session, row, now=now, by=by)
        if not row.created and same and row.person.pending_address_id and row.merged is None:
            _keep_address(session, row, now=now, by=by)
    return complete


def meant(session: Session, source: str, given: list[Given]) -> list[set[int]]:
    """For each: the persons it may be about (their rows), by this source's id for them and as who holds the mailbox."""
    known = queries.known_as(session, source, [one.external_id for one in given])
    held = mailbox.holding(session, [one.address_hash for one in given])
    found = ((known.get(one.external_id), held.get(one.address_hash)) for one in given)
    return [{person for person in both if person is not None} for both in found]


_NAMED = (
    select(Identity, Person)
    .join(Person, col(Person.id) == col(Identity.person_id))
    .where(col(Identity.source) == bindparam("of"), among(col(Identity.external_id), "names"))
)


def _present(session: Session, ring: Keyring, source: str, given: list[Given]) -> dict[str, Known]:
    """Who of these the source has named before."""
    named = {"of": source, "names": [one.external_id for one in given]}
    rows = session.exec(_NAMED, params=named).all()
    ids = [person.address_id for _, person in rows if person.address_id]
    rows_by_id = (
        {row.id: row for row in session.exec(select(Address).where(col(Address.id).in_(ids)))} if ids else {}
    )
    found = {}
    for identity, person in rows:
        address = rows_by_id.get(person.address_id)
        if address is None:
            raise rules.UnknownPerson("This person was erased.", field="external_id")
        found[identity.external_id] = Known(person, identity, address, queries.person_key(ring, person))
    return found


def _link(
    session: Session,
    ring: Keyring,
    source: str,
    one: Given,
    holder: tuple[Person, Address],
    *,
    now: datetime,
    by: str,
) -> Known:
    """An attested address links a new identity to its holder at once (design.md 4); it is a registration of its own."""
    person, address = holder
    assert person.id is not None
    key = queries.person_key(ring, person)
    identity = Identity(
        source=source,
        external_id=one.external_id,
        person_id=person.id,
        profile=mailbox.seal_profile(key, source, one.external_id, one.profile or {}),
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
    confirmed: dict[str, tuple[Person, Address]],
    *,
    now: datetime,
    by: str,
) -> list[Known]:
    """New persons with address and identity, a statement for each table, and each one's registration entry."""
    if not given:
        return []
    numbers = next_numbers(session, Person, len(given))
    theirs = next_numbers(session, Address, len(given))
    addresses_made, persons, identities = [], [], []
    made = []
    for one, number, address_id in zip(given, numbers, theirs, strict=True):
        new = one.new or newcomer(
            ring, source, one.external_id, one.email, one.address_hash, one.profile or {}
        )
        person = _person_row(one, new, number, address_id, now)
        address = _address_row(one, new, number, address_id, one.address_hash not in confirmed, now)
        identity = _identity_row(source, one, new, number, now)
        persons.append(person)
        addresses_made.append(address)
        identities.append(identity)
        body = {"source": source, "confirmed": one.confirmed, **one.registered}
        seq = ledger.append(session, "person.registered", subject=new.public_id, body=body, by=by, now=now)
        row = Known(
            loaded(Person, person),
            loaded(Identity, identity),
            loaded(Address, address),
            new.key,
            created=True,
        )
        row.registered_seq = seq
        made.append(row)
    insert_rows(session, Address, addresses_made)
    insert_rows(session, Person, persons)
    insert_rows(session, Identity, identities)
    return made


def _person_row(one: Given, new: Newcomer, number: int, address_id: int, now: datetime) -> dict[str, Any]:
    return {
        "id": number,
        "alias": new.alias,
        "public_id": new.public_id,
        "state": "active",
        "locale": one.locale or "en",
        "zone": one.zone or "",
        "wrapped_key": new.wrapped_key,
        "max_per_week": None,
        "address_id": address_id,
        "pending_address_id": None,
        "merged_into": None,
        "created_at": now,
    }


def _address_row(
    one: Given, new: Newcomer, owner: int, number: int, free: bool, now: datetime
) -> dict[str, Any]:
    """`free`: nobody holds the address confirmed, so that an attested one may be."""
    return {
        "id": number,
        "owner_kind": "person",
        "owner_id": owner,
        "sealed": new.sealed_address,
        "address_hash": one.address_hash,
        "attested": one.attested,
        "created_at": now,
        "confirmed_at": now if one.confirmed and free else None,
        "ended_at": None,
    }


def _identity_row(source: str, one: Given, new: Newcomer, person_id: int, now: datetime) -> dict[str, Any]:
    return {
        "source": source,
        "external_id": one.external_id,
        "person_id": person_id,
        "profile": new.sealed_profile,
        "created_at": now,
        "changed_at": now,
    }


def _update(
    session: Session, ring: Keyring, one: Given, row: Known, digest: str, *, now: datetime, by: str
) -> None:
    """Bring a known person up to what the source says now; each source changes its own profile only."""
    person = row.person
    site = row.identity.source != queries.OWN
    for name, said in (("locale", one.locale), ("zone", one.zone)):
        if said and getattr(person, name) != said and not (site and queries.corrected(session, person, name)):
            setattr(person, name, said)
            row.changed.append(name)
    if one.profile is not None and "identity" not in row.changed:
        before = queries.open_profile(row.key, row.identity)
        after = {**before, **one.profile}
        if after != before:
            row.identity.profile = mailbox.seal_profile(
                row.key, row.identity.source, row.identity.external_id, after
            )
            row.identity.changed_at = now
            session.add(row.identity)
            row.changed.append("profile")
    if digest != row.address.address_hash:
        mailbox.change_address(session, ring, row, one.email, confirmed=one.confirmed, now=now, by=by)
    elif one.confirmed and row.address.confirmed_at is None:
        mailbox.confirm_address(session, ring, row, row.address, now=now, by=by)
    session.add(person)


def _note_changes(session: Session, row: Known, *, reason: str = "", now: datetime, by: str) -> None:
    if row.changed and not row.created:
        body = {"source": row.identity.source, "fields": sorted(set(row.changed))}
        body |= {"reason": reason} if reason else {}
        ledger.append(session, "person.changed", subject=row.person.public_id, body=body, by=by, now=now)


def _keep_address(session: Session, row: Known, *, now: datetime, by: str) -> None:
    """The present address was given again: the change that waited was a mistake, and its button works no more."""
    waiting = session.get_one(Address, row.person.pending_address_id)
    waiting.ended_at, row.person.pending_address_id = now, None
    session.add(waiting)
    row.changed.append("email")
    ledger.append(session, "address.kept", subject=row.person.public_id, body={}, by=by, now=now)


def correct(
    session: Session,
    ring: Keyring,
    person: Person,
    *,
    profile: dict[str, str],
    locale: str | None,
    zone: str | None,
    reason: str = "",
    now: datetime,
    by: str,
) -> list[str]:
    """A person's own correction of what is held (source `me`, which mails then use), by them or by staff for a `reason`, which names
    nobody; returns the changed fields. Raises `UnknownPerson` where they are erased or merged by now: nothing of them is written
    back."""
    row = mailbox.known(session, ring, mailbox.themselves(session, person))
    own = queries.identity(session, queries.OWN, person.public_id)
    before = queries.open_profile(row.key, row.identity)
    if own is None:
        assert person.id is not None
        sealed = mailbox.seal_profile(row.key, queries.OWN, person.public_id, before)
        own = Identity(
            source=queries.OWN,
            external_id=person.public_id,
            person_id=person.id,
            profile=sealed,
            created_at=now,
            changed_at=now,
        )
    elif own.id != row.identity.id:
        # One who was merged into them had something corrected later: that goes on standing.
        own.profile = mailbox.seal_profile(row.key, queries.OWN, person.public_id, before)
    row.identity = own
    one = Given(
        person.public_id,
        queries.address_of(session, ring, person) or addresses.Address("", ""),
        locale,
        zone,
        profile,
    )
    _update(session, ring, one, row, row.address.address_hash, now=now, by=by)
    _note_changes(session, row, reason=reason, now=now, by=by)
    return row.changed


def keep_attribute(
    session: Session, name: str, *, days: int | None, purpose: str | None, now: datetime, by: str
) -> list[str]:
    """Say for how many days an attribute is kept, from when a site last gave it, and what for; returns what changed, an entry each.

    None leaves it as it is. Raises `AttributeUnknown`, `DaysInvalid`, `PurposeInvalid`.
    """
    kind = session.get(AttributeKind, name, with_for_update=True)
    if kind is None:
        raise rules.AttributeUnknown(field="name")
    if days is not None and not 1 <= days <= rules.MAX_DAYS:
        raise rules.DaysInvalid(field="days")
    if purpose is not None and not (0 < len(purpose) <= rules.MAX_PURPOSE and purpose.isprintable()):
        raise rules.PurposeInvalid(field="purpose")
    changed = []
    for part, value in {"retention_days": days, "purpose": purpose}.items():
        before = getattr(kind, part)
        if value is not None and value != before:
            setattr(kind, part, value)
            body = {"attribute": name, "field": part, "before": before, "after": value}
            ledger.append(session, "attribute.changed", subject=None, body=body, by=by, now=now)
            changed.append(part)
    session.add(kind)
    session.flush()
    return changed


def note_read(
    session: Session, person: Person, what: str, *, reason: str = "", now: datetime, by: str
) -> None:
    """Somebody of the staff looked at personal data: `what` is viewed, revealed or exported (standards K8). The person is read anew
    once the ledger is ours: of somebody erased meanwhile nothing is opened by a key that is no more."""
    mailbox.who_is_left(session, person)
    ledger.append(
        session, f"person.{what}", subject=person.public_id, body={"reason": reason}, by=by, now=now
    )


def note_list(session: Session, listed: Sequence[Person], *, now: datetime, by: str) -> None:
    """Somebody of the staff was shown a list of people with names and masked addresses: one entry for all (standards K8)."""
    ledger.append(
        session,
        "people.listed",
        subject=None,
        body={"people": [one.public_id for one in listed]},
        by=by,
        now=now,
    )
