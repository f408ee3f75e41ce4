"""Which settings there are, what a brand's fields may hold, how selectors are named. Pure; called by `actions`,
topics and settings pages.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from string import ascii_lowercase
from typing import Any
from urllib.parse import urlsplit

from service.domain.brands import limits
from service.kit import addresses
from service.kit.errors import Conflict, Invalid, NotFound
from service.mail.colours import AA, contrast
from service.mail.headers import clean_header, is_loopback


class BrandUnknown(NotFound):
    """There is no brand by that name."""


class UnknownField(Invalid):
    """There is no field by that name."""


class SettingInvalid(Invalid):
    """That value does not fit this setting."""


class TextMissing(Invalid):
    """This field cannot be empty."""


class TextTooLong(Invalid):
    """That text is too long."""


class FromDomainNotYours(Invalid):
    """Mail cannot be sent in the name of a mailbox provider; use a domain of your own."""

    fix_hint = "Give a domain whose DNS you control, such as mail.example.org."


class DomainInvalid(Invalid):
    """That is not a domain name, such as example.org."""


class ReplyToNotMonitored(Invalid):
    """Readers must be able to answer: a no-reply address needs a Reply-To that somebody reads."""

    fix_hint = "Set reply_to to a mailbox that is read, such as hello@example.org."


class UrlInvalid(Invalid):
    """An address on the web begins with https:// and holds no spaces."""


class ColourContrast(Invalid):
    """White text cannot be read on that colour; choose a darker one."""


class SelectorUnknown(NotFound):
    """This brand has no DKIM key by that selector."""


class SelectorInvalid(Invalid):
    """A selector is one label of a domain name: letters, digits and dashes, at most 63."""


class DatabaseBehind(Conflict):
    """This database does not have all that was signed outside it: it is a copy from an earlier day, and people may have said
    no since. Nothing leaves until that is read in."""

    fix_hint = "bidden db merge"


class SelectorTaken(Conflict):
    """There is, or was, a key by that selector; a selector never comes back with another key."""


class TwoSelectorsLive(Conflict):
    """A brand has at most two live keys: the one that signs, and the one before or after it."""


class SelectorRetired(Conflict):
    """That key is retired, and its private half is gone."""

    fix_hint = "Make another one: bidden brand dkim new"


class SelectorSigns(Conflict):
    """That key signs the brand's mail; without it mail would leave unsigned."""

    fix_hint = "Let another one sign first (bidden brand dkim use), or say --unsigned if that is wanted."


class SelectorOfAnotherDomain(Conflict):
    """That key was made for another From domain, and a signature in its name would not count."""

    fix_hint = "Make one for the present domain: bidden brand dkim new"


@dataclass(frozen=True)
class Kind:
    """One setting: its type (flag, number, choice, text, hours, limits or plan), its default, the sentence that explains it."""

    name: str
    type: str
    default: Any
    sentence: str
    least: int = 0
    most: int = 0
    choices: tuple[str, ...] = ()
    optional: bool = False


TEXT_LIMIT = 2_000
_IP = ("none", "truncated", "full")

SETTINGS = {
    kind.name: kind
    for kind in (
        Kind("sending_on", "flag", True, "Mail is sent. Off: nothing leaves until it is on again."),
        Kind("two_person_approval", "flag", False, "Another than its author approves an announcement."),
        Kind(
            "quiet_hours",
            "hours",
            None,
            "Such as 20:00-08:00, on each reader's own clock: announcements wait for their end. Empty: none.",
            optional=True,
        ),
        Kind(
            "weekly_cap",
            "number",
            None,
            "For one person in seven days; further ones wait for a week to pass. Empty: no limit.",
            1,
            50,
            optional=True,
        ),
        Kind(
            "ip_evidence",
            "choice",
            "truncated",
            "How much of an IP address is kept with a consent.",
            choices=_IP,
        ),
        Kind(
            "domain_limits",
            "limits",
            None,
            "Most letters an hour and connections of each sender, a domain a line, as "
            "gmail.com per_hour=2000 connections=4. Empty: none.",
            optional=True,
        ),
        Kind(
            "warm_up",
            "plan",
            None,
            "Most letters of mailings on each day from a date on (UTC), as 2026-12-01: 200 400 800; "
            "the others wait for the next day. Empty: none.",
            optional=True,
        ),
        Kind(
            "data_protection_officer",
            "text",
            "",
            "Name and how to reach them, for the record of processing. Empty: there is none.",
        ),
        Kind(
            "processors",
            "text",
            "",
            "Who works on the data for you, a line each: who, for what, where, since which contract.",
        ),
        Kind("transfers", "text", "", "What leaves the EEA, and under which safeguards. Empty: nothing."),
        Kind("places", "text", "", "Where the data lies, a line each: country, and whose machines."),
        Kind("authority", "text", "", "The authority people may complain to: name and address."),
        Kind("unconfirmed_days", "number", 30, "Days until an unconfirmed sign-up is forgotten.", 1, 365),
        Kind("requests_days", "number", 1095, "Days until closed requests and messages go.", 30, 3650),
        Kind("ip_days", "number", 365, "Days until a whole IP address kept as evidence goes.", 30, 3650),
    )
}

