"""Whether a key ring belongs to a database, by what the ledger says of it: every act on the ring is an entry with the marks of all
its keys and the numbers in use.

Called by `ring`, before it changes anything, by `ring_copies` and `drill`, by the doctor, and by every process that stays, when
it starts.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

from service.db.session import reading
from service.domain.ledger import checkpoints
from service.domain.ledger import queries as ledger
from service.kit import keyfile
from service.kit.errors import Conflict
from service.kit.notes import NoteRefused, opened
from service.kit.signing import Keyring
from service.ops.house import House

MADE, USED, ENDED, REWRAPPED, BACKED_UP, NOTED = (
    "key_made", "key_used", "key_retired", "rewrapped", "backed_up", "noted",
)  # fmt: skip
KINDS = tuple(f"ring.{act}" for act in (MADE, USED, ENDED, REWRAPPED, BACKED_UP, NOTED))
BRING_BACK = "Bring back the newest backup of the ring: bidden ring restore FILE --replace"


class RingForeign(Conflict):
    """The key ring is not that of this database: nothing in it would open, and every no would be forgotten."""

    fix_hint = "Bring back the ring of that installation: bidden ring restore FILE"


class RingOlder(Conflict):
    """The key ring is older than this database: links, heads or persons' keys made since would not be known."""

    fix_hint = BRING_BACK


def last_said(session: Session) -> ledger.Seen | None:
    """The last entry about the ring, which says what it held then."""
    found = ledger.of_kinds(session, KINDS)
    return found[-1] if found else None


def standing(session: Session, ring: Keyring) -> str | None:
    """How a ring stands to this database: None when it fits, `older` when it lacks a key that is told of there, `foreign` when it
    is another one."""
    last = last_said(session)
    return compare(ring, last.body if last else {}, checkpoints.latest_note(session))


def compare(ring: Keyring, told: Mapping[str, Any], note: str | None) -> str | None:
    """The same from what the database says: its last entry about the ring, and its last signed head."""
    if (found := keyfile.lacks(ring, told.get("holds", {}), told.get("in_use", {}))) is not None:
        return found
    try:
        if note is not None:
            opened(note, checkpoints.keys(ring))
    except NoteRefused:
        return "foreign"
    return None


def refuse_unfit(house: House) -> None:
    """For processes that run: with another ring, or an older one, they would answer wrongly and use up mailings that nobody can
    read. Raises `RingForeign`, `RingOlder`; of a database that is away, or not made yet, there is nothing to say."""
    try:
        with reading(house.engine) as session:
            check_fits(session, house.ring)
    except SQLAlchemyError:
        return


def check_fits(session: Session, ring: Keyring) -> None:
    """Raises `RingForeign`, `RingOlder` where a ring is not this database's, or no more."""
    if (found := standing(session, ring)) is not None:
        raise RingForeign if found == "foreign" else RingOlder
