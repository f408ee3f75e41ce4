"""Anything at all, in any place: the verifier never stumbles, and no change under a head passes."""

import copy
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.verify.bundles import (
    QUICK,
    TEXTS,
    WHOLE,
    bundle_of,
    found,
    judge,
    note_of,
    octets_of,
    proof_of,
    texts_of,
    values,
    write,
)
from verify_ledger import read_text


@QUICK
@given(body=st.dictionaries(st.text(max_size=4), values, max_size=5))
def test_the_form_is_that_of_the_rules(body: dict[str, Any]) -> None:
    """What the rules write is taken, what Python writes by itself only where it is the same."""
    entry = json.loads(TEXTS[0]) | {"body": body}
    assert read_text(write(entry))[1:] == (entry, None)
    for options in ({}, {"sort_keys": True, "separators": (",", ":")}, {"ensure_ascii": False}):
        other = json.dumps(entry, **options)
        assert (read_text(other)[2] is None) is (other == write(entry))


@QUICK
@given(text=st.text() | st.text('{}[]":,\\ud8019eE.-+truefalsn \n', max_size=30))
def test_any_text_is_judged(text: str) -> None:
    """A text gets a word or is an entry; none of these is."""
    assert read_text(text)[2] in ("not_json", "not_canonical")


@QUICK
@given(octets=st.binary(max_size=300), start=st.integers(0, len(WHOLE)))
def test_any_octets_are_judged(octets: bytes, start: int) -> None:
    """Alone, and after a good beginning."""
    assert not judge(octets).holds
    judge(octets_of(WHOLE[:start]) + octets)


@QUICK
@given(
    thing=values,
    start=st.integers(0, len(WHOLE) - 1),
    name=st.sampled_from(["bundle", "entry", "checkpoint"]),
)
def test_any_value_in_any_place_is_judged(thing: Any, start: int, name: str) -> None:
    """A line of a known kind with anything in it, and a proof of anything."""
    lines = [*WHOLE[:start], {name: thing}, *WHOLE[start + 1 :]]
    assert not judge(lines).holds
    for part in ("entries", "checkpoint", "version"):
        assert judge(proof_of(TEXTS, 1) | {part: thing}).holds is (
            part == "version" and thing == 1 and thing is not True
        )
    judge({"proof": thing})
    for retold in ({"@type": "ConsentReceipt"}, {"format": "bidden-evidence"}):
        beside = dict.fromkeys(("subject", "events", "notice", "standing", "wordings", "disclosures"), thing)
        assert not judge(retold | beside | {"proof": proof_of(TEXTS, 1)}).holds


COVERED = octets_of(WHOLE[:11])
REST = octets_of(WHOLE[11:])


@settings(QUICK, max_examples=400)
@given(data=st.data())
def test_no_entry_under_a_head_can_be_changed(data: st.DataObject) -> None:
    """Octets put in, taken out, replaced, moved: a bundle that still holds says what it said before."""
    octets = bytearray(COVERED)
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(octets)))
        length = data.draw(st.sampled_from([0, 1, 1, 2, 40, 700]))
        octets[start : start + length] = data.draw(
            st.binary(max_size=3) | st.sampled_from([b'"', b" ", b"0", b"\\"])
        )
    report = judge(bytes(octets) + REST)
    if report.holds:
        assert [json.loads(line) for line in bytes(octets).split(b"\n")[:-1]] == WHOLE[:11]


@settings(QUICK, max_examples=200)
@given(number=st.integers(1, 10), name=st.sampled_from(sorted(WHOLE[1]["entry"])), value=values)
def test_no_part_of_a_row_can_be_changed(number: int, name: str, value: Any) -> None:
    """Another value in one place of one row is found, at that row or as a line that is none."""
    lines = copy.deepcopy(WHOLE)
    before = lines[number]["entry"][name]
    lines[number]["entry"][name] = value
    if type(value) is type(before) and value == before:
        return
    word, position = found(lines)
    assert word is not None
    assert position in (None, number) or word == "out_of_order"


@settings(QUICK, max_examples=60)
@given(number=st.integers(1, 10), field=st.sampled_from(["at", "kind", "actor", "subject", "body"]))
def test_no_chain_computed_anew_passes_a_head(number: int, field: str) -> None:
    """Not even when everything that can be computed is."""
    value = {"at": 5, "body": {"new": True}}.get(field, "other")
    forged = texts_of(12, **{f"entry_{number}": {field: value}})
    word, position = found(bundle_of(forged, note_of(TEXTS, 5), note_of(TEXTS, 8), note_of(TEXTS, 10)))
    assert word == "root_differs"
    assert position == (1 if number <= 5 else 6 if number <= 8 else 9)
