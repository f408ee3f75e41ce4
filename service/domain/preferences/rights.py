"""Two further noes a person has by law: their data is kept and not used (GDPR 18), and no advertising on whatever ground (21).

Called by the person's own page, by staff on a person's behalf, and by `restoring`. Staff can say no here for somebody; what the
person asked for is lifted by that person alone (P7), whoever wrote it down. What the controller does of its own accord staff lift.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select

from service.db.bulk import among
from service.db.locks import lock_ledger_tail
from service.domain.consent import actions as consent
from service.domain.ledger import actions as ledger
from service.domain.ledger import queries as entries
from service.domain.mailings.tables import Address
from service.domain.people import mailbox
from service.domain.people.tables import Person
from service.domain.preferences import changes, rules
from service.domain.preferences.asking import refuse_for_neighbours, say_no_again
from service.domain.preferences.changes import Change, neighbours, withdraw
from service.domain.suppressions import actions as suppressions
from service.domain.suppressions import queries as suppressed
from service.domain.topics import queries as topics
from service.kit.signing import Keyring

RESTRICTED, LIFTED, OBJECTED = "person.restricted", "person.restriction_lifted", "person.objected"
MERGED = "person.merged"
PERSON, CONTROLLER = "person", "controller"  # who asks for a restriction: `asked` in its entry
LEGAL = "legal"  # cause, there, of what the law or an authority asks for: the one that is nobody’s own no
KEPT = "restriction"  # cause, on the do-not-mail list, of what a restored copy does not know whose it is


def restrict(
    session: Session,
    person: Person,
    *,
    how: str,
    asked: str = PERSON,
    reason: str = "",
    now: datetime,
    by: str,
) -> bool:
    """Keep what is held, and use none of it: nothing is sent to the person under any topic. False: it was so already.

    `asked`: who wants it, the person (by their page, or by a letter that staff write down here) or the controller. Every other
    registration of a mailbox that is theirs goes along, or mail would find its way through that. Who went along with another, or
    was restricted by the controller, and now asks for it themselves is restricted on their own from then on.
    """
    person, changed = mailbox.who_is_left(session, person), False
    for one in (person, *_of_the_mailbox(session, person)):
        again = one is person and asked == PERSON and _not_yet_their_own(session, person, by)
        if one.state != "active" and not again:
            continue
        one.state, changed = "restricted", True
        session.add(one)
        session.flush()
        _note(session, RESTRICTED, one, how=how, asked=asked, reason=reason, along=person, now=now, by=by)
    if not changed:
        ledger.stands(session)
    return changed


def lift_restriction(
    session: Session,
    person: Person,
    *,
    how: str,
    reason: str = "",
    told: bool = False,
    now: datetime,
    by: str,
) -> bool:
    """Use the data again as before; every other no stands. False: there was no restriction. Raises `RestrictedByThemselves`
    where the person asked for it, under this or another registration of the mailbox, and somebody else would lift it,
    `LiftNotTold` where anybody but the person lifts and they have not been `told` before (GDPR 18(3)).

    Of the mailbox's other registrations those are lifted that went along with this one, that the controller restricted, and, by
    the person, those that staff restricted.
    """
    person = mailbox.who_is_left(session, person)
    if person.state != "restricted":
        return False
    others = [one for one in _of_the_mailbox(session, person) if one.state == "restricted"]
    if by != f"person:{person.public_id}":
        if asked_for_restriction(session, person) or any(_asks(session, one, person) for one in others):
            raise rules.RestrictedByThemselves
        if not told:
            raise rules.LiftNotTold(field="told")
    for one in (person, *(one for one in others if _along(session, one, person, by))):
        one.state = "active"
        session.add(one)
        session.flush()
        _note(session, LIFTED, one, how=how, reason=reason, along=person, now=now, by=by)
    return True


_RESTRICTED_AT = (
    select(Address.address_hash, Person)
    .join(Person, col(Person.address_id) == col(Address.id))
    .where(
        among(col(Address.address_hash), "hashes"),
        col(Address.ended_at).is_(None),
        col(Person.state) == "restricted",
    )
    .order_by(col(Address.confirmed_at).is_(None), col(Person.id))
)


def heed_mailboxes(session: Session, arrived: Mapping[int, str], *, how: str, now: datetime, by: str) -> None:
    """People came to these mailboxes (their row → its keyed hash): where somebody is restricted, they are as well, with them. What a
    restored copy kept for a mailbox passes to whoever comes there first, and can be lifted by them."""
    if not arrived:
        return
    hashes = sorted(set(arrived.values()))
    found: dict[str, Person] = {}
    for digest, one in session.exec(_RESTRICTED_AT, params={"hashes": hashes}):
        found.setdefault(digest, one)
    kept = suppressed.with_cause(session, hashes, KEPT)
    for person_id, digest in arrived.items():
        if digest not in found and digest not in kept:
            continue
        person = session.get_one(Person, person_id)
        along = found.setdefault(digest, person)
        if person.state == "active":
            person.state = "restricted"
            session.add(person)
            session.flush()
            _note(session, RESTRICTED, person, how=how, reason="", along=along, now=now, by=by)
        if digest in kept:
            suppressions.lift(
                session, digest, causes=(KEPT,), subject=person.public_id, now=now, by=ledger.SYSTEM
            )
            kept.remove(digest)


def asked_for_restriction(session: Session, person: Person) -> bool:
    """Whether the restriction a person is under is one that they alone lift, by their own word or by that of one who was merged into
    them."""
    last = _last_restriction(session, person)
    return last is not None and (_asked_for(session, person, last) or _brought(session, person))


def _asks(session: Session, other: Person, person: Person) -> bool:
    """Whether what stands for the other was asked for by them, and they did not merely go along with this person."""
    last = _last_restriction(session, other)
    if last is None:
        return False
    return (last.along != person.public_id and _asked_for(session, other, last)) or _brought(session, other)


def _brought(session: Session, person: Person) -> bool:
    """Whether one who was merged into them had asked for it under their own name, and it was not lifted since."""
    lifted = _last_of(session, person, LIFTED)
    merged = session.exec(select(Person).where(col(Person.merged_into) == person.id)).all()
    return any(
        _last_of(session, one, MERGED) > lifted
        and _last_of(session, one, RESTRICTED) > _last_of(session, one, LIFTED)
        and asked_for_restriction(session, one)
        for one in merged
    )


def _last_of(session: Session, person: Person, kind: str) -> int:
    """The last entry of that kind about a person; 0: none."""
    here = [
        one.seq for one in ledger.appended(session) if (one.kind, one.subject) == (kind, person.public_id)
    ]
    return max(
        [one.seq for one in entries.of_subject(session, person.public_id, kinds=(kind,))] + here, default=0
    )


def _not_yet_their_own(session: Session, person: Person, by: str) -> bool:
    """Whether a person under restriction is so by another's word only, and now asks for it as well."""
    last = _last_restriction(session, person) if person.state == "restricted" else None
    if last is None:
        return False
    own = f"person:{person.public_id}"
    return (
        last.along is not None or (by == own and last.actor != own) or not _asked_for(session, person, last)
    )


