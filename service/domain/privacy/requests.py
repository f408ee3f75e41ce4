"""Requests under a person's rights (GDPR 15 to 21, CAN-SPAM): received with their clock, put off with a reason, closed.

Called by the staff's pages of requests and messages, and by every door at which a right is had: by a person's own page, by staff
and by sites (`fulfilled`). What goes through a printed stop link is no request: it is done when it is answered, and the
ledger says so itself.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import exists
from sqlmodel import Session, col, select

from service.db.locks import lock_ledger_tail
from service.domain.ledger import actions as ledger
from service.domain.people import erasing, mailbox
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.domain.preferences import queries as preferences
from service.domain.privacy import queries, rules
from service.domain.privacy.tables import ContactRequest, RightsRequest
from service.kit import sealing
from service.kit.chain import canonical
from service.kit.ids import new_id, proposed
from service.kit.signing import Keyring


def receive(
    session: Session,
    ring: Keyring,
    *,
    right: str,
    door: str,
    came_on: date,
    person: Person | None = None,
    contact: ContactRequest | None = None,
    who: str = "",
    text: str = "",
    reference: str = "",
    now: datetime,
    by: str,
) -> RightsRequest:
    """Write down a request; its clock runs from the day it came, by the law of where they live. A message becomes one
    request for each right, and a form with its `reference` one, however often that is pressed. Raises `RightUnknown`, `DayInvalid`,
    `NameTooLong`, `TextEmpty`, `TextTooLong`, `TextControlChar`, `FormUsed`, and `ContactUnknown` where the message was erased meanwhile.
    """
    if right not in rules.RIGHTS:
        raise rules.RightUnknown(field="right")
    if came_on > rules.last_day(now):
        raise rules.DayInvalid(field="came_on")
    lock_ledger_tail(session)
    contact = queries.by_public_id(session, contact.public_id) if contact else None
    public_id = proposed("rr", reference)
    said = {"who": rules.check_name(who), "text": rules.check_text(text, field="text")} if not contact else {}
    before = queries.request_written(session, public_id, contact, right)
    if before is not None:
        if (
            said
            and before.sealed
            and (right, came_on, said) != (before.right, before.came_on, queries.said(ring, before))
        ):
            raise rules.FormUsed
        return before
    row = _row(session, right, door, person, came_on, public_id=public_id, now=now, by=by)
    if contact is None:
        row.sealed = sealing.seal(
            ring.house_key, canonical(said).encode(), queries.REQUESTED_AT.format(row.public_id)
        )
    else:
        row.contact_id = contact.id
    session.add(row)
    session.flush()
    _note(session, "request.received", row, person, {"due": row.due_on.isoformat()}, now=now, by=by)
    return row


def fulfilled(
    session: Session,
    person: Person,
    right: str,
    *,
    door: str,
    asked: Sequence[RightsRequest] | None = None,
    now: datetime,
    by: str,
) -> None:
    """A right was just had: its open requests of this person are closed; with none, one is written that is closed at once. The
    same by the same door within the hour is a second press. A copy or a correction asked for by another door stays open: who wrote
    a letter waits for its answer, and it may be about something else. What staff do answers what they were written, too.

    `asked`: what `asking` said before the act, where nobody can tell any more whose it was."""
    person = mailbox.who_is_left(session, person)
    rows = asking(session, person, right) if asked is None else asked
    waiting = [row for row in rows if row.closed_at is None and _answered(session, row, right, door)]
    own = [one.id for one in erasing.with_merged(session, person)]
    if not waiting:
        lately = now - rules.WINDOW
        if any((row.outcome, row.door) == ("done", door) and row.created_at > lately for row in rows):
            return
        made = _row(session, right, door, person, now.date(), public_id=new_id("rr"), now=now, by=by)
        waiting = [made]
    for row in waiting:
        row.person_id = row.person_id or person.id
        whose = person if row.person_id in own else session.get_one(Person, row.person_id)
        _end(session, row, whose, "done", "", now=now, by=by)


def asking(session: Session, person: Person, right: str) -> list[RightsRequest]:
    """The requests that having a right may answer, open or not: of this person, and of whoever else is in the mailbox where what is
    done reaches them as well."""
    reached = erasing.with_merged if right in rules.BY_DOOR else queries.whole
    had = (right, *rules.DOES_TOO.get(right, ()))
    return [row for row in asked_by(session, reached(session, person)) if row.right in had]


def asked_by(session: Session, persons: Sequence[Person]) -> list[RightsRequest]:
    """Everything these persons asked for, oldest first; also by a message from a mailbox that was not known to be theirs then."""
    wrote = queries.written_from(session, erasing.addresses_of(session, persons))
    theirs = col(RightsRequest.person_id).in_([one.id for one in persons])
    nobodys = col(RightsRequest.person_id).is_(None)
    statement = select(RightsRequest).where(
        theirs | (nobodys & col(RightsRequest.contact_id).in_([row.id for row in wrote]))
    )
    return list(session.exec(statement.order_by(col(RightsRequest.id))))


def _answered(session: Session, row: RightsRequest, right: str, door: str) -> bool:
    """Whether what was had by that door answers this request. The form's reach staff, who correct only what is shown to be theirs."""
    if right not in rules.BY_DOOR or row.door == door:
        return True
    return (row.door, door) == ("form", "staff") and queries.proven(session, row)


