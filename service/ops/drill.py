"""Whether a backup of the ring and a copy of the database belong together, found out without starting anything: every person's key
is opened, every link key tried, every signed head, DKIM key and address read.

Called by `bidden ring check`, and by `bidden db restore` before a copy takes the database's place. SQLite's copy is opened where it
lies, read-only; PostgreSQL's is read by `pg_restore`, which writes it out and needs no server.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from service.domain.brands import queries as brands
from service.domain.ledger import checkpoints
from service.domain.links import rules as links
from service.domain.mailings.queries import SEALED_AT
from service.domain.people import queries as people
from service.kit import addresses, notes, sealing
from service.kit.errors import Conflict
from service.kit.signing import Keyring
from service.ops.backup import CopyMissing, rows
from service.ops.health import Fact
from service.ops.ring_fits import BRING_BACK, KINDS, RingForeign, RingOlder, compare

SAMPLE = 1_000  # persons whose addresses are read, too; their keys are in memory meanwhile
PURPOSES = (links.STOP, links.PREFERENCES, links.WHY, links.CONFIRM, links.SIGN_IN, links.VIEW)


class MasterMissing(Conflict):
    """Persons' keys in this copy are wrapped by a master that this ring has no more, or not yet."""

    fix_hint = "Bring back a backup of the ring that has it: bidden ring restore FILE"


@dataclass
class _Copy:
    """A copy of the database, as far as keys are concerned."""

    path: Path
    told: dict[str, Any] = field(default_factory=dict)  # the last entry about the ring
    note: str | None = None


def check_fits(ring: Keyring, path: Path) -> None:
    """Whether what is in a copy can be read with this ring. Raises `RingForeign`, `RingOlder`, `MasterMissing`, and what reading a
    copy raises."""
    copy = _opened(path)
    found = compare(ring, copy.told, copy.note)
    if found is not None:
        raise RingForeign if found == "foreign" else RingOlder
    for _, wrapped in _persons(copy):
        if wrapped[0] not in ring.wrap_keys:
            raise MasterMissing(field=f"master {wrapped[0]}")


def examine(ring: Keyring, path: Path, mailed: Sequence[str] = ()) -> list[Fact]:
    """Everything that can be tried with both, and with links out of mails. Raises `CopyMissing`, `CopyUnreadable`, `ToolMissing`,
    `ToolFailed`."""
    copy = _opened(path)
    known: dict[int, bytes] = {}
    facts = [_fits(ring, copy), _people(ring, copy, known), _addresses(ring, copy, known)]
    return [*facts, _links(ring, mailed), _heads(ring, copy), _dkim(ring, copy)]


def _opened(path: Path) -> _Copy:
    if not path.is_file():
        raise CopyMissing(field=str(path))
    copy = _Copy(path)
    last = 0
    for seq, kind, text in rows(copy.path, "ledger_entry", "seq", "kind entry"):
        if kind in KINDS and seq > last:
            last, copy.told = seq, json.loads(text)["body"]
    copy.note = max(rows(copy.path, "checkpoint", "size", "note"), default=(0, None))[1]
    return copy


def _persons(copy: _Copy) -> Iterator[tuple[tuple[int, int], bytes]]:
    """Number and alias of everybody who was not erased, and their wrapped key."""
    for number, alias, wrapped in rows(copy.path, "person", "id alias", "", "wrapped_key"):
        if wrapped:
            yield (number, alias), wrapped


def _fits(ring: Keyring, copy: _Copy) -> Fact:
    found = compare(ring, copy.told, copy.note)
    if found is None:
        return Fact("ring", True, f"of {ring.installation}; it has every key this copy tells of")
    wrong = RingForeign if found == "foreign" else RingOlder
    return Fact("ring", False, found, wrong().detail, wrong.fix_hint or "")


