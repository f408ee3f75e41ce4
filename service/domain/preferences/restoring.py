"""What a restored database has to hear again: the withdrawal file written with what that needs, and read back.

Called by the fence and the clock, which keep the file, and by `db restore`.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlmodel import Session, col, select

from service.db.locks import lock_ledger_tail
from service.domain.consent import actions as consent
from service.domain.consent.rules import PERMITTING
from service.domain.ledger import queries as entries
from service.domain.ledger import safe
from service.domain.mailings.tables import Address
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.domain.preferences import changes, rights, rules
from service.domain.preferences.asking import say_no_again
from service.domain.preferences.changes import LIVING, NOES, Change, move, withdraw
from service.domain.preferences.tables import Preference
from service.domain.suppressions import actions as suppressions
from service.domain.topics import queries as topics
from service.domain.topics.tables import Topic
from service.kit.clock import from_micros, to_micros
from service.kit.signing import Keyring

MERGED = "person.merged"
INVALIDATED = "consent.invalidated"  # an import taken back
PERSONAL = (
    *NOES, INVALIDATED, "preference.break_set", "address.changed", "suppression.added", rights.RESTRICTED
)  # fmt: skip


@dataclass(frozen=True)
class Reapplied:
    """How many later noes were said again, and how many lines about persons found nobody to apply them to."""

    again: int
    left: int


def keep(session: Session, directory: Path) -> int:
    """Bring the withdrawal file up to date. Each line about a person names the mailbox too, by its keyed hash: a copy made
    before that person was known can still keep their no."""
    return safe.bring_up_to_date(session, directory, _mailboxes)


def _mailboxes(session: Session, subjects: list[str]) -> dict[str, str]:
    statement = (
        select(col(Person.public_id), col(Address.address_hash))
        .join(Address, col(Address.id) == col(Person.address_id))
        .where(col(Person.public_id).in_(subjects))
    )
    return {public_id: digest for public_id, digest in session.exec(statement)}


def reapply(session: Session, ring: Keyring, lines: list[dict[str, Any]], *, now: datetime) -> Reapplied:
    """After a restore: say again every no of the withdrawal file that this database has not heard. Erasures were done again
    before (`ops.erasure`)."""
    lock_ledger_tail(session)
    again = left = 0
    said: bool | None
    merged: dict[str, list[str]] = {}  # into whom → whom the copy still has beside them
    for line in unheard(session, lines):
        kind, subject, body = str(line["kind"]), str(line.get("subject")), line.get("body") or {}
        if kind == MERGED:
            merged.setdefault(str(body.get("into")), []).extend([subject, *merged.get(subject, [])])
            said = _merge_again(session, ring, subject, str(body.get("into")), int(line["at"]), now=now)
        else:
            said = _say_again(session, ring, line, body, now=now)
        again += said is True
        left += said is None and kind in PERSONAL
        for other in (
            merged.get(subject, []) if kind in (*NOES, rights.RESTRICTED, "preference.break_set") else []
        ):
            if people.by_public_id(session, other) is not None:
                again += (
                    _say_again(session, ring, {**line, "subject": other, "mailbox": None}, body, now=now)
                    is True
                )
    return Reapplied(again, left)


def _merge_again(session: Session, ring: Keyring, subject: str, into: str, at: int, *, now: datetime) -> bool:
    """Two whom the copy has were one person when a later no was said. They stay two until a site or a button tells of it again, but
    no yes went along with the one who was merged, so theirs end (as in `changes.carry_over`)."""
    person, left = people.by_public_id(session, subject), people.by_public_id(session, into)
    if person is None or person.state in ("erased", "merged"):
        return False
    change = Change(session, person, None, consent.Said("restore", "withdrawal file"), now, "system")
    ended = False
    for topic in topics.everything(session):
        theirs = change.preference(topic)
        if theirs is None or theirs.state not in LIVING or topic.mail_class == "service":
            continue
        remains = session.get(Preference, (left.id, topic.id)) if left is not None else None
        if not _yes_since(session, ring, person, theirs, at) and (
            remains is None or remains.state not in PERMITTING
        ):
            withdraw(change, topic, theirs)
            ended = True
    return ended


def unheard(session: Session, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines whose entry this database does not have."""
    missing = []
    for line in lines:
        seen = entries.entry(session, int(line["seq"]))
        if seen is None or seen.hash != line.get("hash"):
            missing.append(line)
    return missing


