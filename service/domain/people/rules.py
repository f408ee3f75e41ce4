"""What may be said about a person: profile fields, attributes, names, zones. Pure."""

import re
import zoneinfo
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from service.kit.errors import Conflict, Invalid, NotFound

PROFILE = ("first_name", "last_name", "company", "postal_address", "telephone")
LIMITS = {"first_name": 200, "last_name": 200, "company": 200, "postal_address": 500, "telephone": 50}
MAX_ATTRIBUTES = 40
COUNTRY = "country"  # two that become one live where either was said to: the law is as strict as the stricter
MAX_DAYS, MAX_PURPOSE = 3650, 200
KINDS = {
    "text": "a text or a list of texts",
    "number": "a whole number",
    "flag": "true or false",
    "tags": "a text or a list of texts",
}
# Attributes lie in clear and are filtered by, so none may say who somebody is (design.md 4). These are the names
# under which sites keep what does, without the signs between their words.
_IDENTIFYING_WORDS = (
    "email mail emailaddress mailaddress phone phonenumber telephone telephonenumber tel mobile mobilephone cell "
    "fax name fullname firstname givenname forename middlename lastname familyname surname nickname username "
    "login company companyname employer address postaladdress homeaddress street streetaddress addressline ip "
    "ipaddress birthday birthdate dateofbirth dob ssn passport iban vorname nachname telefon handy firma adresse "
    "anschrift strasse geburtstag geburtsdatum"
)
IDENTIFYING = frozenset(_IDENTIFYING_WORDS.split())
_AN_ADDRESS = re.compile(r"[^\s@<>,;]@[^\s@<>,;]+\.[^\s@<>,;.]")
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_LOCALE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8}){0,2}")
_WORD = re.compile(r"=\?[^?]*\?[bqBQ]\?")


class UnknownPerson(NotFound):
    """We know nobody by that id."""


class Erased(Conflict):
    """The data of this person was erased; only they can come back, by signing up themselves."""

    fix_hint = (
        "They sign up on the page /join and press the button in the mail; after that this is accepted again."
    )


class NameTooLong(Invalid):
    """That is longer than a name can be: at most 200 characters."""


class HeaderControlChar(Invalid):
    """That holds a character that cannot be seen or would break a mail; please type it again."""


class ProfileInvalid(Invalid):
    """That is not a profile we can keep."""


class ExternalIdInvalid(Invalid):
    """An external id is 1 to 200 visible characters, with no space before or behind."""


class AttributeInvalid(Invalid):
    """An attribute has a short plain name and a text, number, yes/no or list of texts as its value."""


class AttributeIdentifying(Invalid):
    """An attribute must not say who somebody is: it lies in clear, for choosing an audience by."""

    fix_hint = "Names, addresses and numbers of a person belong in email and profile, which are sealed."


class AttributeUnknown(NotFound):
    """No site has given an attribute by that name."""


class DaysInvalid(Invalid):
    """An attribute is kept for 1 to 3,650 days."""


class PurposeInvalid(Invalid):
    """A purpose is one line of at most 200 characters."""


class ZoneUnknown(Invalid):
    """That is not a time zone we know, such as Europe/Berlin."""


class LocaleInvalid(Invalid):
    """That is not a language tag, such as en or de-AT."""


class AddressTaken(Conflict):
    """That address already belongs to another person."""


def profile(given: dict[str, Any]) -> dict[str, str]:
    """The profile cleaned: only the fields the policy names (design.md 4), trimmed, without unsafe characters."""
    cleaned = {}
    for name, value in given.items():
        if name not in PROFILE:
            raise ProfileInvalid(field=f"profile.{name}", fix=f"Known fields: {', '.join(PROFILE)}.")
        if value is None:
            value = ""
        if not isinstance(value, str):
            raise ProfileInvalid(field=f"profile.{name}")
        cleaned[name] = _line(value, f"profile.{name}", LIMITS[name], many=name == "postal_address")
    return cleaned


def _line(value: str, field: str, limit: int, *, many: bool = False) -> str:
    value = value.strip()
    if len(value) > limit:
        raise NameTooLong(field=field)
    if _UNSAFE.search(value.replace("\n", "").replace("\r", "") if many else value) or _WORD.search(value):
        raise HeaderControlChar(field=field)
    if not many and ("\n" in value or "\r" in value):
        raise HeaderControlChar(field=field)
    return value