FIELDS = {
    "title": "The name readers know you by.",
    "postal_address": "Stands under every mail; without it no announcement is sent.",
    "from_domain": "The domain after the @ of every sender; it must be yours.",
    "reply_to": "Where answers arrive; somebody reads it. Until set: hello@ the From domain.",
    "bounce_domain": "Where undeliverable mail is reported. Until set: the From domain.",
    "public_url": "Your own site, linked under every mail.",
    "logo_url": "A picture at the head of every mail.",
    "colour": "Of buttons and links, as # and six hexadecimal digits.",
}
_LONGEST = {"title": 120, "postal_address": 500, "from_domain": 253, "reply_to": 320, "bounce_domain": 253}
_REQUIRED = ("title", "from_domain", "colour")

# Nobody but the provider may send in these names (standards F2); "yahoo." stands for every country of it.
_PROVIDER_DOMAINS = """
    gmail.com googlemail.com icloud.com me.com mac.com aol.com msn.com mail.ru bk.ru inbox.ru list.ru
    internet.ru ya.ru rambler.ru proton.me protonmail.com pm.me web.de t-online.de freenet.de qq.com 163.com
    126.com naver.com zoho.com fastmail.com mail.com tutanota.com hey.com orange.fr free.fr laposte.net
    libero.it seznam.cz wp.pl
"""
_PROVIDERS = frozenset(_PROVIDER_DOMAINS.split())
_PROVIDER_FAMILIES = frozenset({"yahoo", "ymail", "outlook", "hotmail", "live", "yandex", "gmx"})
_SHARED_SUFFIXES = frozenset({"co", "com", "net", "org"})  # the middle label of yahoo.co.uk and yahoo.com.br
_NO_REPLY = re.compile(r"(no|non|not|do-?not|dont|never)[._-]?repl(y|ies)|noreply.*", re.IGNORECASE)
_MAILBOX = re.compile(r"[a-z0-9](?:[a-z0-9._+-]{0,62}[a-z0-9])?")
_ON_WORDS, _OFF_WORDS = ("true", "on", "yes", "1"), ("false", "off", "no", "0", "")
_SELECTOR = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_HOUR = re.compile(r"([01]\d|2[0-3]):[0-5]\d")


def check_field(name: str, typed: str) -> str:
    """The value of a brand's field in its stored form; raises the errors above, naming the field."""
    if name not in FIELDS:
        raise UnknownField(f"A brand has no field {name!r}.", field=name, fix="Known: " + ", ".join(FIELDS))
    text = typed.strip().replace("\r\n", "\n")
    for line in text.split("\n") if name == "postal_address" else [text]:
        clean_header(line, field=name)
    if not text and name in _REQUIRED:
        raise TextMissing(field=name)
    if len(text) > _LONGEST.get(name, 255):
        raise TextTooLong(field=name)
    return _checked(name, text) if text else ""


def _checked(name: str, text: str) -> str:
    if name == "from_domain":
        return own_domain(text)
    if name == "bounce_domain":
        return domain(text, field=name)
    if name == "reply_to":
        return check_reply_to(text)
    if name in ("public_url", "logo_url"):
        return check_url(text, field=name)
    return check_colour(text) if name == "colour" else text


def domain(text: str, *, field: str) -> str:
    """A public domain as A-label in lower case. Raises `DomainInvalid`."""
    try:
        return addresses.parse(f"x@{text.rstrip('.')}", field=field).domain
    except Invalid as wrong:
        raise DomainInvalid(field=field) from wrong


def own_domain(text: str) -> str:
    """A From domain: public, and not a mailbox provider's (standards F2). Raises `FromDomainNotYours`."""
    name = domain(text, field="from_domain")
    labels = name.split(".")
    tails = {".".join(labels[start:]) for start in range(len(labels))}
    owner = labels[-3] if len(labels) > 2 and labels[-2] in _SHARED_SUFFIXES else labels[-2]
    if tails & _PROVIDERS or owner in _PROVIDER_FAMILIES:
        raise FromDomainNotYours(field="from_domain")
    return name


def is_no_reply(mailbox: str) -> bool:
    """Whether a local part says that nobody reads it."""
    return _NO_REPLY.fullmatch(mailbox) is not None


def check_reply_to(text: str) -> str:
    """A mailbox that somebody reads (standards F10)."""
    address = addresses.parse(text, field="reply_to")
    if is_no_reply(address.local):
        raise ReplyToNotMonitored(field="reply_to")
    return address.text


def check_mailbox(mailbox: str, *, reply_to: str) -> str:
    """The local part of a From address. A no-reply one needs a Reply-To of the brand (standards F10)."""
    text = mailbox.strip().lower()
    if not _MAILBOX.fullmatch(text) or ".." in text:
        raise addresses.AddressSyntax("A sender's mailbox is a word such as news.", field="mailbox")
    if is_no_reply(text) and not reply_to:
        raise ReplyToNotMonitored(field="mailbox")
    return text


