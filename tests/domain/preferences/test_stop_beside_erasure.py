"""Mails that are stopped or ended while their reader is erased: neither keeps the other from it, nor does PostgreSQL have to break it off.

Whoever stops, ends or claims single mails holds them before the ledger's tail; an erasure, which empties them, has to as well.
"""

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, text, update
from sqlmodel import Session, col

from scheduler import jobs
from service import fence
from service.db.locks import for_update, lock_ledger_tail
from service.db.session import reading, transaction
from service.domain.deliveries import actions as deliveries
from service.domain.mailings import actions as mailings
from service.domain.mailings.tables import Mailing
from service.domain.preferences import reasking
from service.domain.privacy import actions as contact
from service.domain.privacy import periods, retention
from service.domain.privacy.tables import ContactRequest
from service.kit import addresses, clock
from service.ops import erasure
from tests.domain.preferences.test_asking_stopped import _states
from tests.domain.preferences.test_reasking import TOPIC, _begin, _person, _registered, _tick
from tests.scheduler.conftest import Post

BY = "staff:s_1"


def somebody_waits(session: Session) -> bool:
    """Whether a transaction of this server stands in line for another's end."""
    return bool(
        session.connection().execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar()
    )


class Colleague:
    """Does something in a transaction of their own; `refused` is what came of it."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self.refused: list[str] = []
        self.thread = threading.Thread(target=self._run, args=(act,))

    def _run(self, act: Callable[[], Any]) -> None:
        try:
            act()
        except Exception as error:
            self.refused.append(repr(error))

    def begins(self, session: Session) -> None:
        """Only while somebody else has a transaction open, on which they have to wait."""
        self.thread.start()
        while self.thread.is_alive() and not somebody_waits(session):
            time.sleep(0.01)
        assert self.thread.is_alive(), self.refused

    def ends(self) -> list[str]:
        self.thread.join(20)
        assert not self.thread.is_alive()
        return self.refused


def _questions(post: Post) -> None:
    if post.engine.dialect.name == "sqlite":
        pytest.skip("one writer at a time")
    _registered(post, ana="us", ben="us")
    _begin(post)
    _tick(post)


def _erases_ana(post: Post) -> Colleague:
    def erase() -> None:
        def act(session: Session) -> None:
            ana = _person(session, post, "ana")
            erasure.erase(session, post.ring, ana, how="staff", reason="letter", now=clock.now(), by=BY)

        fence.perform_now(post.house(9), act)

    return Colleague(erase)


def test_a_round_is_stopped_while_somebody_whose_question_waits_is_erased(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    _questions(post)
    other, hold = _erases_ana(post), mailings.hold_singles

    def held(session: Session, *args: Any, **more: Any) -> mailings.Held:
        found = hold(session, *args, **more)
        other.begins(session)  # the stop has the mails, and wants the ledger's tail next
        return found

    monkeypatch.setattr(mailings, "hold_singles", held)
    with transaction(post.engine) as session:
        assert reasking.stop(session, TOPIC, now=clock.now(), by=BY) == 2
    assert other.ends() == []
    assert _states(post) == ["cancelled", "cancelled"]
    with reading(post.engine) as session:
        assert sorted(bool(one) for one in session.scalars(select(Mailing.facts))) == [False, True]


def test_mails_that_were_stopped_are_ended_while_their_reader_is_erased(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    _questions(post)
    with transaction(post.engine) as session:
        reasking.stop(session, TOPIC, now=clock.now(), by=BY)
    other, settle = _erases_ana(post), deliveries._settle

    def settles(session: Session, *args: Any, **more: Any) -> None:
        if not other.thread.ident:
            other.begins(session)
        settle(session, *args, **more)

    monkeypatch.setattr(deliveries, "_settle", settles)
    jobs.settle(post.house(9), clock.now())
    assert other.ends() == []


def test_an_answer_is_ended_while_its_message_is_erased(post: Post) -> None:
    if post.engine.dialect.name == "sqlite":
        pytest.skip("one writer at a time")
    asked = {"address": addresses.parse("zoe@example.org"), "name": "Zoe", "subject": "data", "text": "What?"}
    with transaction(post.engine) as session:
        one = contact.ask(session, post.ring, locale="en", now=clock.now(), **asked).public_id  # type: ignore[arg-type]
    with transaction(post.engine) as session:
        contact.answer(session, post.ring, one, text="This.", now=clock.now(), by=BY)

    def erase() -> None:
        def act(session: Session) -> None:
            erasure.erase_message(session, post.ring, one, how="staff", reason="x", now=clock.now(), by=BY)

        fence.perform_now(post.house(9), act)

    other = Colleague(erase)
    with transaction(post.engine) as session:
        session.execute(for_update(session, select(col(Mailing.id))))
        other.begins(session)
        lock_ledger_tail(session)
    assert other.ends() == []
    with reading(post.engine) as session:
        assert session.scalars(select(Mailing.facts)).all() == [{}]
        assert session.scalars(select(ContactRequest)).all() == []


def test_what_old_mails_said_is_forgotten_while_their_reader_is_erased(post: Post) -> None:
    """The clock empties mails that are through under the ledger's tail: an erasure holds none of those before it."""
    _questions(post)
    with transaction(post.engine) as session:
        reasking.stop(session, TOPIC, now=clock.now(), by=BY)
    jobs.settle(post.house(9), clock.now())
    with transaction(post.engine) as session:
        session.execute(update(Mailing).values(facts={"sealed": "x"}))
    other, later = _erases_ana(post), clock.now() + timedelta(days=400)
    with reading(post.engine) as session:
        numbers = retention.find(session, periods.MAIL_WORDS, after=0, now=later)
    assert numbers
    with transaction(post.engine) as session:
        lock_ledger_tail(session)
        other.begins(session)
        retention.take(session, post.ring, periods.MAIL_WORDS, numbers, forget=erasure.forget, now=later)
    assert other.ends() == []


def test_mails_run_out_in_the_order_in_which_an_erasure_holds_them(post: Post) -> None:
    """Whatever order they lie in."""
    _questions(post)
    with reading(post.engine) as session:
        first, second = session.scalars(select(Mailing.id).order_by(col(Mailing.id)))
    for number, one in enumerate(
        (second, first)
    ):  # which lie, and stand in the index, in this order from now on
        due = clock.now() + timedelta(seconds=number)
        with transaction(post.engine) as session:
            over = update(Mailing).where(col(Mailing.id) == one)
            session.execute(over.values(valid_until=clock.now(), due_at=due))

    def run_out() -> None:
        with transaction(post.engine) as session:
            assert deliveries.expire(session, now=clock.now()) == 2

    other = Colleague(run_out)
    with transaction(post.engine) as session:
        session.execute(for_update(session, select(Mailing.id).where(col(Mailing.id) == first)))
        other.begins(session)
        session.execute(for_update(session, select(Mailing.id).where(col(Mailing.id) == second)))
    assert other.ends() == []
    assert _states(post) == ["expired", "expired"]
