"""The rows that one chunk of registrations adds or changes, collected so that each table gets one statement.

Called by `registration` alone.
"""

from datetime import datetime
from functools import cached_property
from typing import Any

from sqlmodel import Session, col, select

from service.db.bulk import insert_rows
from service.domain.consent import actions as consent
from service.domain.consent import rules as consent_rules
from service.domain.people.mailbox import Known
from service.domain.people.tables import Person
from service.domain.preferences import queries
from service.domain.preferences.asking import revocable
from service.domain.preferences.intake import Facts
from service.domain.preferences.rules import LEGACY, wording_version
from service.domain.preferences.tables import Preference
from service.domain.suppressions import queries as suppressions
from service.domain.topics.tables import Topic, Wording
from service.kit.signing import Keyring


class Chunk:
    """The rows one chunk adds, collected so that each table gets one statement."""

    def __init__(
        self, session: Session, ring: Keyring, facts: Facts, known: list[Known], now: datetime, by: str
    ) -> None:
        self.session, self.ring, self.facts, self.now, self.by = session, ring, facts, now, by
        old = [row.person.id for row in known if not row.created]
        rows = session.exec(select(Preference).where(col(Preference.person_id).in_(old))).all() if old else []
        self.present = {(row.person_id, row.topic_id): row for row in rows}
        self.refused = self._refused_under(known)
        self.old = old
        self.fresh: dict[tuple[int, int], tuple[str, datetime]] = {}
        # By person and topic: two of one call may turn out to be one person, of whom the later answer stands.
        self.preferences: dict[tuple[int, int], dict[str, Any]] = {}
        self.records: dict[tuple[int, int], dict[str, Any]] = {}

    @cached_property
    def revocable(self) -> set[int]:
        """Who of the chunk has a button or an undo that could still make a yes; asked once, and only after a repeated no."""
        return revocable(self.session, [one for one in self.old if one], now=self.now)

    def shown(self, person: Person, said_at: datetime | None) -> tuple[str | None, int | None]:
        """The policy that was shown with an answer, by name and row: nobody elsewhere was shown ours, nor one that is still to come."""
        if self.facts.transfer:
            return None, None
        return self.facts.policy(person.locale, at=min(said_at, self.now) if said_at else None)

    def _refused_under(self, known: list[Known]) -> set[tuple[str, int]]:
        """(keyed hash of a mailbox, topic) to which somebody registered there has said no: no site attests that away (P7)."""
        hashes = [row.address.address_hash for row in known]
        every = [topic.id or 0 for topic in self.facts.topics.values()]
        return {*queries.noes_at(self.session, hashes), *suppressions.withdrawn(self.session, hashes, every)}

    def state(self, person_id: int, topic_id: int) -> tuple[str, datetime | None]:
        """What stands; a legacy registration counts as nothing said yet, a no to it as any other (P7)."""
        row = self.present.get((person_id, topic_id))
        if row is not None and row.basis == LEGACY and row.state in consent_rules.PERMITTING:
            return "unknown", None
        return (row.state, row.since_at) if row else self.fresh.get((person_id, topic_id), ("unknown", None))

    def put(
        self,
        person: Person,
        topic: Topic,
        state: str,
        seq: int,
        *,
        basis: str,
        wording: Wording | None,
        source: str,
        until: datetime | None = None,
        said_at: datetime | None = None,
    ) -> None:
        """Bring the projection to what the entry `seq` says."""
        assert person.id is not None
        assert topic.id is not None
        key, permits = (person.id, topic.id), state in consent_rules.PERMITTING
        warrant = seq if permits else None
        version = wording_version(state, basis, wording.version if wording else 0)
        row = self.present.get(key)
        if row is not None:
            row.state, row.basis, row.since_at, row.last_seq = state, basis, self.now, seq
            row.warrant_seq, row.valid_until = warrant, until if permits else row.valid_until
            row.wording_version = version
            self.session.add(row)
            consent.keep_record(
                self.session, person, topic, basis=basis, wording=wording, policy_id=self.shown(person, said_at)[1],
                source=source, until=row.valid_until, now=self.now,
            )  # fmt: skip
            return
        names = {"person_id": person.id, "topic_id": topic.id, "basis": basis, "valid_until": until}
        self.fresh[key] = state, self.now
        self.preferences[key] = names | {
            "state": state,
            "cadence": "each",
            "warrant_seq": warrant,
            "wording_version": version,
            "since_at": self.now,
            "last_seq": seq,
        }
        self.records[key] = names | {
            "wording_id": wording.id if wording else None,
            "policy_version_id": self.shown(person, said_at)[1],
            "source": source,
            "changed_at": self.now,
        }

    def flush(self) -> None:
        insert_rows(self.session, Preference, list(self.preferences.values()))
        consent.new_records(self.session, list(self.records.values()))
