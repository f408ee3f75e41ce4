"""The bytes of an entry, their hashes and trees, against independent implementations and the golden file."""

import hashlib
import json
from typing import Any

import pymerkle
import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

import verify_ledger
from service.domain.ledger import rules
from service.kit import chain, merkle, sealing
from tests.domain.ledger import golden
from tests.domain.ledger.vectors import CT_LEAVES, CT_ROOTS

EXACT = 2**53 - 1
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-EXACT, EXACT) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=400, deadline=None)
@given(VALUES)
def test_canonical_bytes_are_those_of_rfc_8785(value: Any) -> None:
    assert chain.canonical(value).encode() == rfc8785.dumps(value)


@pytest.mark.parametrize(
    "value",
    [1.0, float("nan"), EXACT + 1, -EXACT - 1, {1: "x"}, (1, 2), b"x", {"a": [{"b": 1.5}]}, {"é": [1.5]}],
)
def test_what_could_be_written_two_ways_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        chain.canonical(value)


def stored(body: str) -> rules.Entry:
    """The first entry, with this body to the letter."""
    text = '{"actor":"cli","at":1,"body":%s,"kind":"note.made","prev_hash":"%s","seq":1,"subject":null,"version":1}'
    text %= (body, rules.first_link())
    return rules.Entry(1, text, chain.leaf_hash(text), "note.made", None, 1)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ('{"a":1,"é":[2,"ö"]}', None),
        ('{"\U0001f600":1,"\uffee":2}', None),  # by UTF-16 the pair goes first
        ('{"\uffee":2,"\U0001f600":1}', "not_canonical"),
        ('{"\\u00e9":1}', "not_canonical"),  # a text of ASCII whose key is none
        ('{"a":"\\u00e9"}', "not_canonical"),
        ('{"a":[{"b":1.5}]}', "not_canonical"),
        ('{"a":1e2}', "not_canonical"),
        ('{"a":9007199254740992}', "not_canonical"),
        ('{"a":1,"a":1}', "not_canonical"),
        ('{"b":1,"a":1}', "not_canonical"),
        ('{"a":' * 300 + "1" + "}" * 300, "not_canonical"),
        ('{"a":' * 1010 + "1" + "}" * 1010, "not_canonical"),  # deeper than Python goes
        ("[]", "not_json"),
    ],
)
def test_a_stored_body_is_read_to_the_letter(body: str, word: str | None) -> None:
    assert rules.fault(stored(body), seq=1, prev_hash=rules.first_link(), takes=False) == word


@pytest.mark.parametrize(("deep", "held"), [(252, True), (253, False), (300, False), (900, False)])
def test_both_checkers_go_equally_deep(deep: int, held: bool) -> None:
    """Nobody could have written what goes deeper than the one of them reads."""
    for plain in ("[" * deep + "]" * deep, "[" * (deep - 1) + '{"a":"[\\n{"}' + "]" * (deep - 1)):
        entry = stored(f'{{"a":{plain}}}')
        ours = rules.fault(entry, seq=1, prev_hash=rules.first_link(), takes=False)
        assert ours == verify_ledger.read_text(entry.text)[2] == (None if held else "not_canonical")
        row = {"seq": 1, "at": 1, "kind": entry.kind, "subject": None, "takes": False}
        line = json.dumps({"entry": {**row, "hash": entry.hash, "text": entry.text}}) + "\n"
        told = verify_ledger.usual(1, line.encode(), rules.first_link())
        assert told in (None, bytes.fromhex(entry.hash) if held else None)


@pytest.mark.parametrize("text", ["[]", "1", '"seq"', "null", "{}", "nothing", "[" * 2000])
def test_what_is_no_entry_is_named(text: str) -> None:
    entry = rules.Entry(1, text, chain.leaf_hash(text), "note.made", None, 1)
    assert rules.fault(entry, seq=1, prev_hash=rules.first_link(), takes=False) == "not_json"


def test_an_entry_of_another_version_is_none_of_these() -> None:
    one = stored("{}")
    text = one.text.replace('"version":1', '"version":2')
    entry = one._replace(text=text, hash=chain.leaf_hash(text))
    assert rules.fault(entry, seq=1, prev_hash=rules.first_link(), takes=False) == "not_json"


def test_the_golden_file_never_changes() -> None:
    assert golden.FILE.read_text("ascii") == golden.content()


def test_the_golden_file_holds_by_its_own_account() -> None:
    """Read with nothing of ours: hashes, links, proofs and head."""
    whole = json.loads(golden.FILE.read_text("ascii"))
    prev_hash = "0" * 64
    for n, row in enumerate(whole["entries"]):
        octets = row["entry"].encode()
        fields = json.loads(octets)
        assert rfc8785.dumps(fields) == octets
        assert (fields["seq"], fields["prev_hash"], fields["version"]) == (n + 1, prev_hash, 1)
        prev_hash = hashlib.sha256(b"\x00" + octets).hexdigest()
        assert prev_hash == row["hash"]
        assert (
            _climb(
                n, whole["size"], bytes.fromhex(prev_hash), [bytes.fromhex(one) for one in row["path"]]
            ).hex()
            == whole["head"]
        )
    assert whole["size"] == 20


