"""The words of a mail as staff write them, by language: read from whatever a door was given, checked before
kept. Pure.

Called by announcements (which have a subject) and notices (which have a title). What the words become as a
mail is `letters.py`'s part, and what may be wrong with that mail is `check.py`'s.
"""

import re
from typing import Any, Literal

from service.kit.errors import Invalid
from service.mail.headers import HeaderControlChar, clean_header, clean_subject
from service.mail.markdown import LONGEST, BodyTooLong

Content = dict[str, dict[str, str]]
Heading = Literal["subject", "title"]
LONGEST_LINE = 200  # characters of a subject, title or preheader as written, merge fields included
MOST_LANGUAGES = 40
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,2}")
_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


class ContentMissing(Invalid):
    """Write the text in at least one language."""


class ContentInvalid(Invalid):
    """The text is given by language, as in {"en": {"subject": "…", "preheader": "…", "body": "…"}}."""


class LocaleInvalid(Invalid):
    """That is not a language tag, such as en or de-AT."""


class SubjectMissing(Invalid):
    """A mail needs a subject."""


class TitleMissing(Invalid):
    """A notice needs a title."""


class BodyMissing(Invalid):
    """There is no text yet."""


class LineTooLong(Invalid):
    """A subject, a title or a preview line has at most 200 characters."""


def read_words(content: object, *, heading: Heading) -> Content:
    """The words by language, trimmed; languages with nothing in them are left out.

    Each language holds `heading`, `preheader` and `body`. Raises the errors above, HeaderControlChar,
    HeaderInjection, BidiControl or BodyTooLong (H04, H27), naming the field as `content.en.subject`.
    """
    if not isinstance(content, dict) or len(content) > MOST_LANGUAGES:
        raise ContentInvalid(field="content")
    words = {}
    for locale, texts in content.items():
        read = _one_language(read_locale(locale), texts, heading)
        if any(read.values()):
            words[read_locale(locale)] = _checked(read, f"content.{locale}", heading)
    if not words:
        first = next(iter(content), None)
        raise ContentMissing(field=f"content.{first}.{heading}" if first else "content")
    return words


def read_locale(locale: object) -> str:
    """A language tag (RFC 5646, the common part) with dashes. Raises LocaleInvalid."""
    text = locale.replace("_", "-") if isinstance(locale, str) else ""
    if not _LANGUAGE.fullmatch(text) or len(text) > 20:
        raise LocaleInvalid(field="locale")
    return text


def first_locale(words: Content, wanted: str | None) -> str:
    """The language shown where a reader's own is not there: the one asked for, else English, else the
    first."""
    if wanted is not None:
        if read_locale(wanted) not in words:
            raise ContentMissing(f"There is no text in the language {wanted}.", field="default_locale")
        return read_locale(wanted)
    return "en" if "en" in words else next(iter(words))


def _one_language(locale: str, texts: Any, heading: Heading) -> dict[str, str]:
    if not isinstance(texts, dict):
        raise ContentInvalid(field=f"content.{locale}")
    for name, text in texts.items():
        if name not in (heading, "preheader", "body") or not isinstance(text, str | None):
            raise ContentInvalid(field=f"content.{locale}.{name}")
    read = {name: texts.get(name) or "" for name in (heading, "preheader", "body")}
    body = read["body"].replace("\r\n", "\n").replace("\r", "\n")
    return {**{name: text.strip(" ") for name, text in read.items()}, "body": body if body.strip() else ""}


def _checked(read: dict[str, str], field: str, heading: Heading) -> dict[str, str]:
    clean_subject(read[heading], field=f"{field}.{heading}")
    clean_header(read["preheader"], field=f"{field}.preheader")
    if not read[heading].strip():
        raise (SubjectMissing if heading == "subject" else TitleMissing)(field=f"{field}.{heading}")
    for name in (heading, "preheader"):
        if len(read[name]) > LONGEST_LINE:
            raise LineTooLong(field=f"{field}.{name}")
    if not read["body"]:
        raise BodyMissing(field=f"{field}.body")
    if len(read["body"]) > LONGEST:
        raise BodyTooLong(field=f"{field}.body")
    if _UNSEEN.search(read["body"]):
        raise HeaderControlChar(field=f"{field}.body")
    return read
