"""A whole mail, built once and rendered for each person: layout + words → a pair of plain Jinja sources.

`build` runs when a template version is saved (MJML, styles, text part, checks of syntax and cost all happen
there); what it returns are strings, stored as they are. `load` runs once per process and version;
`LoadedMail.render` once per person. Called by the templates feature (build), by deliveries and previews
(load, render).
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from service.kit.errors import Invalid
from service.kit.places import templates_dir
from service.mail import mjml, plaintext
from service.mail.colours import readable
from service.mail.grammar import refuse_foreign
from service.mail.headers import clean_header, clean_subject
from service.mail.loaded import LoadedMail
from service.mail.markdown import as_text, at_home, first_heading, fragment, outline
from service.mail.masks import Masks, for_html, for_text
from service.mail.render import STANDARD_FIELDS, compile_html, compile_text
from service.mail.starters import in_language, language, starter, system_mail, texts

MailClass = Literal["marketing", "notice", "service", "system", "digest"]
SYSTEM_VARIABLES = frozenset({"stop_url", "manage_url", "why_url", "why_line", "to_address_masked"})
# Classes whose reader may always stop; service mail only where its topic may be switched off.
STOPPABLE = frozenset({"marketing", "notice", "digest"})
_BODY = "BODYHERE"
_LINE = 400  # characters after which a line of HTML is broken at the next space
_RTL = frozenset({"ar", "fa", "he", "ur"})
_SHEET, _SHEET_DARK, _INK, _INK_DARK = "#FFFFFF", "#1B1F26", "#1D2430", "#0C2019"
_BREAKABLE = re.compile(
    r">(?=<(?:/?(?:table|tbody|thead|tr|td|th|div|p|ul|ol|li|h[1-6]|title|meta|style)\b|!--\[))"
)


class PostalAddressMissing(Invalid):
    """A marketing mail must name the sender's postal address, and this brand has none."""

    fix_hint = "Enter the postal address in the brand's settings."


class SubjectMissing(Invalid):
    """A mail needs a subject."""


@dataclass(frozen=True, slots=True)
class BrandLook:
    """What a mail shows of its brand. Colours as #RRGGBB; URLs empty where there is none; sizes in pixels."""

    name: str
    postal_address: str = ""
    colour: str = "#0B6B5D"
    logo_url: str = ""
    logo_width: int = 120
    logo_height: int = 32
    contact_url: str = ""
    privacy_url: str = ""
    base_url: str = ""  # where pictures kept here are fetched

    @property
    def address_line(self) -> str:
        """The postal address as it stands under a mail."""
        return plaintext.in_one_line(self.postal_address)


@dataclass(frozen=True, slots=True)
class CompiledMail:
    """One immutable version of a mail, as it is stored. All but `fields` and `sha256` are Jinja sources
    whose only variables are `fields` (merge fields of the person) and SYSTEM_VARIABLES."""

    subject: str = field(compare=False)
    preheader: str = field(compare=False)
    html: str = field(compare=False)
    text: str = field(compare=False)
    fields: tuple[str, ...] = field(compare=False)
    sha256: str


def build(
    *,
    starter: str,
    mail_class: MailClass,
    locale: str,
    subject: str,
    preheader: str,
    body_markdown: str,
    merge: bool,
    brand: BrandLook,
    fields: Iterable[str] = (),
    topic_name: str = "",
    stoppable: bool | None = None,
    allow_http: bool | None = None,
) -> CompiledMail:
    """Build one mail from a starter's layout and an author's words.

    `merge`: Jinja in the words is used (announcements), else every brace is shown as written (notices).
    `fields`: declared attributes that may be used beside the standard merge fields. `stoppable`: whether
    the footer has a stop link (default: by class). `allow_http`: plain http links in the body (default: in
    notices). Raises an Invalid with its field for whatever is wrong: link_scheme, header_control_char,
    bidi_control, template_*, postal_address_missing, unknown starter.
    """
    stop = mail_class in STOPPABLE if stoppable is None else stoppable
    allowed = frozenset(STANDARD_FIELDS) | frozenset(fields) if merge else frozenset[str]()
    words = _Words.read(subject, preheader, body_markdown, brand, topic_name, merge=merge, names=allowed)
    http = not merge if allow_http is None else allow_http
    body = fragment(words.body, words.masks, allow_http=http)
    if _starter_heading(starter) and not first_heading(body):
        body = f"<h1>{as_text(words.subject)}</h1>\n{body}"
    body = at_home(outline(body), brand.base_url)
    layout = f"starters/{starter}/mail.mjml.jinja"
    foot = _foot(mail_class, locale, brand, stop=stop)
    return _assemble(words, body, layout, starter, locale, brand, foot, allowed)


