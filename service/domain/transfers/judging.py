"""What a row may become beside what is known here already: P7 for imports, read before anything is written.

Called by `actions` inside the transaction that then writes, and by the dry run. A no, in whatever form it is kept (a state, a
keyed hash on the do-not-mail list, an erasure, a restriction), leaves the row or the topic alone.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import bindparam
from sqlalchemy import select as columns
from sqlmodel import Session, col, select

from service.db.bulk import among
from service.domain.consent.rules import PERMITTING, Item
from service.domain.mailings.tables import Address
from service.domain.people.actions import Given
from service.domain.people.tables import Identity, Person
from service.domain.preferences import changes
from service.domain.preferences import queries as preferences
from service.domain.preferences.intake import Checked, Facts, check_read
from service.domain.preferences.tables import Preference
from service.domain.suppressions import queries as suppressions
from service.domain.suppressions.tables import Suppression
from service.domain.transfers.preparing import Prepared
from service.domain.transfers.rows import Row
from service.kit.errors import DomainError
from service.kit.signing import Keyring

STOPS = (
    ("skipped_erased", ("erasure",)),
    ("skipped_restricted", ("restriction",)),
    ("skipped_complained", ("complaint",)),
    ("skipped_do_not_mail", ("objection", "legal")),
    ("skipped_bounced", ("hard_bounce",)),
)


@dataclass(frozen=True)
class Verdict:
    """One row: what is to be registered, or why it is left alone; the topics whose no was kept beside what is registered."""

    row: Row
    address_hash: str
    registration: Checked | None = None
    skipped: str | None = None
    wrong: DomainError | None = None
    about: tuple[str, ...] = ()  # what the cell that is wrong may mean
    kept_noes: tuple[str, ...] = ()


@dataclass
class Standing:
    """What is known of the mailboxes and ids of a chunk."""

    suppressed: dict[str, list[Suppression]]
    identities: dict[str, tuple[Person, Address | None]]  # by external id
    own: dict[str, str]  # public id → keyed hash of its address, of rows that come from an export of ours
    states: dict[str, set[str]] = field(default_factory=dict)  # keyed hash → states of the persons there
    noes: dict[tuple[str, int], str] = field(default_factory=dict)  # (keyed hash, topic) → the state
    yeses: dict[tuple[str, int], datetime] = field(default_factory=dict)  # (keyed hash, topic) → since when


def apart(rows: Sequence[Prepared]) -> list[list[Prepared]]:
    """Runs of rows in which no mailbox and no id stands twice."""
    parts: list[list[Prepared]] = [[]]
    seen: set[str] = set()
    for one in rows:
        marks = {"at:" + one.address_hash, "id:" + one.row.external_id}
        if marks & seen:
            parts.append([])
            seen = set()
        parts[-1].append(one)
        seen |= marks
    return [part for part in parts if part]


def judge(
    session: Session,
    ring: Keyring,
    source: str,
    rows: Sequence[Prepared],
    facts: Facts,
    *,
    attest: bool,
    now: datetime,
    said: Mapping[str, Sequence[Suppression]] = {},
) -> list[Verdict]:
    """Each row's verdict, in order. Reads only; `facts` is what the registration itself will look up. `said`: by keyed hash, noes of
    this file that are not written yet (a dry run's)."""
    known = _standing(session, ring, source, [one.row for one in rows], [one.address_hash for one in rows])
    for digest, noes in said.items():
        known.suppressed[digest] = [*known.suppressed.get(digest, ()), *noes]
    return [_verdict(one, known, facts, attest=attest, now=now) for one in rows]


_STANDING_AT = (
    columns(
        col(Address.address_hash),
        col(Person.state),
        col(Preference.topic_id),
        col(Preference.state),
        col(Preference.since_at),
        col(Person.id),
    )
    .select_from(Address)
    .join(Person, col(Person.id) == col(Address.owner_id))
    .outerjoin(Preference, col(Preference.person_id) == col(Person.id))
    .where(
        col(Address.owner_kind) == "person",
        col(Address.ended_at).is_(None),
        among(col(Address.address_hash), "hashes"),
        col(Person.state) != "merged",
    )
)
_NAMED = (
    select(Identity.external_id, Person, Address)
    .join(Person, col(Person.id) == col(Identity.person_id))
    .outerjoin(Address, col(Address.id) == col(Person.address_id))
    .where(col(Identity.source) == bindparam("of"), among(col(Identity.external_id), "names"))
)


def _standing(
    session: Session, ring: Keyring, source: str, rows: Sequence[Row], hashes: list[str]
) -> Standing:
    """Five questions for a chunk, none for a row but where its dated no meets a yes that was told later."""
    found = Standing(
        suppressions.live_for(session, hashes),
        _identities(session, source, rows),
        _own(session, rows),
        noes=preferences.noes_at(session, hashes),
    )
    dated = {digest: row.no_at for digest, row in zip(hashes, rows, strict=False) if row.no_at}
    there = session.connection().execute(_STANDING_AT, {"hashes": hashes}).all()
    for digest, person_state, topic_id, state, since, person_id in there:
        found.states.setdefault(digest, set()).add(person_state)
        if state in PERMITTING:
            if (said := dated.get(digest)) and since > said:
                person = session.get_one(Person, person_id)
                present = session.get_one(Preference, (person_id, topic_id))
                since = changes.yes_said_at(session, ring, person, present)
            found.yeses[digest, topic_id] = max(since, found.yeses.get((digest, topic_id), since))
            found.noes.pop((digest, topic_id), None)  # of somebody who left; a button there was pressed since
    return found


def _identities(
    session: Session, source: str, rows: Sequence[Row]
) -> dict[str, tuple[Person, Address | None]]:
    named = {"of": source, "names": [row.external_id for row in rows]}
    found = session.exec(_NAMED, params=named)
    return {external_id: (person, address) for external_id, person, address in found}


def _own(session: Session, rows: Sequence[Row]) -> dict[str, str]:
    """People of this very installation, who come back by an export of it."""
    ids = [row.external_id for row in rows if row.external_id.startswith("p_")]
    if not ids:
        return {}
    statement = (
        select(Person.public_id, Address.address_hash)
        .join(Address, col(Address.id) == col(Person.address_id))
        .where(col(Person.public_id).in_(ids))
    )
    return {public_id: digest for public_id, digest in session.exec(statement)}


def _verdict(one: Prepared, known: Standing, facts: Facts, *, attest: bool, now: datetime) -> Verdict:
    row, digest = one.row, one.address_hash
    stopped = _stopped(row, digest, known)
    if stopped == "skipped_known":
        return Verdict(row, digest, skipped=stopped)
    if row.noes and not row.items:
        later = stopped is None and _all_later(row, digest, known, facts)
        return Verdict(row, digest, skipped="skipped_later_yes" if later else None)
    standing = [item for item in one.items if not stopped and not _said_no(item, digest, known, facts)]
    refused = tuple([item.topic for item in one.items if not stopped and item not in standing])
    new = row.external_id not in known.identities
    if stopped or (not standing and (refused or (new and _any_no(digest, known)))):
        if row.noes:  # which are said all the same
            return Verdict(row, digest, kept_noes=refused)
        return Verdict(row, digest, skipped=stopped or _which_no(digest, known), kept_noes=refused)
    told = Given(
        row.external_id,
        row.email,
        row.locale,
        row.zone,
        row.profile or None,
        one.attributes,
        attested=False,
        address_hash=digest,
        new=one.new,
    )
    try:
        checked = check_read(row.number, told, standing, facts, attest=attest, now=now)
    except DomainError as wrong:
        return Verdict(row, digest, wrong=wrong, about=_about(wrong.field or "", standing))
    return Verdict(row, digest, checked, kept_noes=refused)


def _about(at: str, items: Sequence[Item]) -> tuple[str, ...]:
    """What the cell means that an error of the registration stands at: `consents[1].wording` is the second yes's wording."""
    if at.startswith("attributes."):
        name = at.partition(".")[2]
        return (f"attribute:{name}", *(["tags"] if name == "tags" else []), "attributes")
    found = re.fullmatch(r"consents\[(\d+)\]\.(wording|evidence\.at)", at)
    if found is None:
        return ()
    topic = items[int(found[1])].topic
    return (f"wording:{topic}",) if found[2] == "wording" else (f"since:{topic}", "agreed_at", "confirmed_at")


def _stopped(row: Row, digest: str, known: Standing) -> str | None:
    """What concerns the whole row, from the gravest."""
    causes = {one.cause for one in known.suppressed.get(digest, ())}
    person, address = known.identities.get(row.external_id, (None, None))
    states = known.states.get(digest, set()) | ({person.state} if person else set())
    if "erased" in states or (person is not None and address is None):
        return "skipped_erased"
    for reason, stopping in STOPS:
        if causes & set(stopping):
            return reason
        if reason == "skipped_erased" and "restricted" in states:
            return "skipped_restricted"
    moved = address is not None and address.address_hash != digest
    if moved or (person is not None and person.pending_address_id is not None):
        return "skipped_address_differs"
    return "skipped_known" if known.own.get(row.external_id) == digest else None


def _said_no(item: Item, digest: str, known: Standing, facts: Facts) -> bool:
    """Whether anybody of this mailbox said no to the topic, as a state or on the do-not-mail list in any scope that fits."""
    topic = facts.topics.get(item.topic)
    if topic is None or topic.id is None:
        return False  # the registration's own check will say that there is none
    live = known.suppressed.get(digest, [])
    if (digest, topic.id) in known.noes or suppressions.scopes_for(live, topic.id, topic.mail_class):
        return True
    return any(one.scope == "all" or one.topic_id == topic.id for one in live)


def _which_no(digest: str, known: Standing) -> str:
    """A no of the person, or of the controller, who took back what it had no proof for."""
    said = {state for (one, _), state in known.noes.items() if one == digest}
    taken_back = said == {"invalidated"} and not known.suppressed.get(digest)
    return "skipped_invalidated" if taken_back else "skipped_withdrawn"


def _any_no(digest: str, known: Standing) -> bool:
    return bool(known.suppressed.get(digest)) or any(one == digest for one, _ in known.noes)


def _all_later(row: Row, digest: str, known: Standing, facts: Facts) -> bool:
    """Whether a dated no is older than every yes that stands here: then the person has said yes since, to us."""
    if row.no != "no" or row.no_at is None:
        return False
    concerned = [topic for slug, topic in facts.topics.items() if "*" in row.noes or slug in row.noes]
    topics = [topic for topic in concerned if topic.mail_class != "service"]  # which no no ends
    since = [at for topic in topics if (at := known.yeses.get((digest, topic.id or 0)))]
    return bool(since) and all(at > row.no_at for at in since)
