"""The timetable of the whole product: what time asks for, how often, and the one action that answers.

Each action asks the database what is due now, so a missed tick costs a moment and a second clock nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session

from service.db.session import reading, transaction
from service.domain.announcements import actions as announcements
from service.domain.api_keys import actions as api_keys
from service.domain.deliveries import actions as deliveries
from service.domain.ledger import safe
from service.domain.staff import actions as staff
from service.ops.house import House


@dataclass(frozen=True)
class Job:
    """One line of the timetable."""

    name: str
    every: timedelta
    action: Callable[[House, datetime], object]


def _in_transaction(action: Callable[[Session, House, datetime], object]) -> Callable[[House, datetime], object]:
    def run(house: House, now: datetime) -> object:
        with transaction(house.engine) as session:
            return action(session, house, now)

    return run


def start_due(house: House, now: datetime) -> None:
    """Announcements whose time has come start their freeze."""
    _in_transaction(lambda session, house, now: announcements.start_due(session, house.settings, now=now))(house, now)


def freeze(house: House, now: datetime) -> None:
    """Each mailing that is freezing gets its audience, chunk by chunk, each in its own transaction."""
    with reading(house.engine) as session:
        waiting = deliveries.freezing(session)
    for mailing_id in waiting:
        more = True
        while more:
            with transaction(house.engine) as session:
                more = deliveries.freeze_step(session, mailing_id, now=now)


def settle(house: House, now: datetime) -> None:
    """Who was left when a mailing was cancelled or expired gets that outcome, five thousand at a time."""
    more = 1
    while more:
        with transaction(house.engine) as session:
            more = deliveries.settle_ended(session, now=now)


def finish(house: House, now: datetime) -> None:
    """Mailings with nothing left to do are sent, and their announcements know it."""
    _in_transaction(lambda session, house, now: deliveries.finish(session, now=now))(house, now)
    _in_transaction(lambda session, house, now: announcements.finish(session, now=now))(house, now)


def expire(house: House, now: datetime) -> None:
    """What may not leave any more is ended."""
    _in_transaction(lambda session, house, now: announcements.expire(session, now=now))(house, now)
    _in_transaction(lambda session, house, now: deliveries.expire(session, now=now))(house, now)


def keep_safe(house: House, now: datetime) -> None:
    """The withdrawal file has what senders and servers took away, too."""
    with reading(house.engine) as session:
        safe.bring_up_to_date(session, house.settings.safe)


def forget(house: House, now: datetime) -> None:
    """Old sign-in tries, sessions and kept answers go."""
    _in_transaction(lambda session, house, now: staff.forget_old(session, now=now))(house, now)
    _in_transaction(lambda session, house, now: api_keys.forget_answers(session, now=now))(house, now)


TIMETABLE = [
    Job("start_due", timedelta(seconds=1), start_due),
    Job("freeze", timedelta(seconds=1), freeze),
    Job("finish", timedelta(seconds=1), finish),
    Job("expire", timedelta(seconds=20), expire),
    Job("settle", timedelta(seconds=1), settle),
    Job("keep_safe", timedelta(minutes=1), keep_safe),
    Job("forget", timedelta(hours=1), forget),
]
