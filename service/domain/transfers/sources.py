"""What other systems call their columns and states, so that an export of theirs is understood by its header. Pure.

Called by `rules`, and by the doors to propose what each column means. Names are compared without case, spaces and signs.
The facts: listmonk's subscriber export (uuid, email, name, attributes, status, created_at, updated_at), Mailchimp's audience
export (one file each for subscribed_, unsubscribed_ and cleaned_ members), Mautic's contact export; and our own.
"""

import re
from collections.abc import Sequence
from pathlib import PurePath

# What a column may mean. `attribute:NAME` and, per topic, `state:SLUG`, `since:SLUG` and `wording:SLUG` come beside these.
ROLES = {
    "email": "E-mail address",
    "external_id": "Your own id for the person",
    "name": "Full name",
    "first_name": "First name",
    "last_name": "Last name",
    "company": "Company",
    "postal_address": "Postal address",
    "telephone": "Telephone",
    "locale": "Language",
    "zone": "Time zone",
    "status": "State there (subscribed, unsubscribed, bounced …)",
    "agreed_at": "When they agreed",
    "agreed_ip": "Network address when they agreed",
    "confirmed_at": "When they confirmed by a mailed button",
    "confirmed_ip": "Network address when they confirmed",
    "no_at": "When they said no",
    "bounced_at": "When their mailbox failed",
    "no_reason": "Why they said no",
    "no_mail": "Must not be written to (yes or no)",
    "tags": "Tags",
    "attributes": "Attributes, as JSON",
}
TOPIC_ROLES = ("state", "since", "wording")

# For each system: the columns that give it away, and what its columns mean.
_KNOWN: dict[str, tuple[frozenset[str], dict[str, str]]] = {
    "bidden": (
        frozenset({"person", "email", "registeredon"}),
        {
            "person": "external_id", "email": "email", "firstname": "first_name", "lastname": "last_name",
            "company": "company", "postaladdress": "postal_address", "telephone": "telephone", "language": "locale",
            "timezone": "zone", "state": "status",
        },
    ),
    "listmonk": (
        frozenset({"uuid", "email", "attributes", "status"}),
        {"uuid": "external_id", "email": "email", "name": "name", "attributes": "attributes", "status": "status"},
    ),
    "mailchimp": (
        frozenset({"leid", "euid"}),
        {
            "emailaddress": "email", "email": "email", "firstname": "first_name", "fname": "first_name",
            "lastname": "last_name", "lname": "last_name", "address": "postal_address", "phonenumber": "telephone",
            "phone": "telephone", "company": "company", "memberrating": "attribute:member_rating", "tags": "tags",
            "optintime": "agreed_at", "optinip": "agreed_ip", "confirmtime": "confirmed_at",
            "confirmip": "confirmed_ip", "timezone": "zone", "euid": "external_id", "unsubtime": "no_at",
            "unsubreason": "no_reason", "cleantime": "bounced_at", "status": "status",
        },
    ),
    "mautic": (
        frozenset({"email", "firstname", "lastname", "points"}),
        {
            "id": "external_id", "email": "email", "firstname": "first_name", "lastname": "last_name",
            "company": "company", "phone": "telephone", "timezone": "zone", "preferredlocale": "locale",
            "tags": "tags", "donotemail": "no_mail", "donotcontact": "no_mail", "dnc": "no_mail",
            "dncreason": "no_mail",
        },
    ),
}  # fmt: skip

