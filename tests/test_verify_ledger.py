"""The verifier for outsiders: what it lets pass, every word it says, and that nothing in a file makes it stumble.

Bundles and proofs are built here anew from docs/ledger.md, with a tree written the way RFC 9162 defines it.
"""

import ast
import base64
import copy
import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import verify_ledger
from verify_ledger import (
    Fault,
    Report,
    check,
    check_entry,
    main,
    read_keys,
    read_line,
    read_text,
    roots_at,
    usual,
)

Line = dict[str, Any]
ROOT = Path(__file__).parents[1]
GOLDEN = json.loads((ROOT / "tests" / "data" / "ledger_golden.json").read_text("utf-8"))
ORIGIN = "bidden/0011223344556677"
OURS, ROTATED, STRANGER = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2, 3))
QUICK = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])


# Building


def sha(octets: bytes) -> bytes:
    return hashlib.sha256(octets).digest()


def root_of(leaves: list[bytes]) -> bytes:
    """RFC 9162 section 2.1.1, word by word."""
    if len(leaves) < 2:
        return leaves[0] if leaves else sha(b"")
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return sha(b"\x01" + root_of(leaves[:half]) + root_of(leaves[half:]))


def path_of(index: int, leaves: list[bytes]) -> list[str]:
    """RFC 9162 section 2.1.3.1, word by word."""
    if len(leaves) == 1:
        return []
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    if index < half:
        return [*path_of(index, leaves[:half]), root_of(leaves[half:]).hex()]
    return [*path_of(index - half, leaves[half:]), root_of(leaves[:half]).hex()]


def write(value: Any) -> str:
    """The canonical form, one rule to a line."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
        return "{" + ",".join(f"{write(key)}:{write(value[key])}" for key in keys) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(write, value)) + "]"
    if isinstance(value, str):
        return '"' + "".join(map(write_sign, value)) + '"'
    return {True: "true", False: "false", None: "null"}[value] if type(value) is not int else str(value)


def write_sign(sign: str) -> str:
    short = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
    return short.get(sign) or (f"\\u{ord(sign):04x}" if sign < " " else sign)


def leaf(text: str) -> bytes:
    return sha(b"\x00" + text.encode())


BODIES = [{}, {"name": "Übung"}, {"\ufb33": 1, "\U0001f600": [None, True, -5]}, {"note": 'a\n"b"\x1f\x7f'}]


def texts_of(count: int, **changed: Any) -> list[str]:
    """A whole chain; `changed={number: fields}` changes entries before they are hashed, as who computes anew would."""
    texts, previous = [], "0" * 64
    for seq in range(1, count + 1):
        entry = {
            "version": 1, "seq": seq, "at": 1795512000000000 + seq, "actor": "system", "body": BODIES[seq % 4],
            "kind": "consent.withdrawn" if seq % 3 == 0 else "consent.given",
            "subject": None if seq % 5 == 0 else f"p{seq}", "prev_hash": previous,
        }  # fmt: skip
        texts.append(write(entry | changed.get(f"entry_{seq}", {})))
        previous = leaf(texts[-1]).hex()
    return texts


def row_of(text: str) -> Line:
    entry = json.loads(text)
    copies = {name: entry[name] for name in ("seq", "at", "kind", "subject")}
    return {
        "entry": copies
        | {"takes": entry["kind"] == "consent.withdrawn", "hash": leaf(text).hex(), "text": text}
    }


def identity(key: Ed25519PrivateKey, name: str = ORIGIN) -> tuple[bytes, str]:
    """The key id, and the key written out."""
    octets = b"\x01" + key.public_key().public_bytes_raw()
    key_id = sha(name.encode() + b"\n" + octets)[:4]
    return key_id, f"{name}+{key_id.hex()}+{base64.b64encode(octets).decode()}"


def signature(body: str, key: Ed25519PrivateKey, name: str = ORIGIN) -> str:
    octets = identity(key, name)[0] + key.sign(body.encode())
    return f"— {name} {base64.b64encode(octets).decode()}\n"


def body_of(size: int | str, root: bytes, origin: str = ORIGIN) -> str:
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\nat 1795512000000000\n"


def note_of(texts: list[str], size: int, *signers: Ed25519PrivateKey) -> str:
    body = body_of(size, root_of([leaf(text) for text in texts[:size]]))
    return body + "\n" + "".join(signature(body, key) for key in signers or (OURS,))


def bundle_of(texts: list[str], *notes: str) -> list[Line]:
    head = {"format": "bidden-ledger", "version": 1, "origin": ORIGIN, "size": len(texts)}
    return [{"bundle": head}, *map(row_of, texts), *({"checkpoint": note} for note in notes)]


def octets_of(lines: list[Line]) -> bytes:
    """A bundle's file. Half a surrogate pair can only come in as an escape."""
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode(
        "utf-8", "backslashreplace"
    )