def _along(session: Session, other: Person, person: Person, by: str) -> bool:
    """Whether what was said last of the other's restriction was said with this person or by them; or by the controller; or, where
    the person lifts, by staff: one mailbox is one person."""
    last, own = _last_restriction(session, other), f"person:{person.public_id}"
    return last is not None and (
        last.along == person.public_id
        or last.actor == own
        or (by == own and last.actor.startswith("staff:"))
        or not _asked_for(session, other, last)
    )


@dataclass(frozen=True)
class _Said:
    """Who restricted somebody last, who had asked for it (None in older entries), with whom they went along, if with anybody, and
    whether it came with one who was merged into them."""

    actor: str
    asked: str | None
    along: str | None
    merged: bool


def _last_restriction(session: Session, person: Person) -> _Said | None:
    for one in reversed(ledger.appended(session)):  # of this transaction, not in the table yet
        if (one.kind, one.subject) == (RESTRICTED, person.public_id):
            written = json.loads(one.text)
            return _said(written["actor"], written["body"])
    said = entries.of_subject(session, person.public_id, kinds=(RESTRICTED,))
    return _said(said[-1].actor, said[-1].body) if said else None


def _said(actor: str, body: Mapping[str, Any]) -> _Said:
    return _Said(actor, body.get("asked"), body.get("with"), body.get("how") == "merge")


def _asked_for(session: Session, person: Person, said: _Said) -> bool:
    """Whether the person asked for it. An older entry does not say: staff's is the controller's then, unless a request of theirs
    for it had been written down and was not refused. What came with a merge is whose word it was before."""
    if said.merged:
        return _brought(session, person)
    if said.asked is not None:
        return said.asked != CONTROLLER
    if not said.actor.startswith("staff:"):
        return True
    written = entries.of_subject(session, person.public_id, kinds=("request.received", "request.closed"))
    mine = [one for one in written if one.body.get("right") == "restriction"]
    received = {one.body["request"] for one in mine if one.kind == "request.received"}
    return bool(received - {one.body["request"] for one in mine if one.body.get("outcome", "done") != "done"})


