"""Accounts and sign-ins: first run, invitation, sign-in and out, roles, closing. Only hashes of tokens are
stored.
"""

import base64
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, update
from sqlmodel import Session, col, select

from service.db.bulk import delete_some
from service.db.locks import lock_ledger_tail
from service.domain.brands import queries as brands
from service.domain.ledger import actions as ledger
from service.domain.mailings import actions as mailings
from service.domain.staff import queries, rules
from service.domain.staff.tables import SignInTry, StaffMember, StaffSession, StaffToken
from service.kit import addresses, sealing
from service.kit.chain import canonical
from service.kit.ids import new_id
from service.kit.signing import Keyring

INVITE_MAIL = "staff-invite"


@dataclass(frozen=True)
class Invited:
    """A new colleague, and the token of the link to hand over or mail (shown once, stored as a hash)."""

    member: StaffMember
    token: str


def first_run(session: Session, *, now: datetime) -> str | None:
    """The token of the link that makes the first admin; None once there is any account."""
    if queries.any_staff(session):
        return None
    return _new_token(session, "first_run", None, now)


def invite(
    session: Session,
    ring: Keyring,
    *,
    address: addresses.Address,
    name: str,
    role: str,
    mail: bool,
    now: datetime,
    by: str,
    locale: str = "en",
) -> Invited:
    """Make an account to be opened by a link, mailed when `mail`. Inviting again voids the former link.

    Raises `StaffKnown` for an open account, `StaffEnded` for a closed one, `RoleUnknown`, `NameMissing`.
    """
    name, role = rules.check_name(name), rules.check_role(role)
    lock_ledger_tail(session)  # one at a time: an address has one account
    member = queries.member_by_address(session, ring, address)
    if member is None:
        member = _new_member(session, ring, address, name, role, now)
    elif member.state != "invited":
        raise (rules.StaffEnded if member.state == "ended" else rules.StaffKnown)(field="email")
    member.name, member.role = name, role
    token = _new_token(session, "invite", member.id, now)
    warrant = _note(session, "staff.invited", member, {"role": role}, now=now, by=by)
    if mail:
        _mail_invitation(session, ring, member, token, locale=locale, warrant=warrant, now=now, by=by)
    return Invited(member, token)


def accept(
    session: Session,
    ring: Keyring,
    token: str,
    *,
    name: str,
    password: str,
    address: addresses.Address | None,
    now: datetime,
) -> StaffMember:
    """Open the account of an invitation; at the first run, make the admin's with `address`.

    Raises `LinkUsed`, `AddressMissing`, and the rules of name and password (then the link stays good).
    """
    lock_ledger_tail(session)
    row = _live_token(session, token, ("first_run", "invite"), now)
    name = rules.check_name(name)
    if row.staff_id is None:
        if queries.any_staff(session):
            raise rules.LinkUsed
        if address is None:
            raise rules.AddressMissing(field="email")
        rules.check_password(password, about=(name, address.text))
        member = _new_member(session, ring, address, name, "admin", now)
    else:
        member = session.get_one(StaffMember, row.staff_id)
    known_address = queries.address_of(session, ring, member)
    member.password_hash = rules.hash_password(
        rules.check_password(password, about=(name, known_address.text))
    )
    member.name, member.state, row.used_at = name, "active", now
    assert member.id is not None
    queries.address_row(session, member.id).confirmed_at = now
    _note(
        session, "staff.joined", member, {"role": member.role}, now=now, by=queries.ACTOR + member.public_id
    )
    session.flush()
    return member


def sign_in(session: Session, claim: queries.Claim, *, now: datetime) -> str | None:
    """The session token of a right claim; None for a wrong one: its try is on record, commit and refuse.

    Raises `SignInTooOften` after ten tries in a quarter of an hour, even for the right password (H57).
    """
    member = _proven(session, claim, now)
    return _open_session(session, member, now) if member else None


