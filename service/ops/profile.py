"""What is done with everybody's data, in versions, so that a consent can show what was done when it was given (ISO/IEC TS 27560).

Put down at the first start and, where something changed, by the clock; the record of processing has the same parts. It comes
from the database alone, so that each process makes the same of it; texts are English, or as staff entered them.
"""

from datetime import datetime
from typing import Any

from sqlmodel import Session

from service.db.locks import lock_ledger_tail
from service.domain.api_keys import queries as keys
from service.domain.brands import queries as brands
from service.domain.brands.tables import Brand
from service.domain.policies import actions as policies
from service.domain.policies import queries as policy_queries
from service.domain.policies import rules as policy_rules
from service.domain.privacy import periods, retention

SCHEMA = "urn:bidden:processing-profile:1"
_IP = {"none": "is not kept", "truncated": "is kept cut short", "full": "is kept whole for {days} days"}
# Of a person: what it is called, and whether they may leave it out (standards J2).
DATA = (
    ("e-mail address", False),
    ("language and time zone", True),
    ("first and last name", True),
    ("company", True),
    ("postal address", True),
    ("telephone", True),
    ("choices, each with its time, page, words and program", False),
    ("mails sent and their outcome", False),
)
COLLECTED = (
    "from the person: our own pages and the answers to our mails",
    "from a site where they registered, over its key",
    "from an earlier list, imported with where it came from",
)
DONE = ("kept under a key of the person's own", "chosen by what they agreed to", "put into mails", "erased")
WITHDRAWAL = (
    "the link under every mail: one press, without signing in",
    "the mail program's own button (RFC 8058)",
    "the page of choices, for each topic or all at once",
    "the site where they registered",
    "a message by the contact page",
)
RIGHTS = (
    "access and a copy (GDPR Art. 15)",
    "rectification (Art. 16)",
    "erasure (Art. 17)",
    "restriction (Art. 18)",
    "portability (Art. 20)",
    "objection (Art. 21)",
    "withdrawal of consent at any time (Art. 7(3))",
    "complaint to a supervisory authority (Art. 77)",
)


def keep(session: Session, *, now: datetime) -> None:
    """Put a new version down where what is done has changed."""
    # Before it is read: else whoever waited here would put down again what another has just replaced.
    lock_ledger_tail(session)
    policies.publish_profile(session, profile(session), now=now)


def changed(session: Session) -> bool:
    """Whether the last version says something else."""
    last = policy_queries.profile(session)
    return last is None or last.sha256 != policy_rules.profile_text(profile(session))[1]


def profile(session: Session) -> dict[str, Any]:
    """What is done, as a receipt tells it to people (standards J1 and J2)."""
    known = brands.settings(session)
    attributes = [
        (f"{name}: {purpose.rstrip('.')}", True) for name, purpose, _ in retention.attribute_days(session)
    ]
    return {
        "schema": SCHEMA,
        "parties": _parties(session, known),
        "recipients": standing(session, known),
        "personal_data": [
            {"what": what, "optional": optional, "special": False}
            for what, optional in (
                *DATA,
                *attributes,
                (f"network address with a choice; it {network(known)}", False),
            )
        ],
        "collection_methods": list(COLLECTED),
        "processing_methods": list(DONE),
        "locations": known["places"].splitlines(),
        "transfers": known["transfers"],
        "retention": [{"what": one["what"], "days": one["days"]} for one in kept(session)],
        "withdrawal_methods": list(WITHDRAWAL),
        "rights": list(RIGHTS),
        "authority": known["authority"],
    }


def _parties(session: Session, known: dict[str, Any]) -> list[dict[str, str]]:
    """Who answers for it, and who works on it for them."""
    found = [
        {"party_id": one.name, "role": "controller"} | controller(one) for one in brands.everyone(session)
    ]
    if known["data_protection_officer"]:
        found.append({"role": "data protection officer", "name": known["data_protection_officer"]})
    return found + [{"role": "processor", "name": line} for line in known["processors"].splitlines() if line]


def controller(brand: Brand) -> dict[str, str]:
    """Who answers for it."""
    return {
        "name": brand.title,
        "postal_address": brand.postal_address,
        "contact": brands.reply_to(brand),
        "site": brand.public_url,
    }


def standing(session: Session, known: dict[str, Any]) -> list[dict[str, str]]:
    """Who gets to see something day by day."""
    sites = sorted({one.source for one in keys.everyone(session) if one.revoked_at is None})
    found = [{"who": line, "what_for": "processor"} for line in known["processors"].splitlines() if line]
    found += [{"who": f"site {one}", "what_for": "sees and changes its own people"} for one in sites]
    return [*found, {"who": "The readers' mailbox providers", "what_for": "take the mails in"}]


def network(known: dict[str, Any]) -> str:
    """What becomes of the network address that a choice came from."""
    return _IP[known["ip_evidence"]].format(days=known["ip_days"])


def kept(session: Session) -> list[dict[str, Any]]:
    """How long what is kept, in days; None: until the person is erased. `by_itself`: nobody has to think of it; then `since` says
    from when the days count, `goes` what goes, `stays` what is left."""
    settings = brands.settings(session)
    more = {"since": "", "goes": "", "stays": ""}
    kept: list[dict[str, Any]] = [
        {"what": what, "purpose": "", "days": None, "by_itself": False} | more for what in periods.WHILE_KNOWN
    ]
    for one in periods.CLASSES:
        line: dict[str, Any] = {"by_itself": True, "since": one.begins, "goes": one.goes, "stays": one.stays}
        if one.name != periods.ATTRIBUTES:
            kept.append({"what": one.holds, "purpose": "", "days": one.period(settings)} | line)
        for name, purpose, days in (
            retention.attribute_days(session) if one.name == periods.ATTRIBUTES else ()
        ):
            kept.append({"what": f"attribute {name}", "purpose": purpose, "days": days} | line)
    return kept
