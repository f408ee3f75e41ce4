"""Taking, renewing and ending a lease. Called by the sender itself, and by the supervisor that has reaped one."""

import os
import socket
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, select, update
from sqlmodel import Session, col

from service.db.locks import for_reference, for_removal, server_time
from service.domain.senders import queries
from service.domain.senders.tables import Sender
from service.kit import clock
from service.kit.errors import Conflict, NotFound


class SenderRuns(Conflict):
    """A sender of that name is running, or nobody knows that it does not; give this one another name."""

    fix_hint = "If its machine is gone for good: bidden send lost NAME."


class SenderUnknown(NotFound):
    """No sender of that name holds a lease."""


class SenderNotLost(Conflict):
    """That sender is still at work; only one that is gone for good can be declared lost."""


def begin(
    session: Session, name: str, *, boot_id: str, seen_seq: int, now: datetime, incarnation: str = ""
) -> Sender:
    """Take the lease of this name; a former incarnation's must have ended, or its process surely be gone.

    However long nothing was heard of it: it may only be cut off, with a letter half on its way, and whoever said no since would be
    told that nothing leaves any more (P1). Raises `SenderRuns`.
    """
    _wait_for_claims(session, name)
    present = queries.by_name(session, name)
    if present is not None and present.state == "live" and _may_run(present, boot_id):
        raise SenderRuns
    lease = present or Sender(name=name, host="", pid=0, boot_id="", renewed_at=now, started_at=now)
    lease.host, lease.pid, lease.boot_id = socket.gethostname(), os.getpid(), boot_id
    lease.incarnation = incarnation
    lease.state, lease.seen_seq, lease.started_at, lease.ended_at = "live", seen_seq, now, None
    lease.renewed_at, lease.pace = server_time(session) or now, {"beat": clock.since_boot()}
    session.add(lease)
    session.flush()
    return lease


def _may_run(lease: Sender, boot_id: str | None = None) -> bool:
    """Whether the process of a lease may still be there: surely not when this machine has no such process, or has been started
    anew since (`boot_id`: as it runs now)."""
    if lease.host != socket.gethostname():
        return True
    if boot_id is not None and lease.boot_id != boot_id:
        return False
    try:
        os.kill(lease.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return lease.pid != os.getpid()


def _own(sender_id: int, incarnation: str) -> tuple[ColumnElement[bool], ...]:
    """That a lease is live and this process' own: in two containers the pid may be the same."""
    return (
        col(Sender.id) == sender_id,
        col(Sender.state) == "live",
        col(Sender.pid) == os.getpid(),
        col(Sender.incarnation) == incarnation,
    )


def renew(
    session: Session,
    sender_id: int,
    *,
    seen_seq: int,
    says: dict[str, Any] | None = None,
    now: datetime,
    incarnation: str = "",
) -> bool:
    """Publish what was seen, and what the sender `says` of servers and recipient domains, with a sign of life by the steady clock.
    `now` is when, where no database server says it.

    False when the lease was ended by somebody else, and the sender must stop.
    """
    said = {**(says or {}), "beat": clock.since_boot()}
    values = {"seen_seq": seen_seq, "renewed_at": server_time(session) or now, "pace": said}
    statement = update(Sender).where(*_own(sender_id, incarnation)).values(values)
    return session.connection().execute(statement).rowcount == 1


def holds(session: Session, sender_id: int, incarnation: str = "") -> bool:
    """Whether a lease is still this process' own. If so, nobody ends it or takes it over till commit: what is claimed under it
    meanwhile is found by whoever does."""
    ours = select(col(Sender.id)).where(*_own(sender_id, incarnation))
    return session.execute(for_reference(session, ours)).first() is not None


def end(
    session: Session, name: str, *, now: datetime, incarnation: str | None = None, pid: int | None = None
) -> bool:
    """End a lease: by the sender at its end (`incarnation`: its own alone), or by whoever knows that its process is gone (`pid`:
    that one's, on this machine)."""
    whose: list[ColumnElement[bool]] = []
    if incarnation is not None:
        whose.append(col(Sender.incarnation) == incarnation)
    if pid is not None:
        whose += [col(Sender.pid) == pid, col(Sender.host) == socket.gethostname()]
    return _end(session, name, "ended", now, *whose)


def lose(session: Session, name: str, *, now: datetime) -> None:
    """End the lease of a sender that nobody will hear of again. Raises what `check_lost` raises."""
    check_lost(session, name, now=now)
    _end(session, name, "lost", now)


def check_lost(session: Session, name: str, *, now: datetime) -> None:
    """Raises `SenderUnknown`, or `SenderNotLost` while it was heard of lately or its process stands on this machine."""
    lease = queries.by_name(session, name)
    if lease is None:
        raise SenderUnknown(field="name")
    if lease.state == "live" and lease.host == socket.gethostname() and _may_run(lease):
        raise SenderNotLost(
            f"Sender {name} still runs on this machine, as process {lease.pid}.",
            field="name",
            fix=f"End it first (kill -9 {lease.pid}); what it had in hand is then settled by its journal.",
        )
    if lease.state == "live" and not queries.stale(session, [lease], now=now):
        raise SenderNotLost(field="name", fix="If its machine was switched off just now, wait half a minute.")


def _wait_for_claims(session: Session, name: str) -> None:
    session.execute(for_removal(session, select(col(Sender.id)).where(col(Sender.name) == name)))


def _end(session: Session, name: str, state: str, now: datetime, *whose: ColumnElement[bool]) -> bool:
    _wait_for_claims(session, name)
    statement = (
        update(Sender)
        .where(col(Sender.name) == name, col(Sender.state) == "live", *whose)
        .values(state=state, ended_at=now)
    )
    return session.connection().execute(statement).rowcount == 1
