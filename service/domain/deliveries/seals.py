"""The seal over a batch's outcomes: their Merkle root in the ledger, which whoever has the rows can compute anew (docs/ledger.md).

Called by `claims` within the transaction that records them, and by `actions` for those who are left when a mailing ends.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlmodel import Session

from service.domain.deliveries.freeze import SYSTEM
from service.domain.ledger import actions as ledger
from service.kit import chain, merkle

Key = tuple[int, int]
"""Position and attempt."""


def leaves(rows: Iterable[Mapping[str, Any]], message_id: Callable[[int], str]) -> dict[Key, str]:
    """The leaf hash of each outcome row; `message_id` says it of a position, whether its mail was made or not."""
    return {(row["pos"], row["attempt"]): chain.leaf_hash(_leaf(row, message_id(row["pos"]))) for row in rows}


def _leaf(row: Mapping[str, Any], message_id: str) -> str:
    return f"{row['pos']}|{row['attempt']}|{row['warrant_seq']}|{message_id}|{row['state']}|{row['reason']}"


def body(sealed: Mapping[Key, str], *, seen: int, batch: int | None = None) -> dict[str, Any]:
    """What the entry says: which outcomes, in what order, under which root, and up to which entry noes were heeded (`seen`)."""
    order = sorted(sealed)
    told = {
        "positions": len(order),
        "covers": covers(order),
        "root": merkle.root([sealed[one] for one in order]),
    }
    return told | {"seen": seen} | ({} if batch is None else {"batch": batch})


def covers(order: Sequence[Key]) -> str:
    """Positions and attempts in few letters: `4-9` is the first attempt at each of those, `12` at one, `4.2` the second at 4."""
    told: list[str] = []
    place = 0
    while place < len(order):
        first, attempt = order[place]
        last = first
        while attempt == 1 and place + 1 < len(order) and order[place + 1] == (last + 1, 1):
            last, place = last + 1, place + 1
        place += 1
        told.append(
            f"{first}-{last}" if last > first else f"{first}" if attempt == 1 else f"{first}.{attempt}"
        )
    return ",".join(told)


def write(session: Session, mailing: str, told: dict[str, Any], *, now: datetime) -> None:
    """The entry, about the mailing of that opaque id."""
    ledger.append(session, "batch.sealed", subject=mailing, body=told, by=SYSTEM, now=now)
