"""What a person changes through a link or their page: stop, stop all, choose, take a break, undo.

Called by the public pages and the API. A printed link takes away at once; it gives only by a mail with a button (P5).
"""

import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from enum import Enum
from typing import Any
from zoneinfo import ZoneInfo

from sqlmodel import Session

from service.db.locks import lock_ledger_tail
from service.domain.consent import actions as consent
from service.domain.ledger import actions as ledger
from service.domain.ledger import queries as entries
from service.domain.links import rules as links
from service.domain.links.tables import Undo
from service.domain.mailings import queries as mailing_queries
from service.domain.mailings.tables import Address
from service.domain.people import mailbox
from service.domain.people import queries as people_queries
from service.domain.people.tables import Person
from service.domain.preferences import changes, queries, rules
from service.domain.preferences.asking import ask_for, asked_again, refuse_for_neighbours, say_no_again
from service.domain.preferences.changes import Change, withdraw
from service.domain.preferences.tables import Preference
from service.domain.suppressions import actions as suppressions
from service.domain.suppressions import queries as do_not_mail
from service.domain.topics import queries as topics
from service.domain.topics.tables import Topic
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
    agreed: frozenset[str] = (
        frozenset()
    )  # slugs whose words they agree to, where their yes was to older ones, or none of theirs stands


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
    too_often: bool = False  # a mail was to be sent, and the mailbox had its two today


def stop(
    session: Session, ring: Keyring, link: links.Link, *, how: str, evidence: dict[str, Any], now: datetime
) -> Stopped:
    """End one topic for the mailbox of whoever a link names. Works for ever, whatever became of person, topic or mailing (P5)."""
    lock_ledger_tail(session)  # so that fifty stops at once make one entry (H33)
    found = queries.named(session, link.person, link.topic)
    person, topic = found.person, found.topic
    if person is None or topic is None or person.state == "erased":
        return _stop_unknown(session, link, person, topic, how=how, now=now)
    said = _said(session, how, evidence, link)
    change = changes.begin(session, ring, person, said, now=now, by=f"person:{person.public_id}")
    preference = change.preference(topic)
    if topic.mail_class == "service" and (preference is None or preference.state not in rules.NOES):
        raise rules.NotRefusable
    ended, stood = refuse_for_neighbours(change, [topic], said_at=now), None
    if preference is None or preference.state not in rules.NOES:
        withdraw(change, topic, preference)
    else:
        stood = changes.stopped_since(session, person, preference, topic)
        say_no_again(change, topic, preference, said_at=now)
    return _stopped(change, topic, None if ended else stood)


def stop_all(
    session: Session, ring: Keyring, link: links.Link, *, how: str, evidence: dict[str, Any], now: datetime
) -> Stopped:
    """End everything a person can end."""
    lock_ledger_tail(session)
    person = people_queries.by_alias(session, link.person)
    if person is None or person.state == "erased":
        return _stop_unknown(session, link, person, None, how=how, now=now)
    said = _said(session, how, evidence, link)
    change = changes.begin(session, ring, person, said, now=now, by=f"person:{person.public_id}")
    every, stood = topics.everything(session), list[datetime | None]()
    ended = refuse_for_neighbours(change, every, said_at=now)  # before their own, of which the receipt is
    for topic in every:
        preference = change.preference(topic)
        if topic.mail_class == "service":
            continue
        if preference is not None and preference.state in rules.NOES:
            stood.append(changes.stopped_since(session, person, preference, topic))
            say_no_again(change, topic, preference, said_at=now)
        else:  # what was never asked is ended, too: "all" holds against a yes that a site brings later (P7)
            withdraw(change, topic, preference)
    since = max((one for one in stood if one), default=now)
    return _stopped(change, None, None if ended or None in stood else since)


def _stopped(change: Change, topic: Topic | None, stood: datetime | None) -> Stopped:
    """The receipt of what was written; `stood`: since when nothing was left to stop, where that is so."""
    receipt, undo = changes.slip(change.session, change.start), _keep_undo(change)
    return Stopped(receipt, undo, None if change.before else stood, change.person, topic)


def _said(
    session: Session, how: str, evidence: dict[str, Any], link: links.Link | None = None
) -> consent.Said:
    """How it was said, with the mailing whose link it was (the report counts stops by it)."""
    mailing = mailing_queries.by_alias(session, link.mailing) if link and link.mailing else None
    return consent.Said(how, "link" if link else "page", evidence, mailing.public_id if mailing else None)


