"""One transaction's work on one person's choices: what every way of changing them shares.

Called by `actions` (links and pages), `confirmation` (buttons) and `registration` (sites). A mailbox is one person
(design.md 4): a no said under one registration holds for every other one of the same mailbox.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import bindparam
from sqlmodel import Session, col, select

from service.domain.consent import actions as consent
from service.domain.consent.evidence import agreed_at
from service.domain.consent.rules import PERMITTING
from service.domain.consent.tables import Confirmation
from service.domain.ledger import actions as ledger
from service.domain.ledger import queries as entries
from service.domain.mailings.tables import Address
from service.domain.people import queries as people_queries
from service.domain.people.tables import Person
from service.domain.preferences import queries, rules
from service.domain.preferences.tables import Preference
from service.domain.suppressions import queries as suppressions
from service.domain.suppressions import rules as suppression_rules
from service.domain.topics import queries as topics
from service.domain.topics.rules import version_of
from service.domain.topics.tables import Topic
from service.kit.clock import from_micros
from service.kit.ids import receipt
from service.kit.signing import Keyring

NOES = ("consent.withdrawn", "consent.refused")  # the entries of a no
LIVING = (*PERMITTING, "requested")  # what a no under the same mailbox ends
SAID = ("withdrawn", "refused")  # a no of theirs; `invalidated` is the controller's word
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass
class Change:
    """One transaction's work on one person."""

    session: Session
    person: Person
    key: bytes | None
    said: consent.Said
    now: datetime
    by: str
    before: list[dict[str, Any]] = field(default_factory=list)
    start: int = 0  # how many entries this transaction had written before

    def preference(self, topic: Topic) -> Preference | None:
        """What stands for a topic."""
        return self.session.get(Preference, (self.person.id, topic.id))

    def remember(self, preference: Preference) -> None:
        """Keep what was before this transaction, so that undo can bring it back."""
        if any(was["topic"] == preference.topic_id for was in self.before):
            return
        self.before.append(
            {
                "topic": preference.topic_id,
                "state": preference.state,
                "warrant": preference.warrant_seq,
                "cadence": preference.cadence,
                "break_until": preference.break_until.isoformat() if preference.break_until else None,
            }
        )


def begin(
    session: Session, ring: Keyring, person: Person, said: consent.Said, *, now: datetime, by: str
) -> Change:
    """Work on a person as they stand at the ledger's tail (looked up there, or `mailbox.who_is_left`), whose key may be gone: then
    what they say is recorded without its evidence."""
    key = people_queries.person_key(ring, person) if person.wrapped_key else None
    return Change(session, person, key, said, now, by, start=len(ledger.appended(session)))


def fresh(person: Person, topic: Topic, *, now: datetime) -> Preference:
    """The row of somebody who has not said anything about a topic yet."""
    assert person.id is not None
    assert topic.id is not None
    return Preference(
        person_id=person.id, topic_id=topic.id, state="unknown", basis=topic.basis, since_at=now, last_seq=0
    )


def withdraw(change: Change, topic: Topic, preference: Preference | None) -> None:
    """A no: it ends a yes, refuses a question, and is kept where nothing was said before."""
    preference = preference or fresh(change.person, topic, now=change.now)
    change.remember(preference)
    kind = "consent.withdrawn" if preference.state != "requested" else "consent.refused"
    move(change, topic, preference, kind, kind.partition(".")[2])


def move(
    change: Change,
    topic: Topic,
    preference: Preference,
    kind: str,
    state: str,
    *,
    warrant: int | None = None,
    restores: int | None = None,
) -> int:
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
        basis=preference.basis,
    )
    preference.state, preference.since_at, preference.last_seq = state, change.now, seq
    preference.warrant_seq = (warrant or seq) if state in PERMITTING else None
    preference.wording_version = _words_of(change.session, topic, preference, warrant)
    change.session.add(preference)
    return seq


def _words_of(session: Session, topic: Topic, preference: Preference, warrant: int | None) -> int:
    """The version of the words that an entry of before permits for, which holds again."""
    seen = entries.entry(session, warrant) if warrant and preference.state in PERMITTING else None
    version = version_of(topic.slug, str(seen.body.get("wording") or "")) if seen else 0
    return rules.wording_version(preference.state, preference.basis, version)


def note(change: Change, kind: str, body: dict[str, Any]) -> int:
    """An entry about how often or when, which changes no consent."""
    body = {**body, "method": change.said.method}
    return ledger.append(
        change.session, kind, subject=change.person.public_id, body=body, by=change.by, now=change.now
    )


def slip(session: Session, start: int = 0) -> str | None:
    """The receipt of what was written since, for people; None when nothing was."""
    written = ledger.appended(session)[start:]
    return receipt(written[-1].seq, written[-1].hash) if written else None


