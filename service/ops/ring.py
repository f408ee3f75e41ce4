"""Rotating the keys of the ring while everything runs: a new one is made, backed up, used, and the former one ended when
nothing needs it. Each act is an entry of the ledger, which then says of every key by which mark it is known, and holds none.

Called by `bidden ring`, and by the clock, which wraps persons' keys anew. The file is written before the entry is committed:
what dies between leaves a ring that has more than the ledger says, which the clock notes.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from secrets import token_bytes
from typing import Any

from sqlmodel import Session

from service.db.engine import rest
from service.db.locks import lock_ledger_tail
from service.db.session import at_end, reading
from service.domain.brands import actions as brands
from service.domain.ledger import checkpoints
from service.domain.ledger import queries as ledger
from service.domain.people import queries as persons
from service.domain.people import wrapping
from service.fence import perform_now
from service.kit import keyfile, signing
from service.kit.errors import Conflict, Invalid, NotFound
from service.kit.notes import NoteRefused, opened
from service.kit.signing import Key, Keyring
from service.ops.house import House
from service.ops.ring_fits import (
    BACKED_UP,
    ENDED,
    KINDS,
    MADE,
    NOTED,
    REWRAPPED,
    USED,
    check_fits,
    last_said,
    standing,
)

ROUNDS = 4  # of a rewrapping, the last of which only counts
PAUSE = 0.02  # seconds after each of its transactions, where the database itself asks for none
log = logging.getLogger("bidden.keys")


class KindUnknown(Invalid):
    """The ring has no keys of that kind; there are master, link, signing and session."""


class DkimKeysElsewhere(Conflict):
    """DKIM keys are not in the ring: each brand has its own, which are rotated by their selector."""

    fix_hint = "bidden brand dkim new"


class LookupKeyStays(Conflict):
    """The key of the keyed hashes is never replaced or ended: every no is known by it, and would be forgotten."""


class MessageKeyStays(Conflict):
    """The key of Message-IDs and envelope senders is never replaced or ended: a retry would be another message, and a bounce
    nobody's."""


class HouseKeyStays(Conflict):
    """The house key cannot be replaced or ended: staff's and visitors' addresses, requests and DKIM keys open with it alone."""


class KeyWaits(Conflict):
    """A new key of that kind waits already; it has to be used, or ended, before another is made."""


class NothingWaits(Conflict):
    """No new key of that kind waits to be used."""


class KeyNotBackedUp(Conflict):
    """No backup of the ring has the new key yet: what it seals or signs would be lost with this disk."""

    fix_hint = "bidden ring backup FILE"


class RingKeyUnknown(NotFound):
    """The ring has no key of that kind and number."""

    fix_hint = "bidden ring show"


class RingFull(Conflict):
    """That kind has had 255 keys, and there is no number left."""


class KeyInUse(Conflict):
    """That key is in use; another has to be used before it can be ended."""


class LinksLiveForEver(Conflict):
    """A link key is never ended: the stop link of every mail it ever signed has to work. Once another is in use it signs no more."""


class KeysRemain(Conflict):
    """Persons' keys are still wrapped by that master; without it nobody could read them."""

    fix_hint = "bidden ring rewrap"


class CopiesNeedIt(Conflict):
    """Copies of the database made before its persons' keys were wrapped anew cannot be read without that master."""


class NotHandedOn(Conflict):
    """Whoever checks with the former public key alone will trust no head from then on; hand the new one on first."""


class NoHeadYet(Conflict):
    """No head was signed with the new key yet, and what nobody has seen cannot take the former one's place."""

    fix_hint = "bidden ledger checkpoint"


FIXED = {signing.LOOKUP: LookupKeyStays, signing.MESSAGE: MessageKeyStays, signing.HOUSE: HouseKeyStays}
_ENDABLE = (signing.WAITING, signing.FORMER)
Step = Callable[[Session, Keyring], tuple[Keyring, Key, dict[str, object]]]


@dataclass(frozen=True)
class Rewrapped:
    """How many persons' keys other masters than the one in use still wrap, by their ids."""

    left: dict[int, int]


def check_kind(kind: str) -> None:
    """Whether keys of that kind can be rotated here. Raises what says why not."""
    if kind in FIXED:
        raise FIXED[kind](field=kind)
    if kind == "dkim":
        raise DkimKeysElsewhere(field=kind)
    if kind not in signing.ROTATED:
        raise KindUnknown(field=kind)


