"""Check that every mail of a mailing was permitted, by the ledger alone, without trusting Bidden.

    python verify_mailing.py OUTCOMES BUNDLE --key KEY [--key KEY ...] [--json]

OUTCOMES is what `bidden ledger outcomes` writes, BUNDLE what `bidden ledger export` writes afterwards, KEY the public key of the
installation; see verify_ledger.py, which must lie beside this file and checks the bundle first. Exit code 0: it holds. 1: it does
not, and the first fault is said. 2: wrong use.

Written from docs/ledger.md ("A mailing"); shares no code with the product.
"""

import argparse
import datetime
import json
import re
import sys
from array import array
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any

import verify_ledger
from verify_ledger import Fault

PERMITS = ("consent.given", "consent.renewed", "consent.restored")
YES = ("given", "renewed", "restored")  # what was brought back says which
NOES = ("consent.withdrawn", "consent.refused", "consent.invalidated")
ENDS = (*NOES, "consent.expired")
WORDED = ("consent", "soft_opt_in")  # bases that cover what the words said which were shown
LABEL = "legacy_registration"  # a basis that permits nothing
TURNS = {  # what begins something and what ends it
    "person.restricted": ("restricted", True), "person.restriction_lifted": ("restricted", False),
    "address.kept": ("waiting", False), "topic.retired": ("retired", True), "topic.restored": ("retired", False),
}  # fmt: skip
ADDED, OFF, OBJECTION = "suppression.added", "suppression.lifted", "objection"
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
MAY_HAVE_LEFT = ("sent", "bounced", "deferred", "unknown")
REFUSALS = (  # of the gate at the claim: nothing left
    "erased", "restricted", "complained", "do_not_mail", "no_address", "bounced", "topic_retired", "withdrawn", "refused",
    "invalidated", "no_consent", "expired", "legacy_unconfirmed", "law_wants_a_yes", "requested", "older_words", "address_pending",
    "unconfirmed", "on_break", "address_changed",
)  # fmt: skip
MEANINGS = {
    "not_sealed": "no seal covers it",
    "sealed_twice": "two seals cover it",
    "outcome_missing": "a seal covers it, and it is not in the file",
    "seal_differs": "the root is not that of the outcomes it covers, or it has seen what came after it",
    "not_permitted": "nothing in the ledger permitted this mail at that moment",
    "other_mailing": "the ledger knows no mailing of a topic by this id",
}
COVERS = re.sub("N", "[0-9]{1,15}", r"|N(?:-N|\.N)?(?:,N(?:-N|\.N)?)*")
WORDS = {
    "pos": int,
    "attempt": int,
    "person": str,
    "warrant": int,
    "message_id": str,
    "state": str,
    "reason": str,
}

Key = tuple[int, int]


@dataclass
class Bar:
    """A no that lies over somebody's mailbox, or an objection, until it is lifted or they leave the mailbox."""

    seq: int
    person: str
    scope: str  # all | marketing | topic
    what: tuple[Any, ...] | None = (
        None  # as its lifting names it; None: the objection, which goes where they go
    )
    topic: str | None = None
    moved: bool = False  # said of an earlier mailbox, and taken along


@dataclass
class Seen:
    """What a seal says of when permission was read: the last entry heeded, and the entry of the seal itself."""

    until: int
    sealed: int
    batch: bool  # whether it seals what a sender had in hand


@dataclass
class Report:
    """What was found; `permitted`: the mails that left, or may have, each with its warrant."""

    holds: bool = False
    mailing: str = ""
    outcomes: int = 0
    seals: int = 0
    permitted: int = 0
    fault: str | None = None
    position: int | None = None
    why: str = ""


