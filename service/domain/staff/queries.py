"""Reading accounts, sign-ins and one-time links; and checking a password, which takes too long for a writing
transaction.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, func
from sqlmodel import Session, col, select

from service.domain.mailings import queries as mailings
from service.domain.mailings.tables import Address
from service.domain.staff import rules
from service.domain.staff.tables import SignInTry, StaffMember, StaffSession, StaffToken
from service.kit import addresses, sealing
from service.kit.errors import Invalid
from service.kit.signing import Keyring

ACTOR = "staff:"


@dataclass(frozen=True)
class SignedIn:
    """Who asks, as the doors need it. `stale`: the door lets `actions.touch` note the use."""

    id: int
    public_id: str
    name: str
    role: str
    token_hash: str
    stale: bool

    @property
    def by(self) -> str:
        """The actor of what this person does now."""
        return ACTOR + self.public_id


@dataclass(frozen=True)
class Claim:
    """A password that was checked, for the action that acts on it: which account, and whether it was right.

    `key` is what tries are counted under; `stored` the hash it was checked against, which must still be the
    account's.
    """

    key: str
    staff_id: int | None
    stored: str | None
    matches: bool


def any_staff(session: Session) -> bool:
    """Whether anybody has an account."""
    return session.exec(select(StaffMember.id).limit(1)).first() is not None


def members(session: Session) -> list[StaffMember]:
    """Every account, by name."""
    return list(session.exec(select(StaffMember).order_by(func.lower(StaffMember.name), col(StaffMember.id))))


def by_public_id(session: Session, public_id: str) -> StaffMember:
    """One account. Raises `StaffUnknown`."""
    member = session.exec(select(StaffMember).where(col(StaffMember.public_id) == public_id)).first()
    if member is None:
        raise rules.StaffUnknown
    return member


def names(session: Session, actors: Iterable[str]) -> dict[str, str]:
    """The names behind ledger actors `staff:…`; others are left out."""
    wanted = {actor.removeprefix(ACTOR) for actor in actors if actor.startswith(ACTOR)}
    rows = session.exec(
        select(StaffMember.public_id, StaffMember.name).where(col(StaffMember.public_id).in_(wanted))
    )
    return {ACTOR + public_id: name for public_id, name in rows}


def member_by_address(session: Session, ring: Keyring, address: addresses.Address) -> StaffMember | None:
    """The account that has this address."""
    return _by_hash(session, mailings.address_hash(ring, address))


def _by_hash(session: Session, digest: str) -> StaffMember | None:
    joined = col(Address.owner_id) == col(StaffMember.id)
    wanted = (
        col(Address.owner_kind) == "staff",
        col(Address.address_hash) == digest,
        col(Address.ended_at).is_(None),
    )
    return session.exec(select(StaffMember).join(Address, joined).where(*wanted)).first()


def address_row(session: Session, staff_id: int) -> Address:
    """The row of a colleague's address."""
    owned = (
        col(Address.owner_kind) == "staff",
        col(Address.owner_id) == staff_id,
        col(Address.ended_at).is_(None),
    )
    return session.exec(select(Address).where(*owned)).one()


def address_of(session: Session, ring: Keyring, member: StaffMember) -> addresses.Address:
    """A colleague's address in clear."""
    assert member.id is not None
    return mailings.open_address(ring, address_row(session, member.id))


def member_by_session(session: Session, token: str, *, now: datetime) -> SignedIn | None:
    """Who is signed in by this cookie, or None: unknown, signed out, idle too long, too old, or account
    closed.
    """
    digest = rules.token_hash(token)
    found = session.exec(
        select(StaffSession, StaffMember)
        .join(StaffMember, col(StaffMember.id) == col(StaffSession.staff_id))
        .where(col(StaffSession.token_hash) == digest, col(StaffMember.state) == "active")
    ).first()
    if found is None or not rules.session_lives(seen_at=found[0].seen_at, ends_at=found[0].ends_at, now=now):
        return None
    row, member = found
    assert member.id is not None
    return SignedIn(
        member.id, member.public_id, member.name, member.role, digest, now - row.seen_at > rules.FRESH
    )


def open_token(session: Session, token: str, *, now: datetime) -> StaffToken | None:
    """The one-time link this token belongs to, if it can still be used. Looking does not use it."""
    row = session.get(StaffToken, rules.token_hash(token))
    return row if row and row.used_at is None and now < row.expires_at else None


def tries(session: Session, key: str, *, now: datetime) -> int:
    """Failed tries for one account within the window."""
    recent = (col(SignInTry.key) == key, col(SignInTry.at) > now - rules.WINDOW)
    return session.exec(select(func.count()).select_from(SignInTry).where(*recent)).one()


def check_password(session: Session, ring: Keyring, typed: str, password: str, *, now: datetime) -> Claim:
    """Check a sign-in, in a reading transaction and a thread; `actions.sign_in` then acts on the claim.

    The work is the same whether the account exists or not (standards N10). Raises `SignInTooOften` (H57).
    """
    try:
        key = mailings.address_hash(ring, addresses.parse(typed))
    except Invalid:
        key = sealing.keyed_digest(ring.lookup_key, f"no address|{typed}")
    member = _by_hash(session, key)
    return _claim(session, key, member if member and member.state == "active" else None, password, now)


def check_own_password(session: Session, staff_id: int, password: str, *, now: datetime) -> Claim:
    """Check the present password of somebody signed in, as `check_password` does, under the same limit."""
    return _claim(
        session,
        address_row(session, staff_id).address_hash,
        session.get_one(StaffMember, staff_id),
        password,
        now,
    )


def _claim(session: Session, key: str, member: StaffMember | None, password: str, now: datetime) -> Claim:
    if tries(session, key, now=now) >= rules.TRIES:
        raise rules.SignInTooOften
    stored = member.password_hash or None if member else None
    matches = rules.password_matches(stored, password)
    return Claim(key, member.id if member else None, stored, matches)


def over(now: datetime) -> list[tuple[Any, ColumnElement[bool]]]:
    """What nobody needs any more, as (table, which rows): tries older than a day, sessions that ended, links past their time."""
    ended = (col(StaffSession.ends_at) < now) | (col(StaffSession.seen_at) < now - rules.IDLE)
    return [
        (SignInTry, col(SignInTry.at) < now - timedelta(days=1)),
        (StaffSession, ended),
        (StaffToken, col(StaffToken.expires_at) < now),
    ]
