"""What a person changes through a link or their page: stop, stop all, choose, take a break, undo, confirm.

Called by the public pages and the API. A printed link takes away at once; it gives only by a mail with a button (P5).
"""

import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from enum import Enum
from typing import Any
from zoneinfo import ZoneInfo

from sqlmodel import Session, col, select

from service.db.locks import for_update
from service.domain.consent import actions as consent
from service.domain.consent import rules as consent_rules
from service.domain.consent.tables import Confirmation
from service.domain.ledger import actions as ledger
from service.domain.ledger import queries as entries
from service.domain.links import rules as links
from service.domain.links.tables import Undo
from service.domain.mailings import queries as mailing_queries
from service.domain.mailings.tables import Address
from service.domain.people import actions as people
from service.domain.people import queries as people_queries
from service.domain.people.tables import Person
from service.domain.policies import queries as policies
from service.domain.preferences import queries, rules
from service.domain.preferences.tables import Preference
from service.domain.suppressions import actions as suppressions
from service.domain.topics import queries as topics
from service.domain.topics.tables import Topic
from service.kit.ids import receipt
from service.kit.signing import Keyring

UNDO_WITHIN = timedelta(minutes=30)


class Unchanged(Enum):
    """A field of the page that was not part of what was sent."""

    UNCHANGED = "unchanged"


UNCHANGED = Unchanged.UNCHANGED


@dataclass(frozen=True)
class Choices:
    """What somebody chose on their page; only what is named here changes."""

    topics: dict[str, str] = field(default_factory=dict)  # slug → each | daily | weekly | off
    break_until: date | Unchanged | None = UNCHANGED
    max_per_week: int | Unchanged | None = UNCHANGED


@dataclass(frozen=True)
class Stopped:
    """What a stop did: its receipt and undo value, or since when there was nothing left to stop."""

    receipt: str | None
    undo: str | None
    already_since: datetime | None
    person: Person | None
    topic: Topic | None


@dataclass(frozen=True)
class Saved:
    """What a saved page did."""

    receipt: str | None
    undo: str | None
    changed: list[str]
    confirmation_sent: list[str]


@dataclass(frozen=True)
class Confirmed:
    """What a pressed button made true."""

    topics: list[Topic]
    person: Person
    already: bool
    receipt: str | None = None


@dataclass
class _Change:
    """One transaction's work on one person."""

    session: Session
    person: Person
    key: bytes | None
    said: consent.Said
    now: datetime
    by: str
    before: list[dict[str, Any]] = field(default_factory=list)

    def preference(self, topic: Topic) -> Preference | None:
        return self.session.get(Preference, (self.person.id, topic.id))

    def remember(self, preference: Preference) -> None:
        """Keep what was, so that undo can bring it back."""
        self.before.append(
            {
                "topic": preference.topic_id,
                "state": preference.state,
                "warrant": preference.warrant_seq,
                "cadence": preference.cadence,
                "break_until": preference.break_until.isoformat() if preference.break_until else None,
            }
        )


def stop(session: Session, ring: Keyring, link: links.Link, *, how: str, evidence: dict[str, Any], now: datetime) -> Stopped:
    """End one topic for the person a link names. Works for ever, whatever became of person, topic or mailing (P5)."""
    person, topic = _locked(session, link), topics.by_alias(session, link.topic)
    if person is None or topic is None:
        return _stop_unknown(session, link, person, topic, how=how, now=now)
    change = _change(session, ring, person, _said(session, how, evidence, link), now=now, by=f"person:{person.public_id}")
    preference = change.preference(topic)
    if preference is not None and preference.state in rules.NOES:
        return Stopped(None, None, preference.since_at, person, topic)
    if topic.mail_class == "service":
        raise rules.NotRefusable
    _withdraw(change, topic, preference)
    return Stopped(_receipt(session), _keep_undo(change), None, person, topic)


def stop_all(session: Session, ring: Keyring, link: links.Link, *, how: str, evidence: dict[str, Any], now: datetime) -> Stopped:
    """End everything a person can end."""
    person = _locked(session, link)
    if person is None:
        return _stop_unknown(session, link, None, None, how=how, now=now)
    assert person.id is not None
    change = _change(session, ring, person, _said(session, how, evidence, link), now=now, by=f"person:{person.public_id}")
    for topic_id, preference in queries.of_person(session, person.id).items():
        topic = topics.by_id(session, topic_id)
        if topic.mail_class != "service" and preference.state not in rules.NOES:
            _withdraw(change, topic, preference)
    if not change.before:
        return Stopped(None, None, now, person, None)
    return Stopped(_receipt(session), _keep_undo(change), None, person, None)


