"""The guard of a mailing: it counts what came of each recorded batch, and halts the mailing when that goes wrong.

Called by `claims.record` within its transaction and before anything of it is written to the ledger: whoever changes a mailing
takes the mailing first and the ledger's tail after it, and so does this.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, literal_column, select, update
from sqlmodel import Session, col

from service.db.locks import for_update
from service.domain.deliveries import rules
from service.domain.deliveries.freeze import halt
from service.domain.mailings.tables import Batch, Mailing, Outcome

# Built once: building a statement takes longer than running it for a batch. The state is a literal, because a partial index is
# used for that only; another index would read the whole mailing.
_POS = col(Outcome.pos)
_FIGURES = select(col(Mailing.kind), col(Mailing.state), col(Mailing.planned), col(Mailing.facts)).where(
    col(Mailing.id) == bindparam("mailing")
)
_TWICE = select(func.count() - func.count(_POS.distinct())).where(
    col(Outcome.mailing_id) == bindparam("mailing"), col(Outcome.state) == literal_column("'sent'")
)
_TWICE_BETWEEN = _TWICE.where(_POS.between(bindparam("first"), bindparam("last")))


def watch(
    session: Session, mailing_id: int, batch_id: int, rows: Sequence[Mapping[str, Any]], *, now: datetime
) -> None:
    """Add a batch's outcome rows, just inserted, to the mailing's figures; halt it where `rules.alarm` says so.

    The figures are kept with the mailing, so that the last batch costs what the first did. What is counted up to the halt,
    and after it until somebody lets the mailing go on, counts as seen by that person.
    """
    counted = rules.tally(rows)
    if not counted:
        return
    mailing = session.execute(for_update(session, _FIGURES), {"mailing": mailing_id}).one()
    facts = mailing.facts or {}
    total = counted + Counter(facts.get("tally", {}))
    total["doubled"] += _doubled(session, mailing_id, rows)
    seen = total if mailing.state == "halted" else facts.get("seen", {})
    # A notice is owed to everybody it concerns: refusals do not halt it.
    by_shares = mailing.kind == "announcement"
    reason = rules.alarm(total, seen, mailing.planned or 0, by_shares=by_shares)
    if (
        reason
        and mailing.state == "sending"
        and (reason == "doubled" or _goes_on(session, mailing_id, batch_id))
    ):
        row = session.get_one(Mailing, mailing_id, populate_existing=True)
        halt(session, row, reason, now=now)
        seen = total
    changed = update(Mailing).where(col(Mailing.id) == mailing_id)
    session.connection().execute(changed.values(facts={**facts, "tally": total, "seen": seen}))


def _doubled(session: Session, mailing_id: int, rows: Sequence[Mapping[str, Any]]) -> int:
    """How many of these are on record as sent more than once: none, unless the index that refuses it is missing."""
    sent = [row["pos"] for row in rows if row["state"] == "sent"]
    if not sent:
        return 0
    given = {"mailing": mailing_id, "first": min(sent), "last": max(sent)}
    if given["last"] - given["first"] < rules.BATCH:
        return session.connection().execute(_TWICE_BETWEEN, given).scalar_one()
    return session.connection().execute(_TWICE.where(_POS.in_(sent)), given).scalar_one()


def _goes_on(session: Session, mailing_id: int, batch_id: int) -> bool:
    """Whether anything is left to halt."""
    left = select(col(Batch.id)).where(
        col(Batch.mailing_id) == mailing_id, col(Batch.state) != "closed", col(Batch.id) != batch_id
    )
    return session.execute(left.limit(1)).first() is not None
