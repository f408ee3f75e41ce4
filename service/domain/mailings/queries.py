"""Reading mailings, their members and addresses."""

import json
from base64 import b64decode
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from service.domain.brands.queries import bounce_domain
from service.domain.brands.tables import Brand
from service.domain.mailings.rules import Domains
from service.domain.mailings.tables import Address, Audience, Batch, Exclusion, Mailing, Outcome
from service.kit import addresses, sealing
from service.kit.signing import Keyring

SEALED_AT = "address|{}"  # where an address's cipher belongs: its keyed hash


@dataclass(frozen=True)
class Received:
    """One mail meant for a person: its mailing, the entry it stood on, and what became of the last attempt, when."""

    mailing: Mailing
    pos: int
    warrant_seq: int
    state: str
    reason: str
    code: int | None
    reply: str
    at: datetime


def address_hash(ring: Keyring, address: addresses.Address) -> str:
    """The keyed hash by which an address is looked up and suppressed (never retired, says nothing without the key)."""
    return sealing.keyed_digest(ring.lookup_key, address.key)


def open_address(ring: Keyring, row: Address, person_key: bytes | None = None) -> addresses.Address:
    """The address in clear: under the person's own key, or the house key of staff and visitors."""
    if row.sealed is None:
        raise sealing.Unsealable("address")
    plain = sealing.unseal(person_key or ring.house_key, row.sealed, SEALED_AT.format(row.address_hash))
    return addresses.parse_stored(plain.decode())


def by_public_id(session: Session, public_id: str) -> Mailing | None:
    """One mailing by its public id."""
    return session.exec(select(Mailing).where(col(Mailing.public_id) == public_id)).first()


def by_alias(session: Session, alias: int) -> Mailing | None:
    """One mailing by the number that stands in its links."""
    return session.exec(select(Mailing).where(col(Mailing.alias) == alias)).first()


def member(session: Session, mailing_id: int, pos: int) -> Audience | None:
    """One member of a frozen audience."""
    return session.get(Audience, (mailing_id, pos))


def of_person(session: Session, person_id: int, *, limit: int = 200) -> list[Received]:
    """The latest mails that were meant for one person, newest first, each with what became of it ("waiting": nothing yet)."""
    statement = (
        select(Audience, Mailing, Outcome)
        .join(Mailing, col(Mailing.id) == col(Audience.mailing_id))
        .outerjoin(
            Outcome,
            (col(Outcome.mailing_id) == col(Audience.mailing_id)) & (col(Outcome.pos) == col(Audience.pos)),
        )
        .where(col(Audience.person_id) == person_id)
        .order_by(col(Audience.mailing_id).desc(), col(Audience.pos), col(Outcome.attempt).desc())
        .limit(limit)
    )
    newest: dict[int, Received] = {}
    for place, mailing, last in session.exec(statement):
        newest.setdefault(place.mailing_id, _received(place, mailing, last))
    return list(newest.values())


def newest_of(
    session: Session, person_id: int, *, before: tuple[datetime, int, int] | None, most: int
) -> list[Received]:
    """The same by the moment of what became of each last, newest first, `most` of them: before a moment, mailing and position. One
    person's mails are gone through in the database; only these come over."""
    at = func.coalesce(_last("at"), col(Audience.due_at))
    place = (at.label("at"), col(Audience.mailing_id), col(Audience.pos), _last("attempt").label("attempt"))
    mine = select(*place).where(col(Audience.person_id) == person_id).subquery().c
    newest = select(mine.at, mine.mailing_id, mine.pos, mine.attempt)
    if before is not None:
        there = or_(mine.mailing_id < before[1], and_(mine.mailing_id == before[1], mine.pos < before[2]))
        newest = newest.where(or_(mine.at < before[0], and_(mine.at == before[0], there)))
    page = newest.order_by(mine.at.desc(), mine.mailing_id.desc(), mine.pos.desc()).limit(most).subquery()
    these = page.c
    statement = (
        select(Audience, Mailing, Outcome)
        .join(Mailing, col(Mailing.id) == col(Audience.mailing_id))
        .join(page, (these.mailing_id == col(Audience.mailing_id)) & (these.pos == col(Audience.pos)))
        .outerjoin(
            Outcome,
            (col(Outcome.mailing_id) == these.mailing_id)
            & (col(Outcome.pos) == these.pos)
            & (col(Outcome.attempt) == these.attempt),
        )
        .order_by(these.at.desc(), these.mailing_id.desc(), these.pos.desc())
    )
    return [_received(place, mailing, last) for place, mailing, last in session.exec(statement)]


