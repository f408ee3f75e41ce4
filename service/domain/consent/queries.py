"""Reading consents: a person's records with their events as of a moment, and confirmations that are waited for."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, select

from service.domain.consent.tables import Confirmation, Consent
from service.domain.ledger import queries as ledger
from service.domain.mailings.tables import Address
from service.domain.topics.tables import Topic

KINDS = (
    "consent.requested",
    "consent.given",
    "consent.renewed",
    "consent.refused",
    "consent.withdrawn",
    "consent.expired",
    "consent.invalidated",
    "consent.restored",
)


def record(session: Session, person_id: int, topic_id: int) -> Consent | None:
    """The record of one person and topic."""
    return session.get(Consent, (person_id, topic_id))


def events(session: Session, subject: str, *, until: datetime | None = None) -> list[ledger.Seen]:
    """Every consent event of a person up to a moment, oldest first."""
    return [
        seen for seen in ledger.of_subject(session, subject, kinds=KINDS) if until is None or seen.at <= until
    ]


def states(session: Session, subject: str, *, until: datetime | None = None) -> list[dict[str, Any]]:
    """What the person had said about each topic at a moment, read from the ledger alone."""
    latest = ledger.last_of_each(session, subject, "topic", kinds=KINDS, until=until)
    return [
        {
            "topic": topic,
            "state": seen.body.get("state") or seen.kind.partition(".")[2],
            "since": seen.at,
            "entry": seen.seq,
            "wording": seen.body.get("wording"),
            "policy": seen.body.get("policy"),
            "basis": seen.body.get("basis", "consent"),
            "source": seen.body.get("source"),
            "method": seen.body.get("method"),
        }
        for topic, seen in sorted(latest.items())
    ]


def confirmations_today(session: Session, hashes: Sequence[str], *, now: datetime) -> dict[str, int]:
    """How many confirmation mails each mailbox was sent in the last 24 hours, by keyed hash."""
    statement = (
        select(col(Address.address_hash), func.count())
        .join(Confirmation, col(Confirmation.address_id) == col(Address.id))
        .where(
            col(Address.address_hash).in_(hashes), col(Confirmation.created_at) > now - timedelta(hours=24)
        )
        .group_by(col(Address.address_hash))
    )
    return {digest: count for digest, count in session.exec(statement)}


def waiting(session: Session, person_id: int, *, now: datetime) -> Sequence[Confirmation]:
    """A person's confirmations that can still be pressed."""
    return session.exec(
        select(Confirmation).where(
            col(Confirmation.person_id) == person_id,
            col(Confirmation.confirmed_at).is_(None),
            col(Confirmation.expires_at) > now,
        )
    ).all()


def topics_of(session: Session, confirmation: Confirmation) -> list[Topic]:
    """The topics a confirmation asks about."""
    ids = [asked["topic"] for asked in confirmation.topics]
    return list(session.exec(select(Topic).where(col(Topic.id).in_(ids)).order_by(col(Topic.position))))


def per_wording(session: Session, topic_id: int) -> dict[int, int]:
    """How many people's record of a topic names each wording, by its row number."""
    counted = (
        select(Consent.wording_id, func.count())
        .where(col(Consent.topic_id) == topic_id)
        .group_by(col(Consent.wording_id))
    )
    return {wording_id: people for wording_id, people in session.exec(counted) if wording_id is not None}
