"""What changed between two texts: both can be read out of the difference again, whatever they are."""

import re
import time

from hypothesis import given
from hypothesis import strategies as st

from service.domain.policies import differences
from service.domain.policies.differences import Piece, between

TEXTS = st.lists(
    st.lists(st.sampled_from(["we", "keep", "your", "data", "for", "a", "year"]), min_size=1, max_size=9),
    max_size=6,
).map(lambda paragraphs: "\n\n".join(" ".join(words) for words in paragraphs))


def side(older: str, newer: str, gone: str) -> list[str]:
    """One of the two texts, as words, out of the difference."""
    kept = [piece.words for one in between(older, newer) for piece in one if piece.kind != gone]
    return " ".join(kept).split()


@given(TEXTS, TEXTS)
def test_both_texts_are_in_it_whole(older: str, newer: str) -> None:
    assert side(older, newer, "in") == older.split()
    assert side(older, newer, "out") == newer.split()


@given(TEXTS)
def test_a_text_differs_from_itself_in_nothing(text: str) -> None:
    assert differences.changed(between(text, text)) == 0


def test_a_changed_word_is_seen_inside_its_paragraph() -> None:
    one = "First.\n\nWe keep your address for one year after your last order.\n\nLast."
    two = one.replace("one year", "two years")
    found = between(one, two)
    assert differences.changed(found) == 1
    assert found[1] == (
        Piece("same", "We keep your address for "),
        Piece("out", "one year "),
        Piece("in", "two years "),
        Piece("same", "after your last order."),
    )


def test_a_paragraph_that_came_or_went() -> None:
    assert between("A b.", "A b.\n\nC d.")[1] == (Piece("in", "C d."),)
    assert between("A b.\n\nC d.", "A b.")[1] == (Piece("out", "C d."),)


def test_a_hostile_text_does_not_take_long() -> None:
    older, newer = " ".join(["ab"] * 60_000), " ".join(["ba"] * 60_000)
    began = time.process_time()
    assert re.fullmatch("outin", "".join(piece.kind for piece in between(older, newer)[0]))
    many = "\n\n".join(["a paragraph"] * 15_000)
    assert differences.changed(between(many, many + "\n\nmore")) == 1
    assert time.process_time() - began < 20, "minutes, were every word compared with every other"


def test_words_that_are_added_at_the_end_leave_the_last_one_as_it_was() -> None:
    [paragraph] = between("We keep your address", "We keep your address and your name")
    assert [(one.kind, one.words.strip()) for one in paragraph] == [
        ("same", "We keep your address"),
        ("in", "and your name"),
    ]
    [paragraph] = between("We keep your\naddress always.", "We keep your address\nalways, safely.")
    assert [(one.kind, one.words.strip()) for one in paragraph] == [
        ("same", "We keep your address"),
        ("out", "always."),
        ("in", "always, safely."),
    ]
