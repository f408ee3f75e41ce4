"""Rotating the keys of the ring while everything runs: a new one is made, backed up, used, and the former one ended when
nothing needs it. Each act is an entry of the ledger, which then says of every key by which mark it is known, and holds none.

Called by `bidden ring`, and by the clock, which wraps persons' keys anew. The file is written before the entry is committed:
what dies between leaves a ring that has more than the ledger says, which the clock notes.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from secrets import token_bytes
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
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

MADE, USED, ENDED, REWRAPPED, BACKED_UP, NOTED = (
    "key_made", "key_used", "key_retired", "rewrapped", "backed_up", "noted",
)  # fmt: skip
BRING_BACK = "Bring back the newest backup of the ring: bidden ring restore FILE --replace"
KINDS = tuple(f"ring.{act}" for act in (MADE, USED, ENDED, REWRAPPED, BACKED_UP, NOTED))


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


class RingForeign(Conflict):
    """The key ring is not that of this database: nothing in it would open, and every no would be forgotten."""

    fix_hint = "Bring back the ring of that installation: bidden ring restore FILE"


class RingOlder(Conflict):
    """The key ring is older than this database: links, heads or persons' keys made since would not be known."""

    fix_hint = BRING_BACK


FIXED = {signing.LOOKUP: LookupKeyStays, signing.MESSAGE: MessageKeyStays, signing.HOUSE: HouseKeyStays}
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
    the midst has lost nothing. What is left has no master in the ring, or was in somebody's hand just now."""
    after: int | None = 0
    while after is not None:
        after = perform_now(house, partial(wrapping.rewrap, ring=house.ring, after=after)).value
        if after is not None and (seconds := rest(house.engine)):
            threading.Event().wait(seconds)
    with reading(house.engine) as session:
        left = persons.masters(session)
        left.pop(house.ring.in_use(signing.MASTER).id, None)
        used, done = _last_use(session, signing.MASTER), _last(session, REWRAPPED)
    if not left and used is not None and (done is None or done.seq < used.seq):
        perform_now(house, lambda session: _note(session, house.ring, REWRAPPED, {}, now=now, by=by))
    return Rewrapped(left)


def refuse_unfit(house: House) -> None:
    """For processes that run: with another ring, or an older one, they would answer wrongly and use up mailings that nobody can
    read. Raises `RingForeign`, `RingOlder`; of a database that is away, or not made yet, there is nothing to say."""
    try:
        with reading(house.engine) as session:
            found = standing(session, house.ring)
    except SQLAlchemyError:
        return
    if found is not None:
        raise RingForeign if found == "foreign" else RingOlder


def tend(house: House, now: datetime) -> None:
    """The clock's part: wrap anew where a master was replaced, and note a ring that has more than the ledger says of it."""
    ring = house.ring
    if not ring.parted and len(ring.secrets) == 1:
        return  # nothing was ever rotated here
    if len(ring.wrap_keys) > 1:
        rewrap(house, now=now)
    with reading(house.engine) as session:
        last = last_said(session)
        noted = last is None or _said(ring) == {name: last.body[name] for name in ("in_use", "holds")}
        fits = standing(session, ring) is None
    if not noted and fits:
        perform_now(house, lambda session: _note(session, ring, NOTED, {}, now=now, by=brands.SYSTEM))


def note_backup(house: House, ring: Keyring, *, now: datetime, by: str) -> None:
    """Keep that a backup holds these keys: only one that a backup holds may be used."""
    perform_now(house, lambda session: _note(session, ring, BACKED_UP, {}, now=now, by=by))


def last_said(session: Session) -> ledger.Seen | None:
    """The last entry about the ring, which says what it held then."""
    found = ledger.of_kinds(session, KINDS)
    return found[-1] if found else None


def standing(session: Session, ring: Keyring) -> str | None:
    """How a ring stands to this database: None when it fits, `older` when it lacks a key that is told of there, `foreign` when it
    is another one."""
    last = last_said(session)
    return compare(ring, last.body["holds"] if last else {}, checkpoints.latest_note(session))


def compare(ring: Keyring, holds: dict[str, dict[str, str]], note: str | None) -> str | None:
    """The same from what the database says: the marks of its keys, and its last signed head."""
    if (found := keyfile.lacks(ring, holds)) is not None:
        return found
    try:
        if note is not None:
            opened(note, checkpoints.keys(ring))
    except NoteRefused:
        return "foreign"
    return None


def _change(house: House, act: str, step: Step, *, now: datetime, by: str) -> Key:
    """One act on the file, one at a time in the whole installation: the ledger's tail is the lock."""
    path = house.settings.key_file

    def change(session: Session) -> Key:
        lock_ledger_tail(session)
        ring, key, more = step(session, signing.load(path).split())
        facts: dict[str, object] = {"key": key.kind, "id": key.id, **more}
        _note(session, ring, act, facts, now=now, by=by)
        at_end(session, lambda _: keyfile.replace(path, ring))
        return key

    return perform_now(house, change).value


def _note(
    session: Session, ring: Keyring, act: str, facts: dict[str, object], *, now: datetime, by: str
) -> None:
    brands.note_ring(session, act, {**facts, **_said(ring)}, now=now, by=by)


def _said(ring: Keyring) -> dict[str, Any]:
    in_use = {key.kind: key.id for key in ring.keys if key.state == signing.IN_USE}
    return {"in_use": in_use, "holds": ring.marks()}


def _last(session: Session, act: str) -> ledger.Seen | None:
    found = ledger.of_kinds(session, (f"ring.{act}",))
    return found[-1] if found else None


def _last_use(session: Session, kind: str) -> ledger.Seen | None:
    found = [one for one in ledger.of_kinds(session, (f"ring.{USED}",)) if one.body["key"] == kind]
    return found[-1] if found else None


def _highest(session: Session, kind: str) -> int:
    """The highest number a key of that kind ever had: a retired one's never comes back with another key."""
    made = ledger.of_kinds(session, (f"ring.{MADE}",))
    return max((one.body["id"] for one in made if one.body["key"] == kind), default=0)


def _with(ring: Keyring, key: Key) -> Keyring:
    """The ring with this key in the place of the one of its kind and number."""
    return Keyring(
        {},
        ring.installation,
        tuple(key if (one.kind, one.id) == (key.kind, key.id) else one for one in ring.keys),
    )


def _without(ring: Keyring, key: Key) -> Keyring:
    if key.kind == signing.SIGNING and key.state == signing.FORMER:
        half = ring.checkpoint_keys[key.id].public_key().public_bytes_raw()
        return _with(ring, replace(key, state=signing.RETIRED, secret=b"", public=half))
    return Keyring({}, ring.installation, tuple(one for one in ring.keys if one is not key))
