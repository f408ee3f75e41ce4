"""Proofs that do not lead to their head, or are none; and that every word of the page was said by a test."""

from collections.abc import Callable
from typing import Any

import pytest

import verify_ledger
from tests.verify.bundles import (
    OURS,
    TEXTS,
    body_of,
    found,
    leaf,
    proof_of,
    retext,
    root_of,
    sha,
    signature,
    texts_of,
)
from tests.verify.test_verify_ledger_entries import ENTRIES


def nodes(change: Callable[[list[Any]], Any]) -> dict[str, Any]:
    proof = proof_of(TEXTS, 1, 6)
    change(proof["entries"][1]["path"])
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


def test_every_word_is_said_somewhere() -> None:
    """The table of the page, against what these tests have caused (`retold_differs`: tests/cli/test_cli_retold.py)."""
    said = {word for _, word, _ in (*ENTRIES.values(), *PROOFS.values())}
    elsewhere = {"root_differs", "forked", "cut_off", "badly_signed", "retold_differs"}
    assert said | elsewhere == set(verify_ledger.MEANINGS)
