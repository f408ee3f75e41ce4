"""What somebody with the database in hand can do to a ledger, drawn by a seed, and where each must be found (P4, F33).

Used by test_mutants: each mutant is played on a stored ledger whose guards are down, and never by halves.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.engine import Connection
from sqlmodel import col

from service.domain.ledger import checkpoints, rules
from service.domain.ledger.tables import Checkpoint, LedgerEntry
from service.kit import merkle, notes
from service.kit.signing import Keyring

SEQ = col(LedgerEntry.seq)
OTHER = Keyring({1: b"o" * 32}, "0011223344556677")
COLUMNS = ("entry", "hash", "kind", "subject", "at", "takes")


@dataclass
class Ledger:
    """The stored ledger a mutant is played on: its last number, and the sizes of its signed heads, oldest first."""

    connection: Connection
    ring: Keyring
    outside: Path
    chance: random.Random
    last: int = 0
    heads: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.last = self.connection.execute(select(func.max(SEQ))).scalar_one()
        sizes = select(col(Checkpoint.size)).order_by(col(Checkpoint.size))
        self.heads = list(self.connection.execute(sizes).scalars())

    def row(self, at: int) -> Any:
        return self.connection.execute(select(LedgerEntry).where(at == SEQ)).one()

    def write(self, number: int, /, **values: Any) -> None:
        self.connection.execute(update(LedgerEntry).where(number == SEQ).values(**values))

    def after_agreed(self, seq: int) -> int:
        """Where an entry computed anew shows: after the last head that does not cover it."""
        return max([size for size in self.heads if size < seq], default=0) + 1

    def forget_heads(self) -> None:
        """Take the database's own heads away, as one who computes anew would."""
        self.connection.execute(delete(Checkpoint))


@dataclass(frozen=True)
class Found:
    """What a checker must say: one of these words, at this number."""

    words: tuple[str, ...]
    position: int


def _another_body(entry: str) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(entry)
    fields["body"] = {**fields["body"], "forged": True}
    return fields


def edit_text(on: Ledger) -> Found:
    seq = on.chance.randint(1, on.last)
    text = list(on.row(seq).entry)
    at = on.chance.randrange(len(text))
    text[at] = chr(ord(text[at]) ^ 1)
    on.write(seq, entry="".join(text))
    return Found(("hash_differs",), seq)


def edit_hash(on: Ledger) -> Found:
    seq = on.chance.randint(1, on.last)
    digits = list(on.row(seq).hash)
    at = on.chance.randrange(64)
    digits[at] = "0" if digits[at] != "0" else "1"
    on.write(seq, hash="".join(digits))
    return Found(("hash_differs",), seq)


def edit_column(on: Ledger) -> Found:
    seq = on.chance.randint(1, on.last)
    row, name = on.row(seq), on.chance.choice(["kind", "subject", "at", "takes"])
    other = {
        "kind": f"{row.kind}x",
        "subject": "p_other" if row.subject else "p_any",
        "at": row.at + on.chance.choice([-1, 1, 10**6]),
        "takes": not row.takes,
    }
    on.write(seq, **{name: other[name]})
    return Found(("columns_differ",), seq)


def edit_number(on: Ledger) -> Found:
    seq = on.chance.randint(1, on.last - 1)
    on.write(seq, seq=on.last + on.chance.randint(2, 9))
    return Found(("missing",), seq)


def edit_and_hash_anew(on: Ledger) -> Found:
    seq = on.chance.randint(1, on.last)
    text = rules.canonical(_another_body(on.row(seq).entry))
    on.write(seq, entry=text, hash=rules.leaf_hash(text))
    if seq == on.last:
        return Found(("root_differs",), on.after_agreed(seq))
    return Found(("chain_broken",), seq + 1)


def take_out(on: Ledger) -> Found:
    seq = on.chance.randint(1, on.last)
    on.connection.execute(delete(LedgerEntry).where(seq == SEQ))
    return Found(("missing" if seq < on.last else "cut_off",), seq)


def take_out_and_close_up(on: Ledger) -> Found:
    seq = on.chance.randint(1, on.last - 1)
    on.connection.execute(delete(LedgerEntry).where(seq == SEQ))
    for number in range(seq + 1, on.last + 1):
        on.write(number, seq=number - 1)
    return Found(("chain_broken",), seq)


def put_in(on: Ledger) -> Found:
    seq = on.chance.randint(1, on.last)
    for number in range(on.last, seq - 1, -1):
        on.write(number, seq=number + 1)
    before = on.row(seq - 1) if seq > 1 else None
    forged = rules.make(
        seq=seq,
        at=on.row(seq + 1).at,
        kind="consent.given",
        actor="system",
        subject="p_forged",
        body={"topic": "updates"},
        prev_hash=before.hash if before else rules.first_link(),
    )
    on.connection.execute(insert(LedgerEntry).values(**_values(forged)))
    return Found(("chain_broken",), seq + 1)


