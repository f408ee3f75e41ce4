"""Who is sending, and what each has seen of what was taken away."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func
from sqlmodel import Session, col, select

from service.domain.senders.tables import Sender

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
    """Leases that were not renewed for so long that nobody knows what their sender does."""
    return [one for one in live(session) if one.renewed_at < now - STALE_AFTER]


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
