"""Reading the ledger: its tail, its entries, what can stop a mail, and whether the chain holds."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import Integer, and_, bindparam, func, literal_column, or_, select, text, type_coerce
from sqlmodel import Session, col

from service.db.engine import rows_as_they_lie
from service.domain.ledger import rules
from service.domain.ledger.tables import LedgerEntry
from service.kit import merkle, paging
from service.kit.clock import from_micros, to_micros

CHUNK = 5_000


@dataclass(frozen=True)
class Seen:
    """An entry as people and programs read it; `entry` is its own text, whose bytes the hash covers."""

    seq: int
    at: datetime
    kind: str
    actor: str
    subject: str | None
    body: dict[str, Any]
    prev_hash: str
    hash: str
    entry: str


@dataclass(frozen=True)
class Taken:
    """Something taken away, as a sender needs it: whose, and for which topic or mailing (None: all)."""

    seq: int
    kind: str
    subject: str | None
    at: int
    body: dict[str, Any]
    hash: str


@dataclass(frozen=True)
class Signed:
    """A signed head, as far as it can be held against the entries; `root` is None where no key of ours has signed it."""

    size: int
    root: str | None


@dataclass(frozen=True)
class Verdict:
    """The ledger's state: how many entries were read, how many come after the last signed head, and the first fault with its
    position, if any (words and positions: docs/ledger.md)."""

    entries: int
    head: str
    fault: str | None = None
    position: int | None = None
    after_last: int = 0

    @property
    def holds(self) -> bool:
        """True when no fault was found."""
        return self.fault is None


# Made once: every append asks it.
_TAIL = select(col(LedgerEntry.seq), col(LedgerEntry.hash)).order_by(col(LedgerEntry.seq).desc()).limit(1)


def tail(session: Session) -> tuple[int, str]:
    """Number and hash of the last entry; (0, 64 zeros) of an empty ledger."""
    row = session.connection().execute(_TAIL).first()
    return (row.seq, row.hash) if row else (0, rules.first_link())


def read(row: Any) -> Seen:
    """Take a stored row apart."""
    fields = json.loads(row.entry)
    return Seen(
        row.seq,
        from_micros(row.at),
        row.kind,
        fields["actor"],
        row.subject,
        fields["body"],
        fields["prev_hash"],
        row.hash,
        row.entry,
    )


def of_entry(one: rules.Entry) -> Seen:
    """The same of an entry that has just been written."""
    fields = json.loads(one.text)
    actor, body, before = fields["actor"], fields["body"], fields["prev_hash"]
    return Seen(one.seq, from_micros(one.at), one.kind, actor, one.subject, body, before, one.hash, one.text)


def entry(session: Session, seq: int) -> Seen | None:
    """One entry by its number."""
    row = session.connection().execute(select(LedgerEntry).where(col(LedgerEntry.seq) == seq)).first()
    return read(row) if row else None


def waits_since(session: Session, size: int, *, now: datetime) -> timedelta:
    """For how long there has been an entry after the first so many; nothing where there is none."""
    first = (
        select(col(LedgerEntry.at)).where(col(LedgerEntry.seq) > size).order_by(col(LedgerEntry.seq)).limit(1)
    )
    at = session.connection().execute(first).scalar()
    return timedelta(microseconds=to_micros(now) - at) if isinstance(at, int) else timedelta()


def of_subject(session: Session, subject: str, *, kinds: tuple[str, ...] = ()) -> list[Seen]:
    """Everything the ledger says of one person, announcement or other subject, oldest first."""
    statement = select(LedgerEntry).where(col(LedgerEntry.subject) == subject).order_by(col(LedgerEntry.seq))
    if kinds:
        statement = statement.where(col(LedgerEntry.kind).in_(kinds))
    return [read(row) for row in session.connection().execute(statement)]


def newest_of(
    session: Session,
    subject: str,
    *,
    before: tuple[int, int] | None,
    most: int,
    kinds: Sequence[str] = (),
    other_than: Sequence[str] = (),
) -> list[Seen]:
    """What the ledger says of one subject, newest first by moment and number, `most` entries: those before a moment (microseconds)
    and number, of these kinds, of none of the others. The database goes through all there is of the subject, without its texts."""
    at, seq = col(LedgerEntry.at), col(LedgerEntry.seq)
    numbers = select(seq).where(col(LedgerEntry.subject) == subject)
    if before is not None:
        numbers = numbers.where(or_(at < before[0], and_(at == before[0], seq < before[1])))
    if kinds:
        numbers = numbers.where(col(LedgerEntry.kind).in_(kinds))
    if other_than:
        numbers = numbers.where(col(LedgerEntry.kind).not_in(other_than))
    order = at.desc(), seq.desc()
    newest = select(LedgerEntry).where(seq.in_(numbers.order_by(*order).limit(most))).order_by(*order)
    return [read(row) for row in session.connection().execute(newest)]


def last_of_each(
    session: Session, subject: str, name: str, *, kinds: tuple[str, ...], until: datetime | None = None
) -> dict[str, Seen]:
    """By what stands under `name` in the body: the last entry of one subject and these kinds that says it, up to a moment.

    Each text is looked into, as no column has what bodies say; only the few that are wanted come over as a whole.
    """
    texts = select(col(LedgerEntry.seq), col(LedgerEntry.entry)).where(
        col(LedgerEntry.subject) == subject, col(LedgerEntry.kind).in_(kinds)
    )
    if until is not None:
        texts = texts.where(col(LedgerEntry.at) <= to_micros(until))
    last: dict[str, int] = {}
    # From the end: where the whole of it was just gone through, the end is what SQLite still has at hand.
    newest_first = texts.order_by(col(LedgerEntry.seq).desc())
    for seq, entry in session.connection().execute(newest_first).all():
        if said := orjson.loads(entry)["body"].get(name):
            last.setdefault(said, seq)
    wanted = select(LedgerEntry).where(col(LedgerEntry.seq).in_(last.values()))
    found = {row.seq: read(row) for row in session.connection().execute(wanted)}
    return {said: found[seq] for said, seq in last.items()}


def of_kinds(session: Session, kinds: tuple[str, ...]) -> list[Seen]:
    """Everything of kinds that are few, whatever it is about, oldest first."""
    statement = select(LedgerEntry).where(col(LedgerEntry.kind).in_(kinds)).order_by(col(LedgerEntry.seq))
    return [read(row) for row in session.connection().execute(statement)]


def naming(session: Session, kind: str, words: Sequence[str]) -> list[Seen]:
    """Entries of one kind with one of these words as a string in them, oldest first.

    The cost is a probe of the index on kinds and a search through the text of every entry of that kind, in the database: no index
    knows what stands in a text. For `people.listed` that is 5 KB for each 200 people an export took out or staff were shown,
    25 MB for an export of a million; only what is found is brought over and taken apart.
    """
    said = [col(LedgerEntry.entry).contains(f'"{word}"', autoescape=True) for word in words]
    statement = select(LedgerEntry).where(col(LedgerEntry.kind) == kind, or_(*said))
    return [read(row) for row in session.connection().execute(statement.order_by(col(LedgerEntry.seq)))]


def page(
    session: Session,
    *,
    after: str | None,
    limit: int | None,
    kind: str | None = None,
    subject: str | None = None,
    newest_first: bool = False,
) -> paging.Page[Seen]:
    """Entries by keyset, oldest first (or newest, for people)."""
    key, size = paging.decode(after, below=paging.ENTRIES), paging.size(limit)
    statement = (
        select(LedgerEntry)
        .order_by(col(LedgerEntry.seq).desc() if newest_first else col(LedgerEntry.seq))
        .limit(size + 1)
    )
    if isinstance(key, int):
        statement = statement.where(
            col(LedgerEntry.seq) < key if newest_first else col(LedgerEntry.seq) > key
        )
    if kind:
        statement = statement.where(col(LedgerEntry.kind) == kind)
    if subject:
        statement = statement.where(col(LedgerEntry.subject) == subject)
    rows = [read(row) for row in session.connection().execute(statement)]
    return paging.Page(rows[:size], paging.encode(rows[size - 1].seq) if len(rows) > size else None)


def kinds(session: Session) -> list[str]:
    """The kinds of entries there are, in order: one probe of the index for each, however long the ledger is."""
    found: list[str] = []
    while True:
        following = select(func.min(col(LedgerEntry.kind))).where(
            col(LedgerEntry.kind) > (found[-1] if found else "")
        )
        kind = session.connection().execute(following).scalar()
        if kind is None:
            return found
        found.append(kind)


# As the partial index has it: neither database sees that "takes = 1" or "takes IS true" is the same, and each would read all
# that was ever written since instead.
_TAKES = text("takes")
_AT_ONCE = 500
_TAKEN_SINCE = (  # asked fifty times a second by each sender, so it is built once
    select(LedgerEntry)
    .where(_TAKES, col(LedgerEntry.seq) > bindparam("after"))
    .order_by(col(LedgerEntry.seq))
    # A small number: where PostgreSQL has not yet counted the table it supposes that a third of it comes after any place,
    # and would sort all of it in parallel.
    .limit(literal_column(str(_AT_ONCE)))
)
_ALL = 2**62


def taken_since(session: Session, seq: int, most: int = _ALL) -> list[Taken]:
    """What was taken away after entry `seq`, in order, the first `most` of it (a probe of a partial index for each 500)."""
    found: list[Taken] = []
    while True:
        rows = session.connection().execute(_TAKEN_SINCE, {"after": found[-1].seq if found else seq}).all()
        found += [Taken(r.seq, r.kind, r.subject, r.at, json.loads(r.entry)["body"], r.hash) for r in rows]
        if len(rows) < _AT_ONCE or len(found) >= most:
            return found[:most]


def last_taken(session: Session) -> int | None:
    """The number of the last entry that took something away."""
    statement = select(func.max(col(LedgerEntry.seq))).where(_TAKES)
    return session.connection().execute(statement).scalar()


def last_of_kind(session: Session, kind: str) -> int | None:
    """The number of the last entry of a kind."""
    statement = select(func.max(col(LedgerEntry.seq))).where(col(LedgerEntry.kind) == kind)
    return session.connection().execute(statement).scalar()


def stored(session: Session, start: int = 1) -> Iterator[tuple[rules.Entry, bool | None]]:
    """Every entry as it lies there, and whether it is marked as taking away, from number `start`, in bounded memory.

    The mark is None where it is neither yes nor no: SQLite keeps any value, and counts words as no where Python takes them for yes.
    """
    last: int | None = None
    every = select(
        col(LedgerEntry.seq),
        col(LedgerEntry.entry),
        col(LedgerEntry.hash),
        col(LedgerEntry.kind),
        col(LedgerEntry.subject),
        col(LedgerEntry.at),
        type_coerce(col(LedgerEntry.takes), Integer),  # SQLAlchemy takes a microsecond to make a truth of it
    )
    while True:
        statement = every.order_by(col(LedgerEntry.seq)).limit(CHUNK)
        statement = (
            statement.where(col(LedgerEntry.seq) > last)
            if last is not None
            else statement.where(col(LedgerEntry.seq) >= start)
        )
        rows = rows_as_they_lie(session.connection(), statement)
        for seq, entry, digest, kind, subject, at, takes in rows:
            yield rules.Entry(seq, entry, digest, kind, subject, at), bool(takes) if takes in (0, 1) else None
        if len(rows) < CHUNK:
            return
        last = rows[-1].seq


def verify(session: Session, heads: Sequence[Signed] = (), tree: merkle.Growing | None = None) -> Verdict:
    """Read the whole ledger and name the first fault: of the entries, and of the signed heads, in their order (P4).

    Without a head from outside, what was cut off the end, or computed anew from some entry on, cannot be seen. `tree`, empty
    when given, has grown by every entry that holds.
    """
    tree = tree or merkle.Growing()
    wanted, roots = {one.size for one in heads}, {0: merkle.EMPTY}
    prev_hash = rules.first_link()
    for entry, takes in stored(session, start=-(1 << 62)):
        fault = rules.fault(entry, seq=tree.size + 1, prev_hash=prev_hash, takes=takes)
        if fault:
            return Verdict(tree.size, prev_hash, fault, tree.size + 1)
        tree.add(entry.hash)
        prev_hash = entry.hash
        if tree.size in wanted:
            roots[tree.size] = tree.root()
    fault, position = _against(heads, roots, tree.size)
    agreed = max((one.size for one in heads), default=0) if fault is None else 0
    return Verdict(tree.size, prev_hash, fault, position, tree.size - agreed)


def _against(
    heads: Sequence[Signed], roots: dict[int, str], size: int
) -> tuple[str, int] | tuple[None, None]:
    """The first head that does not agree with the entries, or with an earlier one."""
    agreed, told = 0, dict[int, str]()
    for one in heads:
        if one.root is None:
            return "badly_signed", one.size
        if told.setdefault(one.size, one.root) != one.root:
            return "forked", one.size
        if one.size > size:
            return "cut_off", size + 1
        if roots[one.size] != one.root:
            return "root_differs", agreed + 1
        agreed = max(agreed, one.size)
    return None, None
