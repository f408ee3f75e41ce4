"""A stored mail compiled for this process, and what it makes for one person. Made by `letters.load`, used by the assembler."""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from service.mail import plaintext
from service.mail.render import Compiled, given


@dataclass(frozen=True, slots=True)
class Rendered:
    """A mail as one person gets it."""

    subject: str
    html: str
    text: str


class Pieces(NamedTuple):
    """A mail as one person gets it, its parts not yet joined: the templates' own texts, the values between."""

    subject: str
    html: list[str]
    text: list[str]


@dataclass(frozen=True, slots=True)
class LoadedMail:
    """A version ready to be rendered."""

    subject: Compiled
    html: Compiled
    text: Compiled

    def render(self, values: Mapping[str, object]) -> Rendered:
        """The mail for these values; raises RenderError when a printed value is missing without fallback."""
        made = self.pieces(values)
        return Rendered(made.subject, "".join(made.html), "".join(made.text))

    def pieces(self, values: Mapping[str, object]) -> Pieces:
        """The same as the assembler takes it."""
        present = given(values)
        why = present.get("why_line")
        in_text = present
        if isinstance(why, str) and len(why) > plaintext.COLUMNS:
            in_text = {**present, "why_line": _wrapped(why)}
        subject = "".join(self.subject.pieces(present))
        return Pieces(subject, self.html.pieces(present), self.text.pieces(in_text))


@lru_cache(maxsize=1024)
def _wrapped(sentence: str) -> str:
    """A sentence in lines that fit the text part."""
    return "\n".join(
        textwrap.wrap(sentence, plaintext.COLUMNS, break_long_words=False, break_on_hyphens=False)
    )