def build_system(name: str, *, locale: str, brand: BrandLook) -> CompiledMail:
    """Build one of our own mails (confirm, sign-in, …); `CompiledMail.fields` are the values it must be
    given. The page a mail is about, its stop or manage link and so on are such values too."""
    mail = system_mail(name)
    subject = _bake_brand(in_language(mail.subject, locale), brand)
    body_markdown = _bake_brand(in_language(mail.body, locale), brand)
    fields = frozenset(mail.fields)
    words = _Words.read(subject, "", body_markdown, brand, "", merge=True, names=fields)
    body = fragment(words.body, words.masks)
    foot = _foot(mail.mail_class, locale, brand, stop=mail.mail_class in STOPPABLE, purpose=name)
    return _assemble(words, body, "layouts/letter.mjml.jinja", name, locale, brand, foot, fields)


@lru_cache(maxsize=256)
def load(mail: CompiledMail) -> LoadedMail:
    """Compile a stored version, once per process."""
    names = SYSTEM_VARIABLES | frozenset(mail.fields)
    return LoadedMail(
        subject=compile_text(mail.subject, names, field="subject"),
        html=compile_html(mail.html, names),
        text=compile_text(mail.text, names),
    )


def stored(
    *, subject: str, preheader: str, html: str, text: str, fields: Iterable[str], sha256: str | None = None
) -> CompiledMail:
    """A version from its stored parts; the hash is computed when it is not given."""
    names = tuple(fields)
    return CompiledMail(
        subject, preheader, html, text, names, sha256 or _digest(subject, preheader, html, text, names)
    )


@dataclass(frozen=True, slots=True)
class _Words:
    """The author's and the brand's words with all Jinja, wanted or not, hidden."""

    masks: Masks
    subject: str
    preheader: str
    body: str
    topic_name: str
    brand: BrandLook

    @classmethod
    def read(
        cls,
        subject: str,
        preheader: str,
        body: str,
        brand: BrandLook,
        topic_name: str,
        *,
        merge: bool,
        names: frozenset[str],
    ) -> "_Words":
        """Each part is looked at by itself: an error names its field and line. `names`: what may be merged in."""
        if not subject.strip():
            raise SubjectMissing(field="subject")
        clean_subject(subject)
        clean_header(preheader, field="preheader")
        body = body.replace("\r\n", "\n").replace("\r", "\n")
        masks = Masks.for_texts(subject, preheader, body, brand.name, brand.postal_address, topic_name)
        if merge:
            for name, source in (("subject", subject), ("preheader", preheader), ("body", body)):
                refuse_foreign(source, field=name)
                compile_text(source, names | SYSTEM_VARIABLES, field=name)
        hide = masks.merge if merge else masks.literal
        return cls(
            masks,
            hide(subject.strip()),
            hide(preheader.strip()),
            hide(body),
            masks.literal(topic_name),
            brand,
        )


def _starter_heading(slug: str) -> bool:
    return starter(slug).heading


def _bake_brand(source: str, brand: BrandLook) -> str:
    """The brand's name as a constant of the template, so that nothing in it can be Jinja."""
    constant = json.dumps(brand.name).replace("{", "\\x7b").replace("}", "\\x7d").replace("%", "\\x25")
    return source.replace("{{ brand_name }}", f"{{{{ {constant} }}}}")


def _foot(
    mail_class: str, locale: str, brand: BrandLook, *, stop: bool, purpose: str = "system"
) -> dict[str, Any]:
    """The footer: the sentence why, the links of this class in their order, in the mail's language."""
    words = texts(locale)
    found: list[dict[str, Any]] = []
    if stop:
        found.append({"url": "{{ stop_url }}", "words": words["footer"]["stop"], "stop": True})
    if mail_class != "system":
        found.append({"url": "{{ manage_url }}", "words": words["footer"]["manage"], "stop": False})
        found.append({"url": "{{ why_url }}", "words": words["footer"]["why"], "stop": False})
    for key, url in (("privacy", brand.privacy_url), ("contact", brand.contact_url)):
        if url:
            found.append({"url": url, "words": words["footer"][key], "stop": False})
    if mail_class == "marketing" and not brand.postal_address.strip():
        raise PostalAddressMissing(field="postal_address")
    return {
        "why": words["why"].get(purpose, words["why"]["system"])
        if mail_class == "system"
        else "{{ why_line }}",
        "foot_links": found,
    }


