"""How any feature above causes a mail: keep an address, enqueue a single system mail."""

from base64 import b64encode
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, select, update
from sqlmodel import Session, col

from service.db.locks import for_update
from service.domain.brands.tables import Brand
from service.domain.mailings import queries
from service.domain.mailings.rules import UNKNOWN_RULE
from service.domain.mailings.tables import Address, Audience, Batch, Mailing, Outcome
from service.kit import addresses, chain, sealing
from service.kit.ids import new_alias, new_id
from service.kit.signing import Keyring

SOME = 500  # numbers in one statement


def seal_address(ring: Keyring, address: addresses.Address, key: bytes | None = None) -> tuple[str, bytes]:
    """Keyed hash and cipher of an address, under a person's key or the house key."""
    digest = queries.address_hash(ring, address)
    return digest, seal_text(key or ring.house_key, address, digest)


def seal_text(key: bytes, address: addresses.Address, digest: str) -> bytes:
    """The cipher of an address whose keyed hash is known."""
    return sealing.seal(key, address.text.encode(), queries.SEALED_AT.format(digest))


def keep_address(
    session: Session,
    ring: Keyring,
    address: addresses.Address,
    *,
    owner_kind: str,
    owner_id: int | None,
    now: datetime,
) -> Address:
    """Keep the address of a staff member or a visitor."""
    digest, sealed = seal_address(ring, address)
    row = Address(
        owner_kind=owner_kind, owner_id=owner_id, sealed=sealed, address_hash=digest, created_at=now
    )
    session.add(row)
    session.flush()
    return row


def seal_facts(ring: Keyring, purpose: str, values: dict[str, str]) -> dict[str, str]:
    """What a system mail has to say that is somebody's own, closed under the house key until it is composed."""
    cipher = sealing.seal(ring.house_key, chain.canonical(values).encode(), f"facts|{purpose}")
    return {"sealed": b64encode(cipher).decode()}


def new_mailing(
    *,
    kind: str,
    mail_class: str,
    brand_id: int,
    state: str,
    now: datetime,
    valid_until: datetime,
    **more: Any,
) -> Mailing:
    """A mailing row with its names made; the caller adds it to the session."""
    return Mailing(
        alias=new_alias(6),
        public_id=new_id("m"),
        kind=kind,
        mail_class=mail_class,
        brand_id=brand_id,
        state=state,
        unknown_rule=UNKNOWN_RULE[mail_class],
        created_at=now,
        valid_until=valid_until,
        **{"due_at": now, **more},
    )


def keep_domains(session: Session, mailing: Mailing, brand: Brand) -> None:
    """At its first claim, before any of it has left: a further try is the same message whatever becomes of the brand meanwhile
    (RFC 5322 3.6.4), and comes from the same envelope, by which greylisting knows it."""
    if "domains" in (mailing.facts or {}):
        return
    session.scalars(
        for_update(session, select(Mailing).where(col(Mailing.id) == mailing.id)),
        execution_options={"populate_existing": True},
    ).one()
    if "domains" not in (mailing.facts or {}):  # nor has another sender noted them just now
        mailing.facts = {**(mailing.facts or {}), "domains": list(queries.domains(mailing, brand))}
        session.add(mailing)


@dataclass(frozen=True)
class Held:
    """Single mails that nobody can claim for the first time before we commit: all of them, those that nobody ever has claimed, and
    how many a sender has in hand now."""

    every: list[int] = field(default_factory=list)
    untouched: list[int] = field(default_factory=list)
    in_hand: int = 0


def hold_singles(session: Session, purpose: str, topic_id: int, *, now: datetime) -> Held:
    """Hold the mails with that purpose about a topic that may yet leave.

    Before the ledger's tail: a sender that claims one holds it, and may wait for the tail. In the order in which they are claimed.
    """
    claimed = select(col(Batch.id)).where(
        col(Batch.mailing_id) == col(Mailing.id), col(Batch.state) == "claimed"
    )
    tried = select(col(Outcome.pos)).where(col(Outcome.mailing_id) == col(Mailing.id))
    waiting = queries.waiting(purpose, topic_id, now=now)
    lock = select(col(Mailing.id)).where(*waiting).order_by(col(Mailing.id))
    session.connection().execute(for_update(session, lock)).all()
    states = select(col(Mailing.id), col(Mailing.facts), claimed.exists(), tried.exists()).where(*waiting)
    rows = session.connection().execute(states).all()  # asked anew: what came of a claim that was waited for
    untouched = [
        one
        for one, facts, in_hand, again in rows
        if not in_hand and not again and "domains" not in (facts or {})  # which `keep_domains` notes
    ]
    return Held([row[0] for row in rows], untouched, sum(row[2] for row in rows))


def cancel_held(session: Session, held: Held) -> None:
    """None of them leaves; the clock writes down their outcomes. The caller writes the entry that the senders heed."""
    for part in parts(held.every):
        cancelled = update(Mailing).where(col(Mailing.id).in_(part)).values(state="cancelled")
        session.connection().execute(cancelled)


def parts(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    """As many numbers as one statement takes, and the next ones."""
    return (numbers[start : start + SOME] for start in range(0, len(numbers), SOME))


def boxes_of(part: Collection[int]) -> Select[str]:
    """The keyed hashes of the mailboxes that these mails go to."""
    reached = col(Audience.address_id) == col(Address.id)
    return select(col(Address.address_hash)).join(Audience, reached).where(col(Audience.mailing_id).in_(part))


def enqueue_single(
    session: Session,
    *,
    purpose: str,
    brand_id: int,
    address_id: int,
    person_id: int | None,
    locale: str,
    facts: dict[str, Any],
    warrant_seq: int,
    now: datetime,
    valid_for: timedelta = timedelta(days=3),
    kind: str = "system",
    mail_class: str = "system",
) -> Mailing:
    """One mail to one address, resting on the entry `warrant_seq` (the request that asked for it); sent at once.

    `facts` are what the text needs and hold nothing personal in clear. `kind` test is a test mail to a staff member.
    """
    mailing = new_mailing(
        kind=kind,
        mail_class=mail_class,
        brand_id=brand_id,
        state="sending",
        now=now,
        valid_until=now + valid_for,
        purpose=purpose,
        facts=facts,
        planned=1,
        started_at=now,
    )
    session.add(mailing)
    session.flush()
    assert mailing.id is not None
    session.add(
        Audience(
            mailing_id=mailing.id,
            pos=1,
            address_id=address_id,
            person_id=person_id,
            locale=locale,
            warrant_seq=warrant_seq,
            due_at=now,
        )
    )
    session.add(Batch(mailing_id=mailing.id, first_pos=1, last_pos=1, due_at=now))
    session.flush()
    return mailing
