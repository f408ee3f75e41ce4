"""What is wrong with a mail before it is sent: the composer's checks, and the lint of everything shipped.

`examine` builds a mail from an author's words and looks at it; `findings` looks at a version already built.
A block forbids approval, a warning does not. `python -m service.mail.check` builds every starter and system
mail in every language and class and fails on any finding that blocks; `make check` runs it.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from html import unescape
from typing import Any, Literal

from service.kit.errors import DomainError
from service.mail.colours import AA, contrast
from service.mail.headers import is_loopback
from service.mail.letters import STOPPABLE, BrandLook, CompiledMail, MailClass, build, build_system, load
from service.mail.markdown import URL_VARIABLES, links
from service.mail.masks import JINJA
from service.mail.starters import starters, system_mails, why_line

WARN_SIZE, BLOCK_SIZE = 100 * 1024, 500 * 1024  # octets of HTML; Gmail cuts near 102 kB
Level = Literal["block", "warn", "ok"]
_REPLY_MARK = re.compile(r"^\s*(re|fw|fwd|aw|wg)\s*:", re.IGNORECASE)
_MERGED_ADDRESS = re.compile(r"(?:https?://|www\.|mailto:)[^\s<>{}]*\{[{%].*?[}%]\}", re.IGNORECASE)
_HIDDEN = re.compile(r"<(head|style|title)\b.*?</\1>|<!--.*?-->", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the checks: `code` for programs, `sentence` for people, where it is, and how to mend it."""

    code: str
    level: Level
    sentence: str
    field: str | None = None
    fix: str | None = None


@dataclass(frozen=True, slots=True)
class CheckFacts:
    """What the checks must know beside the mail itself. `loopback`: the public URL is this machine."""

    mail_class: MailClass
    brand: BrandLook
    stoppable: bool | None = None
    loopback: bool = False


def examine(*, loopback: bool = False, **words: Any) -> tuple[CompiledMail | None, list[Finding]]:
    """Build a mail from the arguments of `letters.build` and check it. What `build` refuses becomes one
    block."""
    try:
        mail = build(**words)
    except DomainError as error:
        return None, [Finding(error.code, "block", error.detail, error.field, error.fix)]
    facts = CheckFacts(words["mail_class"], words["brand"], words.get("stoppable"), loopback)
    return mail, findings(mail, facts)


def findings(mail: CompiledMail, facts: CheckFacts) -> list[Finding]:
    """All checks of a built mail, blocks first. A check that holds gives one line with level ok."""
    found = [
        *_footer(mail, facts),
        *_links(mail, facts),
        *_pictures(mail),
        *_size(mail),
        *_subject(mail),
        *_preheader(mail),
        *_colour(facts),
    ]
    order = {"block": 0, "warn": 1, "ok": 2}
    return sorted(found, key=lambda finding: order[finding.level])


def blocks(found: Iterable[Finding]) -> list[Finding]:
    """Those that forbid approval."""
    return [finding for finding in found if finding.level == "block"]


def _verdict(
    holds: bool, code: str, good: str, bad: str, level: Level = "block", **place: str | None
) -> Finding:
    """The finding of one yes-or-no check."""
    return Finding(code, "ok", good) if holds else Finding(code, level, bad, **place)


def _footer(mail: CompiledMail, facts: CheckFacts) -> Iterator[Finding]:
    """Standards B15, L8, H24: the stop link, the reason and the postal address stand in both parts."""
    stop = facts.mail_class in STOPPABLE if facts.stoppable is None else facts.stoppable
    hrefs = {link.url for link in links(mail.html)}
    if stop:
        there = "{{ stop_url }}" in hrefs and "{{ stop_url }}" in mail.text
        yield _verdict(
            there, "unsubscribe_missing", "There is a stop link.", "There is no link to stop these mails."
        )
    if facts.mail_class != "system":
        there = "{{ manage_url }}" in hrefs and "{{ manage_url }}" in mail.text
        yield _verdict(
            there, "manage_missing", "There is a link to choose.", "There is no link to choose what one gets."
        )
        there = "{{ why_line }}" in mail.html and "{{ why_line }}" in mail.text
        yield _verdict(
            there, "reason_missing", "It says why one gets it.", "It does not say why one gets it."
        )
    address = facts.brand.address_line
    seen = " ".join(unescape(_HIDDEN.sub("", mail.html)).split())
    there = bool(address) and address in seen and address in " ".join(mail.text.split())
    good, bad = "The postal address is there.", "The sender's postal address is missing."
    level: Level = "warn" if facts.mail_class == "system" else "block"
    place = {"field": "postal_address", "fix": "Enter it in the brand's settings."}
    yield _verdict(there, "postal_address_missing", good, bad, level, **place)


