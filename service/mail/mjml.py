"""MJML → HTML that mail programs show alike. Runs when a template is saved, never when mail is sent.

Called by `letters.py`. The order is: hide Jinja, MJML, put style sheets into style attributes, bring Jinja
back. Nothing is fetched: no web fonts, no remote style sheets, no included files.
"""

import re
from collections.abc import Mapping

import css_inline
import mrml

from service.kit.errors import Invalid
from service.mail.masks import JINJA, Masks

_TAGS_WORDS = (
    "mjml mj-head mj-body mj-title mj-preview mj-attributes mj-all mj-class mj-style mj-raw mj-breakpoint "
    "mj-wrapper mj-section mj-group mj-column mj-text mj-button mj-image mj-divider mj-spacer mj-table "
    "mj-social mj-social-element mj-navbar mj-navbar-link mj-hero mj-accordion mj-accordion-element "
    "mj-accordion-title mj-accordion-text mj-carousel mj-carousel-image"
)
TAGS = frozenset(_TAGS_WORDS.split())
_TAG = re.compile(r"<(mj[a-z-]*)")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
# MJML's reset of tables matters to Outlook alone, which reads it in the head; in the style of every cell it would be a
# sixth of the mail.
_TABLE_RESET = re.compile(r"(table, td \{[^}]*mso-table-lspace[^}]*\})(.*?</style>)", re.DOTALL)
_INLINER = css_inline.CSSInliner(
    keep_at_rules=True, load_remote_stylesheets=False, apply_width_attributes=True
)


class MjmlInvalid(Invalid):
    """The layout is not valid MJML."""


def lint(source: str) -> None:
    """Raise MjmlInvalid for a tag that MJML does not have, with its line; mrml drops such tags without a
    word."""
    bare = _COMMENT.sub(lambda match: "\n" * match.group().count("\n"), source)
    for found in _TAG.finditer(bare):
        if found.group(1) not in TAGS:
            line = bare.count("\n", 0, found.start()) + 1
            raise MjmlInvalid(f"Line {line}: there is no tag <{found.group(1)}>.", field="layout")


def compile_mjml(source: str) -> str:
    """One MJML document, with Jinja in it, → one HTML document with the same Jinja. Raises MjmlInvalid."""
    masks = Masks.for_texts(source)
    html = inline(to_html(hide(source, masks)))
    return masks.unmask(re.sub(rf"<!--({masks.word.pattern})-->", r"\1", html), lambda piece: piece)


def hide(source: str, masks: Masks) -> str:
    """Hide Jinja: a statement between tags as a comment, so that a table does not push it out; all else as
    a word."""

    def word(match: re.Match[str]) -> str:
        mask = masks.put(match.group())
        between = source.rfind("<", 0, match.start()) <= source.rfind(">", 0, match.start())
        return f"<!--{mask}-->" if between and match.group().startswith(("{%", "{#")) else mask

    return JINJA.sub(word, source)


def to_html(masked: str) -> str:
    """Masked MJML → masked HTML, its style sheets still apart. Raises MjmlInvalid."""
    lint(masked)
    try:
        output = mrml.to_html(
            masked, mrml.ParserOptions(include_loader=mrml.memory_loader({})), mrml.RenderOptions(fonts={})
        )
    except (
        Exception
    ) as error:  # the engine's own error types carry a byte offset and nothing to catch them by
        raise MjmlInvalid(str(error), field="layout") from error
    return _TABLE_RESET.sub(r"\2<!--[if mso]><style>\1</style><![endif]-->", output.content, count=1)


def inline(html: str) -> str:
    """Style sheets into style attributes; media queries stay in the head. Nothing is loaded."""
    return _INLINER.inline(html)


def compile_with_parts(masked: str, parts: Mapping[str, str]) -> str:
    """Masked MJML and HTML parts that are no MJML (the body), each standing where its name stands."""
    html = to_html(masked)
    for name, part in parts.items():
        html = html.replace(name, part)
    return inline(html)
