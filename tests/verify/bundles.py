"""Bundles, heads and proofs built anew from docs/ledger.md, with a tree written the way RFC 9162 defines it, and what changes them.

What `verify_ledger` says of them is asked by `judge` and `found`. Imported by the tests beside it.
"""

import base64
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from verify_ledger import (
    Report,
    check,
    read_keys,
)

Line = dict[str, Any]
ROOT = Path(__file__).parents[2]
GOLDEN = json.loads((ROOT / "tests" / "data" / "ledger_golden.json").read_text("utf-8"))
ORIGIN = "bidden/0011223344556677"
OURS, ROTATED, STRANGER = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2, 3))
QUICK = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])


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


def anew(count: int, number: int) -> list[str]:
    """The chain computed anew from an entry on."""
    return texts_of(count, **{f"entry_{number}": {"actor": "forger"}})


def retext(change: Callable[[str], str]) -> dict[str, Any]:
    proof = proof_of(TEXTS, 1, 6)
    proof["entries"][1]["text"] = change(proof["entries"][1]["text"])
    return proof


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
