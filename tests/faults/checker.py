"""The independent checker of a fault run: what left, what was said, what is on record, and whether the three agree.

It reads evidence only: the SMTP sink's log, the log of withdrawals over HTTP, the export of a mailing (report, deliveries,
ledger) and copies of dead senders' journals. It imports nothing of the product; what a journal line means is read here anew.
"""

import json
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

ON_THE_WAY = 0.005  # seconds from a dot's departure to its arrival at the sink, on loopback
PATIENCE = 3.0  # seconds after which nobody waits for a fence any more: then a no in the ledger binds
FINAL = ("sent", "bounced", "skipped", "cancelled", "expired", "unknown")
PERMITS = ("consent.given", "consent.renewed", "consent.restored")
TAKES = ("consent.withdrawn", "consent.refused", "consent.expired", "consent.invalidated", "person.erased")
SAID_NO = (
    "withdrawn",
    "refused",
    "expired",
    "invalidated",
    "no_consent",
    "erased",
)  # why the gate left somebody out
WITHDRAWN = "consent.withdrawn"
ACKNOWLEDGED = range(200, 300)
RECORDED_ONLY = 202  # "a message already on its way may still arrive": no claim about departures

# The sink's faults after which nobody but the sink can tell what became of the message.
AMBIGUOUS = (
    "drop:payload", "drop:dot", "drop:kept", "half:dot", "garbage:dot", "endless:dot", "hang:dot",
    "dot:299", "dot:699", "unread:dot",
)  # fmt: skip
# Why the fate of one try may be unknown; `unknown` for any other reason is the end of a member whom an earlier try left in doubt.
DOUBTS = ("no_reply", "odd_reply", "sender_died", "sender_lost", "restored")
BESIDE = ("doubt_not_recorded", "cut_not_recorded", "unknown_without_doubt", "unknown_without_cause")
PERHAPS = ("stray:dot",)  # a line too many: nobody can tell, unless the connection ends before it shows


class Finding(NamedTuple):
    """One thing that does not hold, by a stable name, and where."""

    name: str
    where: str


