"""Who is sending, and what each has seen of what was taken away."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func
from sqlmodel import Session, col, select

from service.db.locks import server_time
from service.domain.senders.tables import Sender
from service.kit import clock

STALE_AFTER = timedelta(seconds=30)  # then a lease is suspect and shown on every staff page


def seen_by_all(session: Session) -> int | None:
    """The entry up to which every live sender has seen what was taken away; None when no sender lives. Until an entry is
    among them, a sender may still act on what was so before it."""
    seen = select(func.min(col(Sender.seen_seq))).where(col(Sender.state) == "live")
    return session.connection().execute(seen).scalar_one()


def live(session: Session) -> Sequence[Sender]:
    """Every lease that has not ended."""
    return session.exec(select(Sender).where(col(Sender.state) == "live").order_by(col(Sender.name))).all()


def suspect(session: Session, *, now: datetime) -> Sequence[Sender]:
    """Leases that were not renewed for so long that nobody knows what their sender does; `now` as for `stale`."""
    return stale(session, live(session), now=now)


def stale(session: Session, leases: Sequence[Sender], *, now: datetime) -> Sequence[Sender]:
    """Those of these that were not renewed for half a minute, by the clock they were renewed by (reliability 2.4): the database
    server's, or on one machine with its database the steady one, which begins anew with the machine.

    A renewal in the future is one from before the server's clock was put back: whoever lives renews within a second. `now`, a wall
    clock, counts only where nothing better is on record: the machine has no such clock, or is another one.
    """
    at = server_time(session)
    if at is not None:
        return [one for one in leases if abs(at - one.renewed_at) > STALE_AFTER]
    boot, here, moment = clock.boot_id(), socket.gethostname(), clock.since_boot()
    return [one for one in leases if _stale_here(one, boot, here, moment, now)]


def _stale_here(lease: Sender, boot: str, here: str, moment: float, now: datetime) -> bool:
    beat = (lease.pace or {}).get("beat")
    if lease.boot_id == boot and beat is not None:
        return bool(moment - beat > STALE_AFTER.total_seconds())
    started_anew = lease.host == here and lease.boot_id != boot and not boot.startswith(clock.NO_BOOT_ID)
    return started_anew or lease.renewed_at < now - STALE_AFTER


@dataclass(frozen=True)
class Away:
    """A mail server that a sender leaves alone: since it does not answer, or will not have us."""

    sender: str
    server: str
    state: str  # open | half_open
    reason: str
    seconds: int  # until it is tried again


def away(session: Session) -> list[Away]:
    """The servers that live senders leave alone."""
    said = [(one.name, server) for one in live(session) for server in (one.pace or {}).get("servers", [])]
    return [
        Away(name, one["server"], one["state"], one["reason"], one["seconds"])
        for name, one in said
        if one["state"] != "closed"
    ]


def by_name(session: Session, name: str) -> Sender | None:
    """A sender's lease by its name."""
    return session.exec(select(Sender).where(col(Sender.name) == name)).first()