# Made once: every no asks it.
_LIVING_AT = (
    select(Person)
    .join(Address, col(Address.id) == col(Person.address_id))
    .where(
        col(Address.address_hash) == bindparam("address_hash"),
        col(Address.ended_at).is_(None),
        col(Person.state) != "merged",
    )
    .order_by(col(Address.confirmed_at).is_(None), col(Person.id))
)


def living_at(session: Session, address_hash: str) -> Sequence[Person]:
    """Everybody whose mail goes to this mailbox, the one who confirmed it first. Who merely asked for it, and has not pressed its
    button, is nobody there."""
    return session.exec(_LIVING_AT, params={"address_hash": address_hash}).all()


def neighbours(session: Session, person: Person, address_hash: str) -> Sequence[Person]:
    """Everybody else whose mail goes to this mailbox."""
    return [one for one in living_at(session, address_hash) if one.id != person.id]


# Made once: every no asks it.
_OPEN_AT = (
    select(Confirmation)
    .join(Address, col(Address.id) == col(Confirmation.address_id))
    .where(
        col(Address.address_hash) == bindparam("address_hash"),
        col(Confirmation.person_id) != bindparam("person"),
        col(Confirmation.confirmed_at).is_(None),
    )
)


def overtake(
    session: Session,
    chosen: Sequence[Topic],
    address_hash: str,
    *,
    by: Person | None,
    until: datetime | None = None,
) -> None:
    """What others of this mailbox had been asked there when a no was said makes no yes any more. That is written down with
    the question: whoever said the no may have moved away by the time its button is pressed (H39). `by`: who, if they are here.

    `until`: when it was said; None for a no of this transaction, which holds the ledger's tail, so that whatever has been asked
    was asked before, by whichever process's clock."""
    asked = {"address_hash": address_hash, "person": by.id if by else 0}
    ids = {topic.id for topic in chosen if topic.mail_class != "service"}
    for question in session.exec(_OPEN_AT, params=asked).all():
        if until is not None and question.created_at > until:
            continue
        if any(one["topic"] in ids and not one.get("overtaken") for one in question.topics):
            question.topics = [
                one | ({"overtaken": True} if one["topic"] in ids else {}) for one in question.topics
            ]
            session.add(question)


def refused_since(
    session: Session, person: Person, asked: Confirmation, address_hash: str, topic: Topic
) -> bool:
    """Whether anybody of this mailbox said no to a topic after they were asked: an older button cannot say yes then (H39)."""
    if any(one["topic"] == topic.id and one.get("overtaken") for one in asked.topics):
        return True
    persons = {one.id: one for one in (person, *neighbours(session, person, address_hash))}
    changed = select(col(Preference.person_id)).where(
        col(Preference.person_id).in_(persons),
        col(Preference.topic_id) == topic.id,
        col(Preference.state).in_(rules.NOES),
        col(Preference.last_seq) > asked.requested_seq,
    )
    return any(last_no(session, persons[one], topic) > asked.requested_seq for one in session.exec(changed))


def refused_of_contract(
    session: Session, hashes: Sequence[str], every: Iterable[Topic]
) -> set[tuple[str, int]]:
    """(keyed hash of a mailbox, topic) of what would rest on a registration there, although it can be refused and was (P7)."""
    stoppable = [topic for topic in every if topic.basis in rules.CONTRACT and topic.mail_class != "service"]
    if not stoppable:
        return set()
    noes, live = queries.noes_at(session, hashes), suppressions.live_for(session, list(hashes))
    found = set()
    for digest in hashes:
        own = [row for row in live.get(digest, []) if row.cause in suppression_rules.OWN]
        for topic in stoppable:
            key = digest, topic.id or 0
            if key in noes or suppressions.scopes_for(own, key[1], topic.mail_class):
                found.add(key)
    return found


def last_no(session: Session, person: Person, topic: Topic) -> int:
    """The entry of a person's latest no to a topic, 0 when there is none. A break or a cadence chosen since is no no."""
    return max((one.seq for one in _noes(session, person, topic)), default=0)


def stopped_since(session: Session, person: Person, preference: Preference, topic: Topic) -> datetime | None:
    """Since when their own no to a topic stands, of one said again since the first; None where none does. What the controller took
    back nobody has stopped."""
    if preference.state not in SAID:
        return None
    first = preference.since_at
    for one in reversed(_noes(session, person, topic)):
        first = min(first, one.at)
        if one.before not in SAID:
            break
    return first


class _No(NamedTuple):
    """One no to a topic, with the state before it."""

    seq: int
    at: datetime
    before: str | None


def _noes(session: Session, person: Person, topic: Topic) -> list[_No]:
    """A person's noes to a topic, oldest first."""
    written = entries.of_subject(session, person.public_id, kinds=NOES)
    noes = [
        _No(one.seq, one.at, one.body.get("state_before"))
        for one in written
        if one.body.get("topic") == topic.slug
    ]
    for one in ledger.appended(session):  # of this transaction, not in the table yet
        if one.subject == person.public_id and one.kind in NOES:
            body = json.loads(one.text)["body"]
            if body.get("topic") == topic.slug:
                noes.append(_No(one.seq, from_micros(one.at), body.get("state_before")))
    return noes


