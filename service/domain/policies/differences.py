"""What changed between two versions of a text, for readers: by paragraphs, and inside a changed one by words. Pure.

Called by the public page of a policy. Both texts lie in the database for ever, so a difference is computed once and kept.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache

MOST = 1_500  # paragraphs of a text and words of a paragraph: comparing takes the square, and anybody may ask for the page
KEPT = 64


@dataclass(frozen=True)
class Piece:
    """Some words: `kind` is same, out (they stood in the older text only) or in (in the newer only)."""

    kind: str
    words: str


Paragraph = tuple[Piece, ...]


@lru_cache(maxsize=KEPT)
def between(older: str, newer: str) -> tuple[Paragraph, ...]:
    """The newer text paragraph by paragraph, with what is new in it and, where it stood, what is gone."""
    before, after = _paragraphs(older), _paragraphs(newer)
    if max(len(before), len(after)) > MOST:
        return tuple(_replaced(before, after))
    found: list[Paragraph] = []
    for step, left, right, first, last in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if step == "equal":
            found += [(Piece("same", one),) for one in after[first:last]]
        else:
            found += _replaced(before[left:right], after[first:last])
    return tuple(found)


def changed(paragraphs: Sequence[Paragraph]) -> int:
    """How many paragraphs are not the same as before."""
    return sum(any(piece.kind != "same" for piece in one) for one in paragraphs)


def _paragraphs(text: str) -> list[str]:
    return [one.strip() for one in re.split(r"\n\s*\n", text) if one.strip()]


def _replaced(before: list[str], after: list[str]) -> list[Paragraph]:
    """Paragraphs in the place of others: each beside the one that stood there, as far as there are as many."""
    pairs = [_words(old, new) for old, new in zip(before, after, strict=False)]
    gone = [(Piece("out", one),) for one in before[len(after) :]]
    fresh = [(Piece("in", one),) for one in after[len(before) :]]
    return [*pairs, *gone, *fresh]


def _words(older: str, newer: str) -> Paragraph:
    """One paragraph that became another, word by word; as a whole where little of it stayed, or it is too long to compare."""
    before, after = re.findall(r"\S+\s*", older), re.findall(r"\S+\s*", newer)
    whole = (Piece("out", older), Piece("in", newer))
    if max(len(before), len(after)) > MOST:
        return whole
    # By the words alone: what follows one, a space, the end of a line or of the paragraph, is no part of it.
    matcher = SequenceMatcher(None, older.split(), newer.split(), autojunk=False)
    if matcher.ratio() < 0.3:
        return whole
    pieces: list[Piece] = []
    for step, left, right, first, last in matcher.get_opcodes():
        if step == "equal":
            pieces.append(Piece("same", "".join(after[first:last])))
            continue
        pieces += [Piece("out", "".join(before[left:right]))] if right > left else []
        pieces += [Piece("in", "".join(after[first:last]))] if last > first else []
    return tuple(pieces)
