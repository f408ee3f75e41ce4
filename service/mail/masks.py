"""Carries Jinja unharmed through tools that know HTML, MJML or Markdown but not Jinja.

Each piece of Jinja becomes one plain word that no tool changes; the words are put back at the very end. A
mask lives for one build of one mail. Called by `markdown.py`, `mjml.py` and `letters.py`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from service.kit.errors import Invalid

JINJA = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_OPENING = re.compile(r"\{(?=[{%#])")


class TemplateSyntax(Invalid):
    """The template has a mark that is opened and not closed."""

    code = "template_syntax"
    fix_hint = "A merge field looks like this: {{ first_name|default('there') }}."


@dataclass(slots=True)
class Masks:
    """The pieces hidden so far: `put` hides one, `merge` and `literal` whole texts, `unmask` puts back."""

    prefix: str = "qzjx"
    pieces: list[str] = field(default_factory=list)

    @classmethod
    def for_texts(cls, *texts: str) -> "Masks":
        """Masks whose words occur in none of the texts, so that nobody can write one by hand."""
        prefix = "qzjx"
        while any(prefix in text.lower() for text in texts):
            prefix += "q"
        return cls(prefix=prefix)

    def put(self, piece: str) -> str:
        """The word that stands for this piece from now on. Letters and digits only, so it is one word
        everywhere."""
        self.pieces.append(piece)
        return f"{self.prefix}{len(self.pieces) - 1}z"

    def merge(self, text: str) -> str:
        """The text with every `{{ }}`, `{% %}` and `{# #}` hidden; raises TemplateSyntax for an unclosed
        one."""
        masked = JINJA.sub(lambda match: self.put(match.group()), text)
        if found := _OPENING.search(masked):
            raise TemplateSyntax(f"“{masked[found.start() : found.start() + 20]}” is opened and not closed.")
        return masked

    def literal(self, text: str) -> str:
        """The text with every brace that could open Jinja hidden, to be shown as it is written."""
        return _OPENING.sub(lambda match: self.put("{"), text)

    @property
    def word(self) -> re.Pattern[str]:
        """Matches one mask."""
        return re.compile(rf"{self.prefix}(\d+)z")

    def unmask(self, text: str, write: Callable[[str], str]) -> str:
        """The text with each mask replaced by `write(piece)`; a literal brace arrives there as `{`."""
        return self.word.sub(lambda match: write(self.pieces[int(match.group(1))]), text)

    def piece(self, word: str) -> str | None:
        """What a text hides if it is exactly one mask, else None."""
        match = self.word.fullmatch(word)
        return self.pieces[int(match.group(1))] if match else None


def for_html(piece: str) -> str:
    """How a piece goes back into HTML: Jinja as it was, a literal brace as a character reference."""
    return "&#123;" if piece == "{" else piece


def for_text(piece: str) -> str:
    """How a piece goes back into plain text: a literal brace as a constant, which Jinja folds when it
    compiles."""
    return "{{ '{' }}" if piece == "{" else piece