def new(house: House, kind: str, *, now: datetime, by: str) -> Key:
    """Make a key that waits. Raises what `check_kind` does, `KeyWaits`, `RingFull`."""
    check_kind(kind)

    def step(session: Session, ring: Keyring) -> tuple[Keyring, Key, dict[str, object]]:
        known = ring.of(kind)
        if any(key.state == signing.WAITING for key in known.values()):
            raise KeyWaits(field=kind, fix=f"bidden ring use {kind}")
        number = 1 + max(max(known), _highest(session, kind))
        if number > signing.MOST:
            raise RingFull(field=kind)
        made = Key(kind, number, signing.WAITING, token_bytes(32), made_on=now.date().isoformat())
        after = Keyring({}, ring.installation, (*ring.keys, made))
        return after, made, {"public": list(checkpoints.keys(after))} if kind == signing.SIGNING else {}

    return _change(house, MADE, step, now=now, by=by)


def use(house: House, kind: str, *, now: datetime, by: str) -> Key:
    """Let the key that waits seal or sign from now on; the former one goes on opening and verifying. Processes that run take it
    up by themselves. Raises what `check_kind` does, `NothingWaits`, `KeyNotBackedUp`."""
    check_kind(kind)

    def step(session: Session, ring: Keyring) -> tuple[Keyring, Key, dict[str, object]]:
        waiting = next((key for key in ring.of(kind).values() if key.state == signing.WAITING), None)
        if waiting is None:
            raise NothingWaits(field=kind, fix=f"bidden ring new {kind}")
        copies = [one.body["holds"] for one in ledger.of_kinds(session, (f"ring.{BACKED_UP}",))]
        if not any(held.get(kind, {}).get(str(waiting.id)) == waiting.mark for held in copies):
            raise KeyNotBackedUp(field=f"{kind} {waiting.id}")
        before = ring.in_use(kind)
        used = replace(waiting, state=signing.IN_USE)
        after = _with(_with(ring, replace(before, state=signing.FORMER)), used)
        return after, used, {"before": before.id}

    return _change(house, USED, step, now=now, by=by)


def retire(
    house: House,
    kind: str,
    number: int,
    *,
    copies_gone: bool = False,
    handed_on: bool = False,
    now: datetime,
    by: str,
) -> Key:
    """End a former key, or one that waits. Of one that signed heads the public half stays, so that these go on being verified;
    any other is gone. Raises what `check_kind` does, `RingKeyUnknown`, `KeyInUse`, and where something needs it still
    `LinksLiveForEver`, `KeysRemain`, `CopiesNeedIt` (unless `copies_gone`), `NoHeadYet`, `NotHandedOn` (unless `handed_on`)."""
    check_kind(kind)

    def step(session: Session, ring: Keyring) -> tuple[Keyring, Key, dict[str, object]]:
        key = ring.of(kind).get(number)
        if key is None or key.state == signing.RETIRED:
            raise RingKeyUnknown(field=f"{kind} {number}")
        if key.state == signing.IN_USE:
            raise KeyInUse(field=f"{kind} {number}", fix=f"bidden ring new {kind}")
        if kind == signing.LINK:
            raise LinksLiveForEver(field=f"{kind} {number}")
        if kind == signing.MASTER:
            _check_master(session, key, copies_gone=copies_gone)
        if kind == signing.SIGNING and key.state == signing.FORMER:
            _check_signing(session, ring, handed_on=handed_on)
        return _without(ring, key), key, {}

    return _change(house, ENDED, step, now=now, by=by)


def _check_master(session: Session, key: Key, *, copies_gone: bool) -> None:
    if left := persons.masters(session).get(key.id, 0):
        raise KeysRemain(
            f"{left} persons' keys are still wrapped by that master; without it nobody could read them.",
            field=str(left),
        )
    if key.state == signing.FORMER and not copies_gone:
        done = _last(session, REWRAPPED)
        day = f" made before {done.at:%Y-%m-%d %H:%M} UTC" if done else ""
        raise CopiesNeedIt(
            field=f"master {key.id}",
            fix=f"Delete every copy of the database{day}; then: bidden ring retire master {key.id} --copies-gone",
        )


def _check_signing(session: Session, ring: Keyring, *, handed_on: bool) -> None:
    note = checkpoints.latest_note(session)
    used = ring.in_use(signing.SIGNING)
    alone = Keyring({}, ring.installation, (used,))
    try:
        if note is None:
            raise NoHeadYet
        opened(note, checkpoints.keys(alone))
    except NoteRefused as odd:
        raise NoHeadYet from odd
    if not handed_on:
        fix = "bidden ledger checkpoint --key prints it; once they have it: --handed-on"
        raise NotHandedOn(field="signing", fix=fix)


