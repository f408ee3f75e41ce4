"""The one pen. Every feature's `actions` append here, and nothing else writes the table (an import contract holds it).

The tail lock is taken by the first append of a transaction and held to its commit; the rows themselves are inserted as
the transaction's last statement, so that nobody waits behind other work.
"""

from datetime import datetime
from typing import Any

from sqlmodel import Session

from service.db.bulk import insert_rows
from service.db.locks import lock_ledger_tail
from service.db.session import at_end
from service.domain.ledger import queries, rules
from service.domain.ledger.tables import LedgerEntry
from service.kit.clock import to_micros

SYSTEM = "system"


def append(
    session: Session, kind: str, *, subject: str | None, body: dict[str, Any], by: str, now: datetime
) -> int:
    """Write one entry and return its number, which is good as a warrant within this transaction at once.

    `subject` is an opaque id, never personal matter; personal parts of `body` come from `rules.sealed_part`.
    """
    pending: list[rules.Entry] | None = session.info.get("ledger")
    if pending is None:
        lock_ledger_tail(session)
        pending = session.info["ledger"] = []
        session.info["ledger_tail"] = queries.tail(session)
        at_end(session, _insert)
    seq, prev_hash = (pending[-1].seq, pending[-1].hash) if pending else session.info["ledger_tail"]
    entry = rules.make(
        seq=seq + 1, at=to_micros(now), kind=kind, actor=by, subject=subject, body=body, prev_hash=prev_hash
    )
    pending.append(entry)
    if entry.takes:
        session.info["taken"] = True
        if (
            body.get("state_before") != "unknown"
        ):  # a no where nothing was permitted stops nothing that is under way
            session.info["fence_seq"] = entry.seq
    return entry.seq


def stands(session: Session) -> None:
    """A no that stands was said again: its answer waits as the first one did, until every sender has seen it (P1)."""
    if session.info.get("fence_seq") is None:
        session.info["fence_seq"] = queries.last_taken(session)


def appended(session: Session) -> list[rules.Entry]:
    """What this transaction has written so far (for receipts shown in the same answer)."""
    return list(session.info.get("ledger", []))


def entry(session: Session, seq: int) -> queries.Seen | None:
    """One entry by its number, also where this transaction has written it, so that it is not in the table yet."""
    pending: list[rules.Entry] = session.info.get("ledger") or []
    if not pending or seq < pending[0].seq:
        return queries.entry(session, seq)
    at = seq - pending[0].seq  # they follow each other without a gap
    return queries.of_entry(pending[at]) if at < len(pending) else None


def _insert(session: Session) -> None:
    entries = session.info.pop("ledger")
    rows = [
        {
            "seq": e.seq,
            "entry": e.text,
            "hash": e.hash,
            "kind": e.kind,
            "subject": e.subject,
            "at": e.at,
            "takes": e.takes,
        }
        for e in entries
    ]
    insert_rows(session, LedgerEntry, rows)
