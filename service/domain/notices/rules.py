"""What a notice may be, and how one is read from a Markdown file. Pure; called by the notices' actions and
the command line."""

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import yaml

from service.kit.chain import canonical
from service.kit.errors import Conflict, Invalid, NotFound
from service.mail import starters
from service.mail.words import Content, TitleMissing, first_locale, read_words

DEFAULT_TOPIC = "updates"
ADVERTISING = "advertising_suspected"  # the finding that `not_advertising` answers
SLUG_LIMIT = 80
FRONT_MATTER_LIMIT = 20_000
_FRONT_MATTER = re.compile(r"---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_HEADING = re.compile(r" {0,3}#[ \t]+(.+?)(?:[ \t]+#+)?[ \t]*$")
_MARKUP = re.compile(r"!?\[([^\]]*)\]\([^)]*\)|[*`~]{1,3}(?=\S)|(?<=\S)[*`~]{1,3}")
_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")

# Letters that lose nothing but their marks by decomposition need no line here.
_LETTERS = str.maketrans(
    {
        "ä": "ae",
        "ö": "oe",
        "ü": "ue",
        "ß": "ss",
        "æ": "ae",
        "œ": "oe",
        "ø": "o",
        "å": "a",
        "ł": "l",
        "đ": "d",
        "ð": "d",
    }
    | {"þ": "th", "ı": "i", "&": " and ", "@": " at "}
    | dict(zip("абвгдезийклмнопрстуфыэ", "abvgdeziyklmnoprstufye", strict=True))
    | {
        "ё": "yo",
        "ж": "zh",
        "х": "kh",
        "ц": "ts",
        "ч": "ch",
        "ш": "sh",
        "щ": "shch",
        "ъ": "",
        "ь": "",
        "ю": "yu",
        "я": "ya",
    }
    | {"і": "i", "ї": "yi", "є": "ye", "ґ": "g"}
    | dict(zip("αβγδεζηικλμνξοπρστυφω", "avgdeziiklmnxoprstyfo", strict=True))
    | {"θ": "th", "χ": "ch", "ψ": "ps", "ς": "s"}
)


class NoticeUnknown(NotFound):
    """There is no notice by that name."""


class NothingAmended(Conflict):
    """This policy has one version only; there is no change to tell of."""


class TopicNotForNotices(Invalid):
    """Notices go to topics for news about the product or for what must be said; this one is for marketing."""


class TopicRetired(Conflict):
    """That topic is retired: nobody is written to under it any more."""


class UnknownTemplate(Invalid):
    """There is no template by that name."""


class FrontMatterInvalid(Invalid):
    """What stands between the two lines --- at the top of the file cannot be read."""


class SlugTaken(Conflict):
    """There is a notice at that address already; choose another short name."""


class SlugInvalid(Invalid):
    """A short name is made of small letters, figures and dashes, such as planner-2-released."""


class StaleVersion(Conflict):
    """It was changed meanwhile: what you looked at is not what it says now."""

    fix_hint = "Read it again, and decide then."


class AlreadyMailed(Conflict):
    """This notice has been mailed once, and nothing is mailed twice; what you change corrects the page
    only."""


class AlreadyPosted(Conflict):
    """That text was posted before, to the same people, and nothing was posted now."""


class NotReady(Invalid):
    """The checks found what must be mended before this can be mailed."""

    def __init__(self, findings: Sequence[Any]) -> None:
        first = findings[0]
        super().__init__(first.sentence, field=first.field, fix=first.fix)
        self.code = first.code
        self.findings = list(findings)


@dataclass(frozen=True)
class Draft:
    """Everything somebody writes about one notice: what previews, counts and checks work on, kept or not.

    `template` None: the usual one of the topic's class.
    """

    topic: str
    template: str | None
    content: Content
    audience: Any  # as given until `queries.read` has checked it
    default_locale: str


@dataclass(frozen=True)
class PostedNotice:
    """A notice as a Markdown file says it. None: the file does not say, the usual holds."""

    title: str
    body: str
    topic: str = DEFAULT_TOPIC
    template: str | None = None
    audience: dict[str, Any] = field(default_factory=lambda: {"attributes": {}})
    locale: str = "en"
    mail: bool | None = None
    slug: str | None = None
    preheader: str = ""


def read_draft(
    *,
    topic: str,
    template: str | None,
    content: object,
    audience: object = None,
    default_locale: str | None = None,
) -> Draft:
    """What a door was given, as a draft. Raises what `words.read_words` raises; topic, template and audience
    are checked where they are known (queries)."""
    words = read_words(content, heading="title")
    whom = {"attributes": {}} if audience is None else audience  # nothing said: everybody who may get it
    return Draft(topic, template, words, whom, first_locale(words, default_locale))


def changed(
    before: Draft,
    topic: str | None,
    template: str | None,
    content: object,
    audience: object,
    default_locale: str | None,
) -> Draft:
    """The draft with what is named put in its place; None leaves as it was, but another topic brings its own
    template.

    Raises what `read_draft` raises.
    """
    words = before.content if content is None else read_words(content, heading="title")
    kept = before.default_locale if before.default_locale in words else None
    return Draft(
        topic or before.topic,
        template or (before.template if topic in (None, before.topic) else None),
        words,
        before.audience if audience is None else audience,
        first_locale(words, default_locale or kept),
    )


def read_post(text: str) -> PostedNotice:
    """Read a Markdown file with front matter in YAML, which may be missing: then the first `# heading` is the
    title.

    Raises FrontMatterInvalid, naming the key, or TitleMissing.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    found = _FRONT_MATTER.match(text)
    if not found and re.match(r"---[ \t]*\n(?:[ \t]*\n)*[a-z_]+[ \t]*:", text):
        raise FrontMatterInvalid("The front matter has no line --- at its end.", field="front_matter")
    facts = _front_matter(found.group(1)) if found else {}
    body = text[found.end() :] if found else text
    heading, rest = split_heading(body)
    title = facts.pop("title", "") or heading
    if not title:
        raise TitleMissing(
            field="title", fix="Give it in the front matter, or begin the text with “# Title”."
        )
    return PostedNotice(title=title, body=(rest if heading == title else body).strip("\n") + "\n", **facts)


def _front_matter(source: str) -> dict[str, Any]:
    """The known keys with values of their types; others are refused, or a typing error would go unseen."""
    try:
        facts = yaml.safe_load(source) if len(source) <= FRONT_MATTER_LIMIT else None
    except (yaml.YAMLError, ValueError, RecursionError) as wrong:
        raise FrontMatterInvalid(field="front_matter") from wrong
    if facts is None and not source.strip():
        return {}
    if not isinstance(facts, dict):
        raise FrontMatterInvalid(
            "The front matter is made of lines such as “title: What changed”.", field="front_matter"
        )
    texts = ("title", "topic", "template", "locale", "slug", "preheader")
    kinds: dict[str, type] = {**dict.fromkeys(texts, str), "mail": bool, "audience": dict}
    for name, value in facts.items():
        if name not in kinds:
            raise FrontMatterInvalid(
                f"There is no field {str(name)[:40]!r}.",
                field="front_matter",
                fix="Known: " + ", ".join(kinds),
            )
        if kinds[name] is str and isinstance(value, int | float) and not isinstance(value, bool):
            facts[name] = str(value)  # a title such as 2.0
        elif not isinstance(value, kinds[name]):
            raise FrontMatterInvalid(f"The field {name} has a value of another kind.", field=name)
    return {name: value.strip() if isinstance(value, str) else value for name, value in facts.items()}


def split_heading(body: str) -> tuple[str, str]:
    """The words of the first `# heading`, without their marks, and the text without it; ("", text) when there
    is none."""
    lines, fence = body.split("\n"), ""
    for place, line in enumerate(lines):
        if mark := _FENCE.match(line):
            if not fence:
                fence = mark.group(1)
            elif mark.group(1).startswith(fence):
                fence = ""
        elif not fence and (found := _HEADING.match(line)):
            return plain(found.group(1)), "\n".join(lines[:place] + lines[place + 1 :])
    return "", body


def plain(line: str) -> str:
    """A line of Markdown as plain words: links by their words, no stars, no backticks."""
    return " ".join(_MARKUP.sub(lambda mark: mark.group(1) or "", line).split())


def slug_of(title: str) -> str:
    """The short name of a title for its address: Latin letters, figures, dashes; `notice` where nothing is
    left."""
    latin = unicodedata.normalize("NFC", title).casefold().translate(_LETTERS)
    bare = "".join(
        sign for sign in unicodedata.normalize("NFKD", latin) if not unicodedata.combining(sign)
    ).translate(_LETTERS)
    words = re.sub(r"[^a-z0-9]+", "-", re.sub(r"['’]", "", bare)).strip("-")
    return words[:SLUG_LIMIT].rstrip("-") or "notice"


def check_slug(slug: str) -> str:
    """A short name somebody chose. Raises SlugInvalid."""
    if not _SLUG.fullmatch(slug) or len(slug) > SLUG_LIMIT:
        raise SlugInvalid(field="slug")
    return slug


def default_template(mail_class: str) -> str:
    """The starter of a notice that names none."""
    return "important-notice" if mail_class == "service" else "small-update"


def content_hash(draft: Draft, audience: Mapping[str, Sequence[str]], words: str = "") -> str:
    """SHA-256 over everything the notice says and whom it goes to; `audience` and `words` are the filter as checked."""
    value: dict[str, Any] = {
        "topic": draft.topic,
        "template": draft.template,
        "content": draft.content,
        "default_locale": draft.default_locale,
        "audience": {name: list(values) for name, values in audience.items()},
    }
    value |= {"words": words} if words else {}
    return hashlib.sha256(canonical(value).encode()).hexdigest()


@dataclass(frozen=True)
class Amended:
    """A new version of a policy in one language. `link` leads to its difference from the last one in that language, or to it."""

    title: str
    version: int
    locale: str
    effective_at: datetime
    link: str


def amended_slug(policy: str, version: int) -> str:
    """How the notice of a policy's version is called: privacy-version-2."""
    return f"{policy}-version-{version}"


def amended(told: Sequence[Amended], *, now: datetime) -> dict[str, dict[str, str]]:
    """What such a notice says at first, in each of the languages that there are words of ours for; in English where none is one."""
    spoken = [one for one in told if starters.spoken(one.locale)] or list(told[:1])
    return {
        (one.locale if starters.spoken(one.locale) else starters.FALLBACK): _amended(one, now)
        for one in spoken
    }


def _amended(one: Amended, now: datetime) -> dict[str, str]:
    words, later = starters.texts(one.locale)["amended"], one.effective_at > now
    facts = {
        "policy": one.title,
        "version": one.version,
        "date": starters.day(one.effective_at.date(), one.locale),
    }
    first = words["body"].format(**facts, **{"from": words["from" if later else "from_now"].format(**facts)})
    button = f'[{words["button"]}]({one.link}&lang={one.locale} "button")'
    return {
        "title": words["title" if later else "title_now"].format(**facts),
        "preheader": words["preheader"],
        "body": f"{first}\n\n{button}\n\n{words['rest']}\n",
    }