def rewrap(house: House, *, now: datetime, by: str = brands.SYSTEM) -> Rewrapped:
    """Wrap every person's key by the master in use, two hundred at a time; others may write in between, and whoever is killed in
    the midst has lost nothing. Who is in somebody's hand just now is tried again, a few times; what is left then has no master
    in the ring, or is in that hand still. Each time that anybody was is an entry: copies of the database from before need the other
    master. Raises `RingForeign`, `RingOlder`: an older ring would wrap everybody back."""
    moved = False
    for rounds_left in reversed(range(ROUNDS)):
        with reading(house.engine) as session:
            check_fits(session, house.ring)
            left = persons.masters(session)
            left.pop(house.ring.in_use(signing.MASTER).id, None)
            told = _last(session, REWRAPPED)
        if not rounds_left or not left.keys() & house.ring.wrap_keys.keys():
            break
        moved = True
        _rewrap_all(house)
    known = told.body["in_use"][signing.MASTER] if told else 1  # the entry of its use may have been lost
    if not left and (moved or house.ring.in_use(signing.MASTER).id != known):
        note(house, house.ring, REWRAPPED, now=now, by=by)
    return Rewrapped(left)


def _rewrap_all(house: House) -> None:
    after: int | None = 0
    while after is not None:
        after = perform_now(house, partial(wrapping.rewrap, ring=house.ring, after=after)).value
        threading.Event().wait(rest(house.engine) or PAUSE)


def tend(house: House, now: datetime) -> None:
    """The clock's part: wrap anew where a master was replaced, and note a ring that has more than the ledger says of it."""
    ring = house.look()
    if not ring.parted and len(ring.secrets) == 1:
        return  # nothing was ever rotated here
    with reading(house.engine) as session:
        last = last_said(session)
        noted = last is not None and _said(ring) == {name: last.body[name] for name in ("in_use", "holds")}
        found = standing(session, ring)
    if found is not None:
        log.error(
            "the key ring does not fit the database; it was left alone", extra={"facts": {"it is": found}}
        )
        return
    if len(ring.wrap_keys) > 1:
        rewrap(house, now=now)
    if not noted:
        note(house, ring, NOTED, now=now, by=brands.SYSTEM)


def note(house: House, ring: Keyring, act: str, *, now: datetime, by: str) -> None:
    """Keep that something was done with a ring that holds these keys. Raises `RingForeign`, `RingOlder` where it fits no more: its
    entry would hide what the ring in use has."""

    def step(session: Session) -> None:
        lock_ledger_tail(session)
        check_fits(session, ring)
        _note(session, ring, act, {}, now=now, by=by)

    perform_now(house, step)


def _change(house: House, act: str, step: Step, *, now: datetime, by: str) -> Key:
    """One act on the file, one at a time in the whole installation: the ledger's tail is the lock."""
    path = house.settings.key_file

    def change(session: Session) -> Key:
        lock_ledger_tail(session)
        present = signing.load(path)
        check_fits(session, present)
        ring, key, more = step(session, present.split())
        facts: dict[str, object] = {"key": key.kind, "id": key.id, **more}
        _note(session, ring, act, facts, now=now, by=by)
        at_end(session, lambda _: keyfile.replace(path, ring))
        return key

    try:
        return perform_now(house, change).value
    finally:
        house.look()


def _note(
    session: Session, ring: Keyring, act: str, facts: dict[str, object], *, now: datetime, by: str
) -> None:
    brands.note_ring(session, act, {**facts, **_said(ring)}, now=now, by=by)


def _said(ring: Keyring) -> dict[str, Any]:
    return {"in_use": ring.used(), "holds": ring.marks()}


def _last(session: Session, act: str) -> ledger.Seen | None:
    found = ledger.of_kinds(session, (f"ring.{act}",))
    return found[-1] if found else None


def _highest(session: Session, kind: str) -> int:
    """The highest number a key of that kind ever had: a retired one's never comes back with another key."""
    told = ledger.of_kinds(session, KINDS)
    held = [int(number) for one in told for number in one.body["holds"].get(kind, {})]
    ended = [
        one.body["id"] for one in told if one.body.get("key") == kind
    ]  # its making may have left no entry
    return max(held + ended, default=0)


def _with(ring: Keyring, key: Key) -> Keyring:
    """The ring with this key in the place of the one of its kind and number."""
    return Keyring(
        {},
        ring.installation,
        tuple(key if (one.kind, one.id) == (key.kind, key.id) else one for one in ring.keys),
    )


def without_ended(session: Session, ring: Keyring) -> Keyring:
    """A ring from before some keys were ended, without them: perhaps somebody has them. Masters stay, by which copies of the database
    can be read, and wrap nobody."""
    gone = {(one.body["key"], one.body["id"]) for one in ledger.of_kinds(session, (f"ring.{ENDED}",))}
    for key in ring.keys:
        if (key.kind, key.id) in gone and key.kind != signing.MASTER and key.state in _ENDABLE:
            ring = _without(ring, key)
    return ring


def _without(ring: Keyring, key: Key) -> Keyring:
    if key.kind == signing.SIGNING and key.state == signing.FORMER:
        half = ring.checkpoint_keys[key.id].public_key().public_bytes_raw()
        return _with(ring, replace(key, state=signing.RETIRED, secret=b"", public=half))
    return Keyring({}, ring.installation, tuple(one for one in ring.keys if one is not key))