def proof_of(texts: list[str], *numbers: int) -> dict[str, Any]:
    leaves = [leaf(text) for text in texts]
    entries = [{"text": texts[number - 1], "path": path_of(number - 1, leaves)} for number in numbers]
    return {
        "format": "bidden-proof",
        "version": 1,
        "checkpoint": note_of(texts, len(texts)),
        "entries": entries,
    }


KEYS = read_keys([identity(OURS)[1]])
TEXTS = texts_of(12)
WHOLE = bundle_of(TEXTS, note_of(TEXTS, 5), note_of(TEXTS, 8), note_of(TEXTS, 10))


def judge(octets: bytes | list[Line] | dict[str, Any]) -> Report:
    if isinstance(octets, dict):
        octets = json.dumps(octets, indent=1).encode()
    if isinstance(octets, list):
        octets = octets_of(octets)
    return check(io.BytesIO(octets), KEYS)


def found(thing: bytes | list[Line] | dict[str, Any]) -> tuple[str | None, int | None]:
    report = judge(thing)
    assert report.holds is (report.fault is None)
    return report.fault, report.position


# The tree


CT_LEAVES = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
]
CT_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def test_roots_of_the_public_vectors() -> None:
    """The leaves with which Certificate Transparency logs are tested, at every size."""
    leaves = [sha(b"\x00" + bytes.fromhex(one)) for one in CT_LEAVES]
    roots = roots_at(bytearray(b"".join(leaves)), set(range(9)))
    assert [roots[size].hex() for size in range(9)] == CT_ROOTS
    assert [root_of(leaves[:size]).hex() for size in range(9)] == CT_ROOTS


def test_roots_and_paths_at_every_size() -> None:
    """One pass gives the roots the definition gives; every path leads, and to no other leaf."""
    leaves = [sha(bytes([n])) for n in range(40)]
    roots = roots_at(bytearray(b"".join(leaves)), set(range(50)))
    assert roots == {size: root_of(leaves[:size]) for size in range(41)}
    for size in range(1, 41):
        for index in range(size):
            path = path_of(index, leaves[:size])
            assert verify_ledger.leads(leaves[index], index, path, size, roots[size])
            assert (
                not verify_ledger.leads(leaves[index], (index + 1) % size, path, size, roots[size])
                or size == 1
            )


# What holds


def test_the_golden_entries_hold() -> None:
    """The twenty entries that never change: their head and every path, signed here."""
    texts = [one["entry"] for one in GOLDEN["entries"]]
    assert root_of([leaf(text) for text in texts]).hex() == GOLDEN["head"]
    lines = bundle_of(texts, note_of(texts, GOLDEN["size"]))
    for line in lines[1:-1]:
        line["entry"]["takes"] = line["entry"]["kind"] in verify_ledger.TAKES
    assert judge(lines) == Report(True, "bundle", ORIGIN, 20, 1, 20, 0)
    entries = [{"text": one["entry"], "path": one["path"]} for one in GOLDEN["entries"]]
    assert judge(proof_of(texts, 1) | {"entries": entries}) == Report(True, "proof", ORIGIN, 20, 1, 20, 0)


def test_the_kinds_that_take_are_those_of_the_page() -> None:
    """Sixteen kinds, in the one block of the page that lists them."""
    page = (ROOT / "docs" / "ledger.md").read_text("utf-8")
    listed = page.split("These kinds take:")[1].split("```")[1].split()
    assert sorted(listed) == sorted(verify_ledger.TAKES)


def test_the_words_are_those_of_the_page() -> None:
    """The table of faults, in its order."""
    page = (ROOT / "docs" / "ledger.md").read_text("utf-8")
    rows = [line.split("`")[1] for line in page.split("| word |")[1].splitlines() if line.startswith("| `")]
    assert rows == list(verify_ledger.MEANINGS)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 8, 9])
def test_untouched_bundles_hold(count: int) -> None:
    """With a head at every size, each kept twice, in either order of places."""
    texts = texts_of(count)
    notes = [note_of(texts, size) for size in range(count + 1)]
    assert judge(bundle_of(texts, *notes, *notes)) == Report(
        True, "bundle", ORIGIN, count, 2 * count + 2, count
    )
    assert judge(bundle_of(texts)) == Report(True, "bundle", ORIGIN, count, after_last=count)


def test_what_the_form_of_a_line_leaves_open() -> None:
    """White space, order of keys, further keys, a missing last line feed, escapes in the outer JSON: none of it means anything."""
    lines = [
        dict(reversed((line | {"remark": {"size": [1.5, 10**400]}}).items())) for line in copy.deepcopy(WHOLE)
    ]
    lines[3]["entry"] = dict(reversed((lines[3]["entry"] | {"id": "x"}).items()))
    octets = b"".join(
        b" \t" + json.dumps(line, separators=(" ,", "\t: ")).encode() + b" \r\n" for line in lines
    )
    assert found(octets) == (None, None)
    assert found(octets.rstrip()) == (None, None)


# Lines as they are usually written, which are told at once


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