def _say_again(
    session: Session, ring: Keyring, line: dict[str, Any], body: dict[str, Any], *, now: datetime
) -> bool | None:
    """True: it holds again. False: it held, or is over. None: there is nobody here to hold it for."""
    kind, subject, mailbox = str(line["kind"]), line.get("subject"), line.get("mailbox")
    at = int(line.get("at", to_micros(now)))
    if kind == "suppression.added":
        scope, topic = str(body.get("scope", "")), _topic(session, body)
        if scope == "topic" and topic is None:  # the copy does not have it: rather too much than too little
            scope = "marketing"
        mailbox, cause = str(body["address_hash"]), str(body.get("cause", ""))
        if cause == rights.KEPT:
            return _restriction_of_a_stranger(session, mailbox, subject, rights.PERSON, now=now)
        if subject is None and cause not in (
            "hard_bounce",
            rights.LEGAL,
        ):  # a file's no, of the mailbox alone
            refused = [topic] if topic is not None else topics.everything(session)
            changes.overtake(session, refused, mailbox, by=None, until=from_micros(at))
        return _suppress(session, mailbox, scope, cause, subject, now=now, topic=topic)
    person = people.by_public_id(session, subject) if subject else None
    if person is not None and person.state == "erased":
        return False
    if kind == rights.RESTRICTED:
        asked = str(body.get("asked", rights.PERSON))  # older lines do not say: then it is theirs to lift
        if person is None:
            return _restriction_of_a_stranger(session, mailbox, subject, asked, now=now)
        return rights.restrict(session, person, how="restore", asked=asked, now=now, by="system")
    if kind == "address.changed":
        return _new_address_unknown(session, person, at, now=now)
    if person is None:
        told = kind in (*NOES, INVALIDATED)
        if mailbox and kind in NOES and (topic := _topic(session, body)):
            changes.overtake(session, [topic], mailbox, by=None, until=from_micros(at))
        return _no_of_a_stranger(session, mailbox, body, subject, now=now) if told else None
    change = Change(session, person, None, consent.Said("restore", "withdrawal file"), now, "system")
    if kind == "preference.break_set":
        until = datetime.fromisoformat(str(body["until"]))
        return until > now and changes.set_break(change, until)
    if kind == INVALIDATED:
        return _invalid_again(change, body, mailbox, at)
    return _no_again(change, ring, body, mailbox, at) if kind in NOES else None


def _invalid_again(change: Change, body: dict[str, Any], mailbox: str | None, at: int) -> bool | None:
    """What an import had brought was taken back. The person said nothing: an older button, which asks them, still counts. Where the
    copy has not got the import either, the topic is refused, so that the file cannot bring it once more."""
    topic = _topic(change.session, body)
    if topic is None:
        return _no_of_a_stranger(change.session, mailbox, body, change.person.public_id, now=change.now)
    preference = change.preference(topic)
    if preference is None or preference.state in ("unknown", "expired"):
        withdraw(change, topic, preference)
        return True
    if preference.state not in PERMITTING or to_micros(preference.since_at) > at:
        return False
    move(change, topic, preference, INVALIDATED, "invalidated")
    return True


def _restriction_of_a_stranger(
    session: Session, mailbox: str | None, subject: str | None, asked: str, *, now: datetime
) -> bool | None:
    """Whoever the copy has in that mailbox is restricted, which they can lift, and with them whoever comes there (`registration`).
    Where it has nobody, nothing goes there until somebody is registered, to whom the restriction passes."""
    if not mailbox:
        return None
    there = changes.living_at(session, mailbox)
    if there:
        anew = [
            rights.restrict(session, one, how="restore", asked=asked, now=now, by="system") for one in there
        ]
        return any(anew)  # every one of them
    return _suppress(session, mailbox, "all", rights.KEPT, subject, now=now)


