"""Markdown as people write it → safe HTML, for a mail's body or for a web page.

Called by `letters.py` when a mail is built, and by the pages for policies and the changelog. What may be
written is described in `docs/writing.md`. Two things are ours beside GitHub's dialect: `[See
it](https://example.org "button")` alone in its paragraph is a button, and `![What it
shows](https://example.org/a.png "520x260")` tells an image's size.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from html import escape, unescape
from html.parser import HTMLParser
from typing import Literal

import nh3
from markdown_it import MarkdownIt
from markdown_it.token import Token

from service.kit.errors import Invalid
from service.mail.masks import Masks, for_html

Purpose = Literal["mail", "page"]

# Variables of ours that hold a whole URL; no merge field may, for its value comes from outside.
URL_VARIABLES = frozenset(
    {"stop_url", "manage_url", "why_url", "confirm_url", "sign_in_url", "invite_url", "page_url", "undo_url"}
)
LONGEST = 400_000  # characters of Markdown; a mail of that size is refused anyhow

_TAGS_WORDS = (
    "a abbr b blockquote br caption code dd del details div dl dt em h1 h2 h3 h4 h5 h6 hr i img ins kbd "
    "li mark ol p pre q s samp small span strong sub summary sup table tbody td tfoot th thead tr u ul "
    "var"
)
_TAGS = frozenset(_TAGS_WORDS.split())
_ATTRIBUTES = {
    "a": {"href", "title"},
    "img": {"src", "alt", "title", "width", "height"},
    "ol": {"start"},
    "abbr": {"title"},
    "th": {"style", "colspan", "rowspan", "scope"},
    "td": {"style", "colspan", "rowspan"},
    "*": {"dir", "lang"},
}
_SCHEME = re.compile(r"https://[^\s/?#\\]|http://[^\s/?#\\]|mailto:[^\s]|tel:[+\d]", re.IGNORECASE)
# A picture kept here is named by its path alone, so that a text outlives a change of the public address.
_OWN_PICTURE = re.compile(r"/media/[0-9a-f]{64}\.(?:png|jpe?g|gif|webp)")
_OWN_SOURCE = re.compile(rf'(<img [^>]*?src=")(?={_OWN_PICTURE.pattern}")')
_SIZE = re.compile(r" title=\"(\d{1,4})x(\d{1,4})\"")
_EMPTY_HEAD = re.compile(r'<th scope="col"([^>]*)></th>')  # the corner of a table heads nothing
_BUTTON = re.compile(r'<p><a ([^>]*?) ?title="button"([^>]*)>(.*?)</a></p>', re.DOTALL)
_HEADING = re.compile(r"(<h)([1-6])(>.*?</h)[1-6]>", re.DOTALL)
_WHITE = re.compile(r"[\t\n\r\x00-\x20]+")


class LinkScheme(Invalid):
    """A link must begin with https://, mailto: or tel:."""

    fix_hint = "Write the whole address, as in https://example.org/page."


class BodyTooLong(Invalid):
    """The text is too long for a mail."""

    code = "message_too_large"


@dataclass(frozen=True, slots=True)
class Link:
    """One target found in the text: of a link or, if `image`, of a picture."""

    url: str
    image: bool = False
    alt: str | None = None


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    """GitHub's dialect without its mentions: tables, strike-through, bare links; HTML passes and is cleaned
    after."""
    parser = MarkdownIt("commonmark", {"html": True, "linkify": True})
    parser.enable(["table", "strikethrough", "linkify"])
    # Every target is let through here, so that a bad one is refused with its reason, not shown as text.
    parser.validateLink = lambda url: True  # type: ignore[method-assign]
    if parser.linkify is not None:
        parser.linkify.set({"fuzzy_link": False, "fuzzy_email": True})  # `main.py` is no web address
    return parser


