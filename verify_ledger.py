"""Check an exported ledger, a proof or a receipt of Bidden, without trusting Bidden.

    python verify_ledger.py FILE --key KEY [--key KEY ...] [--json]

FILE is a bundle (what `bidden ledger export` writes), a proof (`bidden ledger prove`) or a receipt. KEY is the public key of the
installation, `<name>+<id>+<base64>`, or a file with one such key to a line. Get it from elsewhere than FILE: a forger brings keys
of his own. Exit code 0: it holds. 1: it does not, and the first fault is said. 2: wrong use, nothing was checked.

This file wants Python 3.11 and the package `cryptography`, was written from docs/ledger.md and shares no code with the product.
"""

import argparse
import base64
import json
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

Keys = dict[tuple[str, bytes], Ed25519PublicKey]  # by name and key id
Head = tuple[int, bytes | None, str]  # size, root and origin; no root if no given key has signed it

LONGEST = 16 * 2**20  # octets of one line, or of a whole proof: a hostile file must not fill the memory
LARGEST = 2**53 - 1
DEEPEST = 254  # objects and arrays within each other, the entry itself among them
FIELDS: dict[str, type] = {
    "version": int, "seq": int, "at": int, "kind": str, "actor": str, "prev_hash": str, "body": dict, "subject": str
}  # fmt: skip
TYPES = [*FIELDS.values()]
VALUES = itemgetter(*FIELDS)
NO_SUBJECT = [*TYPES[:-1], type(None)]
COPIES = ("seq", "at", "kind", "subject", "takes")
KINDS = {"bundle", "entry", "checkpoint"}
ROW = {*COPIES, "hash", "text"}
END = '"}}\n'
PARTS = itemgetter("actor", "at", "body", "kind", "subject")
TAKES = {  # the kinds that can stop mail
    "announcement.cancelled", "announcement.halted", "announcement.paused", "address.changed", "asking.cancelled",
    "consent.expired", "consent.invalidated", "consent.refused", "consent.withdrawn", "contact.erased", "notice.cancelled",
    "notice.halted", "notice.paused", "person.erased", "person.merged", "person.restricted", "preference.break_set", "settings.sending_off",
    "suppression.added", "topic.retired",
}  # fmt: skip
MEANINGS = {
    "missing": "the entry with this number is not there",
    "out_of_order": "another stands in its place, or it stands there twice",
    "hash_differs": "the hash is not that of the text",
    "not_json": "the text is no JSON object with the eight fields of an entry",
    "not_canonical": "the text is not written in the one form allowed",
    "chain_broken": "prev_hash is not the hash of the entry before",
    "columns_differ": "a copy does not agree with the text",
    "cut_off": "a signed head speaks of entries after the last one",
    "root_differs": "a signed head says otherwise",
    "forked": "there are two heads of this size with two roots",
    "badly_signed": "no given key has signed it as a head of this ledger",
    "not_included": "the path does not lead to the head",
    "retold_differs": "what stands beside the proof does not say what the texts in it say",
    "unreadable": "it is not what docs/ledger.md describes, or breaks off",
}
STATES = {
    "unknown": "ConsentUnknown", "requested": "ConsentRequested", "given": "ConsentGiven", "renewed": "RenewedConsentGiven",
    "refused": "ConsentRefused", "withdrawn": "ConsentWithdrawn", "expired": "ConsentExpired", "invalidated": "ConsentRevoked",
}  # fmt: skip
BESIDE = "what stands beside the proof was not looked at"
NAMES = {"proof": "proof", "receipt": "receipt", "evidence": "evidence file"}
SHUTS = ("person.restricted", "person.erased", "person.merged")
WORDED = ("consent", "soft_opt_in")  # bases that cover what the words said which were shown
NAMED = (
    "address_hash",
    "scope",
    "cause",
    "topic",
)  # what two entries share of which one lifts what the other laid
REPEATED = ("method", "source", "wording", "wording_sha256", "policy")  # by a receipt, from a body
SHOWN = ("topic", "version", "locale", "title", "frequency", "text")  # what the hash of a wording is over
NAME = r"[^\s+\x00-\x1f\x7f-\x9f\ud800-\udfff]+"
NUMBER = r"(?:0|[1-9][0-9]{0,99})"
KEY = re.compile(rf"({NAME})\+([0-9a-f]{{8}})\+([A-Za-z0-9+/=]+)")
SIGNATURES = rf"(?:— {NAME} [A-Za-z0-9+/]+=*\n)+"
NOTE = re.compile(rf"((bidden/{NAME})\n{NUMBER}\n([A-Za-z0-9+/]{{43}}=)\nat {NUMBER}\n)\n({SIGNATURES})")


class Fault(Exception):
    """The first thing that does not hold: its word, the number where it stands, and why, if there is more to say."""

    def __init__(self, word: str, position: int | None = None, why: str = "") -> None:
        self.word, self.position, self.why = word, position, why or MEANINGS[word]