def _no_again(
    change: Change, ring: Keyring, body: dict[str, Any], mailbox: str | None, at: int
) -> bool | None:
    """For the person, and for whoever else the copy has in the mailbox that was theirs when they said it."""
    topic = _topic(change.session, body)
    if topic is None:  # a site or staff will make it again, and their no has to be there before
        return _no_of_a_stranger(change.session, mailbox, body, change.person.public_id, now=change.now)
    elsewhere = _left_in(change, ring, topic, mailbox, body, at) if mailbox else False
    preference = change.preference(topic)
    if preference is not None and preference.state in rules.NOES:
        again = say_no_again(change, topic, preference, said_at=from_micros(at))
        return again or elsewhere
    if preference is not None and _yes_since(change.session, ring, change.person, preference, at):
        return elsewhere
    withdraw(change, topic, preference)
    return True


def _yes_since(session: Session, ring: Keyring, person: Person, preference: Preference, at: int) -> bool:
    """Whether what stands was said after that moment, not merely told: a site may have told of an old yes before this was read in. What
    a sale or an old list permits is no word of theirs, nor is its end; of a question asked since its button is to tell."""
    if preference.state not in PERMITTING:
        return preference.state == "requested" and to_micros(preference.since_at) > at
    return to_micros(changes.yes_said_at(session, ring, person, preference)) > at


def _left_in(
    change: Change, ring: Keyring, topic: Topic, mailbox: str, body: dict[str, Any], at: int
) -> bool:
    """They had moved there since: the copy has others in that mailbox, or a site will tell of some. Who has answered since is left
    alone."""
    session, person, done, later = change.session, change.person, False, False
    changes.overtake(session, [topic], mailbox, by=person, until=from_micros(at))
    for other in changes.neighbours(session, person, mailbox):
        theirs = Change(session, other, None, change.said, change.now, change.by)
        preference = theirs.preference(topic)
        if preference is None or preference.state not in LIVING or topic.mail_class == "service":
            continue
        if _yes_since(session, ring, other, preference, at):
            later = True
        else:
            withdraw(theirs, topic, preference)
            done = True
    had = select(Address.id).where(
        col(Address.owner_kind) == "person",
        col(Address.owner_id) == person.id,
        col(Address.address_hash) == mailbox,
    )
    if later or session.exec(had).first() is not None:
        return done
    return bool(_no_of_a_stranger(session, mailbox, body, person.public_id, now=change.now)) or done


def _no_of_a_stranger(
    session: Session, mailbox: str | None, body: dict[str, Any], subject: str | None, *, now: datetime
) -> bool | None:
    """The copy does not know the person yet; a site will tell of them again, and their no has to be there before (P7)."""
    if not mailbox:
        return None
    topic = _topic(session, body)
    scope = "topic" if topic is not None else "marketing"
    return _suppress(session, mailbox, scope, "withdrawal", subject, now=now, topic=topic)


def _topic(session: Session, body: dict[str, Any]) -> Topic | None:
    return next((one for one in topics.everything(session) if one.slug == body.get("topic")), None)


def _new_address_unknown(session: Session, person: Person | None, at: int, *, now: datetime) -> bool | None:
    """They moved, the copy only knows where from: no marketing goes there until somebody presses a button in that mailbox."""
    address = session.get(Address, person.address_id) if person and person.address_id else None
    if person is None or address is None:
        return None
    if address.confirmed_at is not None and to_micros(address.confirmed_at) > at:
        return False  # they have come to this one since
    return _suppress(session, address.address_hash, "marketing", "withdrawal", person.public_id, now=now)


def _suppress(
    session: Session,
    mailbox: str,
    scope: str,
    cause: str,
    subject: str | None,
    *,
    now: datetime,
    topic: Topic | None = None,
) -> bool:
    added = suppressions.add(
        session,
        mailbox,
        scope=scope,
        cause=cause,
        origin="restore",
        subject=subject,
        topic_id=topic.id if topic else None,
        now=now,
        by="system",
    )
    return added is not None