def not_routed(session: Session, ring: Keyring) -> list[date]:
    """By when each open message about data and rights would be due, the first first, of which nobody has made a request yet: whatever
    it turns out to be, its month runs since it came."""
    made = exists().where(col(RightsRequest.contact_id) == col(ContactRequest.id))
    waiting = select(ContactRequest).where(col(ContactRequest.state) == "open", ~made)
    return [
        rules.months_after(row.created_at.date(), 1)
        for row in session.exec(waiting.order_by(col(ContactRequest.created_at)))
        if queries.asked(ring, row)["subject"] == rules.SUBJECTS["data"]
    ]


def open_request(
    session: Session, ring: Keyring, public_id: str, *, now: datetime, by: str
) -> queries.Requested:
    """A request in clear; that somebody looked is an entry of its own (standards K8). Raises `RequestUnknown`."""
    lock_ledger_tail(session)  # so that nothing is shown of what was erased while this waited
    found = queries.requested(session, ring, queries.request_by_id(session, public_id))
    ledger.append(session, "request.read", subject=public_id, body={}, by=by, now=now)
    return found


def belongs_to(session: Session, public_id: str, person: Person, *, now: datetime, by: str) -> None:
    """Say whose request it is; once, for its entries stand under that person's name. Where they live may bring its day
    forward. Raises `RequestUnknown`, `RequestClosed`, `RequestTaken`."""
    row = _open(session, public_id)
    if row.person_id == person.id:
        return
    if row.person_id is not None:
        raise rules.RequestTaken(field="who")
    row.person_id = person.id
    row.due_on = queries.due_by_law(session, row)
    session.flush()
    _note(session, "request.received", row, person, {"due": row.due_on.isoformat()}, now=now, by=by)


def extend(session: Session, public_id: str, *, reason: str, told: bool, now: datetime, by: str) -> None:
    """Take the further time that the law gives, once the person was told why. Raises `RequestUnknown`, `RequestClosed`, `NoMoreTime`,
    `ExtendedBefore`, `TooLateToExtend`, `ReasonMissing`, `NotToldYet`, `TextTooLong`."""
    row = _open(session, public_id)
    until = rules.extended_to(
        row.right,
        row.came_on,
        extended=row.extended_at is not None,
        today=now.date(),
        countries=queries.countries(session, row),
    )
    if now.date() > row.due_on:  # which never goes back, wherever they live by now
        raise rules.TooLateToExtend
    reason = rules.check_note(reason, field="reason", needed=True)
    if not told:
        raise rules.NotToldYet(field="told")
    row.due_on, row.extension, row.extended_at = until, reason, now
    session.flush()
    body = {"due": until.isoformat(), "reason": reason}
    _note(session, "request.extended", row, _person(session, row), body, now=now, by=by)