def _locked(session: Session, link: links.Link) -> Person | None:
    """The person a link names, locked so that fifty stops at once make one entry (H33)."""
    person = people_queries.by_alias(session, link.person)
    if person is None:
        return None
    statement = select(Person).where(col(Person.id) == person.id).execution_options(populate_existing=True)
    return session.exec(for_update(session, statement)).one()  # type: ignore[call-overload, no-any-return]


def _change(session: Session, ring: Keyring, person: Person, said: consent.Said, *, now: datetime, by: str) -> _Change:
    key = people_queries.person_key(ring, person) if person.wrapped_key else None
    return _Change(session, person, key, said, now, by)


def _said(session: Session, how: str, evidence: dict[str, Any], link: links.Link | None = None) -> consent.Said:
    """How it was said, with the mailing whose link it was (the report counts stops by it)."""
    mailing = mailing_queries.by_alias(session, link.mailing) if link and link.mailing else None
    return consent.Said(how, "link" if link else "page", evidence, mailing.public_id if mailing else None)


def _withdraw(change: _Change, topic: Topic, preference: Preference | None) -> None:
    if preference is None:
        assert change.person.id is not None
        assert topic.id is not None
        preference = Preference(
            person_id=change.person.id, topic_id=topic.id, state="unknown", basis=topic.basis, since_at=change.now, last_seq=0
        )
    change.remember(preference)
    kind = "consent.withdrawn" if preference.state != "requested" else "consent.refused"
    _move(change, topic, preference, kind, kind.partition(".")[2])


def _move(change: _Change, topic: Topic, preference: Preference, kind: str, state: str, *, warrant: int | None = None, restores: int | None = None) -> int:
    """Write the entry and bring the projection to it."""
    seq = consent.note(
        change.session,
        kind,
        person=change.person,
        key=change.key,
        topic=topic,
        state=state,
        state_before=preference.state,
        said=change.said,
        now=change.now,
        by=change.by,
        restores=restores,
    )
    preference.state, preference.since_at, preference.last_seq = state, change.now, seq
    preference.warrant_seq = (warrant or seq) if state in rules.PERMITTING else None
    change.session.add(preference)
    return seq


def _stop_unknown(session: Session, link: links.Link, person: Person | None, topic: Topic | None, *, how: str, now: datetime) -> Stopped:
    """A link of ours whose person or topic is not here: the stop is recorded under the opaque id, once."""
    name = topic.slug if topic else f"#{link.topic}"
    for seen in entries.of_subject(session, link.subject, kinds=("consent.withdrawn",)):
        if seen.body.get("topic") == name:
            return Stopped(None, None, seen.at, person, topic)
    body = {"topic": name, "state": "withdrawn", "state_before": "unknown", "method": how, "unknown": True}
    ledger.append(session, "consent.withdrawn", subject=link.subject, body=body, by=f"person:{link.subject}", now=now)
    return Stopped(_receipt(session), None, None, person, topic)


def _receipt(session: Session) -> str | None:
    written = ledger.appended(session)
    return receipt(written[-1].seq, written[-1].hash) if written else None


def _keep_undo(change: _Change) -> str | None:
    """A value that brings back what was, once, within 30 minutes; only its hash is stored."""
    if not change.before or change.person.id is None:
        return None
    value = secrets.token_urlsafe(24)
    change.session.add(
        Undo(
            value_hash=hashlib.sha256(value.encode()).hexdigest(),
            person_id=change.person.id,
            before=change.before,
            created_at=change.now,
            expires_at=change.now + UNDO_WITHIN,
        )
    )
    return value


def undo(session: Session, value: str, *, now: datetime) -> list[Topic]:
    """Bring back what the answer to a stop offered to bring back; nothing when the value is unknown, used or too old."""
    digest = hashlib.sha256(value.encode()).hexdigest()
    row = session.exec(for_update(session, select(Undo).where(col(Undo.value_hash) == digest))).first()  # type: ignore[call-overload]
    if row is None or row.used_at is not None or row.expires_at <= now:
        return []
    row.used_at = now
    session.add(row)
    person = people_queries.followed(session, session.get(Person, row.person_id))
    assert person is not None
    change = _Change(session, person, None, consent.Said("undo"), now, f"person:{person.public_id}")
    restored = []
    for was in row.before:
        topic = topics.by_id(session, was["topic"])
        preference = change.preference(topic)
        if preference is None:
            continue
        back = was["state"] if was["state"] != "unknown" else "refused"
        if preference.state != back:
            _move(change, topic, preference, "consent.restored", back, warrant=was["warrant"], restores=was["warrant"])
        preference.cadence = was["cadence"]
        preference.break_until = datetime.fromisoformat(was["break_until"]) if was["break_until"] else None
        restored.append(topic)
    return restored


