"""What others commit between two statements of one claim, which PostgreSQL shows to the second and not to the first; and a ledger
that ends before what a sender has seen."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import delete, event, update
from sqlalchemy.engine import Engine
from sqlmodel import Session, col

from scheduler.database import Database
from scheduler.lease import Lease, LeaseLost
from service.db.session import reading, transaction
from service.domain.brands import actions as brands
from service.domain.brands import queries as settings
from service.domain.deliveries import claims, rules
from service.domain.ledger import queries as ledger
from service.domain.ledger.tables import LedgerEntry
from service.domain.mailings.tables import Batch
from service.domain.senders import actions as senders
from service.kit import clock
from service.kit.errors import DomainError
from service.kit.signing import Keyring
from service.ops import restored
from tests import checks
from tests.scheduler.conftest import Post


@pytest.fixture
def post(engine: Engine, ring: Keyring, tmp_path: Path) -> Post:
    return Post(engine, ring, tmp_path)


@contextmanager
def after(engine: Engine, mark: str, action: Callable[[Session], object]) -> Iterator[threading.Event]:
    """Commit `action` by another connection as soon as a statement that holds `mark` has been answered, once. On SQLite, where
    whoever writes is alone, it comes when they have ended. The event says that it has begun."""
    begun = threading.Event()

    def commit() -> None:
        with transaction(engine) as session:
            action(session)

    other = threading.Thread(target=commit)

    def heard(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if mark in statement and not begun.is_set() and threading.current_thread() is not other:
            begun.set()
            other.start()
            other.join(2 if engine.dialect.name == "sqlite" else 20)

    event.listen(engine, "after_cursor_execute", heard)
    try:
        yield begun
    finally:
        event.remove(engine, "after_cursor_execute", heard)
        if begun.is_set():
            other.join(20)


def _lease(post: Post, name: str = "one") -> int:
    with transaction(post.engine) as session:
        begun = senders.begin(session, name, boot_id="b", seen_seq=0, now=clock.now(), incarnation=name)
        return begun.id or 0


def _claim(post: Post, lease: int, name: str = "one") -> list[claims.Claimed]:
    given: dict[str, Any] = {"limit": 1, "system": False, "incarnation": name}
    with transaction(post.engine) as session:
        return claims.claim(session, post.ring, lease, now=clock.now(), **given)


def _size(post: Post) -> int:
    with reading(post.engine) as session:
        return ledger.tail(session)[0]


@pytest.mark.parametrize("mark", ["FROM setting", "FROM sender", "FROM ledger_entry"])
def test_sending_switched_off_in_mid_claim_is_heeded_by_the_claim_or_by_the_sender(
    post: Post, mark: str
) -> None:
    """Whatever the claim has read by then: it takes nothing, or the entry is one that comes after what it has seen, so that the
    sender holds back what it took."""
    post.sign_up(3)
    post.announce(post.house(9))
    lease = _lease(post)

    def off(session: Session) -> None:
        brands.set_setting(session, "sending_on", False, now=clock.now(), by="cli")

    with after(post.engine, mark, off) as begun:
        taken = _claim(post, lease)
    assert begun.is_set()
    with reading(post.engine) as session:
        [said] = ledger.of_kinds(session, ("settings.sending_off",))
    assert all(one.seen_seq < said.seq for one in taken)


def test_a_letter_recorded_while_the_weekly_cap_is_counted_is_counted(post: Post) -> None:
    post.sign_up(2)
    with transaction(post.engine) as session:
        brands.set_setting(session, "weekly_cap", 1, now=clock.now(), by="cli")
    house = post.house(9)
    post.announce(house)
    post.announce(house)
    one, two = _lease(post, "one"), _lease(post, "two")
    [first] = _claim(post, one, "one")
    assert len(first.members) == 2
    sent = [rules.Result(member.pos, member.attempt, "sent") for member in first.members]

    def record(session: Session) -> None:
        claims.record(session, first, sent, waits=house.waits, now=clock.now(), chance=Random(1))

    with after(post.engine, "ORDER BY outcome.at DESC", record) as begun:
        [second] = _claim(post, two, "two")
    assert begun.is_set()
    assert second.members == [], "nobody gets two in a week"


def _cut_off(post: Post, above: int) -> None:
    """An older copy takes the database's place: what was written after entry `above` is not there."""
    with transaction(post.engine) as session:
        checks.without_guards(session.connection())
        session.execute(delete(LedgerEntry).where(col(LedgerEntry.seq) > above))
        session.execute(update(Batch).values(state="open", token=None, sender_id=None))


def _is_off(post: Post) -> bool:
    with reading(post.engine) as session:
        assert settings.noted_behind(session)["reason"] == "behind"
        return settings.setting(session, "sending_on") is False


def test_an_older_copy_under_a_living_sender_gives_it_nothing_to_send(post: Post) -> None:
    post.sign_up(3)
    house = post.house(9)
    post.announce(house)
    lease, before = _lease(post), _size(post)
    [mine] = _claim(post, lease)
    sent = [rules.Result(member.pos, member.attempt, "sent") for member in mine.members]
    with transaction(post.engine) as session:
        assert claims.record(session, mine, sent, waits=house.waits, now=clock.now(), chance=Random(1))
    known = _size(post)
    assert known > before
    _cut_off(post, before)
    held = Lease(Database(post.engine, ThreadPoolExecutor(1)), "one", dict, "one")
    held.saw(known)
    with transaction(post.engine) as session:
        assert held.is_behind(session)
    assert _claim(post, lease) == []
    assert _is_off(post)
    with (
        transaction(post.engine) as session,
        pytest.raises(DomainError),
    ):  # nobody switches it on before a merge
        brands.set_setting(session, "sending_on", True, now=clock.now(), by="cli")
    with transaction(post.engine) as session:
        senders.end(session, "one", now=clock.now(), incarnation="one")
    assert restored.merge(house, now=clock.now()).entries > before


@pytest.mark.parametrize("lost", [1, 3])
def test_a_sender_that_finds_an_older_copy_says_nothing_of_what_it_has_seen_and_ends(
    post: Post, lost: int
) -> None:
    """Else a no said there would be called settled at once, by a sender that never reads it."""
    with transaction(post.engine) as session:
        for cap in (5, 6, 7, 8):
            brands.set_setting(session, "weekly_cap", cap, now=clock.now(), by="cli")

    async def story() -> None:
        held = Lease(Database(post.engine, ThreadPoolExecutor(1)), "one", dict, "aaa")
        await held.begin(clock.now())
        await held._publish()
        held.saw(_size(post))
        _cut_off(post, _size(post) - lost)
        with pytest.raises(LeaseLost):
            await held._publish()

    asyncio.run(story())
    assert _is_off(post)
