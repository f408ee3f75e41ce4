"""The languages of readers' pages: which there are, which one a reader gets; texts, dates and numbers in it.

Called by `pages`. English stands in the templates and handlers themselves; the others in templates/web/texts
(of the templates) and templates/web/answers (of handlers and errors), one file per language.
"""

import re
import tomllib
from collections.abc import Callable
from datetime import date, datetime, tzinfo
from functools import lru_cache
from typing import Any

from babel import Locale, UnknownLocaleError
from babel.dates import format_datetime, format_timedelta, get_timezone, get_timezone_name
from babel.numbers import format_decimal
from markupsafe import Markup

from service.kit import clock
from service.kit.places import templates_dir

ENGLISH = "en"
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d.*(Z|[+-]\d\d:\d\d)$")
_RIGHT_TO_LEFT = ("ar", "fa", "he", "ur")

Say = Callable[..., Markup]


@lru_cache(maxsize=1)
def languages() -> dict[str, str]:
    """Code → name in the language itself, English first."""
    codes = [ENGLISH, *sorted(path.stem for path in (templates_dir() / "web" / "texts").glob("*.toml"))]
    return {code: (Locale.parse(code).get_display_name(code) or code).capitalize() for code in codes}


@lru_cache(maxsize=16)
def catalogue(lang: str) -> dict[str, str]:
    """English text → text of that language; empty for English."""
    texts: dict[str, str] = {}
    for folder in ("texts", "answers"):
        path = templates_dir() / "web" / folder / f"{lang}.toml"
        if path.exists():
            texts |= tomllib.loads(path.read_text())
    return texts


def speaker(lang: str) -> Say:
    """`_` for one language: the text with its `%(name)s` places filled, everything put in escaped."""
    known = catalogue(lang)

    def say(text: str, **params: Any) -> Markup:
        return Markup(known.get(text, text)) % params  # noqa: S704  the texts are our own files; Markup escapes what is put in

    return say


def language_name(code: str, lang: str) -> str:
    """A language as readers of another call it."""
    try:
        return Locale.parse(code.replace("-", "_")).get_display_name(lang) or code
    except (UnknownLocaleError, ValueError):
        return code


def direction(lang: str) -> str:
    """Which way a language is written."""
    return "rtl" if lang in _RIGHT_TO_LEFT else "ltr"


def spoken(tag: str | None) -> str | None:
    """The language of ours that a tag such as de-AT asks for, or None."""
    code = (tag or "").replace("_", "-").partition("-")[0].lower()
    return code if code in languages() else None


def choose(*, asked: str | None, kept: str | None, person: str | None, accept: str) -> str:
    """The language of one page: asked for by ?lang=, chosen before, the person's, the browser's, English."""
    return spoken(asked) or spoken(kept) or spoken(person) or _accepted(accept) or ENGLISH


def _accepted(header: str) -> str | None:
    """The first language of ours by weight in an Accept-Language (RFC 9110 12.5.4)."""
    weighed = []
    for place, part in enumerate(header.split(",")[:20]):
        tag, _, weight = part.partition(";")
        try:
            quality = float(weight.strip().removeprefix("q=") or 1)
        except ValueError:
            quality = 0.0
        code = spoken(tag.strip())
        if code and quality > 0:
            weighed.append((-quality, place, code))
    return min(weighed)[2] if weighed else None


def instant(text: str) -> datetime | None:
    """The moment that a text of the ledger or of sealed evidence is (ISO 8601 with its offset); any other text is none."""
    if not _INSTANT.match(text):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


# --- filters of the templates; `zone` is an IANA name or "" for UTC ---


def day(value: date | None, *, lang: str, zone: str) -> str:
    """2 Oct 2026; 2. Okt. 2026."""
    if value is None:
        return ""
    shape = "d. MMM y" if lang == "de" else "d MMM y"
    if isinstance(value, datetime):
        return format_datetime(value, shape, tzinfo=get_timezone(zone or "UTC"), locale=lang)
    return format_datetime(
        datetime(value.year, value.month, value.day, tzinfo=clock.EPOCH.tzinfo), shape, locale=lang
    )


def weekday(value: datetime, *, lang: str, zone: str) -> str:
    """Tuesday, 24 November."""
    shape = "EEEE, d. MMMM" if lang == "de" else "EEEE, d MMMM"
    return format_datetime(value, shape, tzinfo=get_timezone(zone or "UTC"), locale=lang)


def moment(value: datetime | None, *, lang: str, zone: str) -> str:
    """24 Nov 2026, 14:02 CET: in the reader's own zone, else UTC, and which one it is."""
    if value is None:
        return ""
    there = value.astimezone(get_timezone(zone or "UTC"))
    hour = format_datetime(there, "HH:mm", tzinfo=there.tzinfo, locale=lang)
    return f"{day(value, lang=lang, zone=zone)}, {hour} {_zone_name(there, lang)}"


def _zone_name(there: datetime, lang: str) -> str:
    """CET: as the language calls it, else as the zone calls itself; UTC+0700 where nobody has a name for it."""
    known = (get_timezone_name(there, width="short", locale=lang), there.tzname() or "")
    return next((name for name in known if name[:1].isalpha()), f"UTC{there:%z}")


def ago(value: datetime | None, *, lang: str) -> str:
    """2 hours ago."""
    if value is None:
        return ""
    return format_timedelta(value - clock.now(), add_direction=True, locale=lang)


def number(value: int | float | None, *, lang: str) -> str:
    """4,812."""
    return "" if value is None else format_decimal(value, locale=lang)


def zone_of(name: str) -> tzinfo:
    """A reader's zone, or UTC while it is not known."""
    return get_timezone(name or "UTC")