def _links(mail: CompiledMail, facts: CheckFacts) -> Iterator[Finding]:
    """Every target https (N6), none on this machine unless the whole service is, each one in the text part
    (A7)."""
    personal = _personal(mail)
    yield from personal
    wrong = len(personal)
    for link in links(mail.html):
        url = link.url
        if url.startswith(("{{", "#")):
            continue
        if not url.lower().startswith(("https://", "http://", "mailto:", "tel:")):
            wrong += 1
            yield Finding(
                "link_scheme", "block", f"The link {url[:80]} does not begin with https://.", "body"
            )
        elif is_loopback(url) and not facts.loopback:
            wrong += 1
            yield Finding(
                "link_localhost", "block", f"{url[:80]} is reachable from this machine only.", "body"
            )
        elif not link.image and unescape(url).split(":", 1)[1].strip("/") not in mail.text:
            wrong += 1
            yield Finding("link_not_in_text", "warn", f"The text part lacks the link {url[:80]}.", "body")
    if not wrong:
        yield Finding("links", "ok", "Every link can be followed.")


def _personal(mail: CompiledMail) -> list[Finding]:
    """P6, standards N2: no address of a link or picture holds what we know about its reader, by value or by
    choice between values; it would lie in the logs of every server on the way. Our own links are whole."""
    found = {link.url for link in links(mail.html) if JINJA.search(link.url)}
    found |= set(_MERGED_ADDRESS.findall(mail.text))
    return [
        Finding(
            "link_personal", "block", f"The link {url[:80]} would carry what we know about its reader.",
            "body", "Take the merge field out of the address; the words of a link may hold it.",
        )
        for url in sorted(found)
        if not (url.startswith("{{") and url.strip("{} ") in URL_VARIABLES)
    ]  # fmt: skip


def _pictures(mail: CompiledMail) -> Iterator[Finding]:
    """L2: what a picture shows is said in words; its size keeps the text from jumping."""
    for link in links(mail.html):
        if not link.image:
            continue
        if not (link.alt or "").strip():
            yield Finding(
                "alt_missing", "warn", f"The picture {link.url[:60]} has no description.", "body",
                "Write it between the brackets: ![What it shows](address).",
            )  # fmt: skip
    for tag in re.findall(r"<img [^>]*>", mail.html):
        if "width=" not in tag or "height=" not in tag:
            fix = 'Add it after the address: ![What it shows](address "520x260").'
            yield Finding("image_size_missing", "warn", "A picture has no size.", "body", fix)


def _size(mail: CompiledMail) -> Iterator[Finding]:
    """H25, L6."""
    size = len(mail.html.encode("ascii", "xmlcharrefreplace"))
    if size > BLOCK_SIZE:
        yield Finding(
            "message_too_large", "block", f"The mail has {size // 1024} KiB; 500 is the limit.", "body"
        )
    elif size > WARN_SIZE:
        sentence = f"The mail has {size // 1024} KiB; Gmail cuts it near 100 and hides the stop link."
        yield Finding("message_large", "warn", sentence, "body")
    else:
        yield Finding("size", "ok", f"Size {max(1, size // 1024)} of 100 KiB.")


def _subject(mail: CompiledMail) -> Iterator[Finding]:
    """F10: honest; short enough for a phone."""
    plain = JINJA.sub("", mail.subject)
    letters = [sign for sign in plain if sign.isalpha()]
    if (len(letters) >= 8 and sum(sign.isupper() for sign in letters) > 0.6 * len(letters)) or "!!" in plain:
        yield Finding(
            "subject_shouting", "warn", "The subject shouts.", "subject", "Use small letters and one mark."
        )
    if _REPLY_MARK.match(plain):
        yield Finding("subject_reply", "warn", "The subject looks like an answer, and it is none.", "subject")
    shown = len(JINJA.sub("x" * 8, mail.subject))
    if shown > 70:
        yield Finding(
            "subject_long", "warn", f"The subject has {shown} characters; phones cut near 40.", "subject"
        )
    else:
        yield Finding("subject", "ok", f"Subject: {shown} characters.")