@dataclass
class Report:
    """What was found; `size` is that of the greatest head."""

    holds: bool = False
    kind: str | None = None
    origin: str = ""
    entries: int = 0
    checkpoints: int = 0
    size: int = 0
    after_last: int = 0
    fault: str | None = None
    position: int | None = None
    why: str = ""


def main(arguments: list[str] | None = None) -> int:
    """The command: read the keys, check the file, say what was found."""
    parser = argparse.ArgumentParser(description="Check an exported ledger, a proof or a receipt of Bidden.")
    parser.add_argument("file", metavar="FILE", help="a bundle, a proof or a receipt")
    parser.add_argument("--key", action="append", required=True, help="a public key, or a file of them")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    try:
        keys = read_keys(options.key)
        with open(options.file, "rb") as file:
            report = check(file, keys)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    sys.stdout.write((json.dumps(asdict(report)) if options.json else in_words(report)) + "\n")
    return 0 if report.holds else 1


def read_keys(given: list[str]) -> Keys:
    """The public keys, each written out or one to a line of a file. A slip of the pen shows, as the id is computed."""
    keys: Keys = {}
    for one in given:
        text = one if KEY.fullmatch(one) else Path(one).read_text("utf-8")
        for line in filter(None, map(str.strip, text.split("\n"))):
            match = KEY.fullmatch(line)
            octets = from_base64(match[3]) if match else b""
            if match is None or len(octets) != 33 or octets[0] != 1:
                raise ValueError("a public key is written <name>+<key id, 8 hex digits>+<base64>")
            if sha256(match[1].encode() + b"\n" + octets).hexdigest()[:8] != match[2]:
                raise ValueError(f"the public key of {match[1]} does not agree with its id")
            keys[match[1], bytes.fromhex(match[2])] = Ed25519PublicKey.from_public_bytes(octets[1:])
    if not keys:
        raise ValueError("no public key was given")
    return keys


def from_base64(text: str) -> bytes:
    """RFC 4648 section 4, padded. Spare bits must be zero, so that one value has one text."""
    octets = base64.b64decode(text, validate=True)
    if base64.b64encode(octets).decode() != text:
        raise ValueError("this is not base64 as it should be")
    return octets


def check(file: BinaryIO, keys: Keys) -> Report:
    """Check whatever the file is: the first line tells a bundle from the rest, which is one JSON object."""
    report, first, name = Report(), file.readline(LONGEST + 1), ""
    with suppress(Fault):  # an object may go over many lines
        name, header = read_line(first)
    try:
        if name == "bundle":
            check_bundle(file, header, keys, report)
        else:
            check_proof(read_object(first + file.read(LONGEST + 1 - len(first))), keys, report)
        report.holds = True
    except Fault as fault:
        report.fault, report.position, report.why = fault.word, fault.position, fault.why
    return report


def read_line(line: bytes) -> tuple[str, Any]:
    """What a line of a bundle says it is, and its value: the row of an entry, the note of a checkpoint, or the first line's."""
    found = read_object(line)
    names = found.keys() & KINDS
    name = names.pop() if len(names) == 1 else ""
    value = found.get(name)
    if name == "entry" and type(value) is dict and value.keys() >= ROW:
        if type(value["seq"]) is int and type(value["text"]) is str:
            return name, value
    elif name == "bundle" or (name == "checkpoint" and type(value) is str):
        return name, value
    raise Fault("unreadable")


def read_object(octets: bytes) -> dict[str, Any]:
    """One JSON object from outside."""
    try:
        value = read_json(OUTSIDE, octets.decode()) if len(octets) <= LONGEST else None
    except (ValueError, RecursionError):
        value = None
    if type(value) is not dict:
        raise Fault("unreadable")
    return value


def read_json(reader: json.JSONDecoder, text: str) -> Any:
    """One JSON value; what `reader.decode` does, at less expense for a short text."""
    text = text.strip(" \t\n\r")
    value, end = reader.raw_decode(text)
    if end != len(text):
        raise ValueError("something follows the value")
    return value


def check_bundle(file: BinaryIO, header: Any, keys: Keys, report: Report) -> None:
    """A bundle: first every entry, then every checkpoint."""
    if not is_format(header, "bidden-ledger"):
        raise Fault("unreadable")
    origin, size = str(header.get("origin")), header.get("size")
    if not re.fullmatch(f"bidden/{NAME}", origin) or type(size) is not int or not 0 <= size <= LARGEST:
        raise Fault("unreadable")
    report.kind, report.origin = "bundle", origin
    leaves, notes = read_lines(iter(partial(file.readline, LONGEST + 1), b""), size, report)
    check_heads([open_note(note, keys) for note in notes], leaves, report)


def is_format(found: Any, name: str) -> bool:
    """Whether this is an object that says it is of the format in version 1 (for which Python would also take `true`)."""
    version = found.get("version") if type(found) is dict else None
    return type(version) is int and version == 1 and bool(found.get("format") == name)