def attributes(given: dict[str, Any], declared: Mapping[str, str]) -> dict[str, tuple[str, list[str]]]:
    """Attributes cleaned: name → (type, values as text). An empty list or null removes the attribute.

    `declared` are the types known already, name → type. Raises `AttributeInvalid`, also for a value of another
    type than declared; `AttributeIdentifying` for a name or a value that says who somebody is.
    """
    if len(given) > MAX_ATTRIBUTES:
        raise AttributeInvalid(field="attributes", fix=f"At most {MAX_ATTRIBUTES} attributes.")
    cleaned = {}
    for name, value in given.items():
        bare, plain = _name(name[:64])  # what is longer is no name, and is not kept
        if bare in IDENTIFYING and value not in (None, "", []):  # one from before can still be taken away
            raise AttributeIdentifying(field=f"attributes.{bare}")
        if not plain:
            raise AttributeInvalid(
                field="attributes", fix="Names are lower-case letters, figures and underscores, at most 40."
            )
        kind, values = _values(value, f"attributes.{name}")
        if any(_AN_ADDRESS.search(one) for one in values):
            raise AttributeIdentifying(field=f"attributes.{name}")
        cleaned[name] = kind, values
        _check_kind(name, kind, values, declared)
    return cleaned


@lru_cache(maxsize=1024)
def _name(name: str) -> tuple[str, bool]:
    """An attribute's name without the signs between its words, and whether it is one as names are written."""
    return re.sub(r"[^a-z0-9]", "", name.lower()), bool(re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name))


def check_kinds(cleaned: Mapping[str, tuple[str, list[str]]], declared: Mapping[str, str]) -> None:
    """Raises `AttributeInvalid` for a value of another type than its attribute was declared with."""
    for name, (kind, values) in cleaned.items():
        _check_kind(name, kind, values, declared)


def _check_kind(name: str, kind: str, values: list[str], declared: Mapping[str, str]) -> None:
    known = declared.get(name, kind)
    if values and kind != known and _base(kind) != _base(known):
        fix = f"{name} is known here as {KINDS[known]}."
        raise AttributeInvalid(field=f"attributes.{name}", fix=fix)


def _base(kind: str) -> str:
    """One text or several are the same to whoever filters by them."""
    return "text" if kind == "tags" else kind


def _values(value: Any, field: str) -> tuple[str, list[str]]:
    if value is None:
        return "text", []
    if isinstance(value, bool):
        return "flag", ["true" if value else "false"]
    if isinstance(value, int):
        return "number", [str(value)]
    if isinstance(value, str):
        return "text", [_line(value, field, 200)] if value.strip() else []
    if isinstance(value, list) and len(value) <= 50 and all(isinstance(one, str) for one in value):
        return "tags", sorted({_line(one, field, 200) for one in value if one.strip()})
    raise AttributeInvalid(field=field)


def as_given(kind: str, values: list[str]) -> Any:
    """An attribute as a site gave it: a text, a number, yes/no, or a list of tags."""
    if kind == "tags" or len(values) != 1:
        return values
    [value] = values
    if kind == "flag" and value in ("true", "false"):
        return value == "true"
    return int(value) if kind == "number" and re.fullmatch(r"-?[0-9]+", value) else value


def external_id(given: str) -> str:
    """A source's id for a person: kept as it is, if it is visible text of 1 to 200 characters."""
    if not 1 <= len(given) <= 200 or given != given.strip() or _UNSAFE.search(given) or "\n" in given:
        raise ExternalIdInvalid(field="external_id")
    return given


def zone(given: str | None) -> str | None:
    """An IANA zone name, or nothing."""
    if not given:
        return None
    try:
        zoneinfo.ZoneInfo(given)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as unknown:
        raise ZoneUnknown(field="zone") from unknown
    return given


def locale(given: str | None) -> str | None:
    """A language tag (RFC 5646, the common part), or nothing."""
    if not given:
        return None
    if not _LOCALE.fullmatch(given):
        raise LocaleInvalid(field="locale")
    return given.replace("_", "-")