def save(
    session: Session, ring: Keyring, person: Person, choices: Choices, *, how: str, evidence: dict[str, Any], now: datetime, by: str, link: links.Link | None = None
) -> Saved:
    """Save a preference page: stops and breaks at once, additions by a mail with a button, unnamed things untouched."""
    session.exec(for_update(session, select(Person).where(col(Person.id) == person.id)))  # type: ignore[call-overload]
    change = _change(session, ring, person, _said(session, how, evidence, link), now=now, by=by)
    changed, added = [], []
    for slug, choice in choices.topics.items():
        topic = topics.by_slug(session, slug)
        outcome = _choose(change, topic, choice)
        if outcome == "add":
            added.append(topic)
        elif outcome:
            changed.append(slug)
    if choices.break_until is not UNCHANGED and _set_break(change, choices.break_until):
        changed.append("break_until")
    if choices.max_per_week is not UNCHANGED and _set_cap(change, choices.max_per_week):
        changed.append("max_per_week")
    sent = _ask_to_add(change, added) if added else []
    return Saved(_receipt(session), _keep_undo(change), changed, sent)


def _choose(change: _Change, topic: Topic, choice: str) -> str | None:
    """One row of the page: what changed, or that this topic is to be added by mail."""
    preference = change.preference(topic)
    state = preference.state if preference else "unknown"
    if choice == "off":
        if topic.mail_class == "service":
            raise rules.NotRefusable(field=topic.slug)
        if state in (*rules.PERMITTING, "requested"):
            _withdraw(change, topic, preference)
            return "stopped"
        return None
    if topic.mail_class == "service":
        return None
    if choice not in topic.cadences:
        raise rules.CadenceNotOffered(field=topic.slug)
    if state not in rules.PERMITTING:
        if preference is None and topic.visibility != "public":
            raise rules.TopicPrivate(field=topic.slug)
        return "add"
    assert preference is not None
    if preference.cadence == choice:
        return None
    change.remember(preference)
    preference.cadence = choice
    preference.last_seq = _note_preference(change, "preference.changed", {"topic": topic.slug, "cadence": choice})
    change.session.add(preference)
    return "cadence"


def _note_preference(change: _Change, kind: str, body: dict[str, Any]) -> int:
    body = {**body, "method": change.said.method}
    return ledger.append(change.session, kind, subject=change.person.public_id, body=body, by=change.by, now=change.now)


def _set_break(change: _Change, until: date | Unchanged | None) -> bool:
    """No mail of any topic that can be stopped until the day given, in the reader's own zone; None ends the break."""
    ends = None
    if isinstance(until, date):
        today = change.now.date()
        if not today < until <= today + timedelta(days=366):
            raise rules.BreakInvalid(field="break_until")
        zone = ZoneInfo(change.person.zone) if change.person.zone else ZoneInfo("UTC")
        ends = datetime.combine(until, time(), zone).astimezone(ZoneInfo("UTC"))
    assert change.person.id is not None
    rows = [row for row in queries.of_person(change.session, change.person.id).values() if row.break_until != ends]
    rows = [row for row in rows if topics.by_id(change.session, row.topic_id).mail_class != "service"]
    if not rows:
        return False
    kind = "preference.break_set" if ends else "preference.break_ended"
    seq = _note_preference(change, kind, {"until": ends.isoformat() if ends else ""})
    for row in rows:
        change.remember(row)
        row.break_until, row.last_seq = ends, seq
        change.session.add(row)
    return True


def _set_cap(change: _Change, most: int | Unchanged | None) -> bool:
    if most is UNCHANGED or change.person.max_per_week == most or isinstance(most, Unchanged):
        return False
    if most is not None and not 1 <= most <= 50:
        raise rules.CadenceNotOffered(field="max_per_week")
    change.person.max_per_week = most
    change.session.add(change.person)
    _note_preference(change, "preference.changed", {"max_per_week": most})
    return True


def _ask_to_add(change: _Change, added: list[Topic]) -> list[str]:
    """A printed link never says yes: what it adds is asked by mail to the address on file."""
    if change.person.address_id is None:
        return []
    body = {"topics": [topic.slug for topic in added], "method": change.said.method}
    seq = ledger.append(change.session, "confirmation.requested", subject=change.person.public_id, body=body, by=change.by, now=change.now)
    policy = policies.current(change.session, "privacy", change.person.locale, now=change.now)
    asked = []
    for topic in added:
        assert topic.id is not None
        wording = topics.wording_for(change.session, topic.id, change.person.locale)
        asked.append({"topic": topic.id, "wording": wording.id, "source": change.said.source, "policy": policy.id})
    consent.ask_confirmation(
        change.session,
        person=change.person,
        address_id=change.person.address_id,
        brand_id=added[0].brand_id,
        topics=asked,
        requested_seq=seq,
        purpose="confirm",
        now=change.now,
    )
    return [topic.slug for topic in added]