def read_lines(lines: Iterator[bytes], size: int, report: Report) -> tuple[bytearray, list[str]]:
    """Check the entries one after the other; give their hashes, one behind the other, and the checkpoints."""
    leaves, previous = bytearray(), bytes(32)
    notes: dict[str, None] = {}  # a head kept in two places stands here twice, and is looked at once
    for line in lines:
        number = report.entries + 1
        if number <= size and (leaf := usual(number, line, previous.hex())):
            previous = leaf
            leaves += leaf
            report.entries = number
            continue
        name, value = read_line(line)
        if name == "entry" and value["seq"] == number <= size:
            previous = check_entry(number, value, previous.hex())
            leaves += previous
            report.entries = number
        elif name == "checkpoint" and number > size:
            notes[value] = None
            report.checkpoints += 1
        else:
            raise misplaced(name, value, number, size, lines)
    if report.entries < size:
        raise Fault("unreadable", why=f"it breaks off before entry {report.entries + 1:,} of {size:,}")
    return leaves, list(notes)


def misplaced(name: str, value: Any, number: int, size: int, rest: Iterator[bytes]) -> Fault:
    """The fault where `number` should stand and does not: the rest of the file tells a wrong order from a gap."""
    if name == "entry" and 1 <= value["seq"] < number:
        return Fault("out_of_order", value["seq"], "it stands there twice")
    if name == "bundle" or number > size:
        return Fault(
            "unreadable", why="neither the next entry nor a checkpoint, as the first line would have it"
        )
    for line in rest:
        with suppress(Fault):  # the verdict stands already, whatever else is wrong
            name, value = read_line(line)
            if name == "entry" and value["seq"] == number:
                return Fault("out_of_order", number, "another stands in its place")
    return Fault("missing", number)


def usual(number: int, line: bytes, previous: str) -> bytes | None:
    """The hash of entry `number`, if its line is as docs/ledger.md shows it and all holds; None for any other line, which is then
    taken apart step by step.

    The text and the line are written anew from what was read: if that gives them, they say nothing else. Strings in a text
    without backslashes are written as they are.
    """
    try:
        start, _, rest = line.decode().partition(', "text": "')
        inside = rest[: -len(END)]
        text = inside.replace('\\"', '"')
        if "\\" in text or text.count('"') != len(inside) - len(text) or len(line) > LONGEST:
            return None
        if text.count("{") + text.count("[") > DEEPEST:  # it may be too deep
            return None
        reader, writer = PLAIN if text.isascii() else ANY
        actor, at, body, kind, subject = PARTS(reader.raw_decode(text)[0])
        if type(at) is not int or type(body) is not dict:
            return None
        within, takes = writer.encode(body), "true" if kind in TAKES else "false"
    except (ValueError, RecursionError, KeyError, TypeError):
        return None
    subject = "null" if subject is None else f'"{subject}"'
    told = f'"actor":"{actor}","at":{at},"body":{within},"kind":"{kind}","prev_hash":"{previous}"'
    if text != f'{{{told},"seq":{number},"subject":{subject},"version":1}}':
        return None
    leaf = sha256(b"\0" + text.encode()).digest()
    copies = f'"seq": {number}, "at": {at}, "kind": "{kind}", "subject": {subject}, "takes": {takes}'
    holds = start == f'{{"entry": {{{copies}, "hash": "{leaf.hex()}"' and rest.endswith(END)
    return leaf if holds else None


def check_entry(number: int, row: dict[str, Any], previous: str) -> bytes:
    """Hash, form, link and copies of one entry, in the order of the table in docs/ledger.md; gives its hash."""
    leaf, entry, word = read_text(row["text"])
    if row["hash"] != leaf.hex():
        raise Fault("hash_differs", number)
    if word:
        raise Fault(word, number)
    if entry["prev_hash"] != previous:
        raise Fault("chain_broken", number)
    entry["takes"] = entry["kind"] in TAKES
    for name in COPIES:
        if row[name] != entry[name] or type(row[name]) is not type(entry[name]):
            raise Fault("columns_differ", number, f"the copy of {name} does not agree with the text")
    return leaf


def read_text(text: str) -> tuple[bytes, dict[str, Any], str | None]:
    """The hash of a text, the entry it holds, and the word for what is wrong with its form, if anything is.

    What the form does not have is lost on reading, so that only a text in the form comes out as it went in.
    """
    try:
        leaf = sha256(b"\0" + text.encode()).digest()
    except UnicodeEncodeError:  # half a surrogate pair has no UTF-8, so that no hash is its hash
        return b"", {}, "not_json"
    try:
        reader, writer = PLAIN if text.isascii() else ANY
        entry = read_json(reader, text)
        written = writer.encode(entry)
    except (ValueError, RecursionError):
        return leaf, {}, "not_json"
    if type(entry) is not dict or entry.keys() != FIELDS.keys():
        return leaf, {}, "not_json"
    types = [*map(type, VALUES(entry))]
    if types not in (TYPES, NO_SUBJECT):
        return leaf, {}, "not_json"
    if written != text or too_deep(entry):
        return leaf, entry, "not_canonical"
    return leaf, entry, None if entry["version"] == 1 else "not_json"