def _stop_unknown(
    session: Session, link: links.Link, person: Person | None, topic: Topic | None, *, how: str, now: datetime
) -> Stopped:
    """A link of ours whose person or topic is not here, or was erased: the stop is recorded under the opaque id, once."""
    if person is not None:
        ledger.stands(session)
    if person is not None and person.state == "erased":
        _keep_no(session, person, topic, now=now)
        if _stop_who_came_back(session, person, topic, how=how, now=now):
            return Stopped(changes.slip(session), None, None, person, topic)
    name = topic.slug if topic else f"#{link.topic}"
    for seen in entries.of_subject(session, link.subject, kinds=("consent.withdrawn",)):
        if seen.body.get("topic") == name:
            return Stopped(None, None, seen.at, person, topic)
    body = {"topic": name, "state": "withdrawn", "state_before": "unknown", "method": how, "unknown": True}
    ledger.append(
        session, "consent.withdrawn", subject=link.subject, body=body, by=f"person:{link.subject}", now=now
    )
    return Stopped(changes.slip(session), None, None, person, topic)


def _stop_who_came_back(
    session: Session, person: Person, topic: Topic | None, *, how: str, now: datetime
) -> int:
    """Whoever is registered there today: who pressed the old link has the mailbox. How many yeses and questions it ended."""
    address = session.get(Address, person.address_id) if person.address_id else None
    if address is None or not address.address_hash:
        return 0
    change = Change(session, person, None, consent.Said(how, "link"), now, f"person:{person.public_id}")
    every = [topic] if topic else topics.everything(session)
    return refuse_for_neighbours(change, every, address.address_hash, said_at=now)


def _keep_no(session: Session, person: Person, topic: Topic | None, *, now: datetime) -> None:
    """Of somebody forgotten the mailbox alone can still say no: it goes on the do-not-mail list, unless a no stands there, or
    somebody holds it, who has links of their own."""
    address = session.get(Address, person.address_id) if person.address_id else None
    if address is None or not address.address_hash or mailbox.holders(session, [address.address_hash]):
        return
    if not do_not_mail.live_for(session, [address.address_hash]):
        suppressions.add(
            session,
            address.address_hash,
            scope="topic" if topic else "marketing",
            cause="withdrawal",
            origin="link",
            subject=person.public_id,
            topic_id=topic.id if topic else None,
            now=now,
            by=f"person:{person.public_id}",
        )


def _keep_undo(change: Change) -> str | None:
    """A value that brings back what was, once, within 30 minutes; only its hash is stored. Only a page can show one."""
    if not change.before or change.person.id is None or change.said.method in ("api", "one_click"):
        return None
    standing = queries.of_person(change.session, change.person.id)
    value = secrets.token_urlsafe(24)
    change.session.add(
        Undo(
            value_hash=hashlib.sha256(value.encode()).hexdigest(),
            person_id=change.person.id,
            before=[{**was, "left": standing[was["topic"]].last_seq} for was in change.before],
            created_at=change.now,
            expires_at=change.now + UNDO_WITHIN,
        )
    )
    return value


def undo(session: Session, value: str, *, link: links.Link | None = None, now: datetime) -> list[Topic]:
    """Bring back what the answer to a stop offered to bring back; nothing when the value is unknown, used or too old,
    or another person's than the one whose link was opened (H32).

    A topic about which anything was said since then stays as it is: an old undo never goes over a newer no.
    """
    lock_ledger_tail(session)
    row = session.get(Undo, hashlib.sha256(value.encode()).hexdigest())
    if row is None or row.used_at is not None or row.expires_at <= now:
        return []
    person = session.get_one(Person, row.person_id)
    if link is not None and people_queries.by_alias(session, link.person) != person:
        return []
    row.used_at = now
    session.add(row)
    change = Change(session, person, None, consent.Said("undo"), now, f"person:{person.public_id}")
    restored = []
    for was in row.before:
        topic = topics.by_id(session, was["topic"])
        preference = change.preference(topic)
        if preference is not None and preference.last_seq == was["left"]:
            _bring_back(change, topic, preference, was)
            restored.append(topic)
    return restored


def _bring_back(change: Change, topic: Topic, preference: Preference, was: dict[str, Any]) -> None:
    """State, cadence and break as they were, each by an entry of its own."""
    back = was["state"] if was["state"] != "unknown" else "refused"
    if preference.state != back:
        changes.move(
            change,
            topic,
            preference,
            "consent.restored",
            back,
            warrant=was["warrant"],
            restores=was["warrant"],
        )
    if preference.cadence != was["cadence"]:
        preference.cadence = was["cadence"]
        preference.last_seq = changes.note(
            change, "preference.changed", {"topic": topic.slug, "cadence": was["cadence"]}
        )
    ends = datetime.fromisoformat(was["break_until"]) if was["break_until"] else None
    if preference.break_until != ends:
        preference.break_until = ends
        kind = "preference.break_set" if ends else "preference.break_ended"
        preference.last_seq = changes.note(
            change, kind, {"topic": topic.slug, "until": ends.isoformat() if ends else ""}
        )
    change.session.add(preference)