def sign_in_token(
    session: Session, staff_id: int, *, now: datetime, by: str, valid_for: timedelta = rules.LIVES["sign_in"]
) -> str:
    """The token of a link that signs one colleague in once (printed by the demo)."""
    token = _new_token(session, "sign_in", staff_id, now, valid_for)
    _note(session, "staff.sign_in_link_made", session.get_one(StaffMember, staff_id), {}, now=now, by=by)
    return token


def sign_in_by_token(session: Session, token: str, *, now: datetime) -> str:
    """Use a one-time sign-in link; returns the session token. Raises `LinkUsed`."""
    row = _live_token(session, token, ("sign_in",), now)
    row.used_at = now
    member = session.get_one(StaffMember, row.staff_id)
    if member.state != "active":
        raise rules.LinkUsed
    return _open_session(session, member, now)


def touch(session: Session, signed_in: queries.SignedIn, *, now: datetime) -> None:
    """Note that a session is in use; the door calls it when `stale`."""
    session.connection().execute(
        update(StaffSession).where(col(StaffSession.token_hash) == signed_in.token_hash).values(seen_at=now)
    )


def sign_out(session: Session, token: str, *, now: datetime) -> None:
    """End one session; nothing happens when it has ended already."""
    row = session.get(StaffSession, rules.token_hash(token))
    if row is None:
        return
    member = session.get_one(StaffMember, row.staff_id)
    session.delete(row)
    session.flush()
    _note(session, "staff.signed_out", member, {}, now=now, by=queries.ACTOR + member.public_id)


def change_password(
    session: Session, claim: queries.Claim, *, new: str, keep: str | None, now: datetime
) -> bool:
    """Set a new password; every session but the one whose token hash is `keep` ends (H58).

    False when the claim was wrong: the try is then on record, commit and refuse. Raises the rules of
    passwords.
    """
    member = _proven(session, claim, now)
    if member is None:
        return False
    member.password_hash = rules.hash_password(rules.check_password(new, about=(member.name,)))
    _end_sessions(session, member, keep=keep)
    _note(session, "staff.password_changed", member, {}, now=now, by=queries.ACTOR + member.public_id)
    return True


def set_role(session: Session, public_id: str, role: str, *, now: datetime, by: str) -> None:
    """Change a role; the sessions end. Raises `StaffUnknown`, `RoleUnknown` or `LastAdmin`."""
    rules.check_role(role)
    lock_ledger_tail(session)
    member = queries.by_public_id(session, public_id)
    if member.role == role:
        return
    _not_the_last_admin(session, member)
    before, member.role = member.role, role
    _end_sessions(session, member)
    _note(session, "staff.role_changed", member, {"before": before, "after": role}, now=now, by=by)


def end(session: Session, public_id: str, *, now: datetime, by: str) -> None:
    """Close an account: its sessions and links end at once. Raises `StaffUnknown` or `LastAdmin`."""
    lock_ledger_tail(session)
    member = queries.by_public_id(session, public_id)
    if member.state == "ended":
        return
    _not_the_last_admin(session, member)
    member.state = "ended"
    _end_sessions(session, member)
    session.connection().execute(delete(StaffToken).where(col(StaffToken.staff_id) == member.id))
    _note(session, "staff.ended", member, {}, now=now, by=by)


def restore(session: Session, public_id: str, *, now: datetime, by: str) -> None:
    """Open a closed account again. Raises `StaffUnknown`."""
    member = queries.by_public_id(session, public_id)
    if member.state != "ended":
        return
    member.state = "active" if member.password_hash else "invited"
    _note(session, "staff.restored", member, {}, now=now, by=by)


def forget_old(session: Session, *, now: datetime) -> int:
    """Delete tries older than a day, sessions that ended and links past their time, a few hundred at most; returns how many rows
    went.
    """
    return sum(delete_some(session, table, when) for table, when in queries.over(now))


def _new_member(
    session: Session, ring: Keyring, address: addresses.Address, name: str, role: str, now: datetime
) -> StaffMember:
    member = StaffMember(public_id=new_id("s"), name=name, role=role, created_at=now)
    session.add(member)
    session.flush()
    mailings.keep_address(session, ring, address, owner_kind="staff", owner_id=member.id, now=now)
    return member