@dataclass
class Record:
    """What the ledger says that matters here."""

    topic: str | None = None
    classes: dict[str, str] = field(default_factory=dict)  # of topics: marketing, notice, service
    mailings: set[str] = field(default_factory=set)  # those of a topic
    since: int = 0  # the oldest version of the topic's words that covers this mailing
    seals: list[tuple[int, dict[str, Any]]] = field(default_factory=list)  # with their entry's number
    permits: dict[int, tuple[str, set[str]]] = field(default_factory=dict)  # entry → person, topics
    words: dict[int, int] = field(
        default_factory=dict
    )  # entry → the version that was agreed to, where words were
    runs_out: dict[int, int] = field(default_factory=dict)  # entry → the moment from which it permits no more
    moments: "array[int]" = field(default_factory=lambda: array("q", [0]))  # when each entry was written
    ends: dict[str, list[tuple[int, str | None, int]]] = field(
        default_factory=lambda: defaultdict(list)
    )  # each with the entry from which it counts
    noes: dict[str, dict[str, int]] = field(
        default_factory=dict
    )  # the last word on a topic, where it is a no
    restored: dict[int, list[int]] = field(
        default_factory=lambda: defaultdict(list)
    )  # by the entry that holds again
    merged: dict[str, str] = field(default_factory=dict)
    merged_at: dict[str, int] = field(default_factory=dict)
    turns: dict[tuple[str, str], list[tuple[int, bool]]] = field(default_factory=lambda: defaultdict(list))
    bars: list[Bar] = field(default_factory=list)
    lifted: list[tuple[int, str, tuple[Any, ...], bool]] = field(
        default_factory=list
    )  # with number, subject and name, and whether an objection was taken back
    addresses: dict[str, list[tuple[int, bool]]] = field(
        default_factory=lambda: defaultdict(list)
    )  # of those who were to have another: the entry, and whether they had left the mailbox with it

    def who(self, person: str, at: int = sys.maxsize) -> str:
        """The person as they were called after entry `at`."""
        seen = set()
        while person in self.merged and self.merged_at[person] <= at and person not in seen:
            seen.add(person)
            person = self.merged[person]
        return person

    def one(self, person: str, other: str, at: int) -> bool:
        """Whether these two were one after entry `at`."""
        return self.who(person, at) == self.who(other, at)


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Check that every mail of a mailing was permitted.")
    parser.add_argument("outcomes", metavar="OUTCOMES")
    parser.add_argument("bundle", metavar="BUNDLE")
    parser.add_argument("--key", action="append", required=True, help="a public key, or a file of them")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    try:
        report = check(options.outcomes, options.bundle, verify_ledger.read_keys(options.key))
    except (OSError, ValueError) as error:
        parser.error(str(error))
    sys.stdout.write((json.dumps(asdict(report)) if options.json else in_words(report)) + "\n")
    return 0 if report.holds else 1


def check(outcomes: str, bundle: str, keys: verify_ledger.Keys) -> Report:
    """First the bundle, then the outcomes against it."""
    report = Report()
    with open(bundle, "rb") as file:
        ledger = verify_ledger.check(file, keys)
    if not ledger.holds or ledger.kind != "bundle":
        report.fault, report.position = ledger.fault or "unreadable", ledger.position
        report.why = ledger.why or "it is not a bundle"
        return report
    try:
        report.mailing, rows = read_outcomes(outcomes)
        report.outcomes = len(rows)
        record = read_bundle(bundle, report.mailing)
        if record.topic is None:
            raise fault("other_mailing")
        seen = check_seals(rows, record, report)
        check_permissions(rows, seen, record, report)
        report.holds = True
    except Fault as found:
        report.fault, report.position, report.why = found.word, found.position, found.why
    return report


def fault(word: str, position: int | None = None) -> Fault:
    """A fault of this file's own words."""
    return Fault(word, position, MEANINGS[word])


