"""The Merkle tree of RFC 9162 section 2.1: roots, proofs of inclusion and of consistency, and their check. Pure.

Called by the ledger, whose entries' hashes are the leaves, and by the sealing of batches. Hashes are lower-case hex.
Where the leaves lie in a database a proof asks for subtrees by `Node`, so that nobody reads ten million of them.
"""

import hashlib
import re
from collections.abc import Callable, Sequence

Node = Callable[[int, int], str]
"""The hash over the leaves from one index to before another: a subtree of the whole tree."""

EMPTY = hashlib.sha256(b"").hexdigest()
_HASH = re.compile(r"[0-9a-f]{64}")


def node_hash(left: str, right: str) -> str:
    """SHA-256(0x01 ‖ left ‖ right) of RFC 9162 section 2.1.1."""
    return hashlib.sha256(b"\x01" + bytes.fromhex(left) + bytes.fromhex(right)).hexdigest()


def split(size: int) -> int:
    """The largest power of two below size, where a tree of more than one leaf divides (RFC 9162 section 2.1.1)."""
    return 1 << (size - 1).bit_length() - 1


def root(leaves: Sequence[str]) -> str:
    """The tree head over leaf hashes; of none, the hash of nothing (RFC 9162 section 2.1.1)."""
    if not leaves:
        return EMPTY
    level = list(leaves)
    while len(level) > 1:
        paired = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = paired + ([level[-1]] if len(level) % 2 else [])
    return level[0]


def over(leaves: Sequence[str]) -> Node:
    """Subtrees of a tree that is in memory."""
    return lambda start, end: root(leaves[start:end])


def inclusion_path(index: int, size: int, node: Node) -> list[str]:
    """The hashes that lead from a leaf to the root, lowest first (RFC 9162 section 2.1.3.1). Raises IndexError."""
    if not 0 <= index < size:
        raise IndexError(index)
    path, start, end = [], 0, size
    while end - start > 1:
        middle = start + split(end - start)
        if index < middle:
            path.append(node(middle, end))
            end = middle
        else:
            path.append(node(start, middle))
            start = middle
    return path[::-1]


def consistency_path(old: int, new: int, node: Node) -> list[str]:
    """The hashes that show the tree of `old` leaves to be the beginning of that of `new` (RFC 9162 section 2.1.4.1).

    Raises IndexError unless 0 < old ≤ new.
    """
    if not 0 < old <= new:
        raise IndexError(old)
    path, start, end = [], 0, new
    while old < end:
        middle = start + split(end - start)
        if old <= middle:
            path.append(node(middle, end))
            end = middle
        else:
            path.append(node(start, middle))
            start = middle
    return [*([node(start, end)] if start else []), *path[::-1]]


def includes(leaf: str, index: int, size: int, path: Sequence[str], head: str) -> bool:
    """Whether the path leads from this leaf to that head (RFC 9162 section 2.1.3.2); False for whatever is no proof at all."""
    if not (0 <= index < size and _hashes([leaf, *path])):
        return False
    place, last, found = index, size - 1, leaf
    for one in path:
        if last == 0:
            return False
        if place & 1 or place == last:
            found = node_hash(one, found)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            found = node_hash(found, one)
        place, last = place >> 1, last >> 1
    return last == 0 and found == head


def consistent(old: int, new: int, old_head: str, new_head: str, path: Sequence[str]) -> bool:
    """Whether the path shows that one head's tree is the beginning of the other's (RFC 9162 section 2.1.4.2)."""
    if not (0 < old <= new and _hashes([old_head, *path])):
        return False
    if old == new:
        return not path and old_head == new_head
    whole = old & (old - 1) == 0  # then its root is itself a node of the new tree, and is not sent
    hashes = [old_head, *path] if whole else list(path)
    if not hashes:
        return False
    place, last = old - 1, new - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    was = now = hashes[0]
    for one in hashes[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            was, now = node_hash(one, was), node_hash(one, now)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            now = node_hash(now, one)
        place, last = place >> 1, last >> 1
    return last == 0 and was == old_head and now == new_head


def _hashes(given: Sequence[str]) -> bool:
    """Whether what somebody else sent are hashes, as written here."""
    return all(isinstance(one, str) and _HASH.fullmatch(one) for one in given)


class Growing:
    """A tree that grows leaf by leaf and knows its root at any moment, in memory for a hash a level.

    With `height`, `tiles` has the roots of all whole subtrees of 2^height leaves, from the left.
    """

    def __init__(self, height: int | None = None) -> None:
        self.size = 0
        self.height = height
        self.tiles: list[bytes] = []
        self._peaks: list[bytes] = []  # the roots of its whole subtrees, largest first

    def add(self, leaf: str) -> None:
        """One leaf more."""
        found, rest, height = bytes.fromhex(leaf), self.size, 0
        while rest & 1:
            found = hashlib.sha256(b"\x01" + self._peaks.pop() + found).digest()
            rest, height = rest >> 1, height + 1
            if height == self.height:
                self.tiles.append(found)
        self._peaks.append(found)
        self.size += 1

    def root(self) -> str:
        """The head of the tree as it is."""
        if not self._peaks:
            return EMPTY
        found = self._peaks[-1]
        for peak in self._peaks[-2::-1]:
            found = hashlib.sha256(b"\x01" + peak + found).digest()
        return found.hex()
