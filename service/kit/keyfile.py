"""The key ring's file while processes run: read again when it has changed, replaced whole, never half.

Called by `ops.house` (every process looks through `Live`), `ops.ring`, which changes it, and `ops.ring_copies`.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace as changed
from pathlib import Path

from service.kit.errors import Conflict
from service.kit.signing import (
    FIXED,
    FORMER,
    LINK,
    MASTER,
    MOST,
    RETIRED,
    SIGNING,
    KeyFileRefused,
    Keyring,
    draft_of,
    load,
    load_or_make,
    settle,
    text_of,
)

log = logging.getLogger("bidden.keys")
KEPT = (*FIXED, LINK, SIGNING)  # a retired one that signed is there by its public half
LOOK = 1.0  # seconds between two looks of a process that stays
ABANDONED = 60.0  # seconds after which a draft is nobody's: its process was killed
_Stamp = tuple[int, int, int]


class KeyFileNotReplaced(Conflict):
    """The key file cannot be replaced where it lies; nothing was changed."""

    fix_hint = "It needs a directory that can be written; a single file mounted by itself cannot be replaced."


class Live:
    """The ring as the file has it now, at the price of one look at the file's date.

    A file that is gone, unreadable, of another installation, or that lacks what this one had, is not taken: what was read
    last goes on, and is said once. A master that was retired goes on opening in this process what was read before.
    """

    def __init__(self, path: Path, ring: Keyring | None = None) -> None:
        if ring is None and not path.exists():
            load_or_make(path)
        self.path = path
        self._stamp = _stamp(path)  # before it is read: what comes meanwhile is seen at the first look
        self._ring = ring or load(path)
        self._lock = threading.Lock()

    @property
    def ring(self) -> Keyring:
        """The ring to use for what begins now."""
        with self._lock:
            stamp = _stamp(self.path)
            if stamp != self._stamp:
                self._read()
                self._stamp = stamp
            return self._ring

    def _read(self) -> None:
        try:
            found = load(self.path)
        except (OSError, KeyFileRefused) as wrong:
            log.error(
                "the key file cannot be read; the ring read before goes on",
                extra={"facts": {"why": str(wrong)}},
            )
            return
        if not follows(found, self._ring):
            log.error("the key file is another one or an older one; the ring read before goes on")
            return
        self._ring = with_masters_of(self._ring, found, RETIRED)
        log.info("the key file has changed", extra={"facts": {"in_use": found.used()}})


def watch(look: Callable[[], object]) -> None:
    """Look every second from now on, whether or not anything asks: a process that was idle through a rotation must have read
    the new keys before the file can be lost."""

    def watching() -> None:
        never = threading.Event()  # `time.sleep` fails where a false clock is put before the process
        while not never.wait(LOOK):
            try:
                look()
            except Exception:
                log.exception("the key file could not be looked at and will be again")

    threading.Thread(target=watching, name="key file", daemon=True).start()


def _stamp(path: Path) -> _Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ctime_ns, found.st_ino, found.st_size  # which `chmod` changes, too


def follows(later: Keyring, ring: Keyring) -> bool:
    """Whether a ring is this one some rotations later."""
    return later.installation == ring.installation and lacks(later, ring.marks(), ring.used()) is None


def lacks(ring: Keyring, marks: Mapping[str, Mapping[str, str]], used: Mapping[str, int]) -> str | None:
    """How a ring stands to the marks of one from before, and to the numbers that it used: None where it goes on from it, `older`
    where it lacks what is never given up (keys that look up, verify or seal for ever) or has a former one in use, `foreign`
    where a number means another key. A key that only waited then to sign heads may be lacking: it signed none, and can be ended.
    """
    known, mine_used = ring.marks(), ring.used()
    told = [(kind, kid, mark) for kind in known for kid, mark in marks.get(kind, {}).items()]
    if any(known[kind].get(kid, mark) != mark for kind, kid, mark in told):
        return "foreign"
    if any(mine_used[kind] < number for kind, number in used.items()):
        return "older"
    waited = [(SIGNING, kid) for kid in marks.get(SIGNING, {}) if int(kid) > used.get(SIGNING, MOST)]
    gone = [(kind, kid) for kind, kid, _ in told if kid not in known[kind] and kind in KEPT]
    return "older" if any(one not in waited for one in gone) else None


def with_masters_of(former: Keyring, ring: Keyring, state: str = FORMER) -> Keyring:
    """The later ring, and the masters it has no more."""
    known = ring.of(MASTER)
    kept = [
        changed(key, state=state) for kid, key in former.of(MASTER).items() if kid not in known and key.secret
    ]
    return Keyring({}, ring.installation, (*ring.keys, *kept)) if kept else ring


def replace(path: Path, ring: Keyring) -> None:
    """Put this ring in the file's place, at once and durably; where that is a link to another place, there. What somebody killed
    in the midst of this has left is taken away: a key in it would outlive its end. Raises `KeyFileNotReplaced`."""
    path = path.resolve()
    try:
        draft = draft_of(path, text_of(ring))
        try:
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        settle(path.parent)
    except OSError as error:
        raise KeyFileNotReplaced(field=str(path)) from error
    _tidy(path)


def _tidy(path: Path) -> None:
    for draft in path.parent.glob(f".{path.name}.*"):
        with suppress(OSError):
            if time.time() - draft.stat().st_mtime > ABANDONED:
                draft.unlink()
