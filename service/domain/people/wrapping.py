"""Persons' keys under the master keys: wrapped when somebody comes, wrapped anew when a master was replaced.

Called by `actions` for whoever is registered, and by `ops.ring`.
"""

from contextlib import suppress
from typing import Any

from sqlalchemy import bindparam, select, update
from sqlmodel import Session, col

from service.db.locks import for_update
from service.domain.people import queries
from service.domain.people.tables import Person
from service.kit import sealing
from service.kit.signing import Keyring

AT_ONCE = 200  # persons whose keys are wrapped anew in one transaction (design.md 3)


def wrap(ring: Keyring, alias: int, key: bytes) -> bytes:
    """A person's key under the master key in use, whose id is the first octet."""
    kid, master = next(iter(ring.wrap_keys.items()))
    return bytes([kid]) + sealing.seal(master, key, queries.KEY_AT.format(alias))


def rewrap(session: Session, ring: Keyring, after: int) -> int | None:
    """Wrap the next persons' keys by the master in use that another of the ring wraps, in order of rows after the one given;
    returns the last row looked at, or None where none is left.

    A row somebody else has in hand waits for the next round, and one that was emptied meanwhile stays empty: an erased key must
    not come back. One whose master is not in the ring is left as it is.
    """
    columns: list[Any] = [col(Person.id), col(Person.alias), col(Person.wrapped_key)]
    others = (
        select(*columns)
        .where(col(Person.id) > after, queries.wrapped_by_another(ring))
        .order_by(col(Person.id))
        .limit(AT_ONCE)
    )
    found = session.connection().execute(for_update(session, others, skip_locked=True)).all()
    fresh = []
    for number, alias, wrapped in found:
        with suppress(sealing.Unsealable):
            made = wrap(ring, alias, queries.unwrap(ring, alias, wrapped))
            fresh.append({"the_id": number, "before": wrapped, "after": made})
    if fresh:
        same = (col(Person.id) == bindparam("the_id"), col(Person.wrapped_key) == bindparam("before"))
        session.connection().execute(
            update(Person).where(*same).values(wrapped_key=bindparam("after")), fresh
        )
    return found[-1][0] if found else None
