"""Faults of entries, each with its word and its number, and what of several comes first."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.verify.bundles import WHOLE, Line, bundle_of, edit, found, fresh, refield, rewrite, swap, texts_of

ENTRIES: dict[str, tuple[Callable[[list[Line]], Any], str, int]] = {
    "one taken out": (lambda lines: lines.pop(4), "missing", 4),
    "the first taken out": (lambda lines: lines.pop(1), "missing", 1),
    "the last taken out": (lambda lines: lines.pop(12), "missing", 12),
    "one overwritten by a later one": (lambda lines: lines.__setitem__(4, lines[9]), "missing", 4),
    "two swapped": (swap(4, 5), "out_of_order", 4),
    "two far apart swapped": (swap(2, 11), "out_of_order", 2),
    "an entry among the checkpoints": (swap(12, 13), "out_of_order", 12),
    "one twice": (lambda lines: lines.insert(5, lines[4]), "out_of_order", 4),
    "one twice, at the end": (lambda lines: lines.append(lines[4]), "out_of_order", 4),
    "one overwritten by an earlier one": (lambda lines: lines.__setitem__(4, lines[2]), "out_of_order", 2),
    "another number beside the text": (edit(4, seq=40), "missing", 4),
    "number 0 beside the text": (edit(4, seq=0), "missing", 4),
    "text edited": (lambda lines: edit(4, text=lines[4]["entry"]["text"].replace("p4", "p5"))(lines), "hash_differs", 4),
    "hash edited": (edit(4, hash="0" * 64), "hash_differs", 4),
    "hash in capitals": (lambda lines: edit(4, hash=lines[4]["entry"]["hash"].upper())(lines), "hash_differs", 4),
    "hash no string": (edit(4, hash=[7]), "hash_differs", 4),
    "half a surrogate pair": (edit(4, text='"\ud800"'), "hash_differs", 4),
    "no JSON": (rewrite(4, lambda text: text[:-1]), "not_json", 4),
    "two values": (rewrite(4, lambda text: text + "1"), "not_json", 4),
    "an array": (rewrite(4, lambda text: "[" + text + "]"), "not_json", 4),
    "null": (rewrite(4, lambda _: "null"), "not_json", 4),
    "empty": (rewrite(4, lambda _: ""), "not_json", 4),
    "NaN": (rewrite(4, fresh('"body":{}', '"body":{"x":NaN}')), "not_json", 4),
    "minus infinity": (rewrite(4, fresh('"body":{}', '"body":{"x":-Infinity}')), "not_json", 4),
    "a raw control": (rewrite(4, fresh('"body":{}', '"body":{"x":"\n"}')), "not_json", 4),
    "a byte order mark": (rewrite(4, lambda text: "\ufeff" + text), "not_json", 4),
    "deep": (rewrite(4, fresh('"body":{}', '"body":{"x":' + "[" * 200_000 + "]" * 200_000 + "}")), "not_json", 4),
    "a ninth field": (refield(4, more=1), "not_json", 4),
    "seven fields": (rewrite(4, fresh('"actor":"system",', "")), "not_json", 4),
    "another field in its place": (rewrite(4, fresh('"actor":', '"acter":')), "not_json", 4),
    "true for a number": (refield(4, version=True), "not_json", 4),
    "a string for a number": (refield(4, at="1795512000000004"), "not_json", 4),
    "an array for the body": (refield(4, body=[]), "not_json", 4),
    "no actor": (refield(4, actor=None), "not_json", 4),
    "another version": (refield(4, version=2), "not_json", 4),
    "white space": (rewrite(4, fresh('"version":', '"version": ')), "not_canonical", 4),
    "white space before": (rewrite(4, lambda text: " " + text), "not_canonical", 4),
    "a line feed after": (rewrite(4, lambda text: text + "\n"), "not_canonical", 4),
    "another order": (rewrite(4, lambda text: '{"version":1,' + text[1:].replace(',"version":1', "")), "not_canonical", 4),
    "a key twice": (rewrite(4, fresh('"seq":4', '"seq":4,"seq":4')), "not_canonical", 4),
    "a key twice in the body": (rewrite(4, fresh('"body":{}', '"body":{"x":1,"x":1}')), "not_canonical", 4),
    "a float for a number": (rewrite(4, fresh('"seq":4', '"seq":4.0')), "not_canonical", 4),
    "a float": (rewrite(4, fresh('"body":{}', '"body":{"x":1.5}')), "not_canonical", 4),
    "an exponent": (rewrite(4, fresh('"body":{}', '"body":{"x":1e2}')), "not_canonical", 4),
    "minus zero": (rewrite(4, fresh('"body":{}', '"body":{"x":-0}')), "not_canonical", 4),
    "2^53": (rewrite(4, fresh('"body":{}', '"body":{"x":9007199254740992}')), "not_canonical", 4),
    "-2^53": (rewrite(4, fresh('"body":{}', '"body":{"x":-9007199254740992}')), "not_canonical", 4),
    "six thousand digits": (rewrite(4, fresh('"body":{}', '"body":{"x":' + "9" * 6000 + "}")), "not_canonical", 4),
    "escaped without need": (rewrite(4, fresh('"system"', '"s\\u0079stem"')), "not_canonical", 4),
    "an escaped slash": (rewrite(4, fresh('"system"', '"sys\\/tem"')), "not_canonical", 4),
    "an escape in capitals": (rewrite(3, fresh("\\u001f", "\\u001F")), "not_canonical", 3),
    "a long escape": (rewrite(3, fresh("\\n", "\\u000a")), "not_canonical", 3),
    "an escaped letter": (rewrite(1, fresh("Ü", "\\u00dc")), "not_canonical", 1),
    "half a pair, escaped": (rewrite(4, fresh('"body":{}', '"body":{"\\ud800":1}')), "not_canonical", 4),
    "half a pair, escaped, and an umlaut": (rewrite(4, fresh('"body":{}', '"body":{"\\ud800":1,"\\udfff":1,"ü":1}')), "not_canonical", 4),
    "keys by code point": (rewrite(2, lambda text: write_by_code_point(text)), "not_canonical", 2),
    "link edited": (refield(4, prev_hash="0" * 64), "chain_broken", 4),
    "link no hash": (refield(4, prev_hash=""), "chain_broken", 4),
    "content edited and hashed anew": (refield(4, subject="p5"), "columns_differ", 4),
    "copy of at edited": (edit(4, at=1), "columns_differ", 4),
    "copy of at a float": (edit(4, at=1795512000000004.0), "columns_differ", 4),
    "copy of kind edited": (edit(4, kind="consent.refused"), "columns_differ", 4),
    "copy of subject edited": (edit(4, subject=None), "columns_differ", 4),
    "copy of subject made up": (edit(5, subject="p5"), "columns_differ", 5),
    "takes taken away": (edit(3, takes=False), "columns_differ", 3),
    "takes made up": (edit(4, takes=True), "columns_differ", 4),
    "takes a number": (edit(3, takes=1), "columns_differ", 3),
    "takes null": (edit(4, takes=None), "columns_differ", 4),
}  # fmt: skip


def write_by_code_point(text: str) -> str:
    """What sorts keys by code points puts U+FB33 before U+1F600; the form wants it the other way round."""
    return json.dumps(json.loads(text), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


@pytest.mark.parametrize("name", ENTRIES)
def test_faults_of_entries(name: str) -> None:
    """Each is reported with its word and its number."""
    change, word, position = ENTRIES[name]
    lines = copy.deepcopy(WHOLE)
    change(lines)
    assert found(lines) == (word, position)


def test_a_number_that_only_looks_like_the_one_wanted() -> None:
    """True and 1.0 are not 1: neither as a number beside the text nor in the text, though all else is computed anew."""
    for value in (True, 1.0, "1", None):
        lines = copy.deepcopy(WHOLE)
        lines[1]["entry"]["seq"] = value
        assert found(lines) == ("unreadable", None)
    assert found(bundle_of(texts_of(2, entry_1={"at": True}))) == ("not_json", 1)


def test_another_number_in_the_text() -> None:
    """A chain computed anew in which a text calls itself otherwise than its row."""
    lines = bundle_of(texts_of(4, entry_3={"seq": 4}))
    lines[3]["entry"]["seq"] = 3
    assert found(lines) == ("columns_differ", 3)


def test_faults_come_in_order() -> None:
    """Of several faults the first entry's is said; within an entry the order is that of the page's table; heads come last."""
    lines = copy.deepcopy(WHOLE)
    lines[-1]["checkpoint"] = "no head"
    edit(9, hash="")(lines)
    assert found(lines) == ("hash_differs", 9)
    edit(7, takes=None)(lines)
    assert found(lines) == ("columns_differ", 7)
    refield(7, prev_hash="f" * 64)(lines)
    assert found(lines) == ("chain_broken", 7)
    rewrite(7, lambda text: text + " ")(lines)
    assert found(lines) == ("not_canonical", 7)
    edit(7, hash="")(lines)
    assert found(lines) == ("hash_differs", 7)


def test_a_bad_line_after_the_fault_changes_nothing() -> None:
    """Whether an entry is missing or out of order is looked up beyond lines that cannot be read."""
    broken: Line = {"remark": "neither"}
    assert found([*WHOLE[:4], *WHOLE[5:8], broken, *WHOLE[8:]]) == ("missing", 4)
    assert found([*WHOLE[:4], *WHOLE[5:8], broken, WHOLE[4], *WHOLE[8:]]) == ("out_of_order", 4)