class _Targets(HTMLParser):
    """Collects what a browser would load or follow."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.links: list[Link] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "img" and "src" in given:
            self.links.append(Link(given["src"], image=True, alt=given.get("alt")))
        for name in ("href", "action", "formaction", "data", "background", "poster", "xlink:href"):
            if name in given:
                self.links.append(Link(given[name]))


def links(html: str) -> list[Link]:
    """Every link and picture of an HTML fragment, in order."""
    collector = _Targets()
    collector.feed(html)
    collector.close()
    return collector.links


def check_link(url: str, masks: Masks, *, allow_http: bool, field: str) -> None:
    """Refuse (LinkScheme) every target but https, mailto, tel, a place in the same text (#...), one of our
    own URL variables, and http where allowed. White space inside is removed first, as browsers do."""
    bare = _WHITE.sub("", unescape(url))
    piece = masks.piece(bare)
    if bare.startswith("#") or (piece is not None and piece.strip("{} \t\n") in URL_VARIABLES):
        return
    if not _SCHEME.match(bare) or (bare.lower().startswith("http:") and not allow_http):
        shown = masks.unmask(bare, lambda hidden: hidden)
        raise LinkScheme(f"The link “{shown[:80]}” must begin with https://, mailto: or tel:.", field=field)


def fragment(
    source: str, masks: Masks, *, purpose: Purpose = "mail", allow_http: bool = False, field: str = "body"
) -> str:
    """Masked Markdown → clean HTML, still masked. Raises LinkScheme and BodyTooLong, naming `field`."""
    if len(source) > LONGEST:
        raise BodyTooLong(field=field)
    parser = _parser()
    tokens = parser.parse(source)
    raw = parser.renderer.render(_without_statements(tokens, masks), parser.options, {})
    for link in links(raw):
        if link.image and _OWN_PICTURE.fullmatch(link.url):
            continue
        check_link(link.url, masks, allow_http=allow_http, field=field)
    clean = nh3.clean(
        raw,
        tags=set(_TAGS),
        attributes=_ATTRIBUTES,
        url_schemes={"https", "http", "mailto", "tel"},
        filter_style_properties={"text-align"},
        link_rel="noopener noreferrer" if purpose == "page" else None,
    )
    return _finish(_quote_values(clean, masks), purpose)


def to_html(source: str, *, purpose: Purpose = "page", allow_http: bool = True, field: str = "body") -> str:
    """Markdown without merge fields → clean HTML, every brace shown as written; for pages and feeds. The page
    around it has the one main heading, so its own begin at the second level."""
    masks = Masks.for_texts(source)
    html = fragment(masks.literal(source), masks, purpose=purpose, allow_http=allow_http, field=field)
    return masks.unmask(outline(html, 2), for_html)


def published(source: str) -> str:
    """The same of a text that stands already and cannot change: where it has a link that no page takes, as it was typed."""
    try:
        return to_html(source)
    except Invalid:
        return "".join(f"<p>{as_text(part)}</p>\n" for part in source.split("\n\n"))


def _without_statements(tokens: list[Token], masks: Masks) -> list[Token]:
    """A paragraph that holds nothing but `{% %}` becomes that alone, so that no empty paragraph is left
    behind."""
    kept: list[Token] = []
    place = 0
    while place < len(tokens):
        token = tokens[place]
        if token.type == "paragraph_open" and _only_statements(tokens[place + 1].content, masks):
            kept.append(Token("html_block", "", 0, content=tokens[place + 1].content + "\n"))
            place += 3
            continue
        kept.append(token)
        place += 1
    return kept


def _only_statements(content: str, masks: Masks) -> bool:
    pieces = [masks.piece(word) for word in content.split()]
    return bool(pieces) and all(piece is not None and piece[:2] in ("{%", "{#") for piece in pieces)


def _quote_values(html: str, masks: Masks) -> str:
    """A merge field inside a link's address is percent-encoded there: `?c={{ company }}` → `{{
    (company)|urlencode }}`."""

    def address(match: re.Match[str]) -> str:
        if masks.piece(match.group(2)) is not None:
            return match.group()
        return match.group(1) + masks.word.sub(value, match.group(2)) + match.group(3)

    def value(match: re.Match[str]) -> str:
        piece = masks.pieces[int(match.group(1))]
        if not piece.startswith("{{") or "urlencode" in piece:
            return match.group()
        return masks.put(f"{{{{ ({piece[2:-2].strip(' -+')})|urlencode }}}}")

    return re.sub(r'(<a [^>]*?href=")([^"]*)(")', address, html)


def _finish(html: str, purpose: Purpose) -> str:
    """What Markdown cannot say: sizes of pictures, buttons, column headings, tables that scroll by
    themselves."""
    html = _SIZE.sub(r' width="\1" height="\2"', html)
    html = html.replace("<th>", '<th scope="col">').replace("<th style", '<th scope="col" style')
    html = _EMPTY_HEAD.sub(r"<td\1></td>", html)
    if purpose == "page":
        html = _BUTTON.sub(r'<p><a class="btn go" \1\2>\3</a></p>', html)
        return html.replace("<table>", '<div class="scroll" tabindex="0"><table>').replace(
            "</table>", "</table></div>"
        )
    html = _BUTTON.sub(
        r'<table role="presentation" class="btn" cellpadding="0" cellspacing="0" border="0"><tbody><tr>'
        r'<td align="center"><a \1\2>\3</a></td></tr></tbody></table>',
        html,
    )
    return html.replace('<a title="button" ', "<a ").replace(' title="button"', "")


def at_home(html: str, base_url: str) -> str:
    """The same fragment with the pictures kept here at their full address, as mail programs need them."""
    return _OWN_SOURCE.sub(lambda found: found[1] + base_url, html)


def outline(html: str, top: int | None = None) -> str:
    """The same fragment with headings that begin at level `top` (by default the first one's own) and leave no
    level out, as people who walk through a text by its headings need them."""
    open_ones: list[tuple[int, int]] = []  # level as written → level as shown, outermost first

    def put(match: re.Match[str]) -> str:
        nonlocal top
        written = int(match[2])
        top = written if top is None else top
        while open_ones and open_ones[-1][0] >= written:
            open_ones.pop()
        shown = min(open_ones[-1][1] + 1 if open_ones else top, 6)
        open_ones.append((written, shown))
        return f"{match[1]}{shown}{match[3]}{shown}>"

    return _HEADING.sub(put, html)


def first_heading(html: str) -> bool:
    """Whether the fragment opens with its own main heading."""
    return html.lstrip().startswith("<h1")


def as_text(value: str) -> str:
    """Plain words as an HTML fragment."""
    return escape(value, quote=True)
