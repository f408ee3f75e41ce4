"""The register of breaches (GDPR 33 and 34): what happened, what was done about it, and the 72 hours in which the authority is told.

Called by the staff's pages. Facts come in bit by bit (33(4)); each step is an entry of the ledger, in clear and for good.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlmodel import Session

from service.db.locks import lock_ledger_tail
from service.domain.ledger import actions as ledger
from service.domain.ledger import queries as entries
from service.domain.privacy import queries, rules
from service.domain.privacy.tables import Breach
from service.kit.ids import proposed

NOTICED = "breach.noticed"


def notice(
    session: Session,
    *,
    noticed_at: datetime,
    given: Mapping[str, str],
    reference: str = "",
    now: datetime,
    by: str,
) -> Breach:
    """Write one down; its clock runs from when it was noticed. What is not known yet may be empty, but for `what`. A form with
    its `reference` is one breach, however often it is pressed. Raises `MomentInvalid`, `ReasonMissing`, `NumberInvalid`,
    `TextTooLong`, `TextControlChar`, `FormUsed`.
    """
    if noticed_at > now:
        raise rules.MomentInvalid(field="noticed_at")
    facts = _checked(given)
    lock_ledger_tail(session)
    public_id = proposed("b", reference)
    body = {"noticed_at": noticed_at.isoformat(timespec="seconds")} | facts
    before = queries.breach_written(session, public_id)
    if before is not None:
        first = entries.of_subject(session, public_id, kinds=(NOTICED,))
        if first and first[0].body != body:
            raise rules.FormUsed
        return before
    row = Breach(public_id=public_id, noticed_at=noticed_at, created_at=now, created_by=by, **facts)
    session.add(row)
    session.flush()
    ledger.append(session, NOTICED, subject=row.public_id, body=body, by=by, now=now)
    return row


def note(session: Session, public_id: str, *, given: Mapping[str, str], now: datetime, by: str) -> None:
    """What is known better by now; only what changed is written. Raises `BreachUnknown`, `BreachClosed`, as `notice`."""
    row = _open(session, public_id)
    changed = {name: value for name, value in _checked(given).items() if value != getattr(row, name)}
    if not changed:
        return
    for name, value in changed.items():
        setattr(row, name, value)
    session.flush()
    ledger.append(session, "breach.noted", subject=public_id, body=changed, by=by, now=now)


def report(
    session: Session,
    public_id: str,
    *,
    to: str,
    reported_at: datetime | None,
    why: str,
    now: datetime,
    by: str,
) -> None:
    """The authority was told, when and which; after the 72 hours with the reason for it (33(1)). Without `reported_at`: it will not
    be told, because `why` no risk is to be expected. Raises `BreachUnknown`, `BreachClosed`, `MomentInvalid`, `ReasonMissing`."""
    row = _open(session, public_id)
    if reported_at is not None and not row.noticed_at <= reported_at <= now:
        raise rules.MomentInvalid(field="reported_at")
    late = reported_at is None or reported_at > rules.report_by(row.noticed_at)
    row.report_note = rules.check_note(why, field="why", needed=late)
    row.reported_to = rules.check_note(to, field="to", needed=True) if reported_at else ""
    row.reported_at = reported_at
    session.flush()
    body = {"reason": row.report_note} if row.report_note else {}
    if reported_at:
        body |= {"to": row.reported_to, "reported_at": reported_at.isoformat(timespec="seconds")}
    kind = "breach.reported" if reported_at else "breach.not_reported"
    ledger.append(session, kind, subject=public_id, body=body, by=by, now=now)


def people(session: Session, public_id: str, *, told: bool, how: str, now: datetime, by: str) -> None:
    """Whether those concerned were told (34), and how or why not. Raises `BreachUnknown`, `BreachClosed`, `ReasonMissing`."""
    row = _open(session, public_id)
    row.people_told, row.people_note = told, rules.check_note(how, field="how", needed=True)
    session.flush()
    body = {"told": told, "reason": row.people_note}
    ledger.append(session, "breach.people", subject=public_id, body=body, by=by, now=now)


def close(session: Session, public_id: str, *, now: datetime, by: str) -> None:
    """Put it away, once it is on record what the authority and the people know. Raises `BreachUnknown`, `BreachClosed`,
    `BreachUnfinished`."""
    row = _open(session, public_id)
    if clock_runs(row) or row.people_told is None:
        raise rules.BreachUnfinished
    row.closed_at, row.closed_by = now, by
    session.flush()
    ledger.append(session, "breach.closed", subject=public_id, body={}, by=by, now=now)


def clock_runs(row: Breach) -> bool:
    """Whether the authority has neither been told nor need be."""
    return row.reported_at is None and not row.report_note


def _checked(given: Mapping[str, str]) -> dict[str, Any]:
    return {
        name: rules.check_number(given.get(name, ""), field=name)
        if name == "how_many"
        else rules.check_note(given.get(name, ""), field=name, needed=name == "what", limit=rules.FACT_LIMIT)
        for name in rules.BREACH_FACTS
    }


def _open(session: Session, public_id: str) -> Breach:
    row = queries.breach_by_id(session, public_id)
    session.refresh(row, with_for_update=True)
    if row.closed_at is not None:
        raise rules.BreachClosed
    return row
