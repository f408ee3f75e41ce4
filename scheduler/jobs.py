"""The timetable of the whole product: what time asks for, how often, and the one action that answers.

Each action asks the database what is due now, so a missed tick costs a moment and a second clock nothing.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from sqlmodel import Session

from service.db.engine import rest
from service.db.session import reading, transaction
from service.domain.announcements import actions as announcements
from service.domain.deliveries import actions as deliveries
from service.domain.deliveries import freeze as audiences
from service.domain.deliveries.rules import batch_size
from service.domain.ledger import checkpoints, tree
from service.domain.preferences import expiring, projection, reasking, restoring
from service.domain.privacy import queries as rights
from service.domain.privacy import requests
from service.domain.privacy import retention as classes
from service.kit import failpoints
from service.ops import erasure, profile, restored, retention, ring
from service.ops.house import House

log = logging.getLogger("bidden.clock")
Found = TypeVar("Found")


@dataclass(frozen=True)
class Job:
    """One line of the timetable."""

    name: str
    every: timedelta
    action: Callable[[House, datetime], object]
    by_the_hour: bool = False  # waits while the wall clock cannot be believed


def _once(action: Callable[[Session], object], house: House) -> object:
    with transaction(house.engine) as session:
        return action(session)


def _read(question: Callable[[Session], Found], house: House) -> Found:
    with reading(house.engine) as session:
        return question(session)


def _until_done(action: Callable[[Session], object], house: House) -> None:
    """Repeat an action that takes a few rows at a time, each time in its own transaction; others may write in between."""
    while _once(action, house):
        _let_others(house)


def _let_others(house: House) -> None:
    """Leave the database to others for a moment. By an event that nobody sets: `time.sleep` counts to an instant, and fails where a
    false clock is put before the process."""
    if seconds := rest(house.engine):
        threading.Event().wait(seconds)


def start_due(house: House, now: datetime) -> None:
    """Announcements whose time has come start their freeze."""
    _until_done(lambda session: announcements.start_due(session, house.settings, now=now), house)


def freeze(house: House, now: datetime) -> None:
    """Each mailing that is freezing gets its audience, chunk by chunk, each in its own transaction."""
    with reading(house.engine) as session:
        waiting = audiences.freezing(session)
    batch = batch_size(house.settings.send_rate)
    for mailing_id in waiting:
        more: bool | None = True
        while more:
            with transaction(house.engine) as session:
                more = audiences.add_chunk(session, mailing_id, now=now)
            failpoints.hit("freeze.between")
            _let_others(house)
        if more is None:  # paused, and perhaps resumed before we could close what is only half an audience
            continue
        with reading(house.engine) as session:
            excluded = audiences.left_out(session, mailing_id, now=now)
        with transaction(house.engine) as session:
            audiences.close(session, mailing_id, excluded, batch=batch, now=now)


def settle(house: House, now: datetime) -> None:
    """Who was left when a mailing was cancelled or expired gets that outcome, five thousand at a time."""
    _until_done(lambda session: deliveries.settle_ended(session, house.ring, now=now), house)


def finish(house: House, now: datetime) -> None:
    """Mailings with nothing left to do are sent, and their announcements know it."""
    _once(lambda session: deliveries.finish(session, now=now), house)
    _until_done(lambda session: announcements.finish(session, now=now), house)


def expire(house: House, now: datetime) -> None:
    """What may not leave any more is ended."""
    _until_done(lambda session: announcements.expire(session, now=now), house)
    _once(lambda session: deliveries.expire(session, now=now), house)


def end_consents(house: House, now: datetime) -> None:
    """What a sale or an inquiry permitted for a time is over."""
    if _read(partial(expiring.waits, now=now), house):
        _until_done(lambda session: expiring.end_due(session, now=now), house)


def ask_again(house: House, now: datetime) -> None:
    """Whom registering made agree is asked, where a round runs, a few at each tick: no mail goes out in a burst."""
    if _read(reasking.any_running, house):
        _once(partial(reasking.step, now=now), house)


def fill_words(house: House, now: datetime) -> None:
    """What a version before has written gets the version of the words it was said to."""
    after = 0
    while rows := _read(partial(projection.unfilled, after=after), house):
        _once(partial(projection.fill, rows=rows), house)
        after = rows[-1][0] - 1  # the last person's other topics may not have been among them
        _let_others(house)


def keep_profile(house: House, now: datetime) -> None:
    """What is done with people's data is put down anew where it changed."""
    if _read(profile.changed, house):
        _once(partial(profile.keep, now=now), house)


def hasten(house: House, now: datetime) -> None:
    """Requests of people who turn out to live where the law is quicker are due sooner."""
    if late := _read(rights.too_late, house):
        _once(partial(requests.hasten, public_ids=late, now=now), house)


def keep_safe(house: House, now: datetime) -> None:
    """The withdrawal file has what senders and servers took away, too."""
    with reading(house.engine) as session:
        restoring.keep(session, house.settings.safe)


def checkpoint(house: House, now: datetime) -> None:
    """The ledger's head is signed where anything was appended, and written outside; not by a database that is behind it."""
    if restored.hold(house, now=now).reason is not None:
        return
    while rows := _read(tree.unkept, house):
        _once(partial(tree.keep, rows=rows), house)
    _once(lambda session: checkpoints.sign(session, house.ring, now=now), house)
    with reading(house.engine) as session:
        checkpoints.write_out(session, house.settings.safe)


def forget(house: House, now: datetime) -> None:
    """What is past its time goes, class by class, a few rows at a time; a class that fails keeps no other from going."""
    if _read(retention.waits, house):
        return
    for name in retention.NAMES:
        try:
            _forget(house, name, now)
        except Exception:
            log.exception(
                "old data could not be forgotten; it is tried again", extra={"facts": {"class": name}}
            )


def _forget(house: House, name: str, now: datetime) -> None:
    after = 0
    while numbers := _read(partial(retention.find, house=house, name=name, after=after, now=now), house):
        gone = _once(partial(retention.take, house=house, name=name, numbers=numbers, now=now), house)
        if numbers == [0] and not gone:  # of what has no numbers, nothing is left that may go
            break
        after = numbers[-1]
        _let_others(house)
    _once(partial(classes.close, name=name, now=now), house)


def tidy(house: House, now: datetime) -> None:
    """What the database's own log remembers of somebody erased, and of what was forgotten, is cut off."""
    erasure.tidy(house)


def tend_ring(house: House, now: datetime) -> None:
    """Persons' keys are wrapped by the master in use; a ring changed by other means is noted."""
    ring.tend(house, now)


TIMETABLE = [
    Job("start_due", timedelta(seconds=1), start_due, by_the_hour=True),
    Job("freeze", timedelta(seconds=1), freeze),
    Job("finish", timedelta(seconds=1), finish),
    Job("expire", timedelta(seconds=20), expire, by_the_hour=True),
    Job("settle", timedelta(seconds=1), settle),
    Job("end_consents", timedelta(minutes=1), end_consents, by_the_hour=True),
    Job("ask_again", timedelta(seconds=2), ask_again, by_the_hour=True),
    Job("fill_words", timedelta(hours=1), fill_words),
    Job("keep_profile", timedelta(minutes=1), keep_profile),
    Job("hasten", timedelta(hours=1), hasten),
    Job("keep_safe", timedelta(minutes=1), keep_safe),
    Job("checkpoint", timedelta(minutes=1), checkpoint),
    Job("forget", timedelta(hours=1), forget, by_the_hour=True),
    Job("tidy", timedelta(minutes=1), tidy),
    Job("tend_ring", timedelta(minutes=5), tend_ring),
]
