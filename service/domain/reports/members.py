"""What became of each member of a mailing's frozen audience, with every try. All computed from rows.

Called by the report pages (who was skipped, who bounced) and the API's deliveries. `queries` has the sums.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import and_, func, select
from sqlalchemy.orm import aliased
from sqlmodel import Session, col

from service.domain.brands import queries as brands
from service.domain.mailings import queries as mailings
from service.domain.mailings import rules as mailing_rules
from service.domain.mailings.tables import Audience, Mailing, Outcome
from service.domain.people.tables import Identity, Person
from service.kit import paging
from service.kit.signing import Keyring

WAITING = "waiting"  # a member nothing has been tried for yet
CHUNK = 1_000


@dataclass(frozen=True)
class Delivery:
    """One member of a frozen audience: who, where it stands and why, and every attempt."""

    pos: int
    person: str | None
    external_ids: list[dict[str, str]]
    state: str
    reason: str | None
    message_id: str
    warrant: int
    attempts: list[dict[str, Any]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The shape of design.md 6."""
        return {
            "pos": self.pos,
            "external_ids": self.external_ids,
            "state": self.state,
            "reason": self.reason,
            "message_id": self.message_id,
            "warrant": self.warrant,
            "attempts": [{**attempt, "at": attempt["at"].isoformat()} for attempt in self.attempts],
        }


def deliveries(
    session: Session,
    ring: Keyring,
    mailing: Mailing,
    *,
    after: str | None = None,
    limit: int | None = None,
    state: str | None = None,
    reason: str | None = None,
) -> paging.Page[Delivery]:
    """A page of the frozen audience in order of position, all of it or who stands in one state (for one
    reason)."""
    key, size = paging.decode(after), paging.size(limit)
    found = _deliveries(session, ring, mailing, key if isinstance(key, int) else 0, size + 1, state, reason)
    return paging.Page(found[:size], paging.encode(found[size - 1].pos) if len(found) > size else None)


def all_deliveries(
    session: Session, ring: Keyring, mailing: Mailing, *, state: str | None = None
) -> Iterator[Delivery]:
    """Every member, a thousand at a time in memory, within one reading transaction."""
    after = 0
    while found := _deliveries(session, ring, mailing, after, CHUNK, state, None):
        yield from found
        after = found[-1].pos


def _deliveries(
    session: Session,
    ring: Keyring,
    mailing: Mailing,
    after: int,
    limit: int,
    state: str | None,
    reason: str | None,
) -> list[Delivery]:
    rows = session.connection().execute(_members_with_outcome(mailing, after, limit, state, reason)).all()
    ids = _external_ids(session, [row.person_id for row in rows if row.person_id])
    attempts = _attempts(session, mailing, [row.pos for row in rows])
    domain = mailings.domains(mailing, brands.by_id(session, mailing.brand_id)).ids
    number = mailing.id or 0
    return [
        Delivery(
            pos=row.pos,
            person=row.public_id,
            external_ids=ids.get(row.person_id, []),
            state=row.state or WAITING,
            reason=row.reason or None,
            message_id=mailing_rules.message_id(ring.message_key, number, row.pos, domain),
            warrant=row.outcome_warrant or row.warrant_seq,
            attempts=attempts.get(row.pos, []),
        )
        for row in rows
    ]


def _members_with_outcome(
    mailing: Mailing, after: int, limit: int, state: str | None, reason: str | None
) -> Any:
    """Members after a position, each with its latest outcome (one probe of the key per member)."""
    later = aliased(Outcome)
    latest = (
        select(func.max(later.attempt))
        .where(col(later.mailing_id) == mailing.id, col(later.pos) == col(Audience.pos))
        .correlate(Audience)
        .scalar_subquery()
    )
    joined = and_(
        col(Outcome.mailing_id) == mailing.id,
        col(Outcome.pos) == col(Audience.pos),
        col(Outcome.attempt) == latest,
    )
    statement: Any = (
        select(
            col(Audience.pos), col(Audience.person_id), col(Audience.warrant_seq), col(Person.public_id),
            col(Outcome.state), col(Outcome.reason), col(Outcome.warrant_seq).label("outcome_warrant"),
        )
        .select_from(Audience)
        .outerjoin(Outcome, joined)
        .outerjoin(Person, col(Person.id) == col(Audience.person_id))
        .where(col(Audience.mailing_id) == mailing.id, col(Audience.pos) > after)
        .order_by(col(Audience.pos))
        .limit(limit)
    )  # fmt: skip
    if state is not None:
        statement = statement.where(
            col(Outcome.state).is_(None) if state == WAITING else col(Outcome.state) == state
        )
    return statement.where(col(Outcome.reason) == reason) if reason is not None else statement


def _external_ids(session: Session, people: Sequence[int]) -> dict[int, list[dict[str, str]]]:
    """By which ids sites know these persons; those of erased people are gone (what stands there is a keyed hash)."""
    found: dict[int, list[dict[str, str]]] = {}
    wanted = (
        select(col(Identity.person_id), col(Identity.source), col(Identity.external_id))
        .where(col(Identity.profile).is_not(None))
        .order_by(col(Identity.id))
    )
    for row in session.connection().execute(wanted.where(col(Identity.person_id).in_(people))):
        found.setdefault(row.person_id, []).append({"source": row.source, "id": row.external_id})
    return found


def _attempts(
    session: Session, mailing: Mailing, positions: Sequence[int]
) -> dict[int, list[dict[str, Any]]]:
    """What went over the wire, or may have; a skipped member was never tried."""
    found: dict[int, list[dict[str, Any]]] = {}
    rows = session.connection().execute(
        select(
            col(Outcome.pos),
            col(Outcome.attempt),
            col(Outcome.at),
            col(Outcome.code),
            col(Outcome.state),
            col(Outcome.reason),
        )
        .where(
            col(Outcome.mailing_id) == mailing.id,
            col(Outcome.pos).in_(positions),
            col(Outcome.code).is_not(None) | (col(Outcome.state) == "unknown"),
        )
        .order_by(col(Outcome.pos), col(Outcome.attempt))
    )
    for row in rows:
        found.setdefault(row.pos, []).append(
            {
                "attempt": row.attempt,
                "at": row.at,
                "code": row.code,
                "state": row.state,
                "reason": row.reason or None,
            }
        )
    return found