# Columns of unknown origin, by what people usually call them.
_USUAL = {
    "email": "email", "emailaddress": "email", "mail": "email", "eposta": "email", "emailadresse": "email",
    "id": "external_id", "externalid": "external_id", "customerid": "external_id", "kundennummer": "external_id",
    "name": "name", "fullname": "name", "firstname": "first_name", "givenname": "first_name", "vorname": "first_name",
    "lastname": "last_name", "surname": "last_name", "familyname": "last_name", "nachname": "last_name",
    "company": "company", "firma": "company", "organisation": "company", "organization": "company",
    "phone": "telephone", "telephone": "telephone", "telefon": "telephone", "language": "locale", "locale": "locale",
    "sprache": "locale", "timezone": "zone", "status": "status", "state": "status", "subscribedat": "agreed_at",
    "optintime": "agreed_at", "optindate": "agreed_at", "consentdate": "agreed_at", "confirmedat": "confirmed_at",
    "unsubscribedat": "no_at", "tags": "tags",
    **dict.fromkeys(
        ("donotemail", "donotcontact", "dnc", "dncreason", "unsubscribed", "optedout", "optout", "emailoptout",
         "hasoptedoutofemail"), "no_mail"
    ),
}  # fmt: skip

SEVERAL = ("no_mail",)  # what more than one column may say, each by itself

# What a state's word means: yes | no | waits | stopped (wants no mail at all) | bounced | complained.
MEANINGS = {
    "yes": "subscribed enabled active confirmed given renewed ok yes",
    "no": "unsubscribed unsubscribe optedout optout withdrawn refused invalidated archived disabled inactive deleted no",
    "waits": "pending unconfirmed requested nonsubscribed transactional unknown expired never",
    "stopped": "blocklisted blacklisted blocked suppressed donotmail donotcontact stopped objected restricted erased",
    "bounced": "cleaned bounced bounce hardbounce hardbounced invalid",
    "complained": "complained complaint spam spamcomplaint abuse abused",
}
_MEANING = {word: meaning for meaning, words in MEANINGS.items() for word in words.split()}
_COMPLAINTS = ("spam", "abuse", "complain")


def system_of(columns: Sequence[str]) -> str | None:
    """Whose export this is: bidden, listmonk, mailchimp or mautic; None when nothing gives it away."""
    names = {bare(name) for name in columns}
    if {"memberrating", "optintime"} <= names:
        return "mailchimp"
    return next((system for system, (signs, _) in _KNOWN.items() if signs <= names), None)


def proposed(columns: Sequence[str], topics: Sequence[str]) -> dict[str, str]:
    """What each column most likely means: column → role; a column not named is left out of the import."""
    system = system_of(columns)
    known = _KNOWN[system][1] if system else _USUAL
    found: dict[str, str] = {}
    for column in columns:
        role = known.get(bare(column)) or _of_topic(column, topics)
        if role and (role not in found.values() or role in SEVERAL):
            found[column] = role
    return found


def _of_topic(column: str, topics: Sequence[str]) -> str | None:
    """Columns of our own export: “new-products state”, “new-products since”, “new-products wording”."""
    slug, _, what = column.rpartition(" ")
    return f"{what}:{slug}" if slug in topics and what in TOPIC_ROLES else None


def state_of_all(file_name: str) -> str | None:
    """What the name of a Mailchimp file says of everybody in it; None where it says nothing."""
    first = re.split(r"[^a-z]", PurePath(file_name).name.lower(), maxsplit=1)[0]
    return (
        _MEANING.get(first) if first in ("subscribed", "unsubscribed", "cleaned", "nonsubscribed") else None
    )


def meaning(word: str) -> str | None:
    """What a state's word means, or None when nobody here knows it."""
    return _MEANING.get(bare(word))


def barred(cell: str) -> bool | None:
    """Whether a cell says that somebody must not be written to; None when nobody here knows (it is not taken for a yes)."""
    word = cell.strip().casefold()
    if re.fullmatch(r"\d{1,9}", word):  # Mautic writes why: 1 they said so, 2 it bounced, 3 by hand
        return int(word) > 0
    if word in ("", "false", "no", "n", "nein"):
        return False
    return True if word in ("true", "y", "x", "ja") or meaning(word) not in (None, "waits") else None


def complains(reason: str) -> bool:
    """Whether the reason of a no is that the mail was reported."""
    return any(sign in reason.lower() for sign in _COMPLAINTS)


def bare(name: str) -> str:
    """A name without case, spaces and signs."""
    return re.sub(r"[\W_]", "", name.casefold())