def check_url(text: str, *, field: str) -> str:
    """An https address, or http on this machine itself. Raises `UrlInvalid`."""
    try:
        parts = urlsplit(text)
        loopback = is_loopback(text)
    except ValueError as wrong:
        raise UrlInvalid(field=field) from wrong
    secure = parts.scheme == "https" or (parts.scheme == "http" and loopback)
    if not secure or not parts.hostname or parts.username or re.search(r"[\s<>\"'`\\]", text):
        raise UrlInvalid(field=field)
    return text


def check_colour(text: str) -> str:
    """A colour on which white text can be read (WCAG 1.4.3)."""
    if contrast(text, "#FFFFFF") < AA:
        raise ColourContrast(field="colour")
    return text.upper()


def check_selector(text: str) -> str:
    """A selector in lower case (RFC 6376 section 3.1; one label is enough for us). Raises `SelectorInvalid`."""
    selector = text.strip().lower()
    if not _SELECTOR.fullmatch(selector):
        raise SelectorInvalid(field="selector")
    return selector


def next_selector(on: date, taken: Collection[str]) -> str:
    """A selector that says when it was made, such as b20261125, and b20261125b for the second of a day."""
    first = f"b{on:%Y%m%d}"
    names = [first, *(first + letter for letter in ascii_lowercase[1:])]
    free = [name for name in names if name not in taken]
    if not free:
        raise SelectorTaken(field="selector", fix="Name one yourself: bidden brand dkim new --selector NAME")
    return free[0]


def kind_of(name: str) -> Kind:
    """The setting by that name. Raises `UnknownField`."""
    if name not in SETTINGS:
        raise UnknownField(f"There is no setting {name!r}.", field=name, fix="Known: " + ", ".join(SETTINGS))
    return SETTINGS[name]


def check_setting(name: str, value: object) -> Any:
    """A setting's value as stored, from JSON or the text of a form or command. Raises `SettingInvalid`."""
    kind = kind_of(name)
    given = value.strip() if isinstance(value, str) else value
    if isinstance(given, str) and kind.type != "text":
        given = given.lower()
    if kind.optional and given in (None, "", "none", "off"):
        return None
    return _READ[kind.type](kind, given)


def _flag(kind: Kind, given: object) -> bool:
    if isinstance(given, bool):
        return given
    if given in _ON_WORDS or given in _OFF_WORDS:
        return given in _ON_WORDS
    raise SettingInvalid("This is either on or off.", field=kind.name)


def _number(kind: Kind, given: object) -> int:
    if isinstance(given, str) and re.fullmatch(r"[0-9]{1,6}", given):
        given = int(given)
    if isinstance(given, bool) or not isinstance(given, int) or not kind.least <= given <= kind.most:
        raise SettingInvalid(f"A whole number from {kind.least} to {kind.most} is needed.", field=kind.name)
    return given


def _choice(kind: Kind, given: object) -> str:
    if not isinstance(given, str) or given not in kind.choices:
        raise SettingInvalid("One of these is needed: " + ", ".join(kind.choices) + ".", field=kind.name)
    return given


def _text(kind: Kind, given: object) -> str:
    if not isinstance(given, str) or len(given) > TEXT_LIMIT or not given.replace("\n", "").isprintable():
        raise SettingInvalid(f"A text of at most {TEXT_LIMIT:,} characters is needed.", field=kind.name)
    return given


def _hours(kind: Kind, given: object) -> dict[str, str]:
    """{"from": "20:00", "until": "08:00"}, also written 20:00-08:00."""
    if isinstance(given, str):
        start, _, end = given.replace("–", "-").partition("-")
        given = {"from": start.strip(), "until": end.strip()}
    if isinstance(given, dict) and set(given) == {"from", "until"}:
        hours = [given["from"], given["until"]]
        if all(isinstance(hour, str) and _HOUR.fullmatch(hour) for hour in hours) and hours[0] != hours[1]:
            return {"from": hours[0], "until": hours[1]}
    raise SettingInvalid("Two different times are needed, such as 20:00-08:00.", field=kind.name)


def _limits(kind: Kind, given: object) -> dict[str, Any]:
    return _understood(kind, limits.domains(given), "gmail.com per_hour=2000 connections=4")


def _plan(kind: Kind, given: object) -> dict[str, Any]:
    return _understood(kind, limits.plan(given), "2026-12-01: 200 400 800")


def _understood(kind: Kind, read: dict[str, Any] | None, example: str) -> dict[str, Any]:
    if read is None:
        raise SettingInvalid(f"This is written like {example}.", field=kind.name)
    return read


_READ = {
    "flag": _flag, "number": _number, "choice": _choice, "text": _text, "hours": _hours, "limits": _limits,
    "plan": _plan,
}  # fmt: skip
