"""Whether what somebody had said permitted mail at a moment, by the ledger alone, in the words of the gate. Called by the evidence
file and a person's page of a day in the past.

The rules are those of docs/ledger.md ("A proof"), which verify_ledger.py holds an evidence file to. The ledger says nothing of the
law of somebody's country, of how many mails they want a week, or of whether a mailbox that nobody pressed a button in is theirs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session

from service.domain.consent import queries as consents
from service.domain.ledger import queries as ledger
from service.domain.ledger.queries import Seen
from service.domain.preferences.rules import LEGACY, PERMITTING, WORDED
from service.domain.topics.rules import version_of

OF_TOPICS = ("topic.created", "topic.retired", "topic.restored", "wording.published")
SHUTS = ("person.restricted", "person.erased", "person.merged")
ADDRESS = ("address.changed", "address.confirmed", "address.kept")
STOPS = (
    *SHUTS, *ADDRESS, "person.restriction_lifted", "person.registered", "person.objected",
    "suppression.added", "suppression.lifted", "preference.break_set", "preference.break_ended",
)  # fmt: skip


@dataclass(frozen=True)
class TopicThen:
    """A topic as it was at a moment. `entries` say so."""

    slug: str
    mail_class: str
    retired: bool
    since_version: int  # of its words since the last material change; 0: any words cover what it mails
    entries: list[Seen]


@dataclass(frozen=True)
class _Bar:
    """A no that lies over somebody's mailbox, or their objection, which has no name: it goes where they go."""

    subject: str
    scope: str
    cause: str
    topic: str | None = None
    name: tuple[Any, ...] | None = None
    moved: bool = False  # said of an earlier mailbox, and taken along

    def reaches(self, topic: TopicThen) -> bool:
        """Whether it stops mail of that topic."""
        if self.scope == "topic":
            return topic.mail_class != "service" and self.topic == topic.slug
        return self.scope == "all" or (self.scope == "marketing" and topic.mail_class == "marketing")


def topic_then(session: Session, slug: str, *, until: datetime) -> TopicThen | None:
    """A topic by what the ledger says of it up to a moment; None where it was not there yet."""
    entries = [one for one in ledger.of_subject(session, slug, kinds=OF_TOPICS) if one.at <= until]
    entries = [one for one in entries if one.kind != "wording.published" or one.body.get("material")]
    created = next((one for one in entries if one.kind == "topic.created"), None)
    if created is None:
        return None
    turned = [one.kind for one in entries if one.kind in ("topic.retired", "topic.restored")]
    since = max((one.body["version"] for one in entries if one.kind == "wording.published"), default=0)
    return TopicThen(slug, created.body["class"], turned[-1:] == ["topic.retired"], since, entries)