def too_deep(entry: dict[str, Any]) -> bool:
    """Whether objects and arrays stand within each other deeper than an entry has them."""
    level: list[Any] = [entry]
    for _ in range(DEEPEST):
        inner = (value for one in level for value in (one.values() if type(one) is dict else one))
        if not (level := [value for value in inner if type(value) in (dict, list)]):
            return False
    return True


def in_order(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object with its keys by UTF-16 code units; of a key that stands twice one is lost."""
    return dict(sorted(pairs, key=lambda pair: pair[0].encode("utf-16-be", "surrogatepass")))


def whole(text: str) -> int:
    """An integer. One out of bounds is read as 0, and so are fractions: that is not how they were written."""
    value = int(text) if len(text) < 20 else 0
    return value if -LARGEST <= value <= LARGEST else 0


def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object in which no key stands twice: two readers could take it in two ways."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


# `int` refuses NaN and Infinity, which Python would read. The writers put \b \t \n \f \r \" and \\ for these, \u00xx for the
# other controls and everything else as it is, as RFC 8785 wants. In ASCII Python's own order of keys is that of UTF-16.
OUTSIDE = json.JSONDecoder(object_pairs_hook=distinct, parse_constant=int)
NUMBERS: Any = {"parse_int": whole, "parse_float": lambda _: 0, "parse_constant": int}
WRITING: Any = {"ensure_ascii": False, "separators": (",", ":"), "check_circular": False}
PLAIN = json.JSONDecoder(**NUMBERS), json.JSONEncoder(sort_keys=True, **WRITING)
ANY = json.JSONDecoder(object_pairs_hook=in_order, **NUMBERS), json.JSONEncoder(**WRITING)


def open_note(note: str, keys: Keys) -> Head:
    """Take a checkpoint apart. It counts if it has the form to the letter and one line is a given key's signature."""
    match, claim = NOTE.fullmatch(note), re.match(rf"[^\n]*\n({NUMBER})\n", note)
    size = int(claim[1]) if claim else 0
    if match is None:
        return size, None, ""
    try:
        root = from_base64(match[3])
        lines = [(name, from_base64(code)) for _, name, code in map(str.split, match[4].split("\n")[:-1])]
    except ValueError:
        return size, None, ""
    for name, octets in lines:
        if key := keys.get((name, octets[:4])):
            with suppress(InvalidSignature):
                key.verify(octets[4:], match[1].encode())
                return size, root, match[2]
    return size, None, ""


def check_heads(heads: list[Head], leaves: bytearray, report: Report) -> None:
    """Hold every head against the tree, in the order of the file."""
    roots = roots_at(leaves, {size for size, root, _ in heads if root})
    agreeing = {size for size, root, _ in heads if root and root == roots.get(size)}
    known: dict[int, bytes] = {}
    for size, root, origin in heads:
        if root is None or origin != report.origin:
            raise Fault("badly_signed", size)
        if known.setdefault(size, root) != root:
            raise Fault("forked", size)
        if size > report.entries:
            raise Fault("cut_off", report.entries + 1)
        if roots[size] != root:
            last = max((smaller for smaller in agreeing if smaller < size), default=0)
            start = f"the signed head of {count(last)}" if last else "the beginning"
            why = f"what lies between {start} and the signed head of {count(size)} was computed anew"
            raise Fault("root_differs", last + 1, why)
    report.size = max(known, default=0)
    report.after_last = report.entries - report.size


def roots_at(leaves: bytearray, sizes: set[int]) -> dict[int, bytes]:
    """The roots of the tree at these sizes, as far as there are entries, in one pass (RFC 9162 section 2.1.1)."""
    roots = {0: sha256().digest()}
    peaks: list[bytes] = []  # roots of the full subtrees, one for each 1 in the binary size
    for size in range(1, len(leaves) // 32 + 1):
        node, rest = bytes(leaves[size * 32 - 32 : size * 32]), size
        while rest % 2 == 0:
            node, rest = inner(peaks.pop(), node), rest // 2
        peaks.append(node)
        if size in sizes:
            for left in reversed(peaks[:-1]):
                node = inner(left, node)
            roots[size] = node
    return roots


def inner(left: bytes, right: bytes) -> bytes:
    """An inner node of the tree."""
    return sha256(b"\1" + left + right).digest()


def check_proof(document: dict[str, Any], keys: Keys, report: Report) -> None:
    """A proof, or a receipt with one in it: first the texts, then the head, then the paths between them."""
    proof: Any = document if document.get("format") == "bidden-proof" else document.get("proof")
    if not is_format(proof, "bidden-proof"):
        raise Fault("unreadable")
    report.kind = "proof"
    note, items = proof.get("checkpoint"), proof.get("entries")
    if type(note) is not str or type(items) is not list or not items:
        raise Fault("unreadable", why="a proof has a checkpoint and at least one entry")
    leaves, told = [], []
    for item in items:
        if type(item) is not dict or type(item.get("text")) is not str or type(item.get("path")) is not list:
            raise Fault("unreadable", why="an entry of a proof has a text and a path")
        leaf, entry, word = read_text(item["text"])
        if word:
            raise Fault(word, entry.get("seq"))
        leaves.append((leaf, entry["seq"], item["path"]))
        told.append((leaf.hex(), entry))
    report.size, root, report.origin = open_note(note, keys)
    if root is None:
        raise Fault("badly_signed", report.size)
    report.checkpoints = 1
    for leaf, seq, path in leaves:
        if not leads(leaf, seq - 1, path, report.size, root):
            raise Fault("not_included", seq)
        report.entries += 1
    check_retold(document, told, report)


def check_retold(document: dict[str, Any], told: list[tuple[str, dict[str, Any]]], report: Report) -> None:
    """What a receipt or an evidence file says beside its proof: only the texts are signed, so it must say what they say."""
    if document.get("@type") == "ConsentReceipt":
        report.kind = "receipt"
    elif document.get("format") == "bidden-evidence":
        report.kind = "evidence"
    else:
        report.why = BESIDE if document.keys() - {"proof"} and "proof" in document else ""
        return
    numbers = [entry["seq"] for _, entry in told]
    if numbers != sorted(set(numbers)):
        raise Fault("retold_differs", why="the entries of the proof do not stand in their order")
    try:
        (retold_by_receipt if report.kind == "receipt" else retold_by_evidence)(document, told)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError):
        raise Fault("retold_differs", why="it does not have what docs/ledger.md says it has") from None


def retold_by_receipt(receipt: dict[str, Any], told: list[tuple[str, dict[str, Any]]]) -> None:
    """Whose consent, to what, when and how, before which words: a receipt against its entries."""
    processing = receipt["processing"]
    told = check_processing([] if processing is None else [processing], told)
    if len(receipt["events"]) != len(told):
        raise Fault("retold_differs", why="it does not tell of every entry of the proof, or of others")
    shown: dict[str, Any] | None = None
    policy = None
    for (leaf, entry), event in zip(told, receipt["events"], strict=True):
        body, number = entry["body"], entry["seq"]
        agree("subject", receipt["subject"], entry["subject"], number)
        agree("purpose", receipt["purpose"], body.get("topic"), number)
        state = state_of(entry)
        facts = {"entry": number, "at": moment(entry["at"]), "state": state, "status": STATES.get(state)}
        facts |= {"actor": entry["actor"], "hash": leaf}
        facts |= {name: body.get(name) for name in REPEATED}
        for name, value in facts.items():
            agree(name, event[name], value, number)
        shown = body if body.get("wording_sha256") else shown
        policy = body.get("policy") or (None if shown is body else policy)
    last = told[-1][1]
    agree("state", receipt["state"], state_of(last), last["seq"])
    agree("status", receipt["status"], STATES.get(state_of(last)), last["seq"])
    agree("basis", receipt["basis"], last["body"].get("basis", "consent"), last["seq"])
    agree("policy", (receipt["policy"] or {}).get("id"), policy)
    check_notice(receipt, shown)


def check_processing(
    profiles: list[dict[str, Any]], told: list[tuple[str, dict[str, Any]]]
) -> list[tuple[str, dict[str, Any]]]:
    """What was done with people's data, each version as its own entry has it; what is left are the other entries."""
    texts = {entry["seq"]: entry for _, entry in told if entry["kind"] == "processing.published"}
    agree("processing", [one["entry"] for one in profiles], sorted(texts))
    if texts and told[-1][1]["seq"] in texts:
        raise Fault("retold_differs", told[-1][1]["seq"], "nothing was said under its last processing")
    for one in profiles:
        entry = texts[one["entry"]]
        facts = {name: entry["body"][name] for name in ("version", "sha256")}
        facts |= {"published_at": moment(entry["at"])}
        for name, value in facts.items():
            agree("processing", one[name], value, entry["seq"])
        agree("processing", digest_of(one["profile"]), one["sha256"], entry["seq"])
    return [(leaf, entry) for leaf, entry in told if entry["seq"] not in texts]


def check_notice(receipt: dict[str, Any], shown: dict[str, Any] | None) -> None:
    """The words in a receipt are those whose hash the entry gives; words that only their site knows are not there."""
    words = receipt["notice"]
    if shown is None or words is None:
        agree("notice", words, shown)
        return
    agree("notice", words["sha256"], shown["wording_sha256"])
    retold = words | {"topic": receipt["purpose"], "locale": words["language"]}
    if any(retold[name] is not None for name in ("id", *SHOWN[1:])):
        agree("notice", words["id"], shown.get("wording"))
        agree("notice", hash_of(retold), words["sha256"])


def retold_by_evidence(file: dict[str, Any], told: list[tuple[str, dict[str, Any]]]) -> None:
    """What was said, how it stood at the end, before which words, and what went to others: an evidence file against its entries."""
    for name in ("processing", "merged", "topics", "wordings", "imports", "disclosures"):
        if type(file[name]) is not list:
            raise TypeError(name)
    told = check_processing(file["processing"], told)
    texts = {entry["seq"]: (leaf, entry) for leaf, entry in told}
    people = [file, *file["merged"]]
    listed = [one["entry"] for part in people for one in part["events"]]
    listed += [one["entry"] for part in file["topics"] for one in part["entries"]]
    listed += [one["entry"] for one in (*file["imports"], *file["disclosures"])]
    if sorted(listed) != [*texts]:
        raise Fault("retold_differs", why="it does not tell of every entry of the proof, or of others")
    check_topics(file["topics"], {one["topic"] for part in people for one in part["standing"]}, texts)
    stops = Stops(people, texts)
    words: dict[str, set[str]] = {}
    for one in people:
        check_person(one, texts, words)
        check_standing(one, texts, stops, file)
    for one in file["wordings"]:
        agree("wordings", one["sha256"], hash_of(one))
        agree("wordings", sorted(words[one["id"]]) or [hash_of(one)], [hash_of(one)])
    check_imports(file["imports"], [event["body"] for part in people for event in part["events"]], texts)
    for one in file["disclosures"]:
        _, entry = texts[one["entry"]]
        agree("disclosures", entry["kind"], "disclosure.made", entry["seq"])
        for name in ("on", "to", "ground", "document", "scope"):
            agree(name, one[name], entry["body"].get(name), entry["seq"])


def check_imports(
    imports: list[dict[str, Any]],
    bodies: list[dict[str, Any]],
    texts: dict[int, tuple[str, dict[str, Any]]],
) -> None:
    """What files brought: what was said of where it came from, and that the words shown elsewhere are those whose hash was kept."""
    for one in imports:
        entry = texts[one["entry"]][1]
        plan, brought = entry["body"]["plan"], [body for body in bodies if body.get("import") == one["id"]]
        agree("imports", entry["kind"], "import.started", entry["seq"])
        facts = {"id": entry["subject"], "at": moment(entry["at"]), "actor": entry["actor"]}
        facts |= {"file_sha256": entry["body"]["file_sha256"]}
        facts |= {name: plan[name] for name in ("source", "grants")}
        for name, value in facts.items():
            agree("imports", one[name], value, entry["seq"])
        hashes = {grant["topic"]: sha256(grant["text"].encode()).hexdigest() for grant in one["grants"]}
        named = [body for body in brought if body.get("wording_sha256") and not body.get("wording")]
        if not brought or any(hashes.get(body.get("topic")) != body["wording_sha256"] for body in named):
            raise Fault("retold_differs", entry["seq"], "it is not the import that brought what was said")


def check_topics(
    topics: list[dict[str, Any]], wanted: set[str], texts: dict[int, tuple[str, dict[str, Any]]]
) -> None:
    """The topics somebody had answered about, as their entries have them: the class, whether in use, since which words."""
    slugs = [one["topic"] for one in topics]
    if slugs != sorted(set(slugs)) or not wanted.issuperset(slugs):
        raise Fault("retold_differs", why="its topics are not those of its standing")
    for one in topics:
        entries = [texts[said["entry"]][1] for said in one["entries"]]
        created, *later = [entry for entry in entries if entry["kind"] != "wording.published"]
        agree("topics", created["kind"], "topic.created", created["seq"])
        for said, entry in zip(one["entries"], entries, strict=True):
            agree("topics", one["topic"], entry["subject"], entry["seq"])
            agree("topics", [said["kind"], said["at"]], [entry["kind"], moment(entry["at"])], entry["seq"])
        words = [entry["body"] for entry in entries if entry["kind"] == "wording.published"]
        since = max((body["version"] for body in words if body.get("material")), default=0)
        agree("topics", one["class"], created["body"]["class"], created["seq"])
        agree("topics", one["retired"], [entry["kind"] for entry in later][-1:] == ["topic.retired"])
        agree("topics", one["since_version"], since)


def check_person(
    part: dict[str, Any], texts: dict[int, tuple[str, dict[str, Any]]], words: dict[str, set[str]]
) -> None:
    """The events of one registration; the hashes of the words it was shown are added to `words`."""
    listed = [event["entry"] for event in part["events"]]
    if listed != sorted(listed):
        raise Fault("retold_differs", why="its events do not stand in their order")
    for event in part["events"]:
        leaf, entry = texts[event["entry"]]
        agree("person", part["person"], entry["subject"], entry["seq"])
        facts = {name: entry[name] for name in ("kind", "actor", "body")}
        facts |= {"at": moment(entry["at"]), "hash": leaf}
        for name, value in facts.items():
            agree(name, event[name], value, entry["seq"])
        body = entry["body"]
        if body.get("wording"):
            words.setdefault(body["wording"], set()).update(filter(None, [body.get("wording_sha256")]))


class Stops:
    """What lay over the registrations of one person after their last entry, whatever they had said (docs/ledger.md, "A proof")."""

    def __init__(self, people: list[dict[str, Any]], texts: dict[int, tuple[str, dict[str, Any]]]) -> None:
        self.shut: dict[str, bool] = {}
        self.into: dict[str, str] = {}
        self.waiting: dict[str, bool] = {}
        self.moved: set[str] = set()
        self.bars: list[
            tuple[str, dict[str, Any], bool]
        ] = []  # whose, what, and whether it goes where they go
        self.breaks: dict[tuple[str, str], str] = {}
        self.answered: dict[str, set[str]] = {one["person"]: set() for one in people}
        for number in sorted(event["entry"] for one in people for event in one["events"]):
            entry = texts[number][1]
            self.heed(entry["kind"], entry["subject"], entry["body"])

    def heed(self, kind: str, person: str, body: dict[str, Any]) -> None:
        """One entry, in their order."""
        self.shut[person] = kind in SHUTS or (
            self.shut.get(person, False) and kind != "person.restriction_lifted"
        )
        if kind == "person.merged":
            self.into[person] = "" + body["into"]
            self.moved.add(self.who(person))
            self.bars = [
                bar for bar in self.bars if bar[0] != person or bar[2] or bar[1].get("origin") == "moved"
            ]
        elif kind in ("address.changed", "address.confirmed", "address.kept"):
            self.heed_address(kind, person, bool(body.get("pending")))
        elif kind == "person.objected":
            self.bars.append((person, {"scope": "marketing"}, True))
        elif kind == "suppression.added":
            bounced = body.get("cause") == "hard_bounce" and person in self.moved
            if body.get("origin") != "restore" and not bounced:
                self.bars.append((person, body, False))
        elif kind == "suppression.lifted":
            self.lift(self.who(person), body)
        elif kind in ("preference.break_set", "preference.break_ended"):
            for topic in [body["topic"]] if body.get("topic") else self.answered[person]:
                self.breaks[person, topic] = body.get("until") or ""
        elif kind == "person.registered":
            self.answered[person] |= {one["topic"] for one in body.get("topics") or []}
        elif kind.startswith("consent.") and body.get("topic"):
            self.answered[person].add(body["topic"])

    def who(self, person: str) -> str:
        """The registration that one counts under by then."""
        seen = set()
        while person in self.into and person not in seen:
            seen.add(person)
            person = self.into[person]
        return person

    def heed_address(self, kind: str, person: str, pending: bool) -> None:
        """What lies over a mailbox ends for whoever leaves it."""
        changed = kind == "address.changed"
        leaves = (changed and not pending) or (
            kind == "address.confirmed" and self.waiting.get(person, False)
        )
        self.moved |= {person} if changed else set()
        self.waiting[person] = changed and pending
        if leaves:
            who = self.who(person)
            self.bars = [bar for bar in self.bars if bar[2] or self.who(bar[0]) != who]

    def lift(self, who: str, body: dict[str, Any]) -> None:
        """Something is lifted, by its name; with what their objection laid, the objection itself."""
        name, objection = [body.get(word) for word in NAMED], body.get("cause") == "objection"
        self.bars = [
            (person, bar, goes_along)
            for person, bar, goes_along in self.bars
            if not (
                (objection and self.who(person) == who)
                if goes_along
                else [bar.get(word) for word in NAMED] == name
            )
        ]

    def over(self, person: str, topic: dict[str, Any], on: datetime) -> bool:
        """Whether something stopped mail of that topic to them at `on`."""
        kind, slug = topic["class"], topic["topic"]
        reaches = {"all": True, "marketing": kind == "marketing"}
        barred = any(
            self.who(whose) == person
            and (
                kind != "service" and bar.get("topic") == slug
                if bar["scope"] == "topic"
                else reaches.get(bar["scope"], False)
            )
            for whose, bar, _ in self.bars
        )
        ends = self.breaks.get((person, slug))
        resting = self.waiting.get(person, False) or bool(ends and datetime.fromisoformat(ends) > on)
        return self.shut.get(person, False) or barred or topic["retired"] or (kind != "service" and resting)


def check_standing(
    part: dict[str, Any], texts: dict[int, tuple[str, dict[str, Any]]], stops: Stops, file: dict[str, Any]
) -> None:
    """What one registration had said at the end, and whether it permitted mail."""
    last: dict[str, dict[str, Any]] = {}
    for event in part["events"]:
        entry = texts[event["entry"]][1]
        if entry["kind"].startswith("consent.") and entry["body"].get("topic"):
            last[entry["body"]["topic"]] = entry
    topics, on = {one["topic"]: one for one in file["topics"]}, datetime.fromisoformat(file["on"])
    agree("standing", [one["topic"] for one in part["standing"]], sorted(last))
    for one in part["standing"]:
        entry, topic = last[one["topic"]], topics.get(one["topic"])
        body, state = entry["body"], state_of(entry)
        permits = topic is not None and state in ("given", "renewed") and covers(body, texts, topic, on)
        facts = {"state": state, "since": moment(entry["at"]), "entry": entry["seq"]}
        facts |= {
            "permits": permits and not stops.over(part["person"], topic or {}, on),
            "basis": body.get("basis", "consent"),
        }
        facts |= {name: body.get(name) for name in ("wording", "policy", "source", "method")}
        for name, value in facts.items():
            agree(name, one[name], value, entry["seq"])


def covers(
    body: dict[str, Any], texts: dict[int, tuple[str, dict[str, Any]]], topic: dict[str, Any], on: datetime
) -> bool:
    """Whether a yes is one that permits, its time was not over, and its words promised what the topic does; one that was brought
    back has the time and the words it had."""
    _, stood = texts.get(body.get("restores") or 0, ("", {}))
    said = stood.get("body") or body
    ends, basis = said.get("valid_until"), body.get("basis", "consent")
    found = re.fullmatch(re.escape(f"{topic['topic']}-v") + r"(\d+)-.+", str(said.get("wording")))
    less = basis in WORDED and (int(found[1]) if found else 0) < topic["since_version"]
    in_time = not ends or datetime.fromisoformat(ends) > on
    return basis != "legacy_registration" and in_time and not (less and topic["class"] != "service")


def agree(name: str, found: object, said: object, number: int | None = None) -> None:
    """The same value, and of the same type: Python would take `true` for 1."""
    if json.dumps(found, sort_keys=True) != json.dumps(said, sort_keys=True):
        raise Fault("retold_differs", number, f"its {name} is not what the text says")


def state_of(entry: dict[str, Any]) -> str:
    """What a consent was after an entry: the body says it, else the kind."""
    return str(entry["body"].get("state") or entry["kind"].partition(".")[2])


def moment(micros: int) -> str:
    """An instant as receipts write it."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)).isoformat()


def hash_of(words: dict[str, Any]) -> str:
    """The hash of a wording: SHA-256 over its six fields, written as an entry is."""
    return digest_of({name: words[name] for name in SHOWN})


def digest_of(value: dict[str, Any]) -> str:
    """The hash of a value written as an entry is; all its keys are ASCII."""
    return sha256(PLAIN[1].encode(value).encode()).hexdigest()


def leads(node: bytes, index: int, path: list[Any], size: int, root: bytes) -> bool:
    """Follow an inclusion proof from a leaf to the root (RFC 9162 section 2.1.3.2; `index` is its fn, `last` its sn)."""
    last = size - 1
    if not 0 <= index <= last:
        return False
    for step in path:
        if last == 0 or type(step) is not str or not re.fullmatch("[0-9a-f]{64}", step):
            return False
        if index % 2 or index == last:
            node = inner(bytes.fromhex(step), node)
            while index and index % 2 == 0:
                index, last = index // 2, last // 2
        else:
            node = inner(node, bytes.fromhex(step))
        index, last = index // 2, last // 2
    return last == 0 and node == root


def in_words(report: Report) -> str:
    """The report as sentences, in ASCII, so that no name a forger chose can make them look different."""
    entries, after = count(report.entries), report.after_last
    if report.fault:
        line = f"Line {report.entries + report.checkpoints + 2:,}" if report.kind == "bundle" else "The file"
        head = f"The checkpoint of {count(report.position or 0)}"
        places = {"unreadable": line, "badly_signed": head, "forked": head}
        place = places.get(report.fault, f"Entry {report.position or 'of the proof'}")
        return f"{place} does not hold: {report.fault} ({report.why})."
    name = report.origin.encode("unicode_escape").decode()
    if report.kind != "bundle":
        more = f"; {report.why}" if report.why else ""
        return f"The {NAMES[str(report.kind)]} holds: {entries} under the signed head of {count(report.size)} of {name}{more}."
    heads = f"{report.checkpoints:,} checkpoint{'' if report.checkpoints == 1 else 's'}"
    tail = f"{count(after)} after the last one {'is' if after == 1 else 'are'} held by the chain alone"
    return f"The ledger holds: {entries}, {heads}; {tail}. Its name is {name}."


def count(number: int) -> str:
    """So many entries."""
    return f"{number:,} {'entry' if number == 1 else 'entries'}"


if __name__ == "__main__":
    sys.exit(main())
