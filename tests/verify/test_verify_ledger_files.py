"""Files that are no bundle and no proof: one word, no number, no trace of an exception."""

import copy
from typing import Any

import pytest

from tests.verify.bundles import TEXTS, WHOLE, Line, found, octets_of, proof_of


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