class ByThen:
    """What the registrations of one person permitted at a moment; `subjects`: theirs, and those that were ever merged into it."""

    def __init__(self, session: Session, subjects: Sequence[str], *, until: datetime) -> None:
        self._session, self._until = session, until
        self._topics: dict[str, TopicThen | None] = {}
        self._shut: dict[str, str] = {}
        self._into: dict[str, str] = {}
        self._bars: list[_Bar] = []
        self._waiting: set[str] = set()
        self._moved: set[str] = set()  # of them a server perhaps speaks of an earlier mailbox
        self._breaks: dict[str, list[Seen]] = {}
        self._registered: dict[str, dict[str, int]] = {}  # by topic the entry that speaks of it first
        self._firsts: dict[str, dict[str, int]] = {}
        said = [one for subject in subjects for one in ledger.of_subject(session, subject, kinds=STOPS)]
        for one in sorted(said, key=lambda entry: entry.seq):
            if one.at <= until:
                self._heed(one.subject or "", one)

    def topic(self, slug: str) -> TopicThen | None:
        """A topic as it was by then."""
        if slug not in self._topics:
            self._topics[slug] = topic_then(self._session, slug, until=self._until)
        return self._topics[slug]

    def shut(self, subject: str) -> str | None:
        """Whether nothing permitted under that registration, whatever had been said: restricted | erased | merged, or None."""
        return self._shut.get(subject)

    def stood(self, subject: str) -> list[tuple[dict[str, Any], str | None]]:
        """What had been said about each topic, and why that permitted no mail; None where it did."""
        states = consents.states(self._session, subject, until=self._until)
        return [(one, self.stops(subject, one["topic"], one)) for one in states]

    def stops(self, subject: str, slug: str, standing: dict[str, Any] | None = None) -> str | None:
        """Why no mail of a topic could go to them, after what had been said of it, or without it after their registration; or None."""
        topic = self.topic(slug)
        if topic is None:  # of one that is not here nothing can be mailed
            return self._shut.get(subject) or "no_consent"
        said = self._said(standing, topic) if standing else None
        reason = self._shut.get(subject) or self._barred(subject, topic) or said
        if reason or topic.mail_class == "service":
            return reason
        if subject in self._waiting:
            return "address_pending"
        return "on_break" if self._rests(subject, slug) else None

    def _heed(self, subject: str, one: Seen) -> None:
        """Take in one entry, in the order of the ledger."""
        if one.kind in SHUTS:
            self._shut[subject] = one.kind.partition(".")[2]
        if one.kind == "person.restriction_lifted":
            self._shut.pop(subject, None)
        elif one.kind == "person.merged":
            self._into[subject] = one.body["into"]
            self._moved.add(self._who(subject))
            self._bars = [
                bar for bar in self._bars if bar.subject != subject or bar.moved or bar.name is None
            ]
        elif one.kind in ADDRESS:
            self._heed_address(subject, one)
        elif one.kind in ("person.objected", "suppression.added", "suppression.lifted"):
            self._heed_bar(subject, one)
        elif one.kind.startswith("preference."):
            self._breaks.setdefault(subject, []).append(one)
        elif one.kind == "person.registered":
            for told in one.body.get("topics") or []:
                self._registered.setdefault(subject, {}).setdefault(told["topic"], one.seq)

    def _who(self, subject: str) -> str:
        while subject in self._into:
            subject = self._into[subject]
        return subject

    def _heed_address(self, subject: str, one: Seen) -> None:
        """What lies over a mailbox ends for whoever leaves it; what they said themselves is said again of the next one."""
        pending = one.kind == "address.changed" and bool(one.body.get("pending"))
        leaves = one.kind == "address.changed" and not pending
        if one.kind == "address.confirmed" and subject in self._waiting:
            leaves = True
        if one.kind == "address.changed":
            self._moved.add(subject)
        (self._waiting.add if pending else self._waiting.discard)(subject)
        if leaves:
            who = self._who(subject)
            self._bars = [bar for bar in self._bars if bar.name is None or self._who(bar.subject) != who]

    def _heed_bar(self, subject: str, one: Seen) -> None:
        body = one.body
        name = tuple(body.get(word) for word in ("address_hash", "scope", "cause", "topic"))
        if one.kind == "person.objected":
            self._bars.append(_Bar(subject, "marketing", "objection"))
        elif one.kind == "suppression.lifted":
            taken_back = self._who(subject) if body.get("cause") == "objection" else None
            self._bars = [
                bar
                for bar in self._bars
                if bar.name != name and not (bar.name is None and self._who(bar.subject) == taken_back)
            ]
        elif body.get("origin") != "restore" and (
            body.get("cause") != "hard_bounce" or subject not in self._moved
        ):
            moved, topic = body.get("origin") == "moved", body.get("topic")
            self._bars.append(_Bar(subject, body["scope"], body["cause"], topic, name, moved))

    def _rests(self, subject: str, slug: str) -> bool:
        """Whether a break of theirs ran: the last that names the topic, or names none and came after they had answered about it."""
        ends = ""
        for one in self._breaks.get(subject, ()):
            named = one.body.get("topic")
            if named == slug or (not named and self._first(subject).get(slug, one.seq) < one.seq):
                ends = one.body.get("until") or ""
        return bool(ends) and datetime.fromisoformat(ends) > self._until

    def _first(self, subject: str) -> dict[str, int]:
        """By topic the entry in which it was first spoken of; read for whoever takes breaks alone, as it may be long."""
        if subject not in self._firsts:
            found = dict(self._registered.get(subject, {}))
            for one in consents.events(self._session, subject, until=self._until):
                if topic := one.body.get("topic"):
                    found[topic] = min(found.get(topic, one.seq), one.seq)
            self._firsts[subject] = found
        return self._firsts[subject]

    def _barred(self, subject: str, topic: TopicThen) -> str | None:
        """What stood over them or the topic, whatever had been said."""
        causes = {bar.cause for bar in self._bars if self._who(bar.subject) == subject and bar.reaches(topic)}
        if "complaint" in causes:
            return "complained"
        if causes:
            return "do_not_mail" if causes - {"hard_bounce"} else "bounced"
        return "topic_retired" if topic.retired else None

    def _said(self, standing: dict[str, Any], topic: TopicThen) -> str | None:
        """Whether it is no yes, one whose time was over, or one to older words; what an undo brought back is the yes that it was."""
        if standing["state"] not in PERMITTING:
            return str(standing["state"])
        if standing["basis"] == LEGACY:
            return "legacy_unconfirmed"
        said = ledger.entry(self._session, standing["entry"])
        if said is not None and said.body.get("restores"):
            said = ledger.entry(self._session, said.body["restores"]) or said
        body = said.body if said is not None else {}
        if (ends := body.get("valid_until")) and datetime.fromisoformat(ends) <= self._until:
            return "expired"
        version = version_of(topic.slug, str(body.get("wording") or ""))
        older = standing["basis"] in WORDED and version < topic.since_version
        return "older_words" if older and topic.mail_class != "service" else None
