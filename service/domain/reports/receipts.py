"""Consent receipts: one for each consent record of a person, in JSON-LD with DPV terms, with the proof of its entries
(ISO/IEC TS 27560; W3C DPV 2). Called by `bidden prove --receipts`; `verify_ledger.py` checks the proof in a receipt as it stands.

A receipt holds opaque ids and what the ledger says in clear: no address, no name, nothing that stands sealed. `processing` is what was
done with people's data when they last said something; None where that had not been put down yet.
"""

from datetime import datetime
from typing import Any

from sqlmodel import Session

from service.domain.brands import queries as brands
from service.domain.consent import jurisdictions
from service.domain.consent import queries as consents
from service.domain.ledger import bundles
from service.domain.ledger.queries import Seen
from service.domain.people.tables import Person
from service.domain.policies import queries as policies
from service.domain.preferences import queries as preferences
from service.domain.topics import queries as topics
from service.kit.ids import new_id
from service.kit.signing import Keyring

SCHEMA, CONTEXT = "urn:bidden:receipt:1", "urn:bidden:receipt-context:1"
STATUS = {
    "unknown": "ConsentUnknown",
    "requested": "ConsentRequested",
    "given": "ConsentGiven",
    "renewed": "RenewedConsentGiven",
    "refused": "ConsentRefused",
    "withdrawn": "ConsentWithdrawn",
    "expired": "ConsentExpired",
    "invalidated": "ConsentRevoked",  # only the controller does it, by taking an import back
}
BASES = {
    "consent": "Consent",
    "soft_opt_in": "LegitimateInterest",
    "implied_purchase": "ImpliedConsent",
    "implied_inquiry": "ImpliedConsent",
    "contract": "Contract",
    "legal_obligation": "LegalObligation",
}


def of_person(session: Session, ring: Keyring, person: Person, *, now: datetime) -> list[dict[str, Any]]:
    """Every receipt of a person, in the order of the topics' slugs; none where nothing was ever said.

    Raises `NotSignedYet` where the last signed head is older than the last entry, `TreeDiffers`.
    """
    by_topic: dict[str, list[Seen]] = {}
    for one in consents.events(session, person.public_id):
        if one.body.get("topic"):
            by_topic.setdefault(one.body["topic"], []).append(one)
    return [
        _receipt(session, ring, person, slug, by_topic[slug], now=now)
        | _proved(session, ring, by_topic[slug])
        for slug in sorted(by_topic)
    ]


def _proved(session: Session, ring: Keyring, said: list[Seen]) -> dict[str, Any]:
    done = policies.profiles_at(session, [said[-1].seq])
    seqs = [one.seq for one in said] + [one.entry_seq for one in done]
    return {
        "processing": policies.profile_as_read(done[0]) if done else None,
        "proof": bundles.proof(session, sorted(seqs), ring),
    }


def _receipt(
    session: Session, ring: Keyring, person: Person, slug: str, said: list[Seen], *, now: datetime
) -> dict[str, Any]:
    topic, last = topics.by_slug(session, slug), said[-1]
    assert person.id is not None
    assert topic.id is not None
    record = consents.record(session, person.id, topic.id)
    brand = brands.by_id(session, topic.brand_id)
    basis = last.body.get("basis", "consent")
    return {
        "@context": CONTEXT,
        "@type": "ConsentReceipt",
        "conformsTo": SCHEMA,
        "receipt_id": new_id("r"),
        "record_id": record.record_id if record else None,
        "issued_at": now.isoformat(),
        "subject": person.public_id,
        "controller": {
            "@type": "DataController",
            "party_id": brand.name,
            "name": brand.title,
            "address": brand.postal_address,
            "contact": brands.reply_to(brand),
            "url": brand.public_url,
        },
        "purpose": slug,
        "notice": _notice(session, said),
        "policy": _policy(session, said),
        "basis": basis,
        "legal_basis": BASES.get(basis),
        "state": _state(last),
        "status": STATUS[_state(last)],
        "jurisdiction": _laws(session, person),
        "valid_until": record.valid_until.isoformat() if record and record.valid_until else None,
        "events": [_event(one) for one in said],
    }


def _laws(session: Session, person: Person) -> list[str] | None:
    """Whose law the gate heeds of this person; none known is the strictest."""
    lines = [jurisdictions.of(one) for one in preferences.countries(session, person)]
    return sorted({one.name for one in lines if one}) or None


def _state(one: Seen) -> str:
    return str(one.body.get("state") or one.kind.partition(".")[2])


def _event(one: Seen) -> dict[str, Any]:
    return {
        "entry": one.seq,
        "at": one.at.isoformat(),
        "state": _state(one),
        "status": STATUS[_state(one)],
        "actor": one.actor,
        "method": one.body.get("method"),
        "source": one.body.get("source"),
        "wording": one.body.get("wording"),
        "wording_sha256": one.body.get("wording_sha256"),
        "policy": one.body.get("policy"),
        "hash": one.hash,
    }


def _notice(session: Session, said: list[Seen]) -> dict[str, Any] | None:
    """The last words that were shown, with the hash that the entry gives; None where no entry names any."""
    for one in reversed(said):
        if digest := one.body.get("wording_sha256"):
            text = topics.wording_by_public_id(session, one.body.get("wording") or "")
            return {
                "id": text.public_id if text else None,
                "version": text.version if text else None,
                "language": text.locale if text else None,
                "title": text.title if text else None,
                "frequency": text.frequency if text else None,
                "text": text.text if text else None,
                "sha256": digest,
            }
    return None


def _policy(session: Session, said: list[Seen]) -> dict[str, Any] | None:
    """What was shown with the last words, or since: an earlier policy was shown with other words."""
    for one in reversed(said):
        if name := one.body.get("policy"):
            text = policies.by_version_name(session, name)
            return {
                "id": name,
                "version": text.version if text else None,
                "sha256": text.sha256 if text else None,
            }
        if one.body.get("wording_sha256"):
            break
    return None
