"""How any feature above causes a mail: keep an address, enqueue a single system mail."""

from base64 import b64encode
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session, col, select

from service.db.locks import for_update
from service.domain.brands.tables import Brand
from service.domain.mailings import queries
from service.domain.mailings.rules import UNKNOWN_RULE
from service.domain.mailings.tables import Address, Audience, Batch, Mailing
from service.kit import addresses, chain, sealing
from service.kit.ids import new_alias, new_id
from service.kit.signing import Keyring


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