def hasten(session: Session, public_ids: Sequence[str], *, now: datetime) -> None:
    """Bring forward what is due sooner (`queries.too_late`): where they live is known since the request came, or another place is."""
    lock_ledger_tail(session)
    for public_id in public_ids:
        row = queries.request_by_id(session, public_id)
        session.refresh(row, with_for_update=True)
        due = queries.due_by_law(session, row)
        if row.closed_at is None and due < row.due_on:
            row.due_on = due
            session.flush()
            body = {"due": due.isoformat()}
            _note(session, "request.hastened", row, _person(session, row), body, now=now, by=ledger.SYSTEM)


def close(session: Session, public_id: str, *, outcome: str, note: str, now: datetime, by: str) -> None:
    """End a request; a refusal says why, what is done for a sender who is not `queries.proven` how they showed who they are, and
    what was done in place of that which would show here what it was. Raises `RequestUnknown`, `RequestClosed`, `OutcomeUnknown`,
    `ReasonMissing`, `ProofMissing`, `NotDone`, `TextTooLong`."""
    row = _open(session, public_id)
    if outcome not in rules.OUTCOMES:
        raise rules.OutcomeUnknown(field="outcome")
    note = rules.check_note(note, field="note", needed=outcome in rules.EXPLAINED)
    if outcome == "done" and not note and not queries.proven(session, row):
        raise rules.ProofMissing(field="note")
    if outcome == "done" and not note and not _shows(session, row):
        raise rules.NotDone(field="note")
    _end(session, row, _person(session, row), outcome, note, now=now, by=by)


def _shows(session: Session, row: RightsRequest) -> bool:
    """Whether what is held of them is as they asked, as far as that can be seen."""
    person = people.followed(session, _person(session, row))
    if person is None or row.right not in ("erasure", "restriction", "objection"):
        return True
    if row.right == "objection":
        return any(one.cause in ("objection", "erasure") for one in preferences.suppressed(session, person))
    return person.state == "erased" or (row.right, person.state) == ("restriction", "restricted")


def _row(
    session: Session,
    right: str,
    door: str,
    person: Person | None,
    came_on: date,
    *,
    public_id: str,
    now: datetime,
    by: str,
) -> RightsRequest:
    countries = preferences.countries(session, person) if person else frozenset[str]()
    return RightsRequest(
        public_id=public_id,
        right=right,
        door=door,
        person_id=person.id if person else None,
        came_on=came_on,
        due_on=rules.due_on(right, came_on, countries),
        created_at=now,
        created_by=by,
    )


def _end(
    session: Session,
    row: RightsRequest,
    person: Person | None,
    outcome: str,
    note: str,
    *,
    now: datetime,
    by: str,
) -> None:
    row.outcome, row.note, row.closed_at, row.closed_by = outcome, note, now, by
    session.add(row)
    session.flush()
    body = {"outcome": outcome} | ({"reason": note} if note else {})
    _note(session, "request.closed", row, person, body, now=now, by=by)


def _note(
    session: Session,
    kind: str,
    row: RightsRequest,
    person: Person | None,
    more: dict[str, Any],
    *,
    now: datetime,
    by: str,
) -> None:
    """An entry about the person, once it is known who that is."""
    subject = person.public_id if person else row.public_id
    body = {"request": row.public_id, "right": row.right, "door": row.door} | more
    ledger.append(session, kind, subject=subject, body=body, by=by, now=now)


def _open(session: Session, public_id: str) -> RightsRequest:
    """The row, locked: after the ledger's tail, as `fulfilled` and an erasure take the two, or they would wait for each other."""
    lock_ledger_tail(session)
    row = queries.request_by_id(session, public_id)
    session.refresh(row, with_for_update=True)
    if row.closed_at is not None:
        raise rules.RequestClosed
    return row


def _person(session: Session, row: RightsRequest) -> Person | None:
    return session.get(Person, row.person_id) if row.person_id else None
