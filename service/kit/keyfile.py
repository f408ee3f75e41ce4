"""The key ring's file while processes run: read again when it has changed, replaced whole, never half.

Called by `ops.house` (every process looks through `Live`) and `ops.ring`, which changes it.
"""

import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path

from service.kit.signing import (
    FIXED,
    LINK,
    MASTER,
    SIGNING,
    Key,
    KeyFileRefused,
    Keyring,
    draft_of,
    load,
    text_of,
)

log = logging.getLogger("bidden.keys")
KEPT = (*FIXED, LINK, SIGNING)  # a retired one that signed is there by its public half
LOOK = 1.0  # seconds between two looks of a process that stays
_Stamp = tuple[int, int, int]


class Live:
    """The ring as the file has it now, at the price of one look at the file's date.

    A file that is gone, unreadable, of another installation, or that lacks what this one had, is not taken: what was read
    last goes on, and is said once. A master that was retired goes on opening in this process what was read before.
    """

    def __init__(self, path: Path, ring: Keyring) -> None:
        self.path, self._ring = path, ring
        self._stamp = _stamp(path)
        self._lock = threading.Lock()

    @property
    def ring(self) -> Keyring:
        """The ring to use for what begins now."""
        stamp = _stamp(self.path)
        if stamp != self._stamp:
            with self._lock:
                if stamp != self._stamp:
                    self._read()
                    self._stamp = stamp
        return self._ring

    def watch(self) -> None:
        """Look every second from now on, whether or not anything asks: a process that was idle through a rotation must have read
        the new keys before the file can be lost."""
        threading.Thread(target=self._watch, name="key file", daemon=True).start()

    def _watch(self) -> None:
        never = (
            threading.Event()
        )  # and not `time.sleep`, which fails where a false clock is put before the process
        while not never.wait(LOOK):
            _ = self.ring

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
        self._ring = with_masters_of(self._ring, found)
        log.info("the key file has changed", extra={"facts": {"in_use": _in_use(found)}})


def _stamp(path: Path) -> _Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _in_use(ring: Keyring) -> dict[str, int]:
    return {key.kind: key.id for key in ring.keys if key.state == "in_use" and key.kind not in FIXED}


def follows(later: Keyring, ring: Keyring) -> bool:
    """Whether a ring is this one some rotations later."""
    return later.installation == ring.installation and lacks(later, ring.marks()) is None


def lacks(ring: Keyring, marks: Mapping[str, Mapping[str, str]]) -> str | None:
    """How a ring stands to the marks of one from before: None where it goes on from it, `older` where it lacks what is never
    given up (keys that look up, verify or seal for ever), `foreign` where a number means another key."""
    known = ring.marks()
    told = [(kind, known[kind].get(kid), mark) for kind in known for kid, mark in marks.get(kind, {}).items()]
    if any(mine not in (None, mark) for _, mine, mark in told):
        return "foreign"
    return "older" if any(mine is None and kind in KEPT for kind, mine, _ in told) else None


def with_masters_of(former: Keyring, ring: Keyring) -> Keyring:
    """The later ring, and the masters it has no more."""
    known = ring.of(MASTER)
    kept = [Key(MASTER, kid, "former", key) for kid, key in former.wrap_keys.items() if kid not in known]
    return Keyring({}, ring.installation, (*ring.keys, *kept)) if kept else ring


def replace(path: Path, ring: Keyring) -> None:
    """Put this ring in the file's place, at once and durably."""
    _put(draft_of(path, text_of(ring)), path)


def _put(draft: Path, path: Path) -> None:
    try:
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