def _preheader(mail: CompiledMail) -> Iterator[Finding]:
    """L4: what an inbox shows beside the subject."""
    shown = len(JINJA.sub("x" * 8, mail.preheader))
    if not mail.preheader:
        yield Finding("preheader_missing", "warn", "There is no preview line.", "preheader")
    elif mail.preheader.casefold() == mail.subject.casefold():
        yield Finding("preheader_repeats", "warn", "The preview line repeats the subject.", "preheader")
    elif not 20 <= shown <= 110:
        yield Finding(
            "preheader_length",
            "warn",
            f"The preview line has {shown} characters; 40 to 110 fit.",
            "preheader",
        )
    else:
        yield Finding("preheader", "ok", f"Preview line: {shown} characters.")


def _colour(facts: CheckFacts) -> Iterator[Finding]:
    """WCAG 1.4.3: the brand's colour as link text; a paler one is darkened for links when the mail is
    built."""
    ratio = contrast(facts.brand.colour, "#FFFFFF")
    bad = f"The brand's colour has a contrast of {ratio:.1f}:1 on white; links use a darker shade of it."
    yield _verdict(ratio >= AA, "contrast", f"Contrast {ratio:.1f}:1.", bad, "warn", field="colour")


_HOSTILE = "<b>\"'&"
_SAMPLE_BRAND = BrandLook(
    name="Acme",
    postal_address="Acme GmbH, Musterstraße 1, 10115 Berlin",
    contact_url="https://mail.example.org/contact",
    base_url="https://mail.example.org",
)
_URLS = {name: f"https://mail.example.org/{name}" for name in ("stop_url", "manage_url", "why_url")}
_LARGEST_STARTER = 25_000


def _all_mails() -> Iterator[tuple[str, CompiledMail, MailClass]]:
    """Every starter and system mail, in every language and class it may have."""
    classes: tuple[MailClass, ...] = ("marketing", "notice", "service", "digest")
    for starter in starters():
        for locale in starter.body:
            for mail_class in classes:
                mail = build(
                    starter=starter.slug,
                    mail_class=mail_class,
                    locale=locale,
                    subject=starter.subject[locale],
                    preheader=starter.preheader[locale],
                    body_markdown=starter.body[locale],
                    merge=True,
                    brand=_SAMPLE_BRAND,
                    topic_name="New products",
                )
                yield f"{starter.slug}/{locale}/{mail_class}", mail, mail_class
    for name, system in system_mails().items():
        for locale in system.body:
            mail = build_system(name, locale=locale, brand=_SAMPLE_BRAND)
            yield f"{name}/{locale}", mail, system.mail_class  # type: ignore[misc]


def _lint(mail: CompiledMail, mail_class: MailClass) -> list[str]:
    """What is wrong with one shipped mail: blocks, size, values that are not escaped."""
    wrong = [finding.sentence for finding in blocks(findings(mail, CheckFacts(mail_class, _SAMPLE_BRAND)))]
    if len(mail.html) > _LARGEST_STARTER:
        wrong.append(f"{len(mail.html)} characters of HTML, more than {_LARGEST_STARTER}")
    reason = why_line(locale="en", topic_name=_HOSTILE, basis="consent", on=date(2026, 3, 3))
    values = {**dict.fromkeys(mail.fields, _HOSTILE), "why_line": reason, **_URLS}
    urls = {name: f"https://mail.example.org/{name}" for name in mail.fields if name.endswith("_url")}
    html = load(mail).render({**values, **urls}).html
    if _HOSTILE in html or "<b>&" in html or (mail.fields and "&lt;b&gt;" not in html and not urls):
        wrong.append("a value is not escaped")
    return wrong


def main() -> int:
    """Lint everything under `templates/emails/`; prints what is wrong and one line of summary; 0 when all
    is well."""
    count, bad = 0, 0
    for name, mail, mail_class in _all_mails():
        count += 1
        for sentence in _lint(mail, mail_class):
            bad += 1
            sys.stdout.write(f"{name}: {sentence}\n")
    sys.stdout.write(f"{count} mails built and checked, {bad} faults.\n")
    return 1 if bad or not count else 0


if __name__ == "__main__":
    sys.exit(main())
