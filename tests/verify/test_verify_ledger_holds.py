"""What the verifier for outsiders lets pass: the public trees, the golden entries, untouched bundles, proofs, keys."""

import base64
import copy
import io
import json

import pytest

import verify_ledger
from tests.domain.ledger.vectors import CT_LEAVES, CT_ROOTS
from tests.verify.bundles import (
    GOLDEN,
    ORIGIN,
    OURS,
    ROOT,
    ROTATED,
    STRANGER,
    TEXTS,
    WHOLE,
    bundle_of,
    found,
    identity,
    judge,
    leaf,
    note_of,
    octets_of,
    path_of,
    proof_of,
    root_of,
    sha,
    signature,
    texts_of,
)
from verify_ledger import Report, check, read_keys, roots_at


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


def test_a_proof_and_a_receipt_hold() -> None:
    """On one line or on many, alone or in a receipt."""
    proof = proof_of(TEXTS, 3, 12, 1)
    assert judge(proof) == Report(True, "proof", ORIGIN, 3, 1, 12)
    assert judge(json.dumps(proof).encode()) == judge(proof)
    assert judge({"proof": proof}) == judge(proof)
    beside = judge({"receipt": "yours", "checkpoint": "beside", "proof": proof})
    assert (beside.holds, beside.kind, beside.why) == (True, "proof", verify_ledger.BESIDE)


@pytest.mark.parametrize("kind", [["ConsentReceipt"], "consentReceipt", "dpv:ConsentReceipt", None])
def test_a_receipt_by_another_name_is_not_said_to_be_one(kind: object) -> None:
    """A reader of JSON-LD may take it for one, with whatever was written beside the proof."""
    found = judge({"@type": kind, "state": "given", "proof": proof_of(TEXTS, 3)})
    assert (found.holds, found.kind, found.why) == (True, "proof", verify_ledger.BESIDE)
    assert verify_ledger.in_words(found).endswith("; what stands beside the proof was not looked at.")


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