def _last(name: str) -> Any:
    """A column of the last attempt of a member, looked up for each: joined with all outcomes PostgreSQL would read those."""
    tried = aliased(Outcome)
    theirs = (tried.mailing_id == col(Audience.mailing_id)) & (tried.pos == col(Audience.pos))
    found = select(getattr(tried, name)).where(theirs).order_by(col(tried.attempt).desc()).limit(1)
    return found.correlate(Audience).scalar_subquery()


def _received(place: Audience, mailing: Mailing, last: Outcome | None) -> Received:
    """One mail with what became of its last attempt; it waits where there was none yet."""
    if last is None:
        return Received(mailing, place.pos, place.warrant_seq, "waiting", "", None, "", place.due_at)
    return Received(
        mailing, place.pos, place.warrant_seq, last.state, last.reason, last.code, last.reply, last.at
    )


def outcome_counts(session: Session, mailing_id: int) -> dict[tuple[str, str], int]:
    """How many members stand where: (state, reason) of their latest outcome → people.

    One way through the rows in the order of their key: to join them with themselves PostgreSQL would compare each with each
    as long as it has not counted this mailing's.
    """
    following = func.lead(col(Outcome.pos)).over(order_by=(col(Outcome.pos), col(Outcome.attempt)))
    row = (
        select(col(Outcome.state), col(Outcome.reason), col(Outcome.pos), following.label("following"))
        .where(col(Outcome.mailing_id) == mailing_id)
        .subquery()
    )
    latest = row.c.following.is_distinct_from(row.c.pos)
    counted = (
        select(row.c.state, row.c.reason, func.count()).where(latest).group_by(row.c.state, row.c.reason)
    )
    return {(state, reason): count for state, reason, count in session.connection().execute(counted)}


def exclusions(session: Session, mailing_id: int) -> dict[str, int]:
    """How many people the freeze left out, by reason."""
    rows = session.connection().execute(
        select(col(Exclusion.reason), col(Exclusion.people)).where(col(Exclusion.mailing_id) == mailing_id)
    )
    return {row.reason: row.people for row in rows}


def open_batches(session: Session, mailing_id: int) -> int:
    """How many batches of a mailing are not closed yet."""
    counted = (
        select(func.count())
        .select_from(Batch)
        .where(col(Batch.mailing_id) == mailing_id, col(Batch.state) != "closed")
    )
    return session.connection().execute(counted).scalar_one()


def waiting(purpose: str, topic_id: int, *, now: datetime) -> tuple[ColumnElement[bool], ...]:
    """Of single mails with that purpose about a topic: that they may yet leave."""
    left = select(col(Batch.id)).where(col(Batch.mailing_id) == col(Mailing.id), col(Batch.state) != "closed")
    of_these = col(Mailing.topic_id) == topic_id, col(Mailing.purpose) == purpose
    return *of_these, col(Mailing.state) == "sending", col(Mailing.valid_until) > now, left.exists()


def singles_waiting(session: Session, purpose: str, topic_id: int, *, now: datetime) -> int:
    """How many of them there are."""
    counted = select(func.count()).select_from(Mailing).where(*waiting(purpose, topic_id, now=now))
    return session.connection().execute(counted).scalar_one()


def waits(session: Session, mailing_id: int | None = None, *, now: datetime) -> dict[str, int]:
    """How many members of a mailing (or of all) wait for a pace, by reason: domain_paused, domain_limit, warm_up; quiet,
    cap, local_time."""
    listed = func.coalesce(
        func.json_array_length(col(Batch.positions)), col(Batch.last_pos) - col(Batch.first_pos) + 1
    )
    counted = select(col(Batch.reason), func.sum(listed)).where(
        col(Batch.state) == "open", col(Batch.due_at) > now, col(Batch.reason) != ""
    )
    if mailing_id is not None:
        counted = counted.where(col(Batch.mailing_id) == mailing_id)
    rows = session.connection().execute(counted.group_by(col(Batch.reason)))
    return {reason: int(people) for reason, people in rows}


def domains(mailing: Mailing, brand: Brand) -> Domains:
    """What the names of its messages end in: as noted at its first claim (`actions.keep_domains`), before that its brand's."""
    noted = (mailing.facts or {}).get("domains")
    return Domains(*noted) if noted else Domains(brand.from_domain, bounce_domain(brand))


def open_facts(ring: Keyring, purpose: str, facts: dict[str, Any]) -> dict[str, Any]:
    """The facts of a system mail with their sealed part (`actions.seal_facts`) opened."""
    sealed = facts.get("sealed")
    if not sealed:
        return dict(facts)
    plain = sealing.unseal(ring.house_key, b64decode(sealed), f"facts|{purpose}")
    return {**{key: value for key, value in facts.items() if key != "sealed"}, **json.loads(plain)}
