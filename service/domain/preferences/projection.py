"""What people chose computed anew from the ledger alone (their rows, and how many mails a week at most), and what differs; and what
a version before left open in it, filled.

Called by `bidden ledger verify --projection`, the doctor and the tests: a row that somebody wrote past the ledger shows here. `fill`
is the clock's.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlmodel import Session, col
from sqlmodel import select as sql_select

from service.db.locks import lock_ledger_tail
from service.domain.consent.rules import PERMITTING
from service.domain.ledger import queries as ledger
from service.domain.ledger.rules import Entry
from service.domain.people.tables import Person
from service.domain.preferences.rules import wording_version
from service.domain.preferences.tables import Preference
from service.domain.topics.rules import version_of
from service.domain.topics.tables import Topic
from service.kit.clock import from_micros

AT_ONCE = 200  # rows of one transaction (design.md 3)

Key = tuple[str, str]  # a person's public id, a topic's slug


@dataclass
class Row:
    """What the ledger says of one person and topic, as the table holds it."""

    state: str
    basis: str
    warrant_seq: int | None
    since_at: datetime
    last_seq: int
    cadence: str = "each"
    break_until: datetime | None = None
    valid_until: datetime | None = None
    wording_version: int | None = 0


class _Reading:
    """The table as it grows while the ledger is read from its first entry."""

    def __init__(self) -> None:
        self.rows: dict[Key, Row] = {}
        self.of_person: dict[str, set[str]] = {}
        self.topics: dict[str, dict[str, Any]] = {}
        self.words: dict[int, int] = {}  # entry that permits → the version of the words it names
        self.most: dict[str, int] = {}  # person → at most so many mails a week

    def heed(self, entry: Entry) -> None:
        """Take in one entry; of most kinds nothing follows."""
        heeding = _HEEDED.get(entry.kind) or (_consent if entry.kind.startswith("consent.") else None)
        if heeding is not None and entry.subject:
            heeding(self, entry, json.loads(entry.text)["body"])

    def put(self, subject: str, slug: str, row: Row) -> None:
        """Keep a row."""
        self.rows[subject, slug] = row
        self.of_person.setdefault(subject, set()).add(slug)


def _topic(reading: _Reading, entry: Entry, body: dict[str, Any]) -> None:
    reading.topics[entry.subject or ""] = body


def _registered(reading: _Reading, entry: Entry, body: dict[str, Any]) -> None:
    """What rests on a registration with a site: its entry is the warrant."""
    subject = entry.subject or ""
    for slug in [one["topic"] for one in body.get("topics") or []]:
        if (subject, slug) not in reading.rows:
            basis = reading.topics[slug]["basis"]
            reading.put(subject, slug, Row("given", basis, entry.seq, from_micros(entry.at), entry.seq))


def _consent(reading: _Reading, entry: Entry, body: dict[str, Any]) -> None:
    """Every consent entry names the state it leads to; of people and topics that are not here nothing is projected."""
    if body.get("unknown"):
        return
    before = reading.rows.get((entry.subject or "", body["topic"]))
    warrant = body.get("restores") or entry.seq
    row = Row(
        body["state"],
        body["basis"],
        warrant if body["state"] in PERMITTING else None,
        from_micros(entry.at),
        entry.seq,
    )
    if before is not None:
        row.cadence, row.break_until, row.valid_until = before.cadence, before.break_until, before.valid_until
    if warrant == entry.seq and row.warrant_seq:
        ends = body.get("valid_until")
        row.valid_until = datetime.fromisoformat(ends) if ends else None
    if row.warrant_seq == entry.seq and (version := version_of(body["topic"], body.get("wording") or "")):
        reading.words[entry.seq] = version
    row.wording_version = wording_version(row.state, row.basis, reading.words.get(row.warrant_seq or 0, 0))
    reading.put(entry.subject or "", body["topic"], row)


def _changed(reading: _Reading, entry: Entry, body: dict[str, Any]) -> None:
    subject = entry.subject or ""
    if "cadence" in body:
        row = reading.rows[subject, body["topic"]]
        row.cadence, row.last_seq = body["cadence"], entry.seq
    if "max_per_week" in body:
        reading.most.pop(subject, None)
        if body["max_per_week"] is not None:
            reading.most[subject] = body["max_per_week"]


def _erased(reading: _Reading, entry: Entry, body: dict[str, Any]) -> None:
    """Of somebody erased no limit is kept; what was chosen of a topic stays, under the opaque id."""
    reading.most.pop(entry.subject or "", None)


def _break(reading: _Reading, entry: Entry, body: dict[str, Any]) -> None:
    """A break of one topic where one is named, else of every topic that can be stopped."""
    subject = entry.subject or ""
    ends = datetime.fromisoformat(body["until"]) if body["until"] else None
    for slug in [body["topic"]] if body.get("topic") else reading.of_person.get(subject, ()):
        row = reading.rows[subject, slug]
        if reading.topics[slug]["class"] != "service" and row.break_until != ends:
            row.break_until, row.last_seq = ends, entry.seq


_HEEDED: dict[str, Callable[[_Reading, Entry, dict[str, Any]], None]] = {
    "topic.created": _topic,
    "person.registered": _registered,
    "preference.changed": _changed,
    "preference.break_set": _break,
    "preference.break_ended": _break,
    "person.erased": _erased,
}


def _read(session: Session) -> _Reading:
    """Everything that people chose, as the ledger alone makes it."""
    reading = _Reading()
    for entry, _ in ledger.stored(session):
        reading.heed(entry)
    return reading


def standing(session: Session) -> dict[Key, Row]:
    """Every preference as the table has it."""
    columns = [col(getattr(Preference, one.name)) for one in fields(Row)]
    statement = (
        select(col(Person.public_id), col(Topic.slug), *columns)
        .select_from(Preference)
        .join(Person, col(Person.id) == col(Preference.person_id))
        .join(Topic, col(Topic.id) == col(Preference.topic_id))
    )
    return {
        (subject, slug): Row(*values) for subject, slug, *values in session.connection().execute(statement)
    }


def limits(session: Session) -> dict[str, int]:
    """Who wants at most so many mails a week, as the table has it."""
    statement = select(col(Person.public_id), col(Person.max_per_week))
    limited = statement.where(col(Person.max_per_week).is_not(None))
    return {subject: most for subject, most in session.connection().execute(limited) if most is not None}


def differences(session: Session) -> list[str]:
    """Where tables and ledger disagree, one line each, in order; empty when the projection holds."""
    reading, wanted = _read(session), limits(session)
    lines = [
        f"{one}: max_per_week is {wanted.get(one)}, the ledger says {reading.most.get(one)}"
        for one in sorted(reading.most.keys() | wanted.keys())
        if wanted.get(one) != reading.most.get(one)
    ]
    return _rows_differ(reading.rows, standing(session)) + lines


def _rows_differ(told: dict[Key, Row], found: dict[Key, Row]) -> list[str]:
    lines = []
    for key in sorted(told.keys() | found.keys()):
        name = " ".join(key)
        if key not in found:
            lines.append(f"{name}: the ledger says {told[key].state}, the table has no row")
        elif key not in told:
            lines.append(f"{name}: the table says {found[key].state}, the ledger nothing")
        else:
            lines += [
                f"{name}: {one.name} is {getattr(found[key], one.name)}, the ledger says {getattr(told[key], one.name)}"
                for one in fields(Row)
                if getattr(found[key], one.name) != getattr(told[key], one.name)
                and not (one.name == "wording_version" and found[key].wording_version is None)
            ]
    return lines


def unfilled(session: Session, after: int) -> list[tuple[int, int]]:
    """The next rows (person, topic) after that person of which nobody has noted yet which words they were said to."""
    columns = (col(Preference.person_id), col(Preference.topic_id))
    statement = select(*columns).where(col(Preference.wording_version).is_(None), columns[0] > after)
    return [(one, topic) for one, topic in session.execute(statement.order_by(*columns).limit(AT_ONCE))]


def fill(session: Session, rows: Sequence[tuple[int, int]]) -> None:
    """Note the words of those, from the entries that permit them. A row that somebody has changed meanwhile is theirs."""
    lock_ledger_tail(session)
    slugs = {topic.id: topic.slug for topic in session.exec(sql_select(Topic))}
    for key in rows:
        row = session.get(Preference, key, populate_existing=True)
        if row is None or row.wording_version is not None:
            continue
        seen = ledger.entry(session, row.warrant_seq) if row.warrant_seq else None
        version = version_of(slugs[row.topic_id], str(seen.body.get("wording") or "")) if seen else 0
        row.wording_version = wording_version(row.state, row.basis, version)
        session.add(row)
