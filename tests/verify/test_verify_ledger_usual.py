"""Lines as they are usually written, which the verifier tells at once: nothing is told at once that does not hold step by step."""

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import verify_ledger
from tests.verify.bundles import GOLDEN, leaf, texts_of, write
from verify_ledger import Fault, check_entry, read_line, usual


def step_by_step(number: int, line: bytes, previous: str) -> bytes | None:
    """What the other way says of a line: the hash of the entry, None where anything is wrong."""
    try:
        name, row = read_line(line)
        return check_entry(number, row, previous) if name == "entry" and row["seq"] == number else None
    except Fault:
        return None


def line_of(text: str, **copies: Any) -> bytes:
    """The line of a text, true to it as far as the text can be read."""
    try:
        entry = json.loads(text)
        seen = {name: entry[name] for name in ("seq", "at", "kind", "subject")}
        seen |= {"takes": seen["kind"] in verify_ledger.TAKES} | copies
    except (ValueError, KeyError, TypeError):
        seen = {"seq": 1, "at": 2, "kind": "k", "subject": "p", "takes": False}
    row = {**seen, "hash": leaf(text).hex(), "text": text}
    return (json.dumps({"entry": row}, ensure_ascii=False) + "\n").encode()


def test_a_usual_line_is_told_at_once_and_any_other_is_taken_apart() -> None:
    """The golden entries say which is which: a backslash in the text is reason enough to look closer."""
    texts, previous = [row["entry"] for row in GOLDEN["entries"]], "0" * 64
    at_once = 0
    for number, text in enumerate(texts, 1):
        line, digest = line_of(text), leaf(text)
        assert step_by_step(number, line, previous) == digest
        assert usual(number, line, previous) == (None if "\\" in text else digest)
        at_once += "\\" not in text
        assert usual(number, line.rstrip(), previous) is None
        assert usual(number + 1, line, previous) is None
        assert usual(number, line, "1" * 64) is None
        previous = digest.hex()
    assert 0 < at_once < len(texts)


def test_what_only_looks_like_a_usual_line_is_not_told_at_once() -> None:
    """Each is written so that somebody who does not undo the escapes, or does not look at the end, would take it."""
    plain, slashed = (
        write(json.loads(texts_of(1)[0]) | {"body": body}) for body in ({"n": "xy"}, {"n": "x\\y"})
    )
    for text, escaped, end in (
        (plain, plain.replace('"', '\\"'), '"}}\n'),
        (plain, plain, '"}}\n'),
        (plain, plain.replace('"', '\\"', 3), '"}}\n'),
        (slashed, slashed.replace('"', '\\"'), '"}}\n'),
        (plain, plain.replace('"', '\\"'), '"}}}'),
        (plain, plain.replace('"', '\\"'), '"}x\n'),
        (plain, plain.replace('"', '\\"'), '"}, '),
    ):
        head = line_of(text).decode().partition(', "text": "')[0]
        line = f'{head}, "text": "{escaped}{end}'.encode()
        told = step_by_step(1, line, "0" * 64)
        assert usual(1, line, "0" * 64) == told
        assert (told is not None) == (line == line_of(plain))


PIECES = [
    '"', "\\", '\\"', " ", "\t", "\x00", "\x7f", "0", "-0", "1", "1.0", "1e2", "9007199254740992", "true", "null", "{}", "[]",
    "[1]", '{"a":1}', '"a":1,', ",", ":", "{", "}", "é", "\u2028", '"}}\n', ', "text": "', "\\u0061",
]  # fmt: skip
EDITS = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 12), st.sampled_from(PIECES)), max_size=2)
ODD = st.sampled_from([1, True, None, 1.0, {}, [], [1], {"a": 1}, "x", 'a"b', "a\\b", "ü", '", "text": "'])


def edited(text: str, edits: list[tuple[int, int, str]]) -> str:
    for at, width, piece in edits:
        at %= len(text) + 1
        text = text[:at] + piece + text[at + width :]
    return text


@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from(["actor", "at", "body", "kind", "subject", "version", "more"]), ODD, max_size=2
    ),
    EDITS,
    EDITS,
    st.dictionaries(st.sampled_from(["seq", "at", "kind", "subject", "takes"]), ODD, max_size=1),
    st.booleans(),
)
def test_nothing_is_told_at_once_that_does_not_hold_step_by_step(
    fields: dict[str, Any],
    in_text: list[tuple[int, int, str]],
    in_line: list[tuple[int, int, str]],
    copies: dict[str, Any],
    taken_out: bool,
) -> None:
    """Fields of other types, texts edited and hashed anew, lines edited: what is told at once holds the long way, too."""
    entry = json.loads(texts_of(1)[0]) | fields
    if taken_out:
        entry.pop(next(iter(fields), "subject"))
    text = edited(json.dumps(entry, sort_keys=True, ensure_ascii=False, separators=(",", ":")), in_text)
    line = edited(line_of(text, **copies).decode(), in_line).encode()
    told = usual(1, line, "0" * 64)
    assert told is None or told == step_by_step(1, line, "0" * 64)
