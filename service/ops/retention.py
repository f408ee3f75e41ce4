"""Forgetting what is past its time, in the whole house: rows (`privacy.retention`), uploaded files, mails in the captured inbox.

Called by the clock, which opens the transactions; by `bidden privacy retention` and the health page, which only look.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlmodel import Session

from service.db.session import after_commit
from service.domain.brands import queries as brands
from service.domain.privacy import periods, retention
from service.domain.privacy.retention import Gone
from service.ops import erasure, uploads
from service.ops.house import House

NAMES = tuple(one.name for one in periods.CLASSES)


@dataclass(frozen=True)
class Standing:
    """A class of data: its days (None: of each attribute its own), how much would go now, when it was last gone through."""

    data_class: periods.DataClass
    days: int | None
    due: int
    ran_at: datetime | None


def waits(session: Session) -> bool:
    """Whether nothing may be forgotten: a database that is behind what was signed outside it does not know what people have said
    since, and gets no entries before somebody has merged."""
    return bool(brands.noted_behind(session))


def find(session: Session, house: House, name: str, *, after: int, now: datetime) -> list[int]:
    """The next row numbers of a class that are past their time, after that one; [0] for what has none."""
    found = retention.find(session, name, after=after, now=now)
    return found or [0] * (name == periods.UPLOADS and bool(_files(house, now)))


def take(session: Session, house: House, name: str, numbers: Sequence[int], *, now: datetime) -> int:
    """Take away what of these is past its time still; how many. Files go once it is written down that they went."""
    gone = retention.take(session, house.ring, name, numbers, forget=erasure.forget, now=now)
    old = _files(house, now) if name == periods.UPLOADS else []
    if old:
        retention.keep_count(session, name, Gone(len(old)))
        after_commit(session, lambda: _unlink(old))
    return gone + len(old)


def standing(session: Session, house: House, *, now: datetime) -> list[Standing]:
    """Every class as it stands now."""
    settings, ran = brands.settings(session), retention.last_runs(session)
    found = []
    for one in periods.CLASSES:
        due = retention.due(session, one.name, now=now)
        due += len(_files(house, now)) if one.name == periods.UPLOADS else 0
        found.append(Standing(one, one.period(settings), due, ran.get(one.name)))
    return found


def _files(house: House, now: datetime) -> list[Path]:
    return uploads.since(house, now - timedelta(days=periods.BY_NAME[periods.UPLOADS].days or 0))


def _unlink(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