def read_outcomes(path: str) -> tuple[str, dict[Key, dict[str, Any]]]:
    """The mailing's id, and each outcome by position and attempt."""
    rows: dict[Key, dict[str, Any]] = {}
    mailing = ""
    with open(path, "rb") as file:
        for number, line in enumerate(file):
            found = verify_ledger.read_object(line)
            if number == 0:
                head: Any = found.get("outcomes")
                if not verify_ledger.is_format(head, "bidden-outcomes"):
                    raise Fault("unreadable")
                mailing = str(head.get("mailing"))
                continue
            row = found.get("outcome")
            if type(row) is not dict or any(type(row.get(name)) is not kind for name, kind in WORDS.items()):
                raise Fault("unreadable", why=f"line {number + 1} is no outcome")
            if (row["pos"], row["attempt"]) in rows:
                raise Fault("unreadable", row["pos"], "it stands there twice")
            rows[row["pos"], row["attempt"]] = row
    return mailing, rows


def read_bundle(path: str, mailing: str) -> Record:
    """What matters of a bundle that was checked before."""
    record = Record()
    with open(path, "rb") as file:
        for line in file:
            name, value = verify_ledger.read_line(line)
            if name == "entry":
                entry = json.loads(value["text"])
                try:
                    note(record, entry, mailing)
                except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
                    raise Fault(
                        "unreadable", entry["seq"], "not what docs/ledger.md says of its kind"
                    ) from None
    return record


def note(record: Record, entry: dict[str, Any], mailing: str) -> None:
    """One entry."""
    kind, subject, body, seq = entry["kind"], entry["subject"], entry["body"], entry["seq"]
    record.moments.append(entry["at"])
    if kind.startswith("consent.") and kind not in NOES:
        record.noes.get(subject, {}).pop(body.get("topic"), None)
    if subject == mailing and kind == "mailing.started" and record.topic is None:
        record.topic, record.since = str(body["topic"]), body.get("since_version", 0) + 0
        record.mailings.add(mailing)
    elif kind == "mailing.started":
        record.mailings.add(subject)
    elif subject == mailing and kind == "batch.sealed":
        record.seals.append((seq, body))
    elif kind in PERMITS and body.get("basis") != LABEL and verify_ledger.state_of(entry) in YES:
        record.permits[seq] = subject, {body.get("topic")}
        if body.get("valid_until"):
            record.runs_out[seq] = micros(body["valid_until"])
        if body.get("basis") in WORDED:
            record.words[seq] = version_of(body.get("topic"), body.get("wording"))
        record.restored[body.get("restores", 0)].append(seq)
    elif kind == "person.registered":
        record.permits[seq] = subject, {one["topic"] for one in body.get("topics", [])}
    elif kind in ENDS:
        record.ends[subject].append((seq, body.get("topic"), seq))
        if kind in NOES:
            record.noes.setdefault(subject, {})[body.get("topic")] = seq
    elif kind == "person.erased":
        record.ends[subject].append((seq, None, seq))
    else:
        note_standing(record, entry)


def note_standing(record: Record, entry: dict[str, Any]) -> None:
    """What concerns a person or a mailbox, whatever they said of topics."""
    kind, subject, body, seq = entry["kind"], entry["subject"], entry["body"], entry["seq"]
    if kind == "person.merged":
        record.merged[subject] = "" + body["into"]  # raises TypeError where it is no text
        record.merged_at[subject] = seq  # a no that was their last word goes along from here
        record.ends[subject] += [(no, topic, seq) for topic, no in record.noes.pop(subject, {}).items()]
    elif kind == "address.changed":
        record.addresses[subject].append((seq, not body.get("pending")))
        record.turns["waiting", subject].append((seq, bool(body.get("pending"))))
    elif kind == "address.confirmed" and [on for _, on in record.turns["waiting", subject]][-1:] == [True]:
        record.addresses[subject].append((seq, True))  # a site has had it confirmed: no button said so
        record.turns["waiting", subject].append((seq, False))
    elif kind in TURNS:
        what, begins = TURNS[kind]
        record.turns[what, subject].append((seq, begins))
    elif kind == "person.objected":
        record.bars.append(Bar(seq, subject, "marketing"))
    elif kind == ADDED and subject and surely_theirs(record, subject, body):
        moved, topic = body.get("origin") == "moved", body.get("topic")
        record.bars.append(Bar(seq, subject, body.get("scope"), named(body), topic, moved))
    elif kind == OFF:
        record.lifted.append((seq, subject, named(body), body.get("cause") == OBJECTION))
    elif kind == "topic.created":
        record.classes[subject] = body.get("class", "")


