"""What a policy's text is made of and how its versions are named. Pure; called by the policies' actions and
queries.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.kit.chain import canonical
from service.kit.errors import Conflict, Invalid, NotFound
from service.mail.headers import clean_header
from service.mail.markdown import to_html

LONGEST = 200_000
_SLUG = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_LOCALE = re.compile(r"[a-z]{2,3}(?:-[A-Z][a-z]{3})?(?:-[A-Z]{2})?")
_NAME = re.compile(r"(.+)-v([1-9][0-9]{0,5})-([a-z]{2,3}(?:-[A-Za-z]{2,4})*)")


class PolicyUnknown(NotFound):
    """There is no policy by that name."""


class PolicyVersionUnknown(NotFound):
    """There is no such version of this policy."""


class PolicySlugInvalid(Invalid):
    """A policy's short name is made of small letters, figures and dashes."""


class LocaleInvalid(Invalid):
    """A language is written as in en, de or pt-BR."""


class PolicyEmpty(Invalid):
    """A policy needs a title and a text."""


class PolicyTooLong(Invalid):
    """This policy is too long."""


class NoLanguageLeft(Invalid):
    """A policy needs its text in one language at least."""


class PublishedMeanwhile(Conflict):
    """A newer version was published meanwhile."""

    fix_hint = "Read it, then decide which of the two says what holds. What you typed is still here."


class EffectiveTooEarly(Conflict):
    """A policy cannot take effect before it is published."""


@dataclass(frozen=True)
class PolicyText:
    """One version in one language: title, and body in Markdown."""

    title: str
    body: str


def check_slug(slug: str) -> str:
    """A short name such as `privacy`. Raises `PolicySlugInvalid`."""
    if not _SLUG.fullmatch(slug) or len(slug) > 60:
        raise PolicySlugInvalid(field="slug")
    return slug


def check_locale(locale: str) -> str:
    """A language tag of BCP 47, language with optional script and region. Raises `LocaleInvalid`."""
    if not _LOCALE.fullmatch(locale):
        raise LocaleInvalid(field="locale")
    return locale


def check_text(text: PolicyText) -> PolicyText:
    """The text as stored, line ends as LF. Raises `PolicyEmpty`, `PolicyTooLong`, or `LinkScheme` where a page could not show it:
    what is published never changes."""
    title = clean_header(text.title.strip(" "), field="title")
    body = text.body.replace("\r\n", "\n").strip() + "\n"
    if not title or not body.strip():
        raise PolicyEmpty(field="body" if title else "title")
    if len(title) > 200 or len(body) > LONGEST:
        raise PolicyTooLong(field="title" if len(title) > 200 else "body")
    to_html(body)
    return PolicyText(title, body)


def next_texts(
    newest: Mapping[str, PolicyText], given: Mapping[str, PolicyText | None]
) -> dict[str, PolicyText]:
    """All languages of the next version: what is given, and what of the newest is not named. None leaves a language out. Raises
    `NoLanguageLeft`."""
    texts = {locale: text for locale, text in {**newest, **given}.items() if text is not None}
    if not texts:
        raise NoLanguageLeft(field="title")
    return texts


def text_hash(slug: str, version: int, locale: str, text: PolicyText) -> str:
    """SHA-256 over the canonical form of everything a reader of this version sees."""
    value = {"policy": slug, "version": version, "locale": locale, "title": text.title, "body": text.body}
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def profile_text(profile: dict[str, Any]) -> tuple[str, str]:
    """What is done with people's data, in its canonical form, and the SHA-256 of that."""
    text = canonical(profile)
    return text, hashlib.sha256(text.encode()).hexdigest()


def version_name(slug: str, version: int, locale: str) -> str:
    """How a form names the version it showed: privacy-v1-en."""
    return f"{slug}-v{version}-{locale}"


def read_version_name(text: str) -> tuple[str, int, str] | None:
    """Slug, version and locale of such a name, or None."""
    found = _NAME.fullmatch(text)
    return (found[1], int(found[2]), found[3]) if found else None


def best_locale(available: set[str], wanted: str) -> str:
    """The locale to show: the wanted one, its bare language, a region of it, English, or any."""
    language = wanted.split("-")[0]
    regions = sorted(locale for locale in available if locale.split("-")[0] == language)
    return next(
        locale for locale in (wanted, language, *regions, "en", *sorted(available)) if locale in available
    )