def _new_token(
    session: Session, purpose: str, staff_id: int | None, now: datetime, valid_for: timedelta | None = None
) -> str:
    """A fresh token. A colleague's former ones of this purpose are void; first-run ones live on, as several
    may be printed.
    """
    if staff_id is not None:
        former = (col(StaffToken.staff_id) == staff_id, col(StaffToken.purpose) == purpose)
        session.connection().execute(delete(StaffToken).where(*former))
    token, expires_at = secrets.token_urlsafe(32), now + (valid_for or rules.LIVES[purpose])
    session.add(
        StaffToken(
            token_hash=rules.token_hash(token),
            purpose=purpose,
            staff_id=staff_id,
            created_at=now,
            expires_at=expires_at,
        )
    )
    session.flush()
    return token


def _live_token(session: Session, token: str, purposes: tuple[str, ...], now: datetime) -> StaffToken:
    row = queries.open_token(session, token, now=now)
    if row is not None:
        session.refresh(row, with_for_update=True)
    if row is None or row.purpose not in purposes or row.used_at is not None:
        raise rules.LinkUsed
    return row


def _proven(session: Session, claim: queries.Claim, now: datetime) -> StaffMember | None:
    """The account of a right claim; a wrong one leaves a try on record."""
    lock_ledger_tail(session)  # one at a time, so that tries made at once cannot pass the limit together
    if queries.tries(session, claim.key, now=now) >= rules.TRIES:
        raise rules.SignInTooOften
    member = session.get(StaffMember, claim.staff_id) if claim.staff_id and claim.matches else None
    if member is None or member.state != "active" or member.password_hash != claim.stored:
        session.add(SignInTry(key=claim.key, at=now))
        session.flush()
        return None
    return member


def _open_session(session: Session, member: StaffMember, now: datetime) -> str:
    token = secrets.token_urlsafe(32)
    assert member.id is not None
    session.add(
        StaffSession(
            token_hash=rules.token_hash(token),
            staff_id=member.id,
            created_at=now,
            seen_at=now,
            ends_at=now + rules.ABSOLUTE,
        )
    )
    member.last_signed_in_at = now
    _note(session, "staff.signed_in", member, {}, now=now, by=queries.ACTOR + member.public_id)
    session.flush()
    return token


def _end_sessions(session: Session, member: StaffMember, *, keep: str | None = None) -> None:
    session.flush()
    others = delete(StaffSession).where(
        col(StaffSession.staff_id) == member.id, col(StaffSession.token_hash) != (keep or "")
    )
    session.connection().execute(others)


def _not_the_last_admin(session: Session, member: StaffMember) -> None:
    others = (
        col(StaffMember.role) == "admin",
        col(StaffMember.state) == "active",
        col(StaffMember.id) != member.id,
    )
    if member.role == "admin" and session.exec(select(StaffMember.id).where(*others)).first() is None:
        raise rules.LastAdmin


def _mail_invitation(
    session: Session,
    ring: Keyring,
    member: StaffMember,
    token: str,
    *,
    locale: str,
    warrant: int,
    now: datetime,
    by: str,
) -> None:
    assert member.id is not None
    brand, row = brands.default_brand(session), queries.address_row(session, member.id)
    assert brand.id is not None
    assert row.id is not None
    inviter = queries.names(session, [by]).get(by, brand.title)
    values = canonical({"inviter": inviter, "role": rules.ROLE_NAMES[member.role], "token": token}).encode()
    sealed = base64.b64encode(sealing.seal(ring.house_key, values, f"facts|{INVITE_MAIL}")).decode()
    mailings.enqueue_single(
        session,
        purpose=INVITE_MAIL,
        brand_id=brand.id,
        address_id=row.id,
        person_id=None,
        locale=locale,
        facts={"sealed": sealed},
        warrant_seq=warrant,
        now=now,
    )


def _note(
    session: Session, kind: str, member: StaffMember, body: dict[str, Any], *, now: datetime, by: str
) -> int:
    return ledger.append(session, kind, subject=member.public_id, body=body, by=by, now=now)