def surely_theirs(record: Record, person: str, body: dict[str, Any]) -> bool:
    """Whether the mailbox is the one they have by then. The file of stops speaks of an earlier one, perhaps, and so does a server of
    a mailbox that was given up, or of one that waits for its button."""
    if body.get("cause") == "hard_bounce":
        moved = person in record.addresses or person in record.merged
        return body.get("origin") in record.mailings and not moved
    return body.get("origin") != "restore"


def named(body: dict[str, Any]) -> tuple[Any, ...]:
    """What two entries share of which one lifts what the other laid."""
    name = tuple(body.get(word) for word in ("address_hash", "scope", "cause", "topic"))
    hash(name)  # raises TypeError where a list stands for a word
    return name


def version_of(topic: Any, wording: Any) -> int:
    """The version in a wording's name, `new-products-v2-en`; 0 where none is named."""
    found = re.fullmatch(re.escape(f"{topic}-v") + r"(\d+)-.+", str(wording))
    return int(found[1]) if found else 0


def micros(moment: str) -> int:
    """An ISO 8601 instant as entries count time: in microseconds since 1970."""
    return (datetime.datetime.fromisoformat(moment) - EPOCH) // datetime.timedelta(microseconds=1)


def check_seals(rows: dict[Key, dict[str, Any]], record: Record, report: Report) -> dict[Key, Seen]:
    """Each outcome in one seal, each seal's root that of its outcomes; up to which entry each one's permission was read."""
    seen: dict[Key, Seen] = {}
    for seq, seal in record.seals:
        leaves, until = [], seal.get("seen")
        if type(until) is not int or not 0 <= until < seq:  # what came later permitted nothing before
            raise fault("seal_differs", seq)
        for key in covered(seal.get("covers"), seq):
            if key not in rows:
                raise fault("outcome_missing", key[0])
            if key in seen:
                raise fault("sealed_twice", key[0])
            seen[key] = Seen(until, seq, "batch" in seal)
            leaves.append(leaf(rows[key]))
        if root(leaves).hex() != seal.get("root") or len(leaves) != seal.get("positions"):
            raise fault("seal_differs", seq)
        report.seals += 1
    for pos, attempt in rows:
        if (pos, attempt) not in seen:
            raise fault("not_sealed", pos)
    return seen


def covered(text: Any, seq: int) -> Iterator[Key]:
    """The positions and attempts that a seal's `covers` names."""
    if type(text) is not str or not re.fullmatch(COVERS, text):
        raise fault("seal_differs", seq)
    for one in filter(None, text.split(",")):
        first, _, attempt = one.partition(".")
        start, _, end = first.partition("-")
        for pos in range(int(start), int(end or start) + 1):
            yield pos, int(attempt or 1)


def leaf(row: dict[str, Any]) -> bytes:
    """The hash of an outcome."""
    words = ("pos", "attempt", "warrant", "message_id", "state", "reason")
    return sha256(b"\0" + "|".join(str(row[name]) for name in words).encode()).digest()


def root(leaves: list[bytes]) -> bytes:
    """The Merkle root of RFC 9162 section 2.1.1, by its recursive definition."""
    if not leaves:
        return sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return verify_ledger.inner(root(leaves[:half]), root(leaves[half:]))


