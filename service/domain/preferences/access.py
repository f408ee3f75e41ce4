"""Ways in without a password: a mailed link to one's choices, a mailed sign-in, a changed address. Called by the public pages.

Each answers alike whether or not an address is known; the mail tells its owner.
"""

from datetime import datetime, timedelta

from sqlalchemy import func
from sqlmodel import Session, col, select

from service.db.locks import insert_or_skip, lock_ledger_tail
from service.domain.brands import queries as brands
from service.domain.ledger import actions as ledger
from service.domain.links import rules as links
from service.domain.links.tables import LinkUse
from service.domain.mailings import actions as mailings
from service.domain.mailings import queries as mailing_queries
from service.domain.mailings.tables import Audience, Mailing
from service.domain.people import mailbox
from service.domain.people import queries as people_queries
from service.domain.people.tables import Person
from service.domain.policies import queries as policies
from service.domain.preferences import changes
from service.domain.preferences.asking import tell_of_change
from service.kit import addresses
from service.kit.signing import Keyring

SIGN_IN_WITHIN = timedelta(minutes=30)
LINKS_PER_HOUR = 3  # to one mailbox: a form of ours is nobody's weapon (standards N11)


def request_preferences_link(
    session: Session, ring: Keyring, address: addresses.Address, *, locale: str, now: datetime
) -> None:
    """Mail a link to one's choices to whoever owns the address, if we know it."""
    _request(session, ring, address, "preferences-link", locale=locale, now=now)


def request_sign_in(
    session: Session, ring: Keyring, address: addresses.Address, *, locale: str, now: datetime
) -> None:
    """Mail a sign-in link, good for 30 minutes and once, to whoever owns the address, if we know it."""
    _request(session, ring, address, "sign-in", locale=locale, now=now)


def _request(
    session: Session, ring: Keyring, address: addresses.Address, purpose: str, *, locale: str, now: datetime
) -> None:
    lock_ledger_tail(session)
    found = changes.living_at(session, mailing_queries.address_hash(ring, address))
    if not found:
        return
    person = found[0]
    if person.address_id is None or _asked_lately(session, person, purpose, now=now) >= LINKS_PER_HOUR:
        return
    body = {"purpose": purpose}
    seq = ledger.append(
        session,
        "link.requested",
        subject=person.public_id,
        body=body,
        by=f"person:{person.public_id}",
        now=now,
    )
    brand = brands.default_brand(session)
    assert brand.id is not None
    mailings.enqueue_single(
        session,
        purpose=purpose,
        brand_id=brand.id,
        address_id=person.address_id,
        person_id=person.id,
        locale=person.locale or locale,
        facts={},
        warrant_seq=seq,
        now=now,
        valid_for=SIGN_IN_WITHIN if purpose == "sign-in" else timedelta(days=1),
    )


def _asked_lately(session: Session, person: Person, purpose: str, *, now: datetime) -> int:
    statement = (
        select(func.count())
        .select_from(Mailing)
        .join(Audience, col(Audience.mailing_id) == col(Mailing.id))
        .where(
            col(Audience.person_id) == person.id,
            col(Mailing.kind) == "system",
            col(Mailing.purpose) == purpose,
            col(Mailing.created_at) > now - timedelta(hours=1),
        )
    )
    return session.exec(statement).one()


def sign_in_by_link(session: Session, ring: Keyring, link: links.Link, *, now: datetime) -> Person:
    """Use a mailed sign-in link: once, within 30 minutes of its being asked for, and while their mail goes where it was sent: the
    mailbox of before may be another's by now. Raises `LinkExpired`.

    Whoever has it reads the mailbox it went to, which is confirmed by that; no topic is. Returns the person who is left.
    """
    mailing, named = (
        mailing_queries.by_alias(session, link.mailing),
        people_queries.by_alias(session, link.person),
    )
    if mailing is None or named is None:
        raise links.LinkExpired
    person = mailbox.who_is_left(session, named)
    if person.state == "erased" or mailing.purpose != "sign-in" or mailing.created_at + SIGN_IN_WITHIN <= now:
        raise links.LinkExpired
    asked = mailing_queries.member(session, mailing.id or 0, link.position)
    if asked is None or asked.person_id != person.id:  # nor one who was merged since: they are another's now
        raise links.LinkExpired
    row = mailbox.known(session, ring, person)
    if row.address.id != asked.address_id or row.address.ended_at is not None:
        raise links.LinkExpired
    used = insert_or_skip(session, LinkUse, ["mailing_alias", "position", "purpose"]).values(
        mailing_alias=str(link.mailing), position=link.position, purpose=link.purpose, used_at=now
    )
    if session.connection().execute(used.returning(col(LinkUse.position))).first() is None:
        raise links.LinkExpired
    ledger.append(
        session,
        "person.signed_in",
        subject=person.public_id,
        body={"in_force": _policy(session, person, now)},
        by=f"person:{person.public_id}",
        now=now,
    )
    return _confirmed(session, ring, row, now=now)


def _policy(session: Session, person: Person, now: datetime) -> str:
    """The policy under which they go on using the service. That they do is information, never consent to it (standards J8)."""
    in_force = policies.in_force(session, "privacy", now=now)
    return policies.name_of(session, policies.best(in_force, person.locale))


def _confirmed(session: Session, ring: Keyring, row: mailbox.Known, *, now: datetime) -> Person:
    """The person, whose mailbox is confirmed now; where somebody holds it already, they."""
    person = row.person
    if row.address.confirmed_at is not None:
        return person
    by = f"person:{person.public_id}"
    left = mailbox.confirm_address(session, ring, row, row.address, now=now, by=by)
    if left is not person:
        changes.carry_over(session, ring, person, left, now=now, by=by)
    return left


def end_session(session: Session, name: str, *, now: datetime) -> None:
    """A person signed out: the session of that name is over, whoever kept its cookie."""
    ended = insert_or_skip(session, LinkUse, ["mailing_alias", "position", "purpose"])
    session.connection().execute(
        ended.values(mailing_alias=name, position=0, purpose=links.SIGN_IN, used_at=now)
    )


def has_ended(session: Session, name: str) -> bool:
    """Whether the session of that name was signed out of."""
    return session.get(LinkUse, (name, 0, links.SIGN_IN)) is not None


def change_email(
    session: Session, ring: Keyring, person: Person, address: addresses.Address, *, now: datetime, by: str
) -> bool:
    """Ask for a new address: it waits for its button, the old one is told, marketing waits. False: it is the present one."""
    row = mailbox.known(session, ring, mailbox.who_is_left(session, person))
    if mailing_queries.address_hash(ring, address) == row.address.address_hash:
        return False
    mailbox.change_address(session, ring, row, address, confirmed=False, now=now, by=by)
    tell_of_change(session, ring, row, brand_id=brands.default_brand(session).id or 0, now=now)
    return True
