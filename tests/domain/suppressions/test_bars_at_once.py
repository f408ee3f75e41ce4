"""What bars a mailbox, put down or lifted by two at once, is put down or lifted once (a double press, two colleagues, two reports)."""

from collections.abc import Callable
from datetime import datetime

import pytest
from sqlalchemy.engine import Engine
from sqlmodel import Session, col, select

from service.db.locks import lock_ledger_tail
from service.db.session import reading, transaction
from service.domain.ledger import queries as ledger
from service.domain.preferences import rights
from service.domain.suppressions import actions
from service.domain.suppressions.tables import Suppression
from service.kit.signing import Keyring
from tests import builders as make
from tests.domain.preferences.test_stop_beside_erasure import Colleague

BY = "staff:s_1"


def at_once(engine: Engine, act: Callable[[Session], object]) -> list[str]:
    """Two do the same, of whom the second has begun before the first is through; what it was refused with."""

    def second() -> None:
        with transaction(engine) as session:
            act(session)

    other = Colleague(second)
    with transaction(engine) as session:
        lock_ledger_tail(session)
        if engine.dialect.name == "sqlite":
            other.thread.start()
        else:
            other.begins(session)
        act(session)
    return other.ends()


@pytest.fixture
def digest(ring: Keyring) -> str:
    return make.address_hash(ring, "zoe@example.org")


def entries(engine: Engine, kind: str) -> int:
    with reading(engine) as session:
        return len(list(ledger.of_kinds(session, (kind,))))


def test_a_mailbox_barred_by_two_is_on_the_list_once(engine: Engine, digest: str, now: datetime) -> None:
    def bar(session: Session) -> None:
        rights.bar_mailbox(session, digest, reason="order 12/2026", now=now, by=BY)

    assert at_once(engine, bar) == []
    with reading(engine) as session:
        there = select(Suppression).where(col(Suppression.address_hash) == digest)
        assert len(session.exec(there).all()) == 1
    assert entries(engine, "suppression.added") == 1


def test_of_two_who_lift_it_one_hears_that_it_is_lifted(engine: Engine, digest: str, now: datetime) -> None:
    with transaction(engine) as session:
        rights.bar_mailbox(session, digest, reason="order 12/2026", now=now, by=BY)

    def unbar(session: Session) -> None:
        rights.unbar_mailbox(session, digest, reason="order 13/2026", now=now, by=BY)

    [refused] = at_once(engine, unbar)
    assert refused.startswith("NotBarred")
    assert entries(engine, "suppression.lifted") == 1


@pytest.mark.parametrize("cause", ["complaint", "hard_bounce"])
def test_so_is_one_that_two_reports_speak_of(engine: Engine, digest: str, now: datetime, cause: str) -> None:
    def add(session: Session) -> None:
        actions.add(
            session, digest, scope="all", cause=cause, origin="api", subject=None, now=now, by="system"
        )

    assert at_once(engine, add) == []
    assert entries(engine, "suppression.added") == 1