def check_permissions(
    rows: dict[Key, dict[str, Any]], seen: dict[Key, Seen], record: Record, report: Report
) -> None:
    """Whoever's mail left, or may have, had permitted it."""
    ends: dict[str, list[tuple[str, int, int]]] = defaultdict(list)
    for person, said in record.ends.items():
        ends[record.who(person)] += [
            (person, no, since) for no, what, since in said if what in (record.topic, None)
        ]
    bars = stopping(record)
    for key, row in sorted(rows.items()):
        if row["state"] not in MAY_HAVE_LEFT or only_doubted(rows, key, seen[key]):
            continue
        warrant, theirs, until, sealed = row["warrant"], row["person"], seen[key].until, seen[key].sealed
        person, topics = record.permits.get(warrant, ("", set()))
        noes = [
            no
            for whose, no, since in ends[record.who(theirs)]
            if warrant < no and since <= until and record.one(whose, theirs, since)
        ]
        holds_again = max((one for one in record.restored[warrant] if one <= until), default=0)
        ended = max(noes, default=0) > holds_again
        over = record.moments[min(until, len(record.moments) - 1)] >= record.runs_out.get(
            warrant, sys.maxsize
        )
        less = record.words.get(warrant, record.since) < record.since
        elsewhere = record.topic not in topics or not record.one(person, theirs, sealed)
        barred = stood(record, theirs, seen[key]) or any(
            begun <= until and not (begun < over_at <= sealed) and record.one(whose, theirs, until)
            for whose, begun, over_at in bars[record.who(theirs)]
        )
        if elsewhere or warrant > until or ended or over or less or barred:
            raise fault("not_permitted", key[0])
        report.permitted += 1


def only_doubted(rows: dict[Key, dict[str, Any]], key: Key, seen: Seen) -> bool:
    """Whether nothing left at this try, and it is `unknown` for an earlier one's sake, which is looked at by itself."""
    row, (pos, attempt) = rows[key], key
    kept_back = row["reason"] in REFUSALS or not (row["reason"] or seen.batch)
    before = (rows.get((pos, one), {}).get("state") for one in range(1, attempt))
    return row["state"] == "unknown" and kept_back and "unknown" in before


def stood(record: Record, person: str, seen: Seen) -> bool:
    """Whether what is held of them was kept and not used, a new address waited for its button, or the topic was retired. What ended
    before the seal may have ended before the mail."""
    topic = record.topic or ""
    waits = [("waiting", person)] if record.classes.get(topic) != "service" else []
    for what in [("restricted", person), ("retired", topic), *waits]:
        said = record.turns.get(what, [])
        began = [on for seq, on in said if seq <= seen.until][-1:] == [True]
        if began and not any(seen.until < seq <= seen.sealed and not on for seq, on in said):
            return True
    return False


def stopping(record: Record) -> dict[str, list[tuple[str, int, int]]]:
    """By person as they are called now: whom something stopped mail of this mailing's topic to, whatever they said of it, from which
    entry, and to which."""
    kind = record.classes.get(record.topic or "", "")
    lifts: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    taken_back: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for seq, person, name, objection in record.lifted:
        lifts[name].append(seq)
        if objection:
            taken_back[record.who(person)].append((seq, person))
    moves: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for person, said in record.addresses.items():
        moves[record.who(person)] += [(seq, person) for seq, left in said if left]
    found: dict[str, list[tuple[str, int, int]]] = defaultdict(list)
    for bar in record.bars:
        reaches = {"all": True, "marketing": kind == "marketing"}
        reaches["topic"] = kind in ("marketing", "notice") and bar.topic == record.topic
        if not reaches.get(bar.scope):
            continue
        now = record.who(bar.person)
        theirs = moves[now] if bar.what else taken_back[now]
        ends = [seq for seq, who in theirs if record.one(who, bar.person, seq)]
        if bar.what:
            ends += lifts[bar.what]
            ends += [] if bar.moved else [record.merged_at.get(bar.person, 0)]
        over_at = min((seq for seq in ends if seq > bar.seq), default=sys.maxsize)
        found[now].append((bar.person, bar.seq, over_at))
    return found


def in_words(report: Report) -> str:
    """The report as a sentence."""
    if report.fault:
        place = "The file" if report.position is None else f"Number {report.position}"
        return f"{place} does not hold: {report.fault} ({report.why})."
    return (
        f"The mailing holds: {report.outcomes:,} outcomes under {report.seals:,} seals; "
        f"{report.permitted:,} mails that left, or may have, each permitted by the ledger."
    )


if __name__ == "__main__":
    sys.exit(main())