def save(
    session: Session,
    ring: Keyring,
    person: Person,
    choices: Choices,
    *,
    how: str,
    evidence: dict[str, Any],
    now: datetime,
    by: str,
    link: links.Link | None = None,
) -> Saved:
    """Save a preference page: stops and breaks at once, additions by a mail with a button, unnamed things untouched."""
    person = mailbox.who_is_left(session, person)
    change = changes.begin(session, ring, person, _said(session, how, evidence, link), now=now, by=by)
    changed: list[str] = []
    added: list[Topic] = []
    named = {slug: topics.by_slug(session, slug) for slug in choices.topics}
    off = [named[slug] for slug, choice in choices.topics.items() if choice == "off"]
    refuse_for_neighbours(change, off)  # before their own, of which the receipt is
    for slug, choice in choices.topics.items():
        topic = named[slug]
        outcome = _choose(change, topic, choice)
        if outcome == "add":
            added.append(topic)
        elif outcome:
            changed.append(slug)
        if slug in choices.agreed and choice != "off" and outcome != "add" and _asks_for_more(change, topic):
            added.append(topic)
    if choices.break_until is not UNCHANGED and _set_break(change, choices.break_until):
        changed.append("break_until")
    if choices.max_per_week is not UNCHANGED and _set_cap(change, choices.max_per_week):
        changed.append("max_per_week")
    sent = ask_for(change, added) if added else []
    return Saved(
        changes.slip(session, change.start), _keep_undo(change), changed, sent, len(added) > len(sent)
    )


def _asks_for_more(change: Change, topic: Topic) -> bool:
    """Whether a yes of theirs would permit more than what stands: newer words, or anything at all."""
    row = change.preference(topic)
    return queries.agreed_to_less(row, topic) or queries.wants_a_yes(
        change.session, change.person, row, topic
    )


def _choose(change: Change, topic: Topic, choice: str) -> str | None:
    """One row of the page: what changed, or that this topic is to be added by mail."""
    preference = change.preference(topic)
    state = preference.state if preference else "unknown"
    if choice == "off":
        if topic.mail_class == "service":
            raise rules.NotRefusable(field=topic.slug)
        if state in (*rules.PERMITTING, "requested"):
            withdraw(change, topic, preference)
            return "stopped"
        if preference is not None and state in rules.NOES:
            return "said again" if say_no_again(change, topic, preference) else None
        if asked_again(change, topic):
            withdraw(change, topic, preference)
            return "said again"
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
    preference.last_seq = changes.note(change, "preference.changed", {"topic": topic.slug, "cadence": choice})
    change.session.add(preference)
    return "cadence"


def _set_break(change: Change, until: date | Unchanged | None) -> bool:
    """No mail of any topic that can be stopped until the day given, in the reader's own zone; None ends the break."""
    ends = None
    if isinstance(until, date):
        zone = ZoneInfo(change.person.zone) if change.person.zone else ZoneInfo("UTC")
        today, ends = change.now.astimezone(zone).date(), _break_that_runs(change, until, zone)
        if ends is None and not today < until <= today + timedelta(days=366):
            raise rules.BreakInvalid(field="break_until")
        ends = ends or datetime.combine(until, time(), zone).astimezone(ZoneInfo("UTC"))
    return changes.set_break(change, ends)


def _break_that_runs(change: Change, until: date, zone: ZoneInfo) -> datetime | None:
    """The end of a break that runs until this day already: a page that is saved says it again, also of somebody whose zone changed."""
    rows = queries.of_person(change.session, change.person.id or 0).values()
    ends = [row.break_until for row in rows if row.break_until and row.break_until > change.now]
    return max((end for end in ends if end.astimezone(zone).date() == until), default=None)


def _set_cap(change: Change, most: int | Unchanged | None) -> bool:
    if most is UNCHANGED or change.person.max_per_week == most or isinstance(most, Unchanged):
        return False
    if most is not None and not 1 <= most <= 50:
        raise rules.WeeklyCapInvalid(field="max_per_week")
    change.person.max_per_week = most
    change.session.add(change.person)
    changes.note(change, "preference.changed", {"max_per_week": most})
    return True


def give_reason(session: Session, link: links.Link, reason: str, *, now: datetime) -> None:
    """Somebody said, if they liked, why they stopped: once per link, counted in the report."""
    if reason not in ("often", "notforme", "never"):
        raise rules.ReasonUnknown(field="reason")
    said = _said(session, "page", {}, link)
    given = entries.of_subject(session, link.subject, kinds=("stop.reason",))
    if any(seen.body.get("mailing") == (said.mailing or "") for seen in given):
        return
    body = {"reason": reason, "mailing": said.mailing or ""}
    ledger.append(
        session, "stop.reason", subject=link.subject, body=body, by=f"person:{link.subject}", now=now
    )
