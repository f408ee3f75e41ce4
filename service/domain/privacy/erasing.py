"""Erasure (GDPR 17): what would go and what stays, and the act itself, in one transaction; after a restore the same again.

Called by `ops.erasure`, which adds the captured inbox, for the person's own page, the staff's, the API, `db restore` and what the
clock forgets; and by `retention` for messages, which staff can erase one by one, too: whoever wrote it is perhaps not registered.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, update
from sqlmodel import Session, col, select

from service.db.locks import for_update, lock_ledger_tail
from service.domain.brands import queries as brands
from service.domain.consent.tables import Confirmation
from service.domain.ledger import actions as ledger
from service.domain.ledger import queries as written
from service.domain.ledger import safe
from service.domain.ledger.tables import LedgerEntry
from service.domain.links.tables import Undo
from service.domain.mailings.actions import parts
from service.domain.mailings.tables import Address, Audience, Batch, Mailing
from service.domain.people import erasing as people_erasing
from service.domain.people import mailbox
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.domain.preferences.changes import overtake, slip
from service.domain.privacy import periods, queries, rules
from service.domain.privacy.tables import ContactRequest, RightsRequest
from service.domain.suppressions import actions as suppressions
from service.domain.topics import queries as topics
from service.kit.signing import Keyring

MESSAGE_ERASED = "contact.erased"
SINGLE = ("system", "test")  # kinds of mailings that are one mail, and say what is somebody's own


@dataclass(frozen=True)
class Preview:
    """What an erasure would take, and what would be left of it, in numbers and names."""

    registrations: int  # of the same mailbox, this one among them
    addresses: int
    sources: list[str]  # who sent a profile
    attributes: list[str]
    messages: int
    entries: int
    mails: int
    requests_days: int  # for so long what was asked for by law is kept, without its words


@dataclass(frozen=True)
class Erased:
    """What was done: how many registrations are gone, and the receipt."""

    persons: int
    receipt: str | None


def concerned(session: Session, person: Person, *, how: str) -> list[Person]:
    """Who goes. After a restore each by the line that names them: who shares the mailbox in the copy may have left it since."""
    if how != "restore":
        return queries.whole(session, person)
    return [one for one in people_erasing.with_merged(session, person) if one.wrapped_key is not None]


def preview(session: Session, person: Person) -> Preview:
    """What would go and what would stay."""
    persons = queries.whole(session, person)
    ids = [one.id or 0 for one in persons]
    addresses = people_erasing.addresses_of(session, persons)
    kept = [people.attributes(session, one) for one in ids]
    names = [row.source for one in ids for row in people.identities(session, one)]
    entries = select(func.count()).where(col(LedgerEntry.subject).in_([one.public_id for one in persons]))
    mails = select(func.count()).where(col(Audience.person_id).in_(ids))
    return Preview(
        registrations=sum(one.state != "merged" for one in persons),
        addresses=len({row.address_hash for row in addresses}),
        sources=sorted(set(names)),
        attributes=sorted({name for found in kept for name in found}),
        messages=len(queries.messages_of(session, persons)),
        entries=session.connection().execute(entries).scalar_one(),
        mails=session.connection().execute(mails).scalar_one(),
        requests_days=periods.BY_NAME[periods.REQUESTS].period(brands.settings(session)) or 0,
    )


def hold_mails(session: Session, person: Person, *, how: str) -> None:
    """The mails that an erasure empties and that are not through, ours until commit. To be called before the ledger's tail is locked:
    whoever stops or ends such a mail holds it, and waits for the tail; what is through the clock empties with the tail in hand."""
    persons = concerned(session, person, how=how)
    _hold(session, _mails(session, persons) + _answers(session, queries.messages_of(session, persons)))


def _hold(session: Session, mailing_ids: Sequence[int]) -> None:
    for part in parts(sorted(set(mailing_ids))):
        these = col(Mailing.id).in_(part), col(Mailing.kind).in_(SINGLE), col(Mailing.finished_at).is_(None)
        lock = select(Mailing.id).where(*these).order_by(col(Mailing.id))
        session.connection().execute(for_update(session, lock)).all()
    session.flush()
    session.expire_all()  # what was read to find them may be different once they, and the tail, are ours


def erase(
    session: Session, ring: Keyring, person: Person, *, how: str, reason: str = "", now: datetime, by: str
) -> Erased:
    """Destroy the key, and with it what is sealed; keep the no, as a keyed hash. Raises `AlreadyErased`.

    `how`: me | staff | api | restore. `reason` is written to the ledger in clear and for good: it names nobody.
    """
    person = mailbox.who_is_left(session, person)
    if person.state == "erased":
        raise rules.AlreadyErased
    start, persons = len(ledger.appended(session)), concerned(session, person, how=how)
    _end_links(session, persons, now=now)
    _empty_facts(session, _mails(session, persons))
    _empty_requests(session, persons)
    forget_messages(session, queries.messages_of(session, persons), now=now)
    kept: set[str] = set()
    for one in persons:
        kept |= people_erasing.empty(session, ring, one, now=now)
        body = {"how": how} | ({"reason": reason} if reason else {})
        body |= {"with": person.public_id} if one is not person else {}
        ledger.append(session, "person.erased", subject=one.public_id, body=body, by=by, now=now)
    for digest in sorted(kept):
        overtake(session, topics.everything(session), digest, by=None)
        keep_no(session, digest, origin=how, subject=person.public_id, now=now, by=by)
    return Erased(len(persons), slip(session, start))


def forget(session: Session, ring: Keyring, person: Person, *, now: datetime) -> None:
    """A sign-up that nobody confirmed has had its time (`retention`): as by an erasure, but nobody said no, so whoever comes again,
    or is brought by a site, is welcome."""
    _end_links(session, [person], now=now)
    _empty_facts(session, _mails(session, [person]))
    people_erasing.empty(session, ring, person, now=now)
    body = {"how": safe.FORGOTTEN, "reason": "nobody confirmed the sign-up"}
    ledger.append(session, "person.erased", subject=person.public_id, body=body, by=ledger.SYSTEM, now=now)


def said_again(session: Session, ring: Keyring, source: str, external_id: str) -> Person | None:
    """Whom a source had erased before, by its own id: its answer waits as the first one did. None: nobody."""
    left = people_erasing.erased_identity(session, ring, source, external_id)
    if left is None:
        return None
    ledger.stands(session)
    return session.get_one(Person, left.person_id)


def keep_no(
    session: Session, address_hash: str, *, origin: str, subject: str | None, now: datetime, by: str
) -> bool:
    """The keyed hash on the do-not-mail list: only a new sign-up by the owner of the mailbox lifts it. False: it was there."""
    added = suppressions.add(
        session,
        address_hash,
        scope="marketing",
        cause=people_erasing.CAUSE,
        origin=origin,
        subject=subject,
        now=now,
        by=by,
    )
    return added is not None


def _end_links(session: Session, persons: Sequence[Person], *, now: datetime) -> None:
    """Buttons and undos that were still good make nothing any more."""
    ids = [one.id for one in persons]
    session.connection().execute(delete(Undo).where(col(Undo.person_id).in_(ids)))
    session.connection().execute(
        update(Confirmation)
        .where(col(Confirmation.person_id).in_(ids), col(Confirmation.expires_at) > now)
        .values(expires_at=now)
    )


def _mails(session: Session, persons: Sequence[Person]) -> list[int]:
    """What single mails to them had to say lies under the house key, which outlives theirs; and so do their values in test mails,
    which staff had in their stead and whose entry names them."""
    theirs = select(col(Audience.mailing_id)).where(col(Audience.person_id).in_([one.id for one in persons]))
    tested = written.naming(session, "announcement.tested", [one.public_id for one in persons])
    asked = [one.seq for one in tested]
    tests = select(col(Audience.mailing_id)).join(Mailing, col(Mailing.id) == col(Audience.mailing_id))
    tests = tests.where(col(Mailing.kind) == "test", col(Audience.warrant_seq).in_(asked))
    return [*session.exec(theirs), *(session.exec(tests) if asked else ())]


def _answers(session: Session, found: Sequence[ContactRequest]) -> list[int]:
    """The mails that answer these messages."""
    answers = (
        select(col(Audience.mailing_id))
        .join(Mailing, col(Mailing.id) == col(Audience.mailing_id))
        .where(
            col(Mailing.purpose) == rules.ANSWER_MAIL,
            col(Audience.address_id).in_([row.address_id for row in found]),
        )
    )
    return list(session.exec(answers))


def _empty_facts(session: Session, mailing_ids: Sequence[int]) -> None:
    for start in range(0, len(mailing_ids), 500):
        session.connection().execute(
            update(Mailing)
            .where(
                col(Mailing.id).in_(mailing_ids[start : start + 500]),
                col(Mailing.kind).in_(SINGLE),
            )
            .values(facts={})
        )


def _empty_requests(session: Session, persons: Sequence[Person]) -> None:
    """That something was asked, and what became of it, stays; in which words goes."""
    session.connection().execute(
        update(RightsRequest)
        .where(col(RightsRequest.person_id).in_([one.id for one in persons]))
        .values(sealed=None)
    )


def message_preview(session: Session, ring: Keyring, row: ContactRequest) -> dict[str, int]:
    """What would go with a message: answers, and its hold on requests that were made of it."""
    made = select(RightsRequest.closed_at).where(col(RightsRequest.contact_id) == row.id)
    ends = session.exec(made).all()
    answered = len(queries.answers(ring, row))
    return {"answers": answered, "requests": len(ends), "open": sum(end is None for end in ends)}


def erase_message(
    session: Session, public_id: str, *, how: str, reason: str = "", now: datetime, by: str
) -> None:
    """A message that is nobody's here, with its answers, its address and the words of what was made of it. A second press
    changes nothing. `how`: staff | restore. `reason` stands in the ledger in clear and for good. Raises `ContactUnknown`."""
    named = select(ContactRequest).where(col(ContactRequest.public_id) == public_id)
    _hold(session, _answers(session, session.exec(named).all()))
    lock_ledger_tail(session)
    row = session.exec(named.with_for_update()).first()
    if row is None:
        if not written.of_subject(session, public_id, kinds=(MESSAGE_ERASED,)):
            raise rules.ContactUnknown
        ledger.stands(session)
        return
    waiting = _answers_waiting(session, row)
    forget_messages(session, [row], now=now)
    body: dict[str, Any] = {"how": how} | ({"reason": reason} if reason else {})
    body |= {"answers": waiting} if waiting else {}
    ledger.append(session, MESSAGE_ERASED, subject=public_id, body=body, by=by, now=now)


def _answers_waiting(session: Session, row: ContactRequest) -> list[str]:
    """The mailings of answers that have not left, or may be leaving: whoever has one in hand hears of it by that id."""
    statement = (
        select(Mailing.public_id)
        .join(Audience, col(Audience.mailing_id) == col(Mailing.id))
        .join(Batch, col(Batch.mailing_id) == col(Mailing.id))
        .where(
            col(Mailing.purpose) == rules.ANSWER_MAIL,
            col(Audience.address_id) == row.address_id,
            col(Batch.state) != "closed",
        )
    )
    return sorted(set(session.exec(statement)))


def forget_messages(session: Session, found: Sequence[ContactRequest], *, now: datetime) -> None:
    """These messages, their answers, and the addresses kept for them."""
    if not found:
        return
    places = [row.address_id for row in found]
    _empty_facts(session, _answers(session, found))
    gone = [row.id for row in found]
    session.connection().execute(
        update(RightsRequest)
        .where(col(RightsRequest.contact_id).in_(gone))
        .values(contact_id=None, sealed=None)
    )
    session.connection().execute(delete(ContactRequest).where(col(ContactRequest.id).in_(gone)))
    session.connection().execute(
        update(Address).where(col(Address.id).in_(places)).values(sealed=None, address_hash="", ended_at=now)
    )
