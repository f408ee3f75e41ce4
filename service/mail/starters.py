"""What lies under `templates/emails/`: the starters a composer offers, the system mails, and the words of
the footer.

Read once per process. Called by `letters.py`, `check.py`, and by the composer to fill in a new
announcement.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

from babel import UnknownLocaleError
from babel.dates import format_date
from babel.lists import format_list

from service.kit.errors import NotFound
from service.kit.places import templates_dir

FALLBACK = "en"


class UnknownStarter(NotFound):
    """There is no template by that name."""


class UnknownSystemMail(NotFound):
    """There is no system mail by that name."""


@dataclass(frozen=True, slots=True)
class Starter:
    """A template to begin from. The mappings are by language; `heading` says that a mail without its own
    main heading gets the subject as one."""

    slug: str
    topic_class: str
    topic: str
    heading: bool
    name: Mapping[str, str]
    purpose: Mapping[str, str]
    subject: Mapping[str, str]
    preheader: Mapping[str, str]
    body: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SystemMail:
    """A mail the service sends by itself: its class for the headers, the values it needs, its words."""

    name: str
    mail_class: str
    fields: tuple[str, ...]
    subject: Mapping[str, str]
    body: Mapping[str, str]


def _emails() -> Path:
    return templates_dir() / "emails"


def _toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text("utf-8"))


def _by_language(folder: Path, pattern: str) -> dict[str, str]:
    """`body.en.md`, `en.body` → the texts by the language in their names."""
    before, after = pattern.split("*")
    return {
        path.name[len(before) : -len(after)]: path.read_text("utf-8") for path in sorted(folder.glob(pattern))
    }


@lru_cache(maxsize=1)
def starters() -> tuple[Starter, ...]:
    """All starters, in the order of their names."""
    folders = sorted(path.parent for path in _emails().glob("starters/*/starter.toml"))
    return tuple(
        Starter(slug=folder.name, **_toml(folder / "starter.toml"), body=_by_language(folder, "body.*.md"))
        for folder in folders
    )


def pictures() -> list[bytes]:
    """The pictures that starters show; their words name each by the hash of its content."""
    return [path.read_bytes() for path in sorted(_emails().glob("starters/*/*.png"))]


def starter(slug: str) -> Starter:
    """The starter of that slug; raises UnknownStarter."""
    for found in starters():
        if found.slug == slug:
            return found
    raise UnknownStarter(f"There is no template “{slug}”.", field="template")


@lru_cache(maxsize=1)
def system_mails() -> Mapping[str, SystemMail]:
    """All system mails by name."""
    folder = _emails() / "system"
    return {
        name: SystemMail(
            name=name,
            mail_class=facts["mail_class"],
            fields=tuple(facts["fields"]),
            subject={key: text.strip() for key, text in _by_language(folder / name, "*.subject").items()},
            body=_by_language(folder / name, "*.body"),
        )
        for name, facts in _toml(folder / "system.toml").items()
    }


def system_mail(name: str) -> SystemMail:
    """The system mail of that name; raises UnknownSystemMail."""
    found = system_mails().get(name)
    if found is None:
        raise UnknownSystemMail(f"There is no system mail “{name}”.")
    return found


def language(locale: str) -> str:
    """`de-AT`, `de_AT` → `de`."""
    return locale.replace("_", "-").split("-")[0].lower()


@lru_cache(maxsize=32)
def texts(locale: str) -> Mapping[str, Any]:
    """The footer's words in the locale's language, or in English where there is no file for it."""
    path = _emails() / "texts" / f"{language(locale)}.toml"
    if not language(locale).isalpha() or not path.is_file():
        path = _emails() / "texts" / f"{FALLBACK}.toml"
    return _toml(path)


def in_language(choices: Mapping[str, str], locale: str) -> str:
    """The text in the locale's language, else in English, else the first."""
    return choices.get(language(locale)) or choices.get(FALLBACK) or next(iter(choices.values()))


def listed(names: Sequence[str], locale: str) -> str:
    """“Updates and New products” in the locale's language."""
    try:
        return format_list(list(names), locale=language(locale))
    except (UnknownLocaleError, ValueError):
        return ", ".join(names)


@lru_cache(maxsize=4096)
def why_line(*, locale: str, topic_name: str, basis: str, on: date, place: str | None = None) -> str:
    """The sentence that says why somebody gets a mail, with the day it was chosen and, if known, where.

    `basis` is consent, soft_opt_in, implied_purchase, implied_inquiry, contract, legal_obligation or system; others read as
    consent.
    """
    sentences = texts(locale)["why"]
    key = basis if basis in sentences else "consent"
    if key == "consent" and place:
        key = "consent_at"
    return str(sentences[key].format(topic=topic_name, date=day(on, locale), place=place or ""))


def day(on: date, locale: str) -> str:
    """“3 March 2026” in the locale's language, or in English where there is no file for it."""
    tongue = language(locale) if spoken(locale) else FALLBACK
    return format_date(on, format="long", locale="en_GB" if tongue == "en" else tongue)


def spoken(locale: str) -> bool:
    """Whether there are words of ours in the locale's language."""
    return f"{language(locale)}.toml" in _languages()


@lru_cache(maxsize=1)
def _languages() -> frozenset[str]:
    return frozenset(path.name for path in (_emails() / "texts").glob("*.toml"))