def carry_over(
    session: Session, ring: Keyring, merged: Person, into: Person, *, now: datetime, by: str
) -> None:
    """Two registrations of one mailbox became one: its later noes, its break and its contract go along, no yes does."""
    assert merged.id is not None
    change = Change(session, into, None, consent.Said("merge", merged.public_id), now, by)
    theirs = queries.of_person(session, merged.id)
    address = session.get(Address, into.address_id) if into.address_id else None
    there = [address.address_hash] if address else []
    for topic_id, was in sorted(theirs.items()):
        topic, present = topics.by_id(session, topic_id), None
        present = change.preference(topic)
        if _goes_along(was, present, lambda row: yes_said_at(session, ring, into, row)):
            withdraw(change, topic, present)
        elif (
            topic.basis in rules.CONTRACT
            and was.warrant_seq
            and present is None
            and not refused_of_contract(session, there, [topic])
        ):
            _carry_contract(change, topic, was.warrant_seq)
    until = max(
        (was.break_until for was in theirs.values() if was.break_until and was.break_until > now),
        default=None,
    )
    if until is not None:
        set_break(change, until)


def _goes_along(
    was: Preference, present: Preference | None, said_at: Callable[[Preference], datetime]
) -> bool:
    """Whether a no is the later word of the two, by when each was said: a break or a cadence chosen since, which `last_seq` counts, is
    no yes. Over an earlier no it goes, too, so as to go before the buttons and undos that came between, and before the next one's yes."""
    if was.state not in rules.NOES:
        return False
    if present is None or present.state not in (*LIVING, *SAID):
        return present is None or was.state in SAID or present.state != was.state
    if present.state in SAID:
        return was.state in SAID and was.since_at > present.since_at
    if was.state not in SAID:  # the controller's word knows of what was there, and of no more
        return was.since_at >= present.since_at
    return was.since_at >= said_at(present)


def yes_said_at(session: Session, ring: Keyring, person: Person, present: Preference) -> datetime:
    """When a yes was said: as its evidence has it, where the entry that stands is the one that brought it. What a sale or an old list
    permits is no word of theirs, and never later than one."""
    if present.state in PERMITTING and not rules.own_yes(present.state, present.basis):
        return _NEVER
    seen = ledger.entry(session, present.warrant_seq) if present.warrant_seq else None
    if seen is None or seen.at != present.since_at or not person.wrapped_key:
        return present.since_at
    if rules.without_a_word(seen.kind, seen.body):
        return _NEVER
    said = agreed_at(session, ring, people_queries.person_key(ring, person), seen)
    return min(said or present.since_at, present.since_at)


def heed_mailbox(
    session: Session, person: Person, address_hash: str, *, said: consent.Said, now: datetime, by: str
) -> None:
    """Somebody moved to this mailbox: what was refused there ends their yes, which was said elsewhere (design.md 4)."""
    change = Change(session, person, None, said, now, by)
    for topic_id in sorted({topic_id for _, topic_id in queries.noes_at(session, [address_hash])}):
        topic = topics.by_id(session, topic_id)
        preference = change.preference(topic)
        if preference is not None and preference.state in PERMITTING and topic.mail_class != "service":
            withdraw(change, topic, preference)


def _carry_contract(change: Change, topic: Topic, warrant: int) -> None:
    """A registration with a site is no yes that could be taken: it stays true of whoever registered."""
    seen = ledger.entry(change.session, warrant)
    said = [one for one in (seen.body.get("topics") or [] if seen else []) if one["topic"] == topic.slug]
    body = {
        "source": seen.body.get("source", "") if seen else "",
        "confirmed": True,
        "topics": said,
        "merged": change.said.source,
    }
    seq = ledger.append(
        change.session,
        "person.registered",
        subject=change.person.public_id,
        body=body,
        by=change.by,
        now=change.now,
    )
    preference = fresh(change.person, topic, now=change.now)
    preference.state, preference.warrant_seq, preference.last_seq = "given", seq, seq
    change.session.add(preference)


def set_break(change: Change, ends: datetime | None) -> bool:
    """No mail of any topic that can be stopped until then; None ends the break. False: nothing changed."""
    assert change.person.id is not None
    rows = [
        row for row in queries.of_person(change.session, change.person.id).values() if row.break_until != ends
    ]
    rows = [row for row in rows if topics.by_id(change.session, row.topic_id).mail_class != "service"]
    if not rows:
        return False
    kind = "preference.break_set" if ends else "preference.break_ended"
    seq = note(change, kind, {"until": ends.isoformat() if ends else ""})
    for row in rows:
        change.remember(row)
        row.break_until, row.last_seq = ends, seq
        change.session.add(row)
    return True