def _people(ring: Keyring, copy: _Copy, known: dict[int, bytes]) -> Fact:
    total, shut, lacking = 0, 0, set()
    for (number, alias), wrapped in _persons(copy):
        total += 1
        try:
            key = people.unwrap(ring, alias, wrapped)
        except sealing.Unsealable:
            shut += 1
            lacking.add(wrapped[0])
            continue
        if len(known) < SAMPLE:
            known[number] = key
    if not shut:
        return Fact("persons", True, f"all {total} keys open", value=total)
    says = f"{shut} of {total} keys do not open; wrapped by master {', '.join(map(str, sorted(lacking)))}"
    return Fact("persons", False, says, "Nobody could read what is kept of these people.", BRING_BACK, shut)


def _addresses(ring: Keyring, copy: _Copy, known: dict[int, bytes]) -> Fact:
    """The look-up key is the right one where the hash of an opened address is the one that is kept; the house key where it opens
    those of staff and visitors."""
    read, wrong, shut = 0, 0, 0
    for owner, kind, digest, sealed in rows(
        copy.path, "address", "owner_id", "owner_kind address_hash", "sealed"
    ):
        key = known.get(owner) if kind == "person" else ring.house_key
        if not sealed or key is None:
            shut += bool(sealed)
            continue
        read += 1
        try:
            text = sealing.unseal(key, sealed, SEALED_AT.format(digest)).decode()
            wrong += sealing.keyed_digest(ring.lookup_key, addresses.parse(text).key) != digest
        except sealing.Unsealable:
            wrong += 1
    if not wrong and (read or not shut):
        return Fact("addresses", True, f"{read} read, and found by their hash", value=read)
    why = "With another look-up key every no would be forgotten."
    return Fact(
        "addresses",
        False,
        f"of {read or shut} {wrong or shut} do not open or have another hash",
        why,
        BRING_BACK,
        wrong,
    )


def _links(ring: Keyring, mailed: Sequence[str]) -> Fact:
    """Every key signs a link that the ring then reads; and so does it read those that were given."""
    kids = list(ring.link_keys)
    for kid in kids:
        link = links.Link(links.STOP, 1, 2, 3, 4)
        token = links.write(link, {kid: ring.link_keys[kid]})
        assert links.read(token, ring.link_keys, purpose=links.STOP) == link
    lost = [one for one in mailed if not any(_reads(ring, one, purpose) for purpose in PURPOSES)]
    says = f"{len(kids)} keys; of {len(mailed)} links out of mails {len(mailed) - len(lost)} open"
    if not lost:
        return Fact("links", True, says, value=len(kids))
    return Fact("links", False, says, "Whoever presses one of these cannot stop.", BRING_BACK, len(lost))


def _reads(ring: Keyring, text: str, purpose: int) -> bool:
    try:
        links.read(text.rstrip("/").rsplit("/", 1)[-1], ring.link_keys, purpose=purpose)
    except links.LinkNotRecognised:
        return False
    return True


def _heads(ring: Keyring, copy: _Copy) -> Fact:
    known, count, wrong = checkpoints.keys(ring), 0, 0
    for _, note in rows(copy.path, "checkpoint", "size", "note"):
        count += 1
        try:
            notes.opened(note, known)
        except notes.NoteRefused:
            wrong += 1
    own = notes.signed(notes.Head(checkpoints.origin(ring), 1, "00" * 32, 0), *ring.signers)
    notes.opened(own, known)
    if not wrong:
        return Fact("signed heads", True, f"all {count} verify, and the key signs", value=count)
    says = f"{wrong} of {count} were signed by no key of this ring"
    return Fact("signed heads", False, says, "The ledger would not hold.", BRING_BACK, wrong)


def _dkim(ring: Keyring, copy: _Copy) -> Fact:
    wrong, count = [], 0
    for domain, selector, sealed in rows(copy.path, "dkim_key", "", "domain selector", "sealed"):
        if not sealed:
            continue
        count += 1
        try:
            brands.opened(ring.house_key, domain, selector, sealed)
        except sealing.Unsealable:
            wrong.append(selector)
    if not wrong:
        return Fact("DKIM keys", True, f"all {count} open", value=count)
    return Fact(
        "DKIM keys",
        False,
        f"do not open: {', '.join(wrong)}",
        "Mail would leave unsigned.",
        BRING_BACK,
        len(wrong),
    )
