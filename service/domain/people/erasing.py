"""A person's erasure, as far as this feature's tables go: the key destroyed, what it sealed emptied, what nobody needs gone.

Called by `privacy.erasing`, which says why and what else goes with it, and by `preferences.registration`, which asks whether
somebody a site tells of was erased.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete
from sqlmodel import Session, col, select

from service.domain.mailings import queries as mailings
from service.domain.mailings.tables import Address
from service.domain.people import mailbox, queries
from service.domain.people.actions import Given
from service.domain.people.tables import Identity, Person, PersonAttribute
from service.domain.suppressions import queries as suppressions
from service.kit import sealing
from service.kit.signing import Keyring

CAUSE = "erasure"


def with_merged(session: Session, person: Person) -> list[Person]:
    """The person, and everybody who was ever merged into them: their entries are sealed under keys of their own."""
    found = [person]
    for one in found:  # grows while it is walked
        found += session.exec(select(Person).where(col(Person.merged_into) == one.id)).all()
    return found


def addresses_of(session: Session, persons: Sequence[Person]) -> Sequence[Address]:
    """Every address these persons ever had, the ended ones too."""
    ids = [one.id for one in persons]
    statement = select(Address).where(col(Address.owner_kind) == "person", col(Address.owner_id).in_(ids))
    return session.exec(statement.order_by(col(Address.id))).all()


def in_clear(session: Session, ring: Keyring, persons: Sequence[Person]) -> list[str]:
    """The text of each address that still opens, once: for finding copies of mails that were sent there."""
    keys = {one.id: queries.person_key(ring, one) for one in persons if one.wrapped_key}
    rows = [row for row in addresses_of(session, persons) if row.sealed is not None and row.owner_id in keys]
    return sorted({mailings.open_address(ring, row, keys[row.owner_id]).text for row in rows})


def empty(session: Session, ring: Keyring, person: Person, *, now: datetime) -> set[str]:
    """Destroy the key and empty what it sealed; returns the keyed hashes of the mailboxes whose owner they were.

    Left are a row without a name (its alias stands in links for ever), a keyed hash where mail went, and one of each id that
    a site gave, by which the same site's next report of them is known.
    """
    kept = _end_addresses(session, person, now=now)
    _forget_identities(session, ring, person, now=now)
    session.connection().execute(delete(PersonAttribute).where(col(PersonAttribute.person_id) == person.id))
    if person.state != "merged":
        person.state = "erased"
    person.wrapped_key, person.pending_address_id, person.max_per_week = None, None, None
    person.locale, person.zone = "", ""
    session.add(person)
    session.flush()
    return kept


def _end_addresses(session: Session, person: Person, *, now: datetime) -> set[str]:
    """A mailbox they confirmed, or where their mail went, is known by its hash from now on; one they only typed is not."""
    kept = set()
    for row in addresses_of(session, [person]):
        if row.id == person.address_id or row.confirmed_at is not None:
            kept.add(row.address_hash)
        else:
            row.address_hash = ""
        row.sealed, row.ended_at = None, row.ended_at or now
        session.add(row)
    return kept


def _forget_identities(session: Session, ring: Keyring, person: Person, *, now: datetime) -> None:
    """A site's id is known as a mark from now on, of whom it meant last: they may have been erased before and come back."""
    assert person.id is not None
    for row in queries.identities(session, person.id):
        if row.source == queries.OWN:
            session.delete(row)
            continue
        left = mark(ring, row.source, row.external_id)
        if (earlier := queries.identity(session, row.source, left)) is not None:
            session.delete(earlier)
            session.flush()
        row.external_id, row.profile, row.changed_at = left, None, now
        session.add(row)


def mark(ring: Keyring, source: str, external_id: str) -> str:
    """What stands for a site's id of somebody erased: a keyed hash, which says nothing without the key."""
    return "#" + sealing.keyed_digest(ring.lookup_key, f"erased|{source}|{external_id}")


def erased_identity(session: Session, ring: Keyring, source: str, external_id: str) -> Identity | None:
    """What is left of the identity by which a source knew somebody who was erased."""
    return queries.identity(session, source, mark(ring, source, external_id))


def barred(session: Session, ring: Keyring, source: str, given: Sequence[Given]) -> list[bool]:
    """Which of those told of were erased: by their mailbox, or by this source's own id for them.

    Whoever came back by themselves (somebody holds the mailbox confirmed) is barred no more.
    """
    hashes = [one.address_hash for one in given]
    marks = [mark(ring, source, one.external_id) for one in given]
    live = suppressions.live_for(session, hashes)
    erased = {digest for digest, rows in live.items() if any(row.cause == CAUSE for row in rows)}
    known = queries.known_as(session, source, marks)
    wanted = [digest in erased or made in known for digest, made in zip(hashes, marks, strict=True)]
    back = mailbox.holders(session, hashes) if any(wanted) else {}
    return [gone and digest not in back for gone, digest in zip(wanted, hashes, strict=True)]
