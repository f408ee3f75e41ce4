"""Signed heads: a chain computed anew, forks, ends cut off, signatures and forms that are none."""

import base64
import copy
import io

import pytest

from tests.verify.bundles import (
    ORIGIN,
    OURS,
    ROTATED,
    STRANGER,
    TEXTS,
    WHOLE,
    anew,
    body_of,
    bundle_of,
    found,
    identity,
    judge,
    leaf,
    note_of,
    octets_of,
    proof_of,
    root_of,
    signature,
)
from verify_ledger import (
    check,
    read_keys,
)


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