def _climb(index: int, size: int, leaf: bytes, path: list[bytes]) -> bytes:
    """RFC 9162 section 2.1.3.2, written anew."""
    fn, sn, r = index, size - 1, leaf
    for p in path:
        assert sn
        if fn % 2 or fn == sn:
            r = hashlib.sha256(b"\x01" + p + r).digest()
            while not fn % 2 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = hashlib.sha256(b"\x01" + r + p).digest()
        fn, sn = fn >> 1, sn >> 1
    assert not sn
    return r


def test_std_k3_published_vectors_for_sizes_0_to_8() -> None:
    leaves = [hashlib.sha256(b"\x00" + bytes.fromhex(one)).hexdigest() for one in CT_LEAVES]
    assert [merkle.root(leaves[:n]) for n in range(9)] == CT_ROOTS


def test_std_k3_trees_and_proofs_agree_with_pymerkle_up_to_300() -> None:
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    leaves: list[str] = []
    for n in range(300):
        text = chain.canonical({"n": n})
        leaves.append(chain.leaf_hash(text))
        assert tree.append_entry(text.encode()) == n + 1
        assert tree.get_leaf(n + 1).hex() == leaves[-1]
        assert tree.get_root().hex() == merkle.root(leaves)
        for index in {0, n // 2, n}:
            path = merkle.inclusion_path(index, len(leaves), merkle.over(leaves))
            assert _climb(
                index, n + 1, bytes.fromhex(leaves[index]), [bytes.fromhex(one) for one in path]
            ).hex() == merkle.root(leaves)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 70), st.data())
def test_a_wrong_path_leads_elsewhere(size: int, data: st.DataObject) -> None:
    leaves = [chain.leaf_hash(str(n)) for n in range(size)]
    index = data.draw(st.integers(0, size - 1))
    path = [bytes.fromhex(one) for one in merkle.inclusion_path(index, len(leaves), merkle.over(leaves))]
    if not path:
        return
    at = data.draw(st.integers(0, len(path) - 1))
    path[at] = bytes([path[at][0] ^ 1]) + path[at][1:]
    assert _climb(index, size, bytes.fromhex(leaves[index]), path).hex() != merkle.root(leaves)
    with pytest.raises(IndexError):
        merkle.inclusion_path(size, size, merkle.over(leaves))


# --- sealed parts ---


def test_std_k5_a_sealed_part_opens_under_its_key_and_place_only() -> None:
    key, other = sealing.new_key(), sealing.new_key()
    value = {"ip": "203.0.113.9", "url": "https://example.org/join"}
    part = rules.sealed_part(key, value, subject="p_a", kind="consent.given")
    assert rules.open_part(key, part, subject="p_a", kind="consent.given") == value
    assert "203.0.113.9" not in chain.canonical(part)
    for wrong, subject, kind in (
        (other, "p_a", "consent.given"),
        (key, "p_b", "consent.given"),
        (key, "p_a", "consent.renewed"),
    ):
        with pytest.raises(sealing.Unsealable):
            rules.open_part(wrong, part, subject=subject, kind=kind)
    with pytest.raises(sealing.Unsealable):
        rules.open_part(key, {**part, "commitment": "00" * 32}, subject="p_a", kind="consent.given")


def test_std_k5_equal_matter_of_two_people_does_not_look_equal() -> None:
    parts = [
        rules.sealed_part(sealing.new_key(), {"ip": "203.0.113.9"}, subject="p_a", kind="k") for _ in range(2)
    ]
    assert parts[0]["commitment"] != parts[1]["commitment"]
    assert parts[0]["sealed"] != parts[1]["sealed"]


@pytest.mark.parametrize("text", ["[]", "null", "7", '"x"', "{}", "not json"])
def test_an_entry_that_is_no_entry_is_a_fault_and_no_exception(text: str) -> None:
    entry = rules.Entry(1, text, chain.leaf_hash(text), "k", None, 0)
    assert rules.fault(entry, seq=1, prev_hash=rules.first_link(), takes=False) == "not_json"


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(":", ": ", 1),
        lambda text: text + " ",
        lambda text: text.replace('"n":1', '"n":1.0'),
        lambda text: text.replace('"n":1', '"n":1,"n":1'),
        lambda text: text.replace('"n":1', '"n":9007199254740993'),
        lambda text: text.replace("note", "\\u006eote"),
    ],
)
def test_an_entry_written_in_another_way_is_a_fault(change: Any) -> None:
    entry = rules.make(
        seq=1, at=5, kind="note.made", actor="a", subject=None, body={"n": 1}, prev_hash=rules.first_link()
    )
    text = change(entry.text)
    assert text != entry.text
    other = rules.Entry(1, text, chain.leaf_hash(text), entry.kind, None, 5)
    assert rules.fault(other, seq=1, prev_hash=rules.first_link(), takes=False) == "not_canonical"


def test_a_mark_that_an_entry_takes_is_held_against_its_kind() -> None:
    for kind, takes in (("note.made", True), ("consent.withdrawn", False)):
        one = rules.make(
            seq=1, at=5, kind=kind, actor="a", subject=None, body={}, prev_hash=rules.first_link()
        )
        assert rules.fault(one, seq=1, prev_hash=rules.first_link(), takes=takes) == "columns_differ"
        assert rules.fault(one, seq=1, prev_hash=rules.first_link(), takes=not takes) is None