def test_a_proof_and_a_receipt_hold() -> None:
    """On one line or on many, alone or in a receipt."""
    proof = proof_of(TEXTS, 3, 12, 1)
    assert judge(proof) == Report(True, "proof", ORIGIN, 3, 1, 12)
    assert judge(json.dumps(proof).encode()) == judge(proof)
    assert judge({"receipt": "yours", "checkpoint": "beside", "proof": proof}) == judge(proof)


def test_keys_several_rotated_and_unknown() -> None:
    """A line of a strange key is passed over; one good line of a given key is enough, wherever it stands."""
    old, new = note_of(TEXTS, 5), note_of(TEXTS, 8, ROTATED)
    both = read_keys([identity(OURS)[1], identity(ROTATED)[1]])
    assert check(io.BytesIO(octets_of(bundle_of(TEXTS, old, new))), both).holds
    assert found(bundle_of(TEXTS, old, new)) == ("badly_signed", 8)
    assert found(bundle_of(TEXTS, note_of(TEXTS, 8, STRANGER, OURS, ROTATED))) == (None, None)
    assert found(bundle_of(TEXTS, note_of(TEXTS, 8, OURS, OURS))) == (None, None)
    witness = "— witness.example/w " + base64.b64encode(bytes(76)).decode() + "\n"
    assert found(bundle_of(TEXTS, note_of(TEXTS, 8) + witness)) == (None, None)
    assert found(bundle_of(TEXTS, note_of(TEXTS, 8, STRANGER))) == ("badly_signed", 8)


def test_one_good_line_is_wanted() -> None:
    """A bad line under the name and id of a given key does no harm beside a good one."""
    body = note_of(TEXTS, 8).split("\n\n")[0] + "\n"
    bad = "— " + ORIGIN + " " + base64.b64encode(identity(OURS)[0] + bytes(64)).decode() + "\n"
    assert found(bundle_of(TEXTS, body + "\n" + bad + signature(body, OURS))) == (None, None)
    assert found(bundle_of(TEXTS, body + "\n" + bad)) == ("badly_signed", 8)


# What does not hold: bundles


def edit(number: int, **values: Any) -> Callable[[list[Line]], None]:
    return lambda lines: lines[number]["entry"].update(values)


def rewrite(number: int, change: Callable[[str], str]) -> Callable[[list[Line]], None]:
    """Another text, with the hash that goes with it."""

    def do(lines: list[Line]) -> None:
        text = change(lines[number]["entry"]["text"])
        lines[number]["entry"].update(text=text, hash=leaf(text).hex())

    return do


def refield(number: int, **values: Any) -> Callable[[list[Line]], None]:
    """Another text in canonical form, with the hash that goes with it."""
    return rewrite(number, lambda text: write(json.loads(text) | values))


def swap(one: int, other: int) -> Callable[[list[Line]], None]:
    def do(lines: list[Line]) -> None:
        lines[one], lines[other] = lines[other], lines[one]

    return do