def _assemble(
    words: _Words,
    body: str,
    layout: str,
    kind: str,
    locale: str,
    brand: BrandLook,
    foot: dict[str, Any],
    allowed: frozenset[str],
) -> CompiledMail:
    """Layout and body → the four sources, checked by compiling them as they will be loaded."""
    masks = words.masks
    source = _layouts().get_template(layout).render(_layout_values(words, kind, locale, brand, foot))
    html = mjml.compile_with_parts(mjml.hide(source, masks), {_BODY: body})
    html = masks.unmask(_short_lines(html), for_html)
    text = masks.unmask(plaintext.from_html(body, masks) + _foot_text(words, brand, foot), for_text)
    subject, preheader = masks.unmask(words.subject, for_text), masks.unmask(words.preheader, for_text)
    names = SYSTEM_VARIABLES | allowed
    used: set[str] = set()
    for compiled in (
        compile_text(subject, names, field="subject"),
        compile_text(preheader, names, field="preheader"),
        compile_html(html, names),
        compile_text(text, names),
    ):
        used |= compiled.names
    fields = tuple(sorted(used & allowed))
    return stored(subject=subject, preheader=preheader, html=html, text=text, fields=fields)


def _short_lines(html: str) -> str:
    """The same document in lines of a few hundred characters without trailing space, so that it goes over
    the wire as it is (7bit), and none begins with a dot, which the wire would have to double. Code blocks are left
    alone."""
    html = html.replace('<meta http-equiv="Content-Type" content="text/html; charset=UTF-8">', "")
    head, rest = html.replace("<head>", '<head><meta charset="utf-8">', 1).split("</head>", 1)
    head = re.sub(r"\}\s*", "}\n", head)
    pieces = re.split(r"(<pre\b.*?</pre>)", f"{head}</head>{rest}", flags=re.DOTALL)
    for place in range(0, len(pieces), 2):
        broken = re.sub(r"[ \t]*\n\s*", "\n", _BREAKABLE.sub(">\n", pieces[place]))
        pieces[place] = "\n".join(map(_folded, broken.split("\n"))).replace("\n.", "\n .")
    return "".join(pieces)


def _folded(line: str) -> str:
    """A line of HTML with line breaks for spaces, so that each piece is about 400 long where there are
    spaces."""
    if len(line) <= _LINE:
        return line
    pieces, size = [], 0
    for word in line.split(" "):
        pieces.append("\n" if size > _LINE else " ")
        size = len(word) if size > _LINE else size + 1 + len(word)
        pieces.append(word)
    return "".join(pieces[1:])


def _layout_values(
    words: _Words, kind: str, locale: str, brand: BrandLook, foot: dict[str, Any]
) -> dict[str, object]:
    """Everything `[[ ]]` may name in a layout."""
    tongue = language(locale)
    rtl = tongue in _RTL
    link_dark = readable(brand.colour, _SHEET_DARK, least=7)
    button = brand.colour
    return {
        "lang": tongue if tongue.isalpha() else "en",
        "dir": "rtl" if rtl else "ltr",
        "start": "right" if rtl else "left",
        "end": "left" if rtl else "right",
        "subject": words.subject,
        "preheader": words.preheader,
        "topic_name": words.topic_name,
        "tag": texts(locale)["tag"].get(kind, ""),
        "brand": {
            "name": words.masks.literal(brand.name),
            "postal_address": words.masks.literal(brand.address_line),
            "logo_url": brand.logo_url,
            "logo_width": brand.logo_width,
            "logo_height": brand.logo_height,
        },
        "link": readable(brand.colour, _SHEET),
        "link_dark": link_dark,
        "button": button,
        "button_ink": _ink_on(button),
        "button_dark": link_dark,
        "button_dark_ink": readable(_INK_DARK, link_dark),
        **foot,
    }


def _ink_on(ground: str) -> str:
    """White where it reads on that ground, else dark ink."""
    return _SHEET if readable(_SHEET, ground) == _SHEET else readable(_INK, ground)


def _foot_text(words: _Words, brand: BrandLook, foot: dict[str, Any]) -> str:
    """The same footer as text, each URL on a line of its own words."""
    address = words.masks.literal(brand.address_line or " ".join(brand.name.split()))
    lines = ["", "-- ", foot["why"]]
    lines += [f"{link['words'].rstrip('?')}: {link['url']}" for link in foot["foot_links"]]
    return "\n".join([*lines, *plaintext.wrap(address, words.masks)]) + "\n"


@lru_cache(maxsize=1)
def _layouts() -> Environment:
    """The environment of our own layouts. Its marks differ from Jinja's, so that what is for each person
    passes."""
    return Environment(
        loader=FileSystemLoader(templates_dir() / "emails"),
        autoescape=True,
        undefined=StrictUndefined,
        block_start_string="[%",
        block_end_string="%]",
        variable_start_string="[[",
        variable_end_string="]]",
        comment_start_string="[#",
        comment_end_string="#]",
    )


def _digest(*parts: str | tuple[str, ...]) -> str:
    """SHA-256 over the parts, each with its length before it, so that no two versions share one."""
    running = hashlib.sha256()
    for part in parts:
        octets = (part if isinstance(part, str) else "\n".join(part)).encode("utf-8", "surrogatepass")
        running.update(len(octets).to_bytes(8, "big") + octets)
    return running.hexdigest()