def _values(entry: rules.Entry) -> dict[str, Any]:
    return {
        "seq": entry.seq,
        "entry": entry.text,
        "hash": entry.hash,
        "kind": entry.kind,
        "subject": entry.subject,
        "at": entry.at,
        "takes": entry.takes,
    }


def swap(on: Ledger) -> Found:
    one, two = sorted(on.chance.sample(range(1, on.last + 1), 2))
    rows = {one: on.row(two), two: on.row(one)}
    for seq, source in rows.items():
        on.write(seq, **{name: getattr(source, name) for name in COLUMNS})
    return Found(("chain_broken",), one)


def cut(on: Ledger) -> Found:
    keep = on.chance.randint(0, on.last - 1)
    on.connection.execute(delete(LedgerEntry).where(keep < SEQ))
    if on.chance.random() < 0.5:
        on.connection.execute(delete(Checkpoint).where(col(Checkpoint.size) > keep))
    return Found(("cut_off",), keep + 1)


def _anew(on: Ledger, seq: int) -> None:
    """Another body in one entry, and every hash from there on as it has to be."""
    hash_before = on.row(seq - 1).hash if seq > 1 else rules.first_link()
    for number in range(seq, on.last + 1):
        fields = _another_body(on.row(number).entry) if number == seq else json.loads(on.row(number).entry)
        text = rules.canonical({**fields, "prev_hash": hash_before})
        hash_before = rules.leaf_hash(text)
        on.write(number, entry=text, hash=hash_before)


def compute_anew(on: Ledger) -> Found:
    seq = on.chance.randint(1, on.last)
    _anew(on, seq)
    if on.chance.random() < 0.5:
        on.forget_heads()
    return Found(("root_differs",), on.after_agreed(seq))


def compute_anew_without_the_end(on: Ledger) -> Found:
    """Fewer entries, and another one among them: the first head that covers it tells."""
    seq = on.chance.randint(1, on.heads[0])
    _anew(on, seq)
    on.connection.execute(delete(LedgerEntry).where(on.heads[0] < SEQ))
    on.forget_heads()
    return Found(("root_differs",), 1)


def replace_the_key(on: Ledger) -> Found:
    """All computed anew, and all heads signed anew by another key, in the database and outside."""
    _anew(on, on.chance.randint(1, on.last))
    hashes = list(on.connection.execute(select(col(LedgerEntry.hash)).order_by(SEQ)).scalars())
    lines = []
    for size in on.heads:
        head = notes.Head(checkpoints.origin(on.ring), size, merkle.root(hashes[:size]), 1)
        note = notes.signed(head, OTHER.checkpoint_keys[1])
        on.connection.execute(update(Checkpoint).where(col(Checkpoint.size) == size).values(note=note, at=1))
        lines.append(json.dumps({"size": size, "at": 1, "note": note}))
    (on.outside / checkpoints.NAME).write_text("".join(f"{line}\n" for line in lines))
    return Found(("badly_signed",), on.heads[0])


def two_heads_of_one_size(on: Ledger) -> Found:
    size = on.chance.choice(on.heads)
    head = notes.Head(checkpoints.origin(on.ring), size, f"{on.chance.getrandbits(256):064x}", 1)
    note = notes.signed(head, on.ring.checkpoint_keys[1])
    with (on.outside / checkpoints.NAME).open("a") as file:
        file.write(json.dumps({"size": size, "at": 1, "note": note}) + "\n")
    return Found(("forked",), size)


def edit_a_head(on: Ledger) -> Found:
    size = on.chance.choice(on.heads)
    note = on.connection.execute(
        select(col(Checkpoint.note)).where(col(Checkpoint.size) == size)
    ).scalar_one()
    name, size_line, _ = note.split("\n", 2)  # where it is stands in these
    root = len(name) + len(size_line) + 1
    at = on.chance.choice([n for n, sign in enumerate(note[:-3]) if n > root and sign.isalnum()])
    other = note[:at] + ("a" if note[at] != "a" else "b") + note[at + 1 :]
    on.connection.execute(update(Checkpoint).where(col(Checkpoint.size) == size).values(note=other))
    return Found(("badly_signed",), size)


WAYS: list[Callable[[Ledger], Found]] = [
    edit_text,
    edit_hash,
    edit_column,
    edit_number,
    edit_and_hash_anew,
    take_out,
    take_out_and_close_up,
    put_in,
    swap,
    cut,
    compute_anew,
    compute_anew_without_the_end,
    replace_the_key,
    two_heads_of_one_size,
    edit_a_head,
]
