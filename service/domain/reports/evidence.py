"""What is on record of one person as of a day, so that a privacy officer, a court or the person can check it without trusting us:
what was said and before which words, with the proof that it stands in the ledger. Called by `bidden prove` and the person's page.

The texts of entries are those the hashes cover; what stands sealed in them is opened beside them, while the person's key exists.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlmodel import Session

from service.domain.consent import queries as consents
from service.domain.consent.evidence import Opener
from service.domain.ledger import bundles
from service.domain.ledger import queries as ledger
from service.domain.ledger.queries import Seen
from service.domain.people import erasing
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.domain.policies import queries as policies
from service.domain.reports.permitted import STOPS, ByThen, TopicThen
from service.domain.topics import queries as topics
from service.kit import sealing
from service.kit.signing import Keyring

IMPORTED = "import.started"
FORMAT, VERSION = "bidden-evidence", 1
KINDS = ("confirmation.requested", *STOPS, *consents.KINDS)


def of_person(
    session: Session,
    ring: Keyring,
    person: Person,
    *,
    on: datetime,
    now: datetime,
    disclosed: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """The evidence file, as of the end of `on`: standing, events, texts, to whom else something was given, proof; under `merged` the
    same of each registration that turned out to be theirs.

    `disclosed` are the disclosures that the person may know of, with their `entry` each (`privacy.disclosures`).
    The proof is that of `bidden ledger prove`; `verify_ledger.py` checks it in this very file. Raises `NotSignedYet` where the
    last signed head is older than the last entry, `TreeDiffers`.
    """
    persons = erasing.with_merged(session, person)
    then = ByThen(session, [one.public_id for one in persons], until=on)
    mine, *merged = [_said(session, ring, one, then, on=on) for one in persons]
    merged = [one for one in merged if one[0]]
    seen = [one for found, _ in (mine, *merged) for one in found]
    brought = [
        one for name in _named(seen, "import") for one in ledger.of_subject(session, name, kinds=(IMPORTED,))
    ]
    told = _topics(then, [one["topic"] for _, part in (mine, *merged) for one in part["standing"]])
    file: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "person": person.public_id,
        "on": on.isoformat(),
        "made_at": now.isoformat(),
        **mine[1],
        "merged": [part for _, part in merged],
        "topics": [_topic(one) for one in told],
        "wordings": _wordings(session, seen),
        "imports": [_import(one) for one in brought],
        "policies": _policies(session, seen),
        "processing": _processing(session, seen),
        "disclosures": list(disclosed),
    }
    proven = {one.seq for one in seen} | {one["entry"] for one in (*disclosed, *file["processing"])}
    proven |= {one.seq for topic in told for one in topic.entries} | {one.seq for one in brought}
    return file | ({"proof": bundles.proof(session, sorted(proven), ring)} if proven else {})


def _said(
    session: Session, ring: Keyring, person: Person, then: ByThen, *, on: datetime
) -> tuple[list[Seen], dict[str, Any]]:
    """The entries of one registration, and what they come to."""
    subject, opener = person.public_id, Opener(session, ring)
    seen = [one for one in ledger.of_subject(session, subject, kinds=KINDS) if one.at <= on]
    key = _key(ring, person)
    standing = [
        {**said, "since": said["since"].isoformat(), "permits": stops is None, "stops": stops}
        for said, stops in then.stood(subject)
    ]
    events = [_event(one, key, opener) for one in seen]
    return seen, {"person": subject, "standing": standing, "events": events}


def _topics(then: ByThen, slugs: Iterable[str]) -> list[TopicThen]:
    """The topics something had been said about, as they were."""
    return [topic for slug in sorted(set(slugs)) if (topic := then.topic(slug)) is not None]


def _topic(one: TopicThen) -> dict[str, Any]:
    """What of a topic decides whether a yes to it permits mail, with the entries that say so."""
    return {
        "topic": one.slug,
        "class": one.mail_class,
        "retired": one.retired,
        "since_version": one.since_version,
        "entries": [
            {"entry": said.seq, "kind": said.kind, "at": said.at.isoformat()} for said in one.entries
        ],
    }


def _key(ring: Keyring, person: Person) -> bytes | None:
    """The person's key; None once it was destroyed."""
    try:
        return people.person_key(ring, person)
    except sealing.Unsealable:
        return None


def _event(one: Seen, key: bytes | None, opener: Opener) -> dict[str, Any]:
    """One entry taken apart, and the evidence sealed in it in clear: None where nobody can open it any more."""
    event: dict[str, Any] = {
        "entry": one.seq,
        "at": one.at.isoformat(),
        "kind": one.kind,
        "actor": one.actor,
        "body": one.body,
        "hash": one.hash,
    }
    part = one.body.get("evidence")
    if isinstance(part, dict):
        event["evidence"] = _opened(part, key, one, opener)
    return event


def _opened(part: dict[str, str], key: bytes | None, one: Seen, opener: Opener) -> dict[str, Any] | None:
    if key is None:
        return None
    try:
        return opener.open(key, part, subject=one.subject or "", kind=one.kind)
    except sealing.Unsealable:
        return None


def _named(seen: Iterable[Seen], field: str) -> list[str]:
    """The texts that the entries name, each once, in order."""
    return list(dict.fromkeys(str(one.body[field]) for one in seen if one.body.get(field)))


def _wordings(session: Session, seen: list[Seen]) -> list[dict[str, Any]]:
    """Every wording as it was shown, to the letter, with the hash that its publication wrote into the ledger."""
    found = [topics.wording_by_public_id(session, name) for name in _named(seen, "wording")]
    return [
        {
            "id": one.public_id,
            "topic": topics.by_id(session, one.topic_id).slug,
            "version": one.version,
            "locale": one.locale,
            "title": one.title,
            "frequency": one.frequency,
            "text": one.text,
            "sha256": one.sha256,
            "published_at": one.published_at.isoformat(),
        }
        for one in found
        if one is not None
    ]


def _import(one: Seen) -> dict[str, Any]:
    """Where what a file brought came from: the words that were shown elsewhere, and who vouched for them."""
    plan = one.body["plan"]
    return {
        "id": one.subject,
        "entry": one.seq,
        "at": one.at.isoformat(),
        "actor": one.actor,
        "file_sha256": one.body["file_sha256"],
        "source": plan["source"],
        "grants": plan["grants"],
    }


def _processing(session: Session, seen: list[Seen]) -> list[dict[str, Any]]:
    """What was done with people's data when something was said, oldest first."""
    said = [one.seq for one in seen if one.kind in consents.KINDS]
    return [policies.profile_as_read(row) for row in policies.profiles_at(session, said)]


def _policies(session: Session, seen: list[Seen]) -> list[dict[str, Any]]:
    found = [(name, policies.by_version_name(session, name)) for name in _named(seen, "policy")]
    return [
        {
            "id": name,
            "version": one.version,
            "locale": one.locale,
            "title": one.title,
            "body": one.body,
            "sha256": one.sha256,
            "published_at": one.published_at.isoformat(),
            "effective_at": one.effective_at.isoformat(),
        }
        for name, one in found
        if one is not None
    ]
