"""Proofs over Merkle trees: those of ours hold, and nothing else does; pymerkle and the published vectors agree."""

import hashlib

import pymerkle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.kit import merkle


def leaf(n: int) -> str:
    return hashlib.sha256(b"\x00" + str(n).encode()).hexdigest()


LEAVES = [leaf(n) for n in range(300)]

# RFC 9162 section 2.1.5 draws the tree of seven leaves; these are the proofs it lists, as ranges of leaves.
SEVEN_INCLUDED = {
    0: [(1, 2), (2, 4), (4, 7)],
    3: [(2, 3), (0, 2), (4, 7)],
    4: [(5, 6), (6, 7), (0, 4)],
    6: [(4, 6), (0, 4)],
}
SEVEN_CONSISTENT = {3: [(2, 3), (3, 4), (0, 2), (4, 7)], 4: [(4, 7)], 6: [(4, 6), (6, 7), (0, 4)]}


def test_std_k3_the_proofs_that_rfc_9162_lists() -> None:
    seven = merkle.over(LEAVES[:7])
    for index, ranges in SEVEN_INCLUDED.items():
        assert merkle.inclusion_path(index, 7, seven) == [seven(*one) for one in ranges]
    for old, ranges in SEVEN_CONSISTENT.items():
        assert merkle.consistency_path(old, 7, seven) == [seven(*one) for one in ranges]


def test_std_k3_every_proof_up_to_70_holds_and_growing_agrees() -> None:
    growing = merkle.Growing()
    for size in range(1, 71):
        growing.add(LEAVES[size - 1])
        node, head = merkle.over(LEAVES[:size]), merkle.root(LEAVES[:size])
        assert growing.root() == head
        for n in range(size):
            path = merkle.inclusion_path(n, size, node)
            assert merkle.includes(LEAVES[n], n, size, path, head)
            assert not merkle.includes(LEAVES[n], n + 1, size, path, head)
            path = merkle.consistency_path(n + 1, size, node)
            assert merkle.consistent(n + 1, size, merkle.root(LEAVES[: n + 1]), head, path)


def test_std_k3_our_consistency_proofs_lead_from_and_to_pymerkles_heads_up_to_300() -> None:
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    for n in range(300):
        tree.append_entry(str(n).encode())
    head = tree.get_root().hex()
    assert head == merkle.root(LEAVES)
    for old in range(1, 300):
        path = merkle.consistency_path(old, 300, merkle.over(LEAVES))
        assert merkle.consistent(old, 300, tree.get_root(old).hex(), head, path)


@settings(max_examples=300, deadline=None)
@given(st.integers(2, 200), st.data())
def test_no_other_path_holds(size: int, data: st.DataObject) -> None:
    node, head = merkle.over(LEAVES[:size]), merkle.root(LEAVES[:size])
    n = data.draw(st.integers(0, size - 1))
    included = merkle.inclusion_path(n, size, node)
    assert not merkle.includes(LEAVES[n], n, size, _spoilt(included, data), head)
    consistent = merkle.consistency_path(n + 1, size, node)
    old = merkle.root(LEAVES[: n + 1])
    assert not merkle.consistent(n + 1, size, old, head, _spoilt(consistent, data))


def _spoilt(path: list[str], data: st.DataObject) -> list[str]:
    """The path with one hash too many, twice, too few or wrong."""
    at = data.draw(st.integers(0, max(0, len(path) - 1)))
    way = data.draw(st.sampled_from(["more", "twice", "fewer", "wrong"] if path else ["more"]))
    if way == "more":
        return [*path[:at], leaf(9999), *path[at:]]
    if way == "twice":
        return [*path[:at], path[at], *path[at:]]
    return path[:at] + path[at + 1 :] if way == "fewer" else [*path[:at], leaf(9999), *path[at + 1 :]]


@pytest.mark.parametrize(
    "odd", ["", "AB" * 32, "g" * 64, "a" * 63, "a" * 65, " " + "a" * 63, None, 7, b"a" * 64]
)
def test_what_is_no_hash_is_no_proof(odd: object) -> None:
    head = merkle.root(LEAVES[:5])
    assert not merkle.includes(LEAVES[0], 0, 5, [odd], head)  # type: ignore[list-item]
    assert not merkle.consistent(3, 5, merkle.root(LEAVES[:3]), head, [odd])  # type: ignore[list-item]


def test_sizes_that_cannot_be() -> None:
    head, node = merkle.root(LEAVES[:5]), merkle.over(LEAVES[:5])
    assert not merkle.includes(LEAVES[0], 0, 0, [], LEAVES[0])
    assert not merkle.includes(LEAVES[0], -1, 5, [], head)
    assert not merkle.includes(LEAVES[0], 5, 5, [], head)
    assert not merkle.consistent(0, 5, merkle.EMPTY, head, [])
    assert not merkle.consistent(6, 5, head, head, [])
    assert not merkle.consistent(5, 5, head, LEAVES[0], [])
    for index in (-1, 5):
        with pytest.raises(IndexError):
            merkle.inclusion_path(index, 5, node)
    for old in (0, 6):
        with pytest.raises(IndexError):
            merkle.consistency_path(old, 5, node)