def fresh(old: str, new: str) -> Callable[[str], str]:
    def do(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return do


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


def anew(count: int, number: int) -> list[str]:
    """The chain computed anew from an entry on."""
    return texts_of(count, **{f"entry_{number}": {"actor": "forger"}})


def test_a_chain_computed_anew_is_found_by_the_heads() -> None:
    """The position is the first entry after the last head that agrees, and the sentence says between which heads."""
    notes = [note_of(TEXTS, size) for size in (5, 8, 10)]
    report = judge(bundle_of(anew(12, 7), *notes))
    assert (report.fault, report.position) == ("root_differs", 6)
    assert "between the signed head of 5 entries and the signed head of 8 entries" in report.why
    report = judge(bundle_of(anew(12, 2), *notes))
    assert (report.fault, report.position) == ("root_differs", 1)
    assert "between the beginning and the signed head of 5 entries" in report.why
    assert found(bundle_of(anew(12, 11), *notes)) == (None, None)


def test_heads_kept_outside_judge_heads_of_the_database() -> None:
    """Who holds the key signs the new chain too; the heads out of his reach still show it, whatever their order."""
    forged = anew(12, 7)
    inside = [note_of(forged, 5), note_of(forged, 9), note_of(forged, 12)]
    assert found(bundle_of(forged, *inside)) == (None, None)
    assert found(bundle_of(forged, *inside, note_of(TEXTS, 10))) == ("root_differs", 10)
    assert found(bundle_of(forged, note_of(TEXTS, 8), *inside)) == ("root_differs", 6)
    assert found(bundle_of(forged, *inside, note_of(TEXTS, 9))) == ("forked", 9)
    assert found(bundle_of(forged, *inside, note_of(TEXTS, 5))) == (None, None)


def test_a_fork_whoever_signed() -> None:
    """Two roots of one size, signed by two keys that were both given."""
    keys = read_keys([identity(OURS)[1], identity(ROTATED)[1]])
    lines = bundle_of(TEXTS, note_of(TEXTS, 8), note_of(anew(12, 3), 8, ROTATED))
    report = check(io.BytesIO(octets_of(lines)), keys)
    assert (report.fault, report.position) == ("forked", 8)


def test_an_end_cut_off() -> None:
    """The number is that of the first entry that is not there, by how much ever the head is ahead."""
    assert found(bundle_of(TEXTS[:9], note_of(TEXTS, 8), note_of(TEXTS, 12))) == ("cut_off", 10)
    assert found(bundle_of([], note_of(TEXTS, 12))) == ("cut_off", 1)
    body = body_of(10**30, bytes(32))
    assert found(bundle_of(TEXTS, body + "\n" + signature(body, OURS))) == ("cut_off", 13)


def test_faults_of_heads_come_in_the_order_of_the_file() -> None:
    """The first head that does not hold is said."""
    good, cut, bad = note_of(TEXTS, 5), note_of(TEXTS, 12), note_of(TEXTS, 8, STRANGER)
    assert found(bundle_of(TEXTS[:9], good, cut, bad)) == ("cut_off", 10)
    assert found(bundle_of(TEXTS[:9], good, bad, cut)) == ("badly_signed", 8)


GOOD = note_of(TEXTS, 8)
BODY = GOOD.split("\n\n")[0] + "\n"
SIGNED = GOOD.split("\n\n")[1]
NOTES: dict[str, tuple[str, int]] = {
    "empty": ("", 0),
    "no signature": (BODY + "\n", 8),
    "no blank line": (BODY + SIGNED, 8),
    "two blank lines": (BODY + "\n\n" + SIGNED, 8),
    "CRLF": (GOOD.replace("\n", "\r\n"), 0),
    "one CRLF": (GOOD.replace("\n—", "\r\n—"), 8),
    "no last line feed": (GOOD[:-1], 8),
    "a line feed more": (GOOD + "\n", 8),
    "a hyphen": (GOOD.replace("—", "-"), 8),
    "extra blank": (GOOD.replace("— ", "—  "), 8),
    "blank at the end": (GOOD[:-1] + " \n", 8),
    "tab": (GOOD.replace("— ", "—\t"), 8),
    "another root": (GOOD.replace("\n8\n", "\n9\n"), 9),
    "signature edited": (BODY + "\n" + SIGNED.replace(SIGNED[-6], "A" if SIGNED[-6] != "A" else "B"), 8),
    "signature cut": (BODY + "\n— " + ORIGIN + " " + base64.b64encode(identity(OURS)[0] + bytes(63)).decode() + "\n", 8),
    "key id alone": (BODY + "\n— " + ORIGIN + " " + base64.b64encode(identity(OURS)[0]).decode() + "\n", 8),
    "junk in base64": (GOOD[:-5] + "!" + GOOD[-5:], 8),
    "no padding": (BODY + "\n" + SIGNED.replace("=", ""), 8),
    "a bad line of a strange key": (GOOD + "— witness.example/w AAA\n", 8),
    "spare bits": (GOOD + "— witness.example/w AAAAAAB=\n", 8),
    "name of a strange key": (BODY + "\n" + signature(BODY, OURS, "bidden/other"), 8),
    "half a surrogate pair": (GOOD.replace("bidden/", "bidden/\ud800"), 8),
    "six thousand digits": (GOOD.replace("\n8\n", "\n" + "9" * 6000 + "\n"), 0),
}  # fmt: skip


@pytest.mark.parametrize("name", NOTES)
def test_heads_that_are_badly_signed(name: str) -> None:
    """With the size the head claims, or 0 where it claims none that can be read."""
    note, size = NOTES[name]
    assert found(bundle_of(TEXTS, note)) == ("badly_signed", size)
    assert found(proof_of(TEXTS, 3) | {"checkpoint": note}) == ("badly_signed", size)


ROOT_8 = base64.b64encode(root_of([leaf(text) for text in TEXTS[:8]])).decode()
BODIES_OF_HEADS: dict[str, tuple[str, int]] = {
    "leading zero": (f"{ORIGIN}\n08\n{ROOT_8}\nat 1\n", 0),
    "plus sign": (f"{ORIGIN}\n+8\n{ROOT_8}\nat 1\n", 0),
    "minus sign": (f"{ORIGIN}\n-8\n{ROOT_8}\nat 1\n", 0),
    "other digits": (f"{ORIGIN}\n٨\n{ROOT_8}\nat 1\n", 0),
    "blank in the size": (f"{ORIGIN}\n8 \n{ROOT_8}\nat 1\n", 0),
    "underscore": (f"{ORIGIN}\n1_0\n{ROOT_8}\nat 1\n", 0),
    "no size": (f"{ORIGIN}\n\n{ROOT_8}\nat 1\n", 0),
    "no time": (f"{ORIGIN}\n8\n{ROOT_8}\n", 8),
    "two times": (f"{ORIGIN}\n8\n{ROOT_8}\nat 1\nat 1\n", 8),
    "another extension": (f"{ORIGIN}\n8\n{ROOT_8}\nfor 1\n", 8),
    "an extension more": (f"{ORIGIN}\n8\n{ROOT_8}\nat 1\nmore\n", 8),
    "time no number": (f"{ORIGIN}\n8\n{ROOT_8}\nat noon\n", 8),
    "time with a zero": (f"{ORIGIN}\n8\n{ROOT_8}\nat 01\n", 8),
    "root in hex": (f"{ORIGIN}\n8\n{bytes(32).hex()}\nat 1\n", 8),
    "root too short": (f"{ORIGIN}\n8\n{base64.b64encode(bytes(31)).decode()}\nat 1\n", 8),
    "root with spare bits": (f"{ORIGIN}\n8\n{'A' * 42}B=\nat 1\n", 8),
    "another origin": (f"other/1\n8\n{ROOT_8}\nat 1\n", 8),
    "origin with a blank": (f"{ORIGIN} 1\n8\n{ROOT_8}\nat 1\n", 8),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES_OF_HEADS)
def test_heads_well_signed_that_are_no_heads(name: str) -> None:
    """A signature does not make up for the form."""
    body, size = BODIES_OF_HEADS[name]
    assert found(bundle_of(TEXTS, body + "\n" + signature(body, OURS))) == ("badly_signed", size)


def test_a_head_of_another_ledger() -> None:
    """The right key, the right root, but the bundle says it is another's."""
    lines = copy.deepcopy(WHOLE)
    lines[0]["bundle"]["origin"] = "bidden/other"
    assert found(lines) == ("badly_signed", 5)


# What does not hold: files


def headed(**values: Any) -> list[Line]:
    lines = copy.deepcopy(WHOLE)
    lines[0]["bundle"].update(values)
    return lines


PADDING = "x" * 16 * 2**20
UNREADABLE: dict[str, bytes] = {
    "empty": b"",
    "blank": b"\n\n",
    "no text": bytes(range(256)),
    "not UTF-8": octets_of(WHOLE).replace("Ü".encode(), b"\xdc", 1),
    "half a pair in UTF-8": octets_of(WHOLE).replace("Ü".encode(), b"\xed\xa0\x80", 1),
    "a byte order mark": b"\xef\xbb\xbf" + octets_of(WHOLE),
    "a list": b"[]",
    "a number": b"1",
    "deep": b"[" * 1_000_000,
    "deep objects": b'{"a":' * 300_000,
    "deep in a line": octets_of(WHOLE[:4]) + b'{"entry":' * 100_000,
    "huge number": b"9" * 100_000,
    "a huge number in a line": octets_of(WHOLE[:4]) + b'{"entry":' + b"9" * 100_000 + b"}",
    "NaN": b'{"bundle":NaN}',
    "NaN beside": octets_of([WHOLE[0] | {"remark": 1}, *WHOLE[1:]]).replace(b'"remark": 1', b'"remark": NaN'),
    "a key twice": octets_of(WHOLE).replace(b'{"seq": 3,', b'{"seq": 3, "seq": 3,'),
    "a line too long": octets_of([WHOLE[0], WHOLE[1] | {"remark": PADDING}, *WHOLE[2:]]),
    "a first line too long": octets_of([WHOLE[0] | {"remark": PADDING}, *WHOLE[1:]]),
    "a document too long": octets_of([{"proof": proof_of(TEXTS, 1), "remark": PADDING}]),
    "more than blanks after what is read": octets_of([proof_of(TEXTS, 1)]) + b" " * 16 * 2**20 + b"x",
    "cut in an entry": octets_of(WHOLE)[: len(octets_of(WHOLE[:6])) - 9],
    "cut between entries": octets_of(WHOLE[:6]),
    "cut in a head": octets_of(WHOLE)[:-9],
    "an empty line": octets_of(WHOLE[:4]) + b"\n" + octets_of(WHOLE[4:]),
    "an entry that is a list": octets_of([*WHOLE[:4], {"entry": []}, *WHOLE[5:]]),
    "an entry that is null": octets_of([*WHOLE[:4], {"entry": None}, *WHOLE[5:]]),
    "a text that is a number": octets_of([*WHOLE[:4], {"entry": WHOLE[4]["entry"] | {"text": 4}}, *WHOLE[5:]]),
    "a head that is a number": octets_of([*WHOLE, {"checkpoint": 5}]),
    "a head that is null": octets_of([*WHOLE, {"checkpoint": None}]),
    "a line of two kinds": octets_of([*WHOLE[:-1], WHOLE[4] | WHOLE[-1]]),
    "a line of no kind": octets_of([*WHOLE, {"remark": 1}]),
    "another first line": octets_of([*WHOLE[:4], WHOLE[0], *WHOLE[4:]]),
    "two bundles": octets_of([*WHOLE, *WHOLE]),
    "no first line": octets_of(WHOLE[1:]),
    "a first line that is a list": octets_of([{"bundle": []}, *WHOLE[1:]]),
    "more entries than said": octets_of(headed(size=11)),
    "fewer entries than said, and no heads": octets_of(headed(size=13)[:13]),
    "size below nothing": octets_of(headed(size=-1)),
    "size below nothing and nothing there": octets_of(headed(size=-1)[:1]),
    "size beyond measure": octets_of(headed(size=10**30)),
    "size true": octets_of(headed(size=True)),
    "size a float": octets_of(headed(size=12.0)),
    "size a string": octets_of(headed(size="12")),
    "version true": octets_of(headed(version=True)),
    "version 2": octets_of(headed(version=2)),
    "another format": octets_of(headed(format="other")),
    "no origin": octets_of(headed(origin=None)),
    "an origin of two lines": octets_of(headed(origin="bidden/a\nb")),
    "half a pair in the origin": octets_of(headed(origin="bidden/@")).replace(b"@", b"\\ud800"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNREADABLE)
def test_files_that_are_unreadable(name: str) -> None:
    """No trace of an exception, no number, one word."""
    assert found(UNREADABLE[name]) == ("unreadable", None)


@pytest.mark.parametrize("copied", ["seq", "at", "kind", "subject", "takes", "hash", "text"])
def test_an_entry_with_a_part_left_out(copied: str) -> None:
    """A copy that is not there cannot agree, not even with null."""
    lines = copy.deepcopy(WHOLE)
    del lines[5]["entry"][copied]
    assert found(lines) == ("unreadable", None)


def test_fewer_entries_than_said_before_the_heads() -> None:
    """The file is whole, an entry is not there."""
    assert found(headed(size=13)) == ("missing", 13)


# What does not hold: proofs


def nodes(change: Callable[[list[Any]], Any]) -> dict[str, Any]:
    proof = proof_of(TEXTS, 1, 6)
    change(proof["entries"][1]["path"])
    return proof


def retext(change: Callable[[str], str]) -> dict[str, Any]:
    proof = proof_of(TEXTS, 1, 6)
    proof["entries"][1]["text"] = change(proof["entries"][1]["text"])
    return proof


def headed_by(size: int, root: bytes) -> dict[str, Any]:
    body = body_of(size, root)
    return proof_of(TEXTS, 6) | {"checkpoint": body + "\n" + signature(body, OURS)}


def misnumbered(seq: int) -> dict[str, Any]:
    """The last of eight entries with another number: every node of its path stands to the left, as for any number 8 * n."""
    texts = texts_of(8, entry_8={"seq": seq})
    return proof_of(texts, 8)


def too_small() -> dict[str, Any]:
    """A signed head that says it is of one entry and is of two."""
    proof = headed_by(1, root_of([leaf(TEXTS[1]), leaf(TEXTS[0])]))
    return proof | {"entries": [{"text": TEXTS[0], "path": [leaf(TEXTS[1]).hex()]}]}


ALONE = texts_of(1)
PROOFS: dict[str, tuple[dict[str, Any], str, int | None]] = {
    "too few nodes": (nodes(lambda path: path.pop()), "not_included", 6),
    "no nodes": (nodes(lambda path: path.clear()), "not_included", 6),
    "a node more": (nodes(lambda path: path.append("0" * 64)), "not_included", 6),
    "a node twice": (nodes(lambda path: path.insert(1, path[1])), "not_included", 6),
    "ten thousand nodes": (nodes(lambda path: path.extend(path * 3000)), "not_included", 6),
    "nodes turned round": (nodes(lambda path: path.reverse()), "not_included", 6),
    "a node cut": (nodes(lambda path: path.__setitem__(0, path[0][:-2])), "not_included", 6),
    "a node in capitals": (nodes(lambda path: path.__setitem__(0, path[0].upper())), "not_included", 6),
    "a node with a line feed": (nodes(lambda path: path.__setitem__(0, path[0] + "\n")), "not_included", 6),
    "a node in other digits": (nodes(lambda path: path.__setitem__(0, "٣" * 64)), "not_included", 6),
    "a node that is a number": (nodes(lambda path: path.__setitem__(0, 0)), "not_included", 6),
    "a node that is a list": (nodes(lambda path: path.__setitem__(0, [])), "not_included", 6),
    "another text": (retext(lambda text: text.replace("p6", "p7")), "not_included", 6),
    "another number": (retext(lambda text: text.replace('"seq":6', '"seq":5')), "not_included", 5),
    "number 0": (retext(lambda text: text.replace('"seq":6', '"seq":0')), "not_included", 0),
    "number below 0": (retext(lambda text: text.replace('"seq":6', '"seq":-6')), "not_included", -6),
    "number beyond the size": (retext(lambda text: text.replace('"seq":6', '"seq":13')), "not_included", 13),
    "number beyond measure": (retext(lambda text: text.replace('"seq":6', '"seq":9007199254740991')), "not_included", 2**53 - 1),
    "a size of nothing": (headed_by(0, sha(b"")), "not_included", 6),
    "a size beyond measure": (headed_by(10**30, root_of([leaf(text) for text in TEXTS])), "not_included", 6),
    "a leaf for a root": (headed_by(1, leaf(TEXTS[5])), "not_included", 6),
    "number 0 in the tree": (misnumbered(0), "not_included", 0),
    "number 16 in a tree of eight": (misnumbered(16), "not_included", 16),
    "a node after the last": (too_small(), "not_included", 1),
    "text not canonical": (retext(lambda text: text + " "), "not_canonical", 6),
    "text with a float": (retext(lambda text: text.replace('"version":1', '"version":1.0')), "not_canonical", 6),
    "text no JSON": (retext(lambda text: text[1:]), "not_json", None),
    "text with half a pair": (retext(lambda text: text.replace("p6", "\ud800")), "not_json", None),
    "text true for a number": (retext(lambda text: text.replace('"seq":6', '"seq":true')), "not_json", None),
    "no entries": (proof_of(TEXTS), "unreadable", None),
    "entries no list": (proof_of(TEXTS, 1) | {"entries": {"0": 1}}, "unreadable", None),
    "an entry no object": (proof_of(TEXTS, 1) | {"entries": ["x"]}, "unreadable", None),
    "an entry without a path": (proof_of(TEXTS, 1) | {"entries": [{"text": TEXTS[0]}]}, "unreadable", None),
    "a path that is a string": (proof_of(ALONE, 1) | {"entries": [{"text": ALONE[0], "path": ""}]}, "unreadable", None),
    "a text that is null": (proof_of(TEXTS, 1) | {"entries": [{"text": None, "path": []}]}, "unreadable", None),
    "a head that is null": (proof_of(TEXTS, 1) | {"checkpoint": None}, "unreadable", None),
    "version true": (proof_of(TEXTS, 1) | {"version": True}, "unreadable", None),
    "version 2": (proof_of(TEXTS, 1) | {"version": 2}, "unreadable", None),
    "another format": (proof_of(TEXTS, 1) | {"format": "other"}, "unreadable", None),
    "a receipt without a proof": ({"proof": None}, "unreadable", None),
    "a receipt in a receipt": ({"proof": {"proof": proof_of(TEXTS, 1)}}, "unreadable", None),
    "a list of proofs": ({"proof": [proof_of(TEXTS, 1)]}, "unreadable", None),
}  # fmt: skip


@pytest.mark.parametrize("name", PROOFS)
def test_proofs_that_do_not_hold(name: str) -> None:
    """With the number the text gives itself, where it has one."""
    proof, word, position = PROOFS[name]
    assert found(proof) == (word, position)
    if name != "another format":
        assert found({"proof": proof})[0] in (word, "unreadable")


def test_every_word_is_said_somewhere_above() -> None:
    """The table of the page, against what these tests have caused (`retold_differs`: tests/cli/test_cli_retold.py)."""
    said = {word for _, word, _ in (*ENTRIES.values(), *PROOFS.values())}
    elsewhere = {"root_differs", "forked", "cut_off", "badly_signed", "retold_differs"}
    assert said | elsewhere == set(verify_ledger.MEANINGS)


# Anything at all


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


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


# The command


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "good").write_bytes(octets_of(WHOLE))
    (tmp_path / "bad").write_bytes(octets_of([*WHOLE[:4], *WHOLE[5:]]))
    (tmp_path / "proof").write_text(json.dumps({"proof": proof_of(TEXTS, 4, 9)}))
    (tmp_path / "keys").write_text(identity(STRANGER)[1] + "\n\n" + identity(OURS)[1] + "\r\n", newline="")
    return tmp_path


def test_sentences(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a person reads, and the exit code a program reads."""
    key = ["--key", identity(OURS)[1]]
    assert main([str(files / "good"), *key]) == 0
    assert capsys.readouterr().out == (
        "The ledger holds: 12 entries, 3 checkpoints; 2 entries after the last one are held by the chain alone."
        " Its name is bidden/0011223344556677.\n"
    )
    assert main([str(files / "bad"), "--key", str(files / "keys")]) == 1
    assert (
        capsys.readouterr().out
        == "Entry 4 does not hold: missing (the entry with this number is not there).\n"
    )
    assert main([str(files / "proof"), *key, *key]) == 0
    assert capsys.readouterr().out == (
        "The proof holds: 2 entries under the signed head of 12 entries of bidden/0011223344556677.\n"
    )


@pytest.mark.parametrize(
    ("thing", "words"),
    [
        (octets_of(WHOLE[:6]), "Line 7 does not hold: unreadable (it breaks off before entry 6 of 12)."),
        (b"", "The file does not hold: unreadable (it is not what docs/ledger.md describes, or breaks off)."),
        (octets_of(bundle_of(TEXTS, "")), "The checkpoint of 0 entries does not hold: badly_signed (no given key"),
        (octets_of(bundle_of(TEXTS, note_of(TEXTS, 1, ROTATED))), "The checkpoint of 1 entry does not hold: badly_"),
        (json.dumps(retext(lambda text: text[1:])).encode(), "Entry of the proof does not hold: not_json (the text"),
        (octets_of(bundle_of(anew(1, 1), note_of(TEXTS, 1))), "Entry 1 does not hold: root_differs (what lies between"),
        (octets_of(bundle_of(TEXTS[:1])), "The ledger holds: 1 entry, 0 checkpoints; 1 entry after the last one is"),
    ],
)  # fmt: skip
def test_more_sentences(thing: bytes, words: str) -> None:
    """Each kind of place a fault can have."""
    assert verify_ledger.in_words(judge(thing)).startswith(words)


def test_a_name_cannot_dress_up_the_verdict() -> None:
    """Control signs and letters that only look like others come out escaped."""
    name = "bidden/\u202eА"
    body = body_of(0, sha(b""), name)
    lines: list[Line] = [
        {"bundle": {"format": "bidden-ledger", "version": 1, "origin": name, "size": 0}},
        {"checkpoint": body + "\n" + signature(body, OURS, name)},
    ]
    report = check(io.BytesIO(octets_of(lines)), read_keys([identity(OURS, name)[1]]))
    assert report.holds
    assert verify_ledger.in_words(report).endswith("Its name is bidden/\\u202e\\u0410.")


def test_json(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One object on one line."""
    assert main([str(files / "good"), "--json", "--key", str(files / "keys")]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {
        "holds": True, "kind": "bundle", "origin": ORIGIN, "entries": 12, "checkpoints": 3, "size": 10, "after_last": 2,
        "fault": None, "position": None, "why": "",
    }  # fmt: skip
    assert main([str(files / "bad"), "--json", "--key", str(files / "keys")]) == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["holds"], said["fault"], said["position"], said["entries"]) == (False, "missing", 4, 3)


WRITTEN = identity(OURS)[1]
NAME, KEY_ID, CODE = WRITTEN.split("+", 2)


@pytest.mark.parametrize(
    "key",
    [
        "", "no/such/file", NAME, f"{NAME}+{KEY_ID}", f"{NAME}+{KEY_ID}+", f"{NAME}+{KEY_ID}+{CODE[:-4]}",
        f"{NAME}+{KEY_ID.upper()}+{CODE}", f"{NAME}+00000000+{CODE}", f"{NAME}x+{KEY_ID}+{CODE}", f"{NAME}+{KEY_ID}+{CODE}!",
        f"{NAME}+{KEY_ID}+{base64.b64encode(bytes(33)).decode()}", f"+{KEY_ID}+{CODE}",
    ],
)  # fmt: skip
def test_wrong_keys_are_wrong_use(files: Path, key: str) -> None:
    """Written out or in a file, a key that is none ends the matter."""
    (files / "key").write_text("\n" + key + "\n")
    for one in (key, str(files / "key")):
        with pytest.raises(SystemExit) as ended:
            main([str(files / "good"), "--key", one])
        assert ended.value.code == 2


def test_wrong_use(files: Path) -> None:
    """No key, no file, a directory, keys that are no text."""
    (files / "binary").write_bytes(b"\xff\xfe")
    good, key = str(files / "good"), ["--key", WRITTEN]
    for arguments in (
        [good],
        key,
        [str(files / "none"), *key],
        [str(files), *key],
        [good, "--key", str(files / "binary")],
    ):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2


def test_it_wants_nothing_but_python_and_cryptography() -> None:
    """Every import of the file, wherever it stands."""
    tree = ast.parse((ROOT / "verify_ledger.py").read_text("utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} <= {*sys.stdlib_module_names, "cryptography"}


PROBE = """
import runpy, sys
try:
    sys.argv[:] = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    sys.stderr.write(" ".join(sorted({name.split(".")[0] for name in sys.modules})))
"""


def test_it_runs_alone(files: Path) -> None:
    """The one file, copied to an empty place, in a Python that looks nowhere else, and with a plain ASCII terminal."""
    (files / "alone").mkdir()
    program = files / "alone" / "check.py"
    program.write_bytes((ROOT / "verify_ledger.py").read_bytes())
    for name, code in (("good", 0), ("proof", 0), ("bad", 1), ("none", 2)):
        command = [
            sys.executable,
            "-I",
            "-X",
            "utf8=0",
            "-c",
            PROBE,
            program,
            files / name,
            "--key",
            files / "keys",
        ]
        ran = subprocess.run(
            command, cwd=files / "alone", capture_output=True, text=True, env={"LC_ALL": "C"}
        )
        assert ran.returncode == code, ran.stderr
        assert "Traceback" not in ran.stderr
        loaded = set(ran.stderr.splitlines()[-1].split())
        assert loaded.isdisjoint(
            {"service", "scheduler", "sqlalchemy", "sqlmodel", "pydantic", "orjson", "bidden"}
        )
