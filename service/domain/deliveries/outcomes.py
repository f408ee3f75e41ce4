"""The rows of a batch's outcomes: how one is made, how they come into the table, and what becomes of one the table will not have.

Called by `claims` within its transactions.
"""

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.exc import DataError, IntegrityError
from sqlmodel import Session, col, select

from service.db.bulk import insert_rows
from service.db.locks import for_update
from service.domain.deliveries import queries, rules
from service.domain.deliveries.freeze import SYSTEM, halt
from service.domain.ledger import actions as ledger
from service.domain.mailings.tables import Mailing, Outcome

log = logging.getLogger("bidden.sender")
COLLIDED = "collided"  # the reason of a mailing halted for it


def row(mailing_id: int, member: queries.Member, state: str, reason: str, *, now: datetime) -> dict[str, Any]:
    """What is written of one attempt at a member."""
    return {
        "mailing_id": mailing_id,
        "pos": member.pos,
        "attempt": member.attempt,
        "state": state,
        "reason": reason,
        "warrant_seq": member.warrant,
        "at": now,
        "code": None,
        "reply": "",
        "final": state != "deferred",
    }


def refusal(mailing_id: int, member: queries.Member, *, now: datetime) -> dict[str, Any]:
    """The outcome row of a member whom the gate lets through no more."""
    state = rules.after_doubt("skipped", member.doubts)
    return row(mailing_id, member, state, member.refusal or "", now=now)


def refuse(
    session: Session, mailing_id: int, members: list[queries.Member], *, now: datetime
) -> list[queries.Member]:
    """Write down whom the gate lets through no more; all these members, but for those of whom the table has it otherwise: that
    stands, and nothing of theirs was in hand, so it concerns nobody else."""
    taken = insert(session, [refusal(mailing_id, one, now=now) for one in members if one.refusal])
    stands = {one["pos"] for one in taken}
    return [one for one in members if one.pos not in stands]


def insert(session: Session, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Insert them; those that the table will not have (a second `sent`, a second row for an attempt) are left out and returned.

    Asking again would be refused again, and the others of the batch have their end all the same. One by one only then.
    """
    if not rows or _taken(session, rows):
        return []
    return [one for one in rows if not _taken(session, [one])]


def _taken(session: Session, rows: list[dict[str, Any]]) -> bool:
    try:
        with session.begin_nested():
            insert_rows(session, Outcome, rows)
    except (IntegrityError, DataError):
        return False
    return True


def note_collided(
    session: Session, mailing_id: int, batch_id: int, refused: Sequence[dict[str, Any]], *, now: datetime
) -> None:
    """What these letters were answered stands against what is on record, so neither can be relied on: the mailing halts until
    somebody has looked, and the entry keeps what the table does not."""
    if not refused:
        return
    locked = for_update(session, select(Mailing).where(col(Mailing.id) == mailing_id))
    mailing = session.scalars(locked.execution_options(populate_existing=True)).one()
    if mailing.state in ("sending", "paused") and mailing.topic_id is not None:
        halt(session, mailing, COLLIDED, now=now)
    told = [[one["pos"], one["attempt"], one["state"], one["reason"]] for one in refused]
    body = {"mailing": mailing.public_id, "batch": batch_id, "outcomes": told}
    ledger.append(session, "batch.collided", subject=mailing.public_id, body=body, by=SYSTEM, now=now)
    facts = {"mailing": mailing.public_id, "batch": batch_id, "outcomes": len(told)}
    log.error("an outcome stands against one on record; see its entry in the ledger", extra={"facts": facts})