def object_to_marketing(
    session: Session,
    ring: Keyring,
    person: Person,
    said: consent.Said,
    *,
    reason: str = "",
    now: datetime,
    by: str,
) -> str | None:
    """No advertising any more, whatever it would rest on: consent, soft opt-in, implied consent, and what is said later by
    anybody but the person. Returns the receipt; None where that stood already and was said a moment ago."""
    person = mailbox.who_is_left(session, person)
    change = changes.begin(session, ring, person, said, now=now, by=by)
    marketing = [topic for topic in topics.everything(session) if topic.mail_class == "marketing"]
    refuse_for_neighbours(change, marketing, said_at=now)  # before their own, of which the receipt is
    for topic in marketing:
        preference = change.preference(topic)
        if preference is not None and preference.state in rules.NOES:
            say_no_again(change, topic, preference, said_at=now)
        else:
            withdraw(change, topic, preference)
    address = _mailbox(session, person)
    if address is None or not _no_advertising(change, address.address_hash):
        ledger.stands(session)
        return changes.slip(session, change.start)
    _note(session, OBJECTED, person, how=said.method, reason=reason, along=person, now=now, by=by)
    return changes.slip(session, change.start)


def lift_objection(session: Session, person: Person, *, now: datetime) -> bool:
    """The person takes their objection back: topics can be chosen again, none is by this. False: there was none, or the mailbox
    is not confirmed theirs: then it may be its owner's. Who was made one with another meanwhile takes nothing back for them."""
    left = mailbox.who_is_left(session, person)
    address = _mailbox(session, left)
    if left.id != person.id or address is None or address.confirmed_at is None:
        return False
    lifted = suppressions.lift(
        session,
        address.address_hash,
        causes=("objection",),
        subject=person.public_id,
        now=now,
        by=f"person:{person.public_id}",
    )
    return lifted > 0


def bar(session: Session, person: Person, *, reason: str, now: datetime, by: str) -> bool:
    """The law or an authority asks that nothing be sent to this mailbox, whoever has it and whatever they say. False: it stood
    already. Raises `NoMailbox`."""
    person = mailbox.who_is_left(session, person)
    address = _mailbox(session, person)
    if address is None:
        raise rules.NoMailbox
    return bar_mailbox(session, address.address_hash, subject=person.public_id, reason=reason, now=now, by=by)


def bar_mailbox(
    session: Session, address_hash: str, *, subject: str | None = None, reason: str, now: datetime, by: str
) -> bool:
    """The same of a mailbox that perhaps nobody is registered with. `subject`: whoever it concerns; whoever holds it when not said."""
    lock_ledger_tail(session)  # before it is read who holds it
    added = suppressions.add(
        session, address_hash, scope="all", cause=LEGAL, origin="staff", subject=subject or _holder(session, address_hash),
        reason=reason, now=now, by=by,
    )  # fmt: skip
    if added is None:
        ledger.stands(session)
    return added is not None


def unbar(session: Session, person: Person, *, reason: str, now: datetime, by: str) -> None:
    """The ground is gone: what the person said stands as before. Raises `NotBarred`."""
    person = mailbox.who_is_left(session, person)
    address = _mailbox(session, person)
    if address is None:
        raise rules.NotBarred(fix=rules.NoMailbox.fix_hint)
    unbar_mailbox(session, address.address_hash, subject=person.public_id, reason=reason, now=now, by=by)


def unbar_mailbox(
    session: Session, address_hash: str, *, subject: str | None = None, reason: str, now: datetime, by: str
) -> None:
    """The same of a mailbox that perhaps nobody is registered with any more; what people said there is none of staff's to lift.
    Raises `NotBarred`."""
    lock_ledger_tail(session)
    subject = subject or _holder(session, address_hash)
    if not suppressions.lift(
        session, address_hash, causes=(LEGAL,), subject=subject, reason=reason, now=now, by=by
    ):
        raise rules.NotBarred


def _holder(session: Session, address_hash: str) -> str | None:
    """Who holds a mailbox confirmed."""
    found = mailbox.holders(session, [address_hash]).get(address_hash)
    return found[0].public_id if found else None


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


def _mailbox(session: Session, person: Person) -> Address | None:
    """Where their mail goes. An address that waits for its button is somebody's, and perhaps not theirs: what they say goes there
    with them (`suppressions.take_along`)."""
    address = session.get(Address, person.address_id) if person.address_id else None
    return address if address is not None and address.ended_at is None else None


def _of_the_mailbox(session: Session, person: Person) -> list[Person]:
    address = _mailbox(session, person)
    if address is None or address.confirmed_at is None:
        return []
    return list(neighbours(session, person, address.address_hash))


def _note(
    session: Session,
    kind: str,
    one: Person,
    *,
    how: str,
    asked: str = "",
    reason: str,
    along: Person,
    now: datetime,
    by: str,
) -> None:
    """`along`: with whom they went, where it was not they who spoke."""
    body = {"how": how} | ({"asked": asked} if asked else {}) | ({"reason": reason} if reason else {})
    body |= {"with": along.public_id} if one is not along else {}
    ledger.append(session, kind, subject=one.public_id, body=body, by=by, now=now)
