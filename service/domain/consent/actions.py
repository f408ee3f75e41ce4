"""Writing consent: the entry in the ledger with its evidence, and the record. `preferences.actions` decides, this writes."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session

from service.db.bulk import insert_rows
from service.domain.consent.rules import CONFIRM_WITHIN
from service.domain.consent.tables import Confirmation, Consent
from service.domain.ledger import actions as ledger
from service.domain.ledger.rules import sealed_part
from service.domain.mailings.actions import enqueue_single
from service.domain.people.tables import Person
from service.domain.topics.tables import Topic, Wording
from service.kit.ids import new_id


@dataclass(frozen=True)
class Said:
    """How somebody said something: the method, the site's own word for the place, and the sealed evidence.

    `transfer` is the id of the import that brought it, `words_sha256` of words that are none of ours (the import's own entry
    has them in full). `sealed` is the evidence where it was closed before.
    """

    method: str
    source: str = ""
    evidence: dict[str, Any] | None = None
    mailing: str | None = None
    transfer: str = ""
    words_sha256: str = ""
    sealed: dict[str, str] | None = None


def note(
    session: Session,
    kind: str,
    *,
    person: Person,
    key: bytes | None,
    topic: Topic,
    state: str,
    state_before: str,
    said: Said,
    now: datetime,
    by: str,
    wording: Wording | None = None,
    policy: str | None = None,
    restores: int | None = None,
    basis: str | None = None,
    until: datetime | None = None,
) -> int:
    """One consent event into the ledger; its number is the warrant when it permits. `basis`: another than the topic's.
    `until`: when it ends by itself."""
    body: dict[str, Any] = {
        "topic": topic.slug,
        "state": state,
        "state_before": state_before,
        "basis": basis or topic.basis,
        "method": said.method,
        "source": said.source,
    }
    if wording:
        body |= {"wording": wording.public_id, "wording_sha256": wording.sha256}
    elif said.words_sha256:
        body["wording_sha256"] = said.words_sha256
    if policy:
        body["policy"] = policy
    if said.mailing:
        body["mailing"] = said.mailing
    if said.transfer:
        body["import"] = said.transfer
    if restores is not None:
        body["restores"] = restores
    if until is not None:
        body["valid_until"] = until.isoformat()
    if said.sealed:
        body["evidence"] = said.sealed
    elif said.evidence and key:
        body["evidence"] = sealed_part(key, said.evidence, subject=person.public_id, kind=kind)
    return ledger.append(session, kind, subject=person.public_id, body=body, by=by, now=now)


def new_records(session: Session, rows: list[dict[str, Any]]) -> None:
    """Records of people just registered, in one statement."""
    insert_rows(session, Consent, [{"record_id": new_id("c"), **row} for row in rows])


def keep_record(
    session: Session,
    person: Person,
    topic: Topic,
    *,
    basis: str,
    wording: Wording | None,
    policy_id: int | None,
    source: str,
    now: datetime,
    until: datetime | None = None,
) -> None:
    """Make or bring up to date the record of one person and topic: it names what the last answer was said before, and nothing that was
    shown with an earlier one."""
    assert person.id is not None
    assert topic.id is not None
    row = session.get(Consent, (person.id, topic.id))
    if row is None:
        row = Consent(
            person_id=person.id, topic_id=topic.id, record_id=new_id("c"), basis=basis, changed_at=now
        )
    row.basis, row.changed_at, row.valid_until = basis, now, until
    row.wording_id = wording.id if wording else None
    row.policy_version_id = policy_id
    row.source = source or row.source
    session.add(row)


def ask_confirmation(
    session: Session,
    *,
    person: Person,
    address_id: int,
    brand_id: int,
    topics: list[dict[str, Any]],
    requested_seq: int,
    purpose: str,
    now: datetime,
    within: timedelta = CONFIRM_WITHIN,
    under: Topic | None = None,
    values: dict[str, str] | None = None,
) -> Confirmation:
    """Mail the button that alone makes these topics a yes (or an address confirmed), good for seven days.

    `under`: the topic whose mail this is already, by class, links and gate; else it is a system mail. `values`: what its text says
    beside the topics' names; nothing personal.
    """
    assert person.id is not None
    mailing = enqueue_single(
        session,
        purpose=purpose,
        brand_id=brand_id,
        address_id=address_id,
        person_id=person.id,
        locale=person.locale,
        facts={"topics": [one["topic"] for one in topics], **(values or {})},
        warrant_seq=requested_seq,
        now=now,
        mail_class=under.mail_class if under else "system",
    )
    assert mailing.id is not None
    mailing.topic_id = under.id if under else None
    confirmation = Confirmation(
        mailing_id=mailing.id,
        person_id=person.id,
        address_id=address_id,
        topics=topics,
        requested_seq=requested_seq,
        created_at=now,
        expires_at=now + within,
    )
    session.add(confirmation)
    return confirmation
