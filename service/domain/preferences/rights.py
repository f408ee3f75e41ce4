"""Two further noes a person has by law: their data is kept and not used (GDPR 18), and no advertising on whatever ground (21).

Called by the person's own page, by staff on a person's behalf, and by `restoring`. Staff can say no here for somebody; the
person's own no is lifted by that person alone (P7).
"""

from datetime import datetime

from sqlmodel import Session

from service.db.locks import lock_ledger_tail
from service.domain.ledger import actions as ledger
from service.domain.ledger import queries as entries
from service.domain.mailings.tables import Address
from service.domain.people.tables import Person
from service.domain.preferences import changes, rules
from service.domain.preferences.asking import say_no_again
from service.domain.preferences.changes import Change, neighbours, withdraw
from service.domain.suppressions import actions as suppressions
from service.domain.topics import queries as topics

RESTRICTED, LIFTED, OBJECTED = "person.restricted", "person.restriction_lifted", "person.objected"


def restrict(session: Session, person: Person, *, how: str, reason: str = "", now: datetime, by: str) -> bool:
    """Keep what is held, and use none of it: nothing is sent to the person under any topic. False: it was so already.

    Every other registration of a mailbox that is theirs goes along, or mail would find its way through that.
    """
    lock_ledger_tail(session)
    session.refresh(person)
    changed = False
    for one in (person, *_of_the_mailbox(session, person)):
        if one.state != "active":
            continue
        one.state, changed = "restricted", True
        session.add(one)
        session.flush()
        _note(session, RESTRICTED, one, how=how, reason=reason, now=now, by=by)
    if not changed:
        ledger.stands(session)
    return changed


def lift_restriction(
    session: Session, person: Person, *, how: str, reason: str = "", now: datetime, by: str
) -> bool:
    """Use the data again as before; every other no stands. False: there was no restriction. Raises `RestrictedByThemselves`
    where anybody but staff set it and somebody else than the person would lift it."""
    lock_ledger_tail(session)
    session.refresh(person)
    if person.state != "restricted":
        return False
    own = f"person:{person.public_id}"
    said = entries.of_subject(session, person.public_id, kinds=(RESTRICTED,))
    if by != own and said and not said[-1].actor.startswith("staff:"):
        raise rules.RestrictedByThemselves
    for one in (person, *_of_the_mailbox(session, person)):
        if one.state == "restricted":
            one.state = "active"
            session.add(one)
            session.flush()
            _note(session, LIFTED, one, how=how, reason=reason, now=now, by=by)
    return True


def object_to_marketing(change: Change, *, reason: str = "") -> str | None:
    """No advertising any more, whatever it would rest on: consent, soft opt-in, implied consent, and what is said later by
    anybody but the person. Returns the receipt; None where that stood already."""
    session, person = change.session, change.person
    lock_ledger_tail(session)
    marketing = [topic for topic in topics.everything(session) if topic.mail_class == "marketing"]
    for topic in marketing:
        preference = change.preference(topic)
        if preference is not None and preference.state in rules.NOES:
            say_no_again(change, topic, preference)
        else:
            withdraw(change, topic, preference)
    changes.refuse_for_neighbours(change, marketing)
    new = [digest for digest in _mailboxes(session, person) if _no_advertising(change, digest)]
    if not new:
        ledger.stands(session)
        return changes.slip(session, change.start)
    _note(session, OBJECTED, person, how=change.said.method, reason=reason, now=change.now, by=change.by)
    return changes.slip(session, change.start)


def lift_objection(session: Session, person: Person, *, now: datetime) -> bool:
    """The person takes their objection back: topics can be chosen again, none is by this. False: there was none."""
    lock_ledger_tail(session)
    lifted = 0
    for digest in _mailboxes(session, person):
        lifted += suppressions.lift(
            session,
            digest,
            causes=("objection",),
            subject=person.public_id,
            now=now,
            by=f"person:{person.public_id}",
        )
    return lifted > 0


def _no_advertising(change: Change, address_hash: str) -> bool:
    added = suppressions.add(
        change.session,
        address_hash,
        scope="marketing",
        cause="objection",
        origin=change.said.method,
        subject=change.person.public_id,
        now=change.now,
        by=change.by,
    )
    return added is not None


def _mailboxes(session: Session, person: Person) -> list[str]:
    """Where their mail goes, and where it would go once a changed address is confirmed."""
    rows = [session.get(Address, one) for one in (person.address_id, person.pending_address_id) if one]
    return sorted({row.address_hash for row in rows if row is not None and row.ended_at is None})


def _of_the_mailbox(session: Session, person: Person) -> list[Person]:
    address = session.get(Address, person.address_id) if person.address_id else None
    if address is None or address.confirmed_at is None or address.ended_at is not None:
        return []
    return list(neighbours(session, person, address.address_hash))


def _note(
    session: Session, kind: str, person: Person, *, how: str, reason: str, now: datetime, by: str
) -> None:
    body = {"how": how} | ({"reason": reason} if reason else {})
    ledger.append(session, kind, subject=person.public_id, body=body, by=by, now=now)
