"""The access copy (GDPR 15): all that is held about a person, as data by docs/schemas/access-copy.schema.json; and the part they
gave themselves, for taking along (GDPR 20).

Called by the person's own pages and the staff's; what a page makes of it for people is the page's matter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select

from service.domain.announcements import queries as announcements
from service.domain.brands import queries as brands
from service.domain.consent import queries as consents
from service.domain.consent.evidence import Opener
from service.domain.ledger import queries as ledger
from service.domain.mailings import queries as mailings
from service.domain.mailings.tables import Address, Mailing
from service.domain.notices import queries as notices
from service.domain.people import erasing as people_erasing
from service.domain.people import queries as people
from service.domain.people.tables import AttributeKind, Person
from service.domain.policies import queries as policies
from service.domain.preferences import queries as preferences
from service.domain.privacy import disclosures, periods, queries, requests
from service.domain.privacy.tables import ContactRequest
from service.domain.suppressions import queries as suppressions
from service.domain.topics import queries as topics
from service.kit import sealing
from service.kit.signing import Keyring

ACCESS, PORTABLE = "urn:bidden:access-copy:1", "urn:bidden:portable-copy:1"
MOST_MAILS = 10_000  # a mail a day for 27 years
_WHO = {"person": "you", "staff": "staff", "key": "site", "visitor": "form", "cli": "staff"}


def access_copy(session: Session, ring: Keyring, person: Person, *, now: datetime) -> dict[str, Any]:
    """Everything that an erasure would reach, each registration under its own id. Texts are as they were given; instants are
    ISO 8601 in UTC. Raises `Unsealable` once the person is erased."""
    persons = queries.whole(session, person)
    keys = {one.public_id: people.person_key(ring, one) for one in persons if one.wrapped_key}
    asked = [queries.requested(session, ring, row) for row in requests.asked_by(session, persons)]
    wrote = queries.messages_of(session, persons)
    looks = _looks(session, [one.row.public_id for one in asked], [one.public_id for one in wrote])
    events = _events(session, ring, persons, keys, [*looks, *_listed(session, persons)])
    named = {seen["body"]["wording"] for seen in events if seen["body"].get("wording")}
    brand = brands.default_brand(session)
    return {
        "schema": ACCESS,
        "made_at": _at(now),
        "controller": {"name": brand.title, "postal_address": brand.postal_address},
        "person": _person(person),
        "registrations": [_person(one) for one in persons],
        "addresses": _addresses(session, ring, persons, keys),
        "profiles": _profiles(session, ring, persons),
        "attributes": _attributes(session, persons),
        "consents": _consents(session, persons),
        "wordings": [_wording(session, one) for one in sorted(named)],
        "events": events,
        "mails": _mails(session, persons),
        "suppressions": _suppressions(session, persons),
        "messages": _messages(session, ring, wrote, asked),
        "requests": _requests(asked),
        "disclosures": disclosed(session, persons),
        "kept": _kept(session, persons),
        "processing": _processing(session),
    }


def _processing(session: Session) -> dict[str, Any] | None:
    """What GDPR 15(1) asks for beside the data, as it was put down last; None: it was not yet."""
    last = policies.profile(session)
    return policies.profile_as_read(last) if last else None


def portable_copy(session: Session, ring: Keyring, person: Person, *, now: datetime) -> dict[str, Any]:
    """What the person gave, directly or by a site, in a form that another service can read; what sites say about them stands in the
    access copy."""
    persons = queries.whole(session, person)
    address = people.address_of(session, ring, person)
    return {
        "schema": PORTABLE,
        "made_at": _at(now),
        "email": address.text if address else None,
        "locale": person.locale,
        "zone": person.zone or None,
        "max_per_week": person.max_per_week,
        "profiles": _profiles(session, ring, persons),
        "consents": _consents(session, persons),
    }


def _kept(session: Session, persons: Sequence[Person]) -> list[dict[str, Any]]:
    """How long what is kept, in days; None: until the person is erased."""
    settings = brands.settings(session)
    kept: list[dict[str, Any]] = [{"what": what, "days": None} for what in periods.WHILE_KNOWN]
    held = {name for one in persons for name in people.attributes(session, one.id or 0)}
    kinds = select(AttributeKind).where(col(AttributeKind.name).in_(held)).order_by(col(AttributeKind.name))
    kept += [{"what": f"attribute {one.name}", "days": one.retention_days} for one in session.exec(kinds)]
    return kept + [
        {"what": one.holds, "days": one.period(settings)}
        for one in periods.CLASSES
        if one.name not in periods.NOT_OF_PEOPLE
    ]


def _at(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="seconds") if moment else None


def _person(person: Person) -> dict[str, Any]:
    return {
        "id": person.public_id,
        "state": person.state,
        "locale": person.locale,
        "zone": person.zone or None,
        "max_per_week": person.max_per_week,
        "since": _at(person.created_at),
    }


def _addresses(
    session: Session, ring: Keyring, persons: Sequence[Person], keys: Mapping[str, bytes]
) -> list[dict[str, Any]]:
    owners = {one.id: one.public_id for one in persons}
    found = []
    for row in people_erasing.addresses_of(session, persons):
        owner = owners[row.owner_id]
        key = keys.get(owner)
        if row.sealed is not None and key is not None:
            text = mailings.open_address(ring, row, key).text
            moments = {"since": row.created_at, "confirmed_at": row.confirmed_at, "ended_at": row.ended_at}
            told = {name: _at(moment) for name, moment in moments.items()}
            found.append({"registration": owner, "address": text, **told})
    return found


def _profiles(session: Session, ring: Keyring, persons: Sequence[Person]) -> list[dict[str, Any]]:
    """As each source gave it, of each registration the one mails use last. Who was merged has none left."""
    return [row for one in persons if one.state != "merged" for row in _profiles_of(session, ring, one)]


def _profiles_of(session: Session, ring: Keyring, person: Person) -> list[dict[str, Any]]:
    rows = people.identities(session, person.id or 0)
    return [
        {
            "registration": person.public_id,
            "source": row.source,
            "external_id": row.external_id,
            "since": _at(row.created_at),
            "changed_at": _at(row.changed_at),
            "profile": opened.profile,
        }
        for row, opened in zip(rows, people.profiles(session, ring, person), strict=True)
    ]


def _attributes(session: Session, persons: Sequence[Person]) -> list[dict[str, Any]]:
    purposes = {kind.name: kind.purpose for kind in session.exec(select(AttributeKind))}
    return [
        {"registration": one.public_id, "name": name, "values": values, "purpose": purposes.get(name, "")}
        for one in persons
        for name, values in sorted(people.attributes(session, one.id or 0).items())
    ]


def _consents(session: Session, persons: Sequence[Person]) -> list[dict[str, Any]]:
    """How things stand, topic by topic; `entry` is the event that says so. Of who was merged nothing stands any more."""
    return [row for one in persons if one.state != "merged" for row in _consents_of(session, one)]


def _consents_of(session: Session, person: Person) -> list[dict[str, Any]]:
    rows = preferences.of_person(session, person.id or 0)
    said = {one["topic"]: one for one in consents.states(session, person.public_id)}
    found = []
    for topic in topics.everything(session):
        row = rows.get(topic.id or 0)
        if row is None:
            continue
        event = said.get(topic.slug, {})
        words = topics.wording_for(session, topic.id or 0, person.locale or "en")
        found.append(
            {
                "registration": person.public_id,
                "topic": topic.slug,
                "title": words.title,
                "purpose": words.text,
                "state": row.state,
                "basis": row.basis,
                "cadence": row.cadence,
                "since": _at(row.since_at),
                "break_until": _at(row.break_until),
                "valid_until": _at(row.valid_until),
                "wording": event.get("wording"),
                "policy": event.get("policy"),
                "entry": row.last_seq,
            }
        )
    return found


def _wording(session: Session, public_id: str) -> dict[str, Any]:
    """The words that were shown, whole."""
    row = topics.wording_by_public_id(session, public_id)
    if row is None:
        return {"id": public_id, "title": None, "text": None, "sha256": None}
    return {"id": row.public_id, "title": row.title, "text": row.text, "sha256": row.sha256}


def _events(
    session: Session,
    ring: Keyring,
    persons: Sequence[Person],
    keys: Mapping[str, bytes],
    more: Sequence[ledger.Seen],
) -> list[dict[str, Any]]:
    """Every entry about them, and `more`, oldest first, sealed parts in clear; who of the staff did something is not theirs to know,
    that somebody did is."""
    seen = [one for person in persons for one in ledger.of_subject(session, person.public_id)] + [*more]
    opener, ids = Opener(session, ring), {person.public_id for person in persons}
    return [
        {"registration": one.subject if one.subject in ids else None}
        | _event(one, keys.get(one.subject or ""), opener)
        for one in sorted(seen, key=lambda one: one.seq)
    ]


def _looks(session: Session, asked: Sequence[str], wrote: Sequence[str]) -> list[ledger.Seen]:
    """When staff read what they asked for and what they wrote: these entries stand under its id (GDPR 15(1), CJEU C-579/21)."""
    read = [(one, "request.read") for one in asked] + [(one, "contact.read") for one in wrote]
    return [seen for one, kind in read for seen in ledger.of_subject(session, one, kinds=(kind,))]


def _listed(session: Session, persons: Sequence[Person]) -> list[ledger.Seen]:
    """When they stood in a list that staff saw, or went out with an export and why: without the others in it, who are nobody's to
    know here. What it costs: `ledger.naming`, and one more look at the exports, which are few."""
    mine = {person.public_id for person in persons}
    exports = ledger.of_kinds(session, ("people.exported",))
    found = []
    for seen in ledger.naming(session, "people.listed", sorted(mine)):
        if not (own := [one for one in seen.body["people"] if one in mine]):
            continue
        body = seen.body | {"people": own}
        if body.get("export"):
            before = [one for one in exports if one.seq < seen.seq and one.actor == seen.actor]
            body |= {"reason": before[-1].body["reason"]} if before else {}
        found.append(replace(seen, body=body))
    return found


def _event(seen: ledger.Seen, key: bytes | None, opener: Opener) -> dict[str, Any]:
    body = {name: value for name, value in seen.body.items() if not isinstance(value, dict)}
    part, evidence = seen.body.get("evidence"), None
    if isinstance(part, dict) and key is not None:
        try:
            evidence = opener.open(key, part, subject=seen.subject or "", kind=seen.kind)
        except sealing.Unsealable:
            evidence = None
    return {
        "entry": seen.seq,
        "at": _at(seen.at),
        "kind": seen.kind,
        "by": _WHO.get(seen.actor.partition(":")[0], "system"),
        "body": body,
        "evidence": evidence,
        "hash": seen.hash,
    }


def _mails(session: Session, persons: Sequence[Person]) -> list[dict[str, Any]]:
    """What was sent or meant to be, when, and the entry it stood on; newest first."""
    found = [
        (person.public_id, mail)
        for person in persons
        for mail in mailings.of_person(session, person.id or 0, limit=MOST_MAILS)
    ]
    found.sort(key=lambda each: each[1].mailing.id or 0, reverse=True)
    about = _names(session, [one.mailing for _, one in found])
    return [
        {
            "registration": whose,
            "mailing": one.mailing.public_id,
            "about": about[one.mailing.public_id],
            "state": one.state,
            "reason": one.reason or None,
            "at": _at(one.at),
            "code": one.code,
            "reply": one.reply or None,
            "warrant": one.warrant_seq,
        }
        for whose, one in found
    ]


def _names(session: Session, meant: Sequence[Mailing]) -> dict[str, str]:
    """The name of each by its public id; of a single mail, what it was for."""
    of_topics = [one.id for one in meant if one.id and not one.purpose]
    names = {
        id: announcements.name_of(row) for id, row in announcements.by_mailings(session, of_topics).items()
    }
    names |= {id: notices.title_of(row) for id, row in notices.by_mailings(session, of_topics).items()}
    return {one.public_id: one.purpose or names.get(one.id or 0, one.kind) for one in meant}


def _suppressions(session: Session, persons: Sequence[Person]) -> list[dict[str, Any]]:
    """What is in force for the mailbox their mail goes to, and for each that they confirmed: of one they left, what came before."""
    theirs = queries.while_theirs(people_erasing.addresses_of(session, persons))
    found = {one.id: one for one in preferences.suppressed(session, persons[0])}
    for digest, rows in suppressions.live_for(session, list(theirs)).items():
        until = theirs[digest]
        found |= {one.id: one for one in rows if until is None or one.since_at <= until}
    return [
        {"scope": one.scope, "cause": one.cause, "since": _at(one.since_at), "entry": one.source_seq}
        for one in sorted(found.values(), key=lambda one: one.source_seq)
    ]


def _requests(asked: Sequence[queries.Requested]) -> list[dict[str, Any]]:
    """What they asked for under their rights, what became of it, and what staff wrote down of a letter or a call."""
    return [
        {
            "right": one.row.right,
            "door": one.row.door,
            "came_on": one.row.came_on.isoformat(),
            "due_on": one.row.due_on.isoformat(),
            "text": one.text or None,
            "longer_because": one.row.extension or None,
            "outcome": one.row.outcome or None,
            "note": one.row.note or None,
            "closed_at": _at(one.row.closed_at),
        }
        for one in asked
    ]


def disclosed(
    session: Session, persons: Sequence[Person], *, until: datetime | None = None
) -> list[dict[str, Any]]:
    """To whom else something of theirs was given, as far as they may know; for the evidence file too."""
    found = disclosures.known_to(session, [person.public_id for person in persons], until=until)
    return [
        {
            "on": one.made_on.isoformat(),
            "to": one.to,
            "ground": one.ground,
            "document": one.document,
            "scope": one.scope,
            "entry": entry,
        }
        for one, entry in found
    ]


def _messages(
    session: Session, ring: Keyring, wrote: Sequence[ContactRequest], asked: Sequence[queries.Requested]
) -> list[dict[str, Any]]:
    """What was written from their mailboxes or in their name, and what was answered; anybody can type an address into the form, so
    it is `proven` theirs only where staff wrote down how they showed it."""
    shown = {one.row.contact_id for one in asked if queries.noted(one.row)}
    found = []
    for row in wrote:
        answers = [{"at": _at(one.at), "text": one.text} for one in queries.answers(ring, row)]
        came = mailings.open_address(ring, session.get_one(Address, row.address_id))
        known = {"from": came.text, "proven": row.id in shown, "answers": answers}
        found.append({"at": _at(row.created_at), **queries.asked(ring, row), **known})
    return found