def confirm(session: Session, ring: Keyring, link: links.Link, *, evidence: dict[str, Any], now: datetime) -> Confirmed:
    """The button of a confirmation mail was pressed: the address is confirmed and each topic asked becomes a yes.

    A no said after the mail was asked for wins over its button (H39). Pressing twice answers the same.
    """
    confirmation, person = _confirmation(session, link)
    asked = [topics.by_id(session, one["topic"]) for one in confirmation.topics]
    if confirmation.confirmed_at is not None:
        return Confirmed(asked, person, True)
    if confirmation.expires_at <= now:
        raise links.LinkExpired
    row = people.known(session, ring, person)
    change = _change(session, ring, person, _said(session, "doi_click", evidence, link), now=now, by=f"person:{person.public_id}")
    for topic in asked:
        preference = change.preference(topic)
        if preference and preference.state in rules.NOES and preference.last_seq > confirmation.requested_seq:
            raise rules.GrantNeedsNewConfirmation
    if confirmation.address_id not in (person.address_id, person.pending_address_id):
        raise links.LinkExpired
    address = session.get(Address, confirmation.address_id)
    assert address is not None
    person = people.confirm_address(session, ring, row, address, now=now, by=change.by)
    change.person, change.key = person, people_queries.person_key(ring, person)
    for one, topic in zip(confirmation.topics, asked, strict=True):
        _grant(change, topic, one)
    suppressions.lift(
        session, address.address_hash, causes=("hard_bounce", "complaint", "withdrawal"), subject=person.public_id, now=now, by=change.by
    )
    confirmation.confirmed_at = now
    session.add(confirmation)
    return Confirmed(asked, person, False, _receipt(session))


def _confirmation(session: Session, link: links.Link) -> tuple[Confirmation, Person]:
    mailing = mailing_queries.by_alias(session, link.mailing)
    confirmation = session.get(Confirmation, mailing.id) if mailing else None
    person = people_queries.by_alias(session, link.person)
    if confirmation is None or person is None:
        raise links.LinkNotRecognised
    return confirmation, person


def _grant(change: _Change, topic: Topic, asked: dict[str, Any]) -> None:
    """The yes itself, with the words that were shown; given anew when it was given before."""
    preference = change.preference(topic)
    if preference is None:
        assert change.person.id is not None
        assert topic.id is not None
        preference = Preference(
            person_id=change.person.id, topic_id=topic.id, state="unknown", basis=topic.basis, since_at=change.now, last_seq=0
        )
    if preference.state in rules.PERMITTING:
        return
    wording = topics.wording_by_id(change.session, asked["wording"]) if asked.get("wording") else None
    policy = policies.by_id(change.session, asked["policy"]) if asked.get("policy") else None
    before = preference.state
    seq = consent.note(
        change.session,
        "consent.given",
        person=change.person,
        key=change.key,
        topic=topic,
        state="given",
        state_before=before,
        said=consent.Said(change.said.method, asked.get("source") or "", change.said.evidence, change.said.mailing),
        now=change.now,
        by=change.by,
        wording=wording,
        policy=policies.name_of(change.session, policy) if policy else None,
    )
    preference.state, preference.basis, preference.since_at = "given", topic.basis, change.now
    preference.warrant_seq = preference.last_seq = seq
    preference.valid_until = None
    change.session.add(preference)
    consent.keep_record(
        change.session,
        change.person,
        topic,
        basis=topic.basis,
        wording=wording,
        policy_id=asked.get("policy"),
        source=asked.get("source") or "",
        now=change.now,
    )


def give_reason(session: Session, link: links.Link, reason: str, *, now: datetime) -> None:
    """Somebody said, if they liked, why they stopped: once per link, counted in the report."""
    if reason not in ("often", "notforme", "never"):
        raise rules.ReasonUnknown(field="reason")
    said = _said(session, "page", {}, link)
    given = entries.of_subject(session, link.subject, kinds=("stop.reason",))
    if any(seen.body.get("mailing") == (said.mailing or "") for seen in given):
        return
    body = {"reason": reason, "mailing": said.mailing or ""}
    ledger.append(session, "stop.reason", subject=link.subject, body=body, by=f"person:{link.subject}", now=now)


def reapply(session: Session, lines: list[dict[str, Any]], *, now: datetime) -> int:
    """After a restore: say again every no of the withdrawal file that this database has not heard; how many."""
    again = 0
    for line in lines:
        person = people_queries.by_public_id(session, str(line.get("subject")))
        body = line.get("body") or {}
        if person is None or line.get("kind") not in ("consent.withdrawn", "consent.refused") or not isinstance(body, dict):
            continue
        topic = topics.by_slug(session, str(body.get("topic")))
        change = _Change(session, person, None, consent.Said("restore", "withdrawal file"), now, "system")
        preference = change.preference(topic)
        if preference is None or preference.state not in rules.NOES:
            _withdraw(change, topic, preference)
            again += 1
    return again
