"""The record of processing (GDPR 30), made anew each time from topics, settings, keys and configuration: nobody keeps it by hand,
so it says what is done and not what was meant. Called by the staff's page and `bidden privacy record`.

What no configuration knows (the data protection officer, processors, transfers) are settings; what is missing is named in
`missing`, not passed over. It holds nobody's data but the names of staff.
"""

from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from sqlmodel import Session

from service.config import Settings
from service.domain.brands import queries as brands
from service.domain.privacy import disclosures
from service.domain.staff import queries as staff
from service.domain.topics import queries as topics
from service.domain.topics.tables import Topic
from service.kit.signing import Keyring
from service.ops import profile, records
from service.ops.house import House

SCHEMA = "urn:bidden:record-of-processing:1"
GROUNDS = {
    "consent": "Consent, GDPR Art. 6(1)(a)",
    "soft_opt_in": "Legitimate interest, GDPR Art. 6(1)(f), with ePrivacy Art. 13(2)",
    "contract": "Contract, GDPR Art. 6(1)(b)",
    "legal_obligation": "Legal obligation, GDPR Art. 6(1)(c)",
}
READERS = "People who chose these mails, or whom a contract or the law has them sent to"
MAIL_DATA = "address, name and profile as far as the mail uses them, attributes that choose whom it concerns, what was agreed and sent"
# What is done beside the topics: purpose, ground, whose data, which.
ALWAYS = (
    (
        "Proof of what people agreed to, and of what was sent",
        "Legal obligation, GDPR Art. 6(1)(c) with Art. 7(1) and 5(2)",
        "Everybody registered",
        "each choice with its time, page, words and program; each mail's outcome without its text",
    ),
    (
        "Never writing again to whoever said no",
        "Legal obligation, GDPR Art. 6(1)(c) with Art. 21(3)",
        "Whoever objected, complained, bounced or was erased",
        "a keyed hash of the address and the cause",
    ),
    (
        "Mails that were asked for: confirmations, links, sign-in, answers",
        "Contract or a step before one, GDPR Art. 6(1)(b)",
        "Whoever asked for one",
        "address, language, what was asked",
    ),
    (
        "Answering messages and requests under people's rights",
        "Legal obligation, GDPR Art. 6(1)(c) with Art. 12",
        "Whoever writes",
        "name, address, message, answer",
    ),
    (
        "Accounts of staff, and the record of what they did and looked at",
        "Legitimate interest, GDPR Art. 6(1)(f): security",
        "Staff",
        "name, address, role, password hash, acts",
    ),
)


def record(session: Session, house: House, *, now: datetime) -> dict[str, Any]:
    """The whole record, as data; texts are English, instants ISO 8601 in UTC."""
    known, settings = brands.settings(session), house.settings
    made = {
        "schema": SCHEMA,
        "made_at": now.isoformat(timespec="seconds"),
        "controllers": [profile.controller(one) for one in brands.everyone(session)],
        "data_protection_officer": known["data_protection_officer"],
        "privacy_officers": [
            one.name
            for one in staff.members(session)
            if one.role == "privacy_officer" and one.state == "active"
        ],
        "activities": [*(_topic(session, one) for one in topics.everything(session)), *_always()],
        "kept": profile.kept(session),
        "recipients": _recipients(session, settings, known),
        "transfers": known["transfers"],
        "places": [*_places(settings), *_entered(known)],
        "authority": known["authority"],
        "measures": _measures(session, house.ring, settings, known),
    }
    return made | {"missing": _missing(made)}


def _topic(session: Session, topic: Topic) -> dict[str, Any]:
    """A topic is a purpose of its own."""
    words = topics.wording_for(session, topic.id or 0, "en")
    return {
        "purpose": words.title,
        "about": words.frequency,
        "topic": topic.slug,
        "class": topic.mail_class,
        "ground": GROUNDS[topic.basis],
        "people": READERS,
        "data": MAIL_DATA,
        "state": topic.state,
        "since": min(one.published_at for one in topics.wordings(session, topic.id or 0)).date().isoformat(),
    }


def _always() -> list[dict[str, Any]]:
    nothing = {"about": "", "topic": None, "class": None, "state": "active", "since": None}
    return [
        {"purpose": purpose, "ground": ground, "people": people, "data": data} | nothing
        for purpose, ground, people, data in ALWAYS
    ]


def _recipients(session: Session, settings: Settings, known: dict[str, Any]) -> list[dict[str, str]]:
    """Who gets to see something: the mail server, processors, sites, and whom the register of disclosures names, but for what is
    secret: this record is handed out."""
    hosts = sorted({urlsplit(one.strip()).hostname or "" for one in settings.smtp_url.split(",")} - {""})
    given = sorted({one.to for one in disclosures.register(session) if one.may_know})
    found = [{"who": host, "what_for": "passes the mails on"} for host in hosts]
    found += profile.standing(session, known)
    return found + [{"who": one, "what_for": "was given something, see the register"} for one in given]


def _places(settings: Settings) -> list[dict[str, str]]:
    """Where it lies; of a server's address only the host."""
    url = urlsplit(settings.database)
    database = f"PostgreSQL at {url.hostname or 'this machine'}" if url.netloc else "SQLite on this machine"
    return [
        {"what": "the database", "where": database},
        {"what": "noes, erasures and signed heads, a second time", "where": str(settings.safe)},
    ]


def _entered(known: dict[str, Any]) -> list[dict[str, str]]:
    return [{"what": "the machines", "where": line} for line in known["places"].splitlines() if line]


def _measures(session: Session, ring: Keyring, settings: Settings, known: dict[str, Any]) -> list[str]:
    """What is done for security (Art. 32), as it is set just now."""
    signed = any(one.signs for one in records.signing(session, ring))
    return [
        "Addresses and profiles are encrypted under a key for each person; erasure destroys the key.",
        "The key ring lies outside the database.",
        "Every change, and that staff open, list or take out people's data, stands in a ledger that shows tampering.",
        "Signed heads of the ledger lie outside the database.",
        "Roles: who may look, reveal, export and erase is one table.",
        "Logs, addresses of pages and error messages hold no personal data.",
        "Mails hold no pixels and no links that report an opening or a click.",
        f"The network address with a consent {profile.network(known)}.",
        f"A second person {'approves' if known['two_person_approval'] else 'need not approve'} an announcement.",
        f"Mail is {'signed here' if signed else 'not signed here'} (DKIM).",
        "Pages and API are reached through https."
        if settings.base_url.startswith("https:")
        else "Pages and API are open on this machine alone, without https.",
    ]


def _missing(made: dict[str, Any]) -> list[str]:
    """What Art. 30(1) asks for and nobody has entered."""
    found = [
        f"the postal address of {one['name']}" for one in made["controllers"] if not one["postal_address"]
    ]
    if not made["data_protection_officer"] and not made["privacy_officers"]:
        found.append("somebody responsible: a data protection officer, or a privacy officer among the staff")
    return found