@dataclass
class Evidence:
    """All that is known of one mailing from outside. People are external ids, never addresses."""

    topic: str
    people: dict[str, str]  # address → external id, of everybody who had agreed
    sink: list[dict[str, Any]]
    report: dict[str, Any]
    deliveries: list[dict[str, Any]]
    ledger: list[dict[str, Any]]
    # person, t_sent, t_ack, status; kind, where somebody else said no for them
    withdrawals: list[dict[str, Any]] = field(default_factory=list)
    journals: list[bytes] = field(default_factory=list)  # of each sender that died, as it lay there
    persons: dict[str, str] = field(
        default_factory=dict
    )  # external id → the ledger's subject, where asked for
    at_least_once: bool = False
    connections: int = 8
    cuts: int = 0  # connections ended from outside that neither a journal copy nor the sink's script tells of
    wall: float = 0.0  # wall clock minus the monotonic clock of the sink and the HTTP log
    on_the_way: float = ON_THE_WAY  # 0 where the sink's log has the instant of the departure itself
    patience: float = PATIENCE
    # Noes to everybody (pause, cancel, a topic given up): what, t_ack, status, and until when, by the monotonic clock.
    halts: list[dict[str, Any]] = field(default_factory=list)
    excused: set[str] = field(default_factory=set)  # whom such a no left out before there was an audience
    # Positions with their attempts that somebody had in hand when a machine and the end of its journal were lost.
    doubtful: set[tuple[int, int]] = field(default_factory=set)
    # Those that were recorded before the sender died, so that its journal has nothing to say of them any more.
    settled: set[tuple[int, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.rows = {row["external_ids"][0]["id"]: row for row in self.deliveries}
        self.committed: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for message in self.sink:
            if message["committed"]:
                self.committed[self.people.get(message["rcpt"], "a stranger")].append(message)


def check(seen: Evidence) -> list[Finding]:
    """Everything that does not hold."""
    judges = (_lost, _untrue, _doubled, _departed_after_no, _without_warrant, _doubts, _sums, _acknowledged)
    return [finding for judge in judges for finding in judge(seen)]


def _lost(seen: Evidence) -> Iterator[Finding]:
    """Nobody who had agreed may be without a mail and without a word on record why. Who is left out, or skipped, for having said no
    has said it: in the ledger, or to an address that staff put on the do-not-mail list."""
    taken = {one["subject"] for one in seen.ledger if _takes(one, seen.topic)}
    by_staff = {one["person"] for one in seen.withdrawals if one.get("kind", WITHDRAWN) != WITHDRAWN}
    for person in seen.people.values():
        row = seen.rows.get(person)
        said_no = seen.persons.get(person, person) in taken or person in by_staff
        if row is None:
            explained = said_no or person in seen.excused
        elif row["state"] == "skipped" and row["reason"] in SAID_NO:
            explained = said_no
        else:
            explained = row["state"] in FINAL and row["state"] != "sent"
        if not explained and person not in seen.committed:
            yield Finding("lost", person)


def _takes(entry: dict[str, Any], topic: str) -> bool:
    """Whether the entry takes a permission for this topic away."""
    return entry["kind"] in TAKES and entry["body"].get("topic", topic) == topic


def _untrue(seen: Evidence) -> Iterator[Finding]:
    """What is called sent was taken by the sink; what the sink took is called sent or unknown, under its own id."""
    for person, row in seen.rows.items():
        if row["state"] == "sent" and person not in seen.committed:
            yield Finding("false_accepted", person)
    for person, messages in seen.committed.items():
        row = seen.rows.get(person)
        if row is None or row["state"] not in ("sent", "unknown"):
            yield Finding("silent", f"{person} is {row['state'] if row else 'nowhere'}")
        elif {message["message_id"] for message in messages} != {row["message_id"]}:
            yield Finding("message_id_differs", person)


def _doubled(seen: Evidence) -> Iterator[Finding]:
    """Nobody twice; where a second try is promised, only after an unknown on record, and with the same message."""
    for person, messages in seen.committed.items():
        if len(messages) < 2:
            continue
        same = len({(message["message_id"], message["body_sha256"]) for message in messages}) == 1
        doubts = len(_unknown_attempts(seen.rows[person])) if person in seen.rows else 0
        if not (seen.at_least_once and same and doubts >= len(messages) - 1):
            yield Finding("doubled", f"{person} × {len(messages)}")


def _departed_after_no(seen: Evidence) -> Iterator[Finding]:
    """P1: no dot after the answer to a withdrawal; 202 makes no such claim."""
    told: dict[str, float] = {}
    for one in seen.withdrawals:
        if one["status"] in ACKNOWLEDGED and one["status"] != RECORDED_ONLY:
            told[one["person"]] = min(one["t_ack"], told.get(one["person"], one["t_ack"]))
    for message in seen.sink:
        person = seen.people.get(message["rcpt"], "")
        late = message["t_dot"] - told[person] if person in told and message["t_dot"] else 0.0
        if late > seen.on_the_way:
            yield Finding("departed_after_no", f"{person}, {late * 1000:.0f} ms late")
    yield from _departed_in_a_halt(seen)


def _departed_in_a_halt(seen: Evidence) -> Iterator[Finding]:
    """The same for a no to everybody: from its answer until somebody asks to go on."""
    for halt in seen.halts:
        if halt["status"] not in ACKNOWLEDGED or halt["status"] == RECORDED_ONLY:
            continue
        until = halt["until"] if halt["until"] is not None else float("inf")
        for message in seen.sink:
            if halt["t_ack"] + seen.on_the_way < message["t_dot"] < until:
                late = message["t_dot"] - halt["t_ack"]
                yield Finding("departed_after_no", f"{halt['what']}, {late * 1000:.0f} ms late")


def _without_warrant(seen: Evidence) -> Iterator[Finding]:
    """P2: every mail the sink took names the entry that permitted it, of this person and topic, in force at its dot."""
    entries = {entry["seq"]: entry for entry in seen.ledger}
    noes: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for entry in seen.ledger:
        if _takes(entry, seen.topic):
            noes[entry["subject"]].append(entry)
    holders: Counter[str] = Counter()
    for person, messages in seen.committed.items():
        row = seen.rows.get(person)
        warrant = entries.get(row["warrant"]) if row else None
        if warrant is None or not _permits(warrant, seen.topic):
            yield Finding("without_warrant", f"{person}: no entry permits it")
            continue
        subject, dot = warrant["subject"], max(message["t_dot"] for message in messages) + seen.wall
        holders[subject] += 1
        if holders[subject] > 1 or seen.persons.get(person, subject) != subject:
            yield Finding("without_warrant", f"{person}: the entry is somebody else's")
        ended = [no for no in noes[subject] if no["seq"] > warrant["seq"] and _at(no) + seen.patience < dot]
        if ended or _at(warrant) > dot:
            yield Finding("without_warrant", f"{person}: not in force")


def _permits(entry: dict[str, Any], topic: str) -> bool:
    if entry["kind"] == "person.registered":
        return topic in [one["topic"] for one in entry["body"].get("topics", [])]
    return entry["kind"] in PERMITS and entry["body"].get("topic") == topic


def _at(entry: dict[str, Any]) -> float:
    return datetime.fromisoformat(entry["at"]).timestamp()


def _doubts(seen: Evidence) -> Iterator[Finding]:
    """Unknown are exactly the attempts with a dot line and no reply line in a dead sender's journal, and those the sink cut."""
    people = {row["pos"]: person for person, row in seen.rows.items()}
    recorded = {pos: _unknown_attempts(seen.rows[person]) for pos, person in people.items()}
    doubtful: dict[int, set[int]] = defaultdict(set)
    # A line stays without a reply, too, where the connection was cut and the batch not yet recorded.
    most = seen.connections + seen.cuts + sum(one["fault"] in (*AMBIGUOUS, *PERHAPS) for one in seen.sink)
    for copy in seen.journals:
        pairs = without_reply(copy)
        if len(pairs) > most:
            yield Finding("too_many_unknown", f"{len(pairs)} at one death")
        for pos, attempt in pairs - seen.settled:
            doubtful[pos].add(attempt)
    for pos, attempt in seen.doubtful:
        doubtful[pos].add(attempt)
    cut = Counter(seen.people.get(one["rcpt"], "") for one in seen.sink if one["fault"] in AMBIGUOUS)
    perhaps = Counter(seen.people.get(one["rcpt"], "") for one in seen.sink if one["fault"] in PERHAPS)
    unexplained = 0
    for pos, person in people.items():
        if missing := doubtful[pos] - recorded[pos]:
            yield Finding("doubt_not_recorded", f"{person}, attempt {min(missing)}")
        called = [number for number, _ in _called_unknown(seen.rows[person])]
        if called and min(called) not in recorded[pos]:
            yield Finding("unknown_without_doubt", f"{person}, attempt {min(called)}")
        rest = len(recorded[pos] - doubtful[pos])
        if rest < cut[person] - len(doubtful[pos]):
            yield Finding("cut_not_recorded", person)
        unexplained += max(0, rest - cut[person] - perhaps[person])
    if unexplained > seen.cuts:
        yield Finding("unknown_without_cause", f"{unexplained}, at most {seen.cuts}")


def _unknown_attempts(row: dict[str, Any]) -> set[int]:
    """The attempts of a member after which nobody could tell whether the mail had left. (A clear no, or giving up, after a
    doubt is `unknown` as a whole, and no doubt of its own.)"""
    return {number for number, one in _called_unknown(row) if one["reason"] in DOUBTS}


def _called_unknown(row: dict[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    return [(one["attempt"], one) for one in row["attempts"] if one["state"] == "unknown"]


def _sums(seen: Evidence) -> Iterator[Finding]:
    """Planned = the sum of outcomes = the members exported, positions without a gap, each in a final state."""
    outcomes = seen.report["outcomes"]
    flat = {name: people for name, people in outcomes.items() if name != "skipped"}
    skipped = sum(outcomes["skipped"].values())
    planned = seen.report["planned"]
    if planned != sum(flat.values()) + skipped or planned != len(seen.deliveries):
        yield Finding("does_not_add_up", f"{planned} planned, {flat} and {skipped} skipped")
    if sorted(row["pos"] for row in seen.deliveries) != list(range(1, planned + 1)):
        yield Finding("does_not_add_up", "positions have a gap")
    states = Counter(row["state"] for row in seen.deliveries)
    if any(states[name] != people for name, people in flat.items()) or states["skipped"] != skipped:
        yield Finding("does_not_add_up", f"the members say {dict(states)}")
    for row in seen.deliveries:
        if row["state"] not in FINAL:
            yield Finding("not_final", f"position {row['pos']} is {row['state']}")


def _acknowledged(seen: Evidence) -> Iterator[Finding]:
    """No success without its entry in the ledger, and one entry ends the yes, however often it was said.

    A no said again may have an entry, too: it goes before an undo that was offered for the first (ADR 0025).
    """
    entries: dict[str, list[str | None]] = defaultdict(list)
    for entry in seen.ledger:
        if entry["kind"] == WITHDRAWN and entry["body"]["topic"] == seen.topic:
            entries[entry["subject"]].append(entry["body"].get("state_before"))
    by_themselves = [one for one in seen.withdrawals if one.get("kind", WITHDRAWN) == WITHDRAWN]
    told = {one["person"] for one in by_themselves if one["status"] in ACKNOWLEDGED}
    for person in sorted({one["person"] for one in by_themselves}):
        written = entries[seen.persons.get(person, person)]
        if person in told and not written:
            yield Finding("acknowledged_without_entry", person)
        ended = sum(before != "withdrawn" for before in written)
        said = sum(one["person"] == person for one in by_themselves)
        if ended > 1 or len(written) > said:
            yield Finding("written_twice", f"{person} × {len(written)}, said {said} times")


# The journal, read by its own rules: `kind field… crc32.` a line, read up to the first line that is not whole.


def without_reply(journal: bytes) -> set[tuple[int, int]]:
    """The positions, with their attempts, that have a dot line and no reply line."""
    doubtful: set[tuple[int, int]] = set()
    for kind, *fields in whole_lines(journal):
        if kind == "J":
            continue
        key = (int(fields[1]), int(fields[2]))
        (doubtful.add if kind == "S" else doubtful.discard)(key)
    return doubtful


def whole_lines(journal: bytes) -> Iterator[list[str]]:
    for line in journal.split(b"\n")[:-1]:
        payload, _, mark = line.rpartition(b" ")
        if mark != b"%08x." % zlib.crc32(payload):
            return
        yield payload.decode("ascii").split(" ")


def read_lines(path: Path, start: int = 0) -> list[dict[str, Any]]:
    """The whole JSON lines of a log, from octet `start`; a line cut by a kill is not one."""
    return [json.loads(line) for line in path.read_bytes()[start:].split(b"\n")[:-1]]
