"""What a topic may be and what its wording is made of. Pure; called by the topics' actions."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from service.kit.chain import canonical
from service.kit.errors import Conflict, Invalid, NotFound
from service.mail.headers import clean_header

CLASSES = ("marketing", "notice", "service")
BASES = ("consent", "soft_opt_in", "contract", "legal_obligation")
VISIBILITIES = ("public", "private")
# Marketing needs a yes or a sale; only what must be said may rest on contract or law (standards G7, H2).
BASES_OF = {
    "marketing": ("consent", "soft_opt_in"),
    "notice": ("consent", "contract"),
    "service": ("contract", "legal_obligation"),
}
CADENCES = ("each",)  # daily and weekly come with digests
TITLE_LIMIT, TEXT_LIMIT = 120, 2_000
_SLUG = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class TopicUnknown(NotFound):
    """There is no topic by that name."""


class WordingUnknown(NotFound):
    """There is no wording by that name."""


class SlugTaken(Conflict):
    """There is a topic by that short name already."""


class SlugInvalid(Invalid):
    """A topic's short name is made of small letters, figures and dashes, such as new-products."""


class TopicInvalid(Invalid):
    """That is not a value this part of a topic can have."""


class BasisDoesNotFit(Invalid):
    """Mail of this class cannot rest on that basis."""


class WordingEmpty(Invalid):
    """A wording needs a name, how often mail comes, and the sentence people agree to."""


class WordingLanguageMissing(Invalid):
    """Words that promise more or other mail than before are needed in every language the topic has."""


class WordingUnchanged(Invalid):
    """These are the words of before, which cannot promise anything new."""


class WordingTooLong(Invalid):
    """A wording is a sentence or two; this one is too long."""


class WordingControlChar(Invalid):
    """The wording holds a character that cannot be seen; please type it again."""

    code = "invalid_text"


@dataclass(frozen=True)
class WordingText:
    """What a person sees beside the box: the topic's name, how often mail comes, the sentence agreed to."""

    title: str
    frequency: str
    text: str


def check_slug(slug: str) -> str:
    """A short name, good in URLs and in List-Id (RFC 2919 section 2). Raises `SlugInvalid`."""
    if not _SLUG.fullmatch(slug) or len(slug) > 60:
        raise SlugInvalid(field="slug")
    return slug


def check_basis(mail_class: str, basis: str) -> None:
    """Class and lawful basis exist and fit each other. Raises `TopicInvalid` or `BasisDoesNotFit`."""
    check_one_of(mail_class, CLASSES, field="class")
    check_one_of(basis, BASES, field="basis")
    if basis not in BASES_OF[mail_class]:
        allowed = " or ".join(BASES_OF[mail_class])
        raise BasisDoesNotFit(field="basis", fix=f"Mail of class {mail_class} rests on {allowed}.")


def check_one_of(value: str, allowed: tuple[str, ...], *, field: str) -> str:
    """The value, if it is one of those allowed. Raises `TopicInvalid`."""
    if value not in allowed:
        raise TopicInvalid(field=field, fix="One of: " + ", ".join(allowed))
    return value


def check_wording(text: WordingText) -> WordingText:
    """The wording as stored. Raises `WordingEmpty`, `WordingTooLong` or `WordingControlChar`, naming the
    part.
    """
    parts = {"name": text.title.strip(" "), "often": text.frequency.strip(" "), "text": _lines(text.text)}
    for field, part in parts.items():
        if not part:
            raise WordingEmpty(field=field)
        if len(part) > (TEXT_LIMIT if field == "text" else TITLE_LIMIT):
            raise WordingTooLong(field=field)
        if field != "text":
            clean_header(part, field=field)
        elif _CONTROL.search(part):
            raise WordingControlChar(field=field)
    return WordingText(parts["name"], parts["often"], parts["text"])


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").strip()


def check_material(texts: Mapping[str, WordingText], before: Mapping[str, str]) -> None:
    """A material change is said in every language in force (`before`: locale → its text), or a version would promise the new in one and
    the old in another. Raises `WordingLanguageMissing` or `WordingUnchanged`, naming the language."""
    for locale, text in sorted(before.items()):
        if locale not in texts:
            raise WordingLanguageMissing(field=f"text:{locale}")
        if texts[locale].text == text:
            raise WordingUnchanged(field=f"text:{locale}")


def wording_name(slug: str, version: int, locale: str) -> str:
    """The public id of a wording: new-products-v1-en."""
    return f"{slug}-v{version}-{locale}"


def version_of(slug: str, name: str) -> int:
    """The version in a wording's public id; 0 where it is none of this topic's."""
    number = name.removeprefix(f"{slug}-v").partition("-")[0]
    return int(number) if name.startswith(f"{slug}-v") and number.isdecimal() else 0


def covered_since(versions: Iterable[tuple[int, bool]], version: int) -> int:
    """The oldest words whose yes covers what a version promises: those of the last material change up to it, 0 when there was none.

    `versions`: number and whether it was material, of every wording of a topic.
    """
    return max((number for number, material in versions if material and number <= version), default=0)


def wording_hash(slug: str, version: int, locale: str, text: WordingText) -> str:
    """SHA-256 over the canonical form of what a person saw (standards H4)."""
    value = {
        "topic": slug,
        "version": version,
        "locale": locale,
        "title": text.title,
        "frequency": text.frequency,
        "text": text.text,
    }
    return hashlib.sha256(canonical(value).encode()).hexdigest()
