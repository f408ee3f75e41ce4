"""Closing an audience: whom no chunk holds, and what a chunk costs where there are many people.

That it is carried on by another process and survives a kill stands in test_sending.py and in the fault runs.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import Engine
from sqlmodel import Session, col, select

from scheduler import jobs
from service.db.session import transaction
from service.domain.announcements import actions as announcements
from service.domain.deliveries import freeze as freezing
from service.domain.deliveries import rules
from service.domain.mailings.tables import Audience, Mailing
from service.domain.people.tables import Person
from service.kit import clock
from service.kit.signing import Keyring
from tests import builders as make
from tests.bench import freezes
from tests.scheduler.conftest import Post

CHUNK = 50


@pytest.fixture
def post(engine: Engine, ring: Keyring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Post:
    monkeypatch.setattr(rules, "CHUNK", CHUNK)
    return Post(engine, ring, tmp_path)


def _positions(session: Session) -> list[int]:
    return list(session.exec(select(col(Audience.pos)).order_by(col(Audience.pos))).all())


def test_people_behind_whole_chunks_of_others_are_in(post: Post) -> None:
    """The first, the third and the last of seven chunks hold nobody of that plan."""
    for several, plan in ((60, "few"), (30, "pro"), (130, "few"), (20, "pro"), (110, "few")):
        post.sign_up(several, attributes={"plan": plan})
    house, now = post.house(9), clock.now()
    audience = {"attributes": {"plan": "pro"}}
    sending = make.a_started_mailing(house, now=now, audience=audience)
    make.freeze(house, sending, now=now)
    mailing = make.the_mailing(house, sending)
    assert (mailing.state, mailing.planned) == ("sending", 50)
    with Session(post.engine) as session:
        assert _positions(session) == list(range(1, 51))


@pytest.mark.parametrize("counted", [True, False])
def test_a_chunk_reads_the_people_of_that_chunk_alone(
    post: Post, monkeypatch: pytest.MonkeyPatch, counted: bool
) -> None:
    """However many there are, and whether the database has counted them yet: 20,000 here, of whom a chunk takes 50."""
    monkeypatch.setattr(freezes, "SIGNED_UP", 200)
    post.sign_up(200)
    with post.engine.begin() as connection:
        freezes.copy_rows(connection.exec_driver_sql, 20_000)
        connection.exec_driver_sql(
            "UPDATE person SET zone = 'UTC'"
        )  # uncounted, the versions before are people, too
        if counted:
            connection.exec_driver_sql("ANALYZE")
    house, now = post.house(9), clock.now()
    sending = make.a_started_mailing(house, now=now)
    with transaction(
        post.engine
    ) as session:  # the first half looked at: whoever reads from the front has far to go
        passed = session.exec(select(col(Person.id)).order_by(col(Person.id)).offset(10_000)).first()
        session.get_one(Mailing, sending.id).facts = {freezing.PASSED: passed}
    for chunk in (1, 2, 3):
        with transaction(post.engine) as session:
            before = _read(session)
            assert freezing.add_chunk(session, sending.id, now=now)
            assert _positions(session) == list(range(1, chunk * CHUNK + 1))
            for table, rows in _read(session).items():
                assert rows - before[table] <= 5 * CHUNK, table


def test_one_transaction_passes_over_one_chunk_of_people_who_are_not_meant(post: Post) -> None:
    """Two of 352 are meant, the first and the last: eight chunks of people, each in a transaction of its own."""
    for several, plan in ((1, "pro"), (350, "few"), (1, "pro")):
        post.sign_up(several, attributes={"plan": plan})
    house, now = post.house(9), clock.now()
    make.a_started_mailing(house, now=now, audience={"attributes": {"plan": "pro"}})
    looks = _looks(post.engine)
    jobs.freeze(house, now)
    assert [one for one in looks if one] == [1] * 8
    with Session(post.engine) as session:
        assert _positions(session) == [1, 2]


def test_who_was_passed_over_is_not_looked_at_again_by_the_clock_that_goes_on(post: Post) -> None:
    """The first clock ends after three chunks that hold nobody; the next goes on after them."""
    for several, plan in ((200, "few"), (10, "pro")):
        post.sign_up(several, attributes={"plan": plan})
    house, now = post.house(9), clock.now()
    sending = make.a_started_mailing(house, now=now, audience={"attributes": {"plan": "pro"}})
    looks = _looks(post.engine)
    for _ in range(3):
        with transaction(post.engine) as session:
            assert freezing.add_chunk(session, sending.id, now=now)
    with Session(post.engine.execution_options(write=True)) as killed:
        assert freezing.add_chunk(killed, sending.id, now=now)
    assert sum(looks) == 3
    jobs.freeze(house, now)
    assert sum(looks) == 5
    with Session(post.engine) as session:
        assert _positions(session) == list(range(1, 11))


@pytest.mark.parametrize("resumed_before", [4, 5])  # the transaction that counts; the one that closes
def test_a_pause_that_is_over_before_the_close_loses_nobody(post: Post, resumed_before: int) -> None:
    """The clock finds the mailing paused when it comes with the second chunk, and freezing again when it would close: it must not
    take the pause for the end of the people."""
    post.sign_up(120)
    house, now = post.house(9), clock.now()
    sending = make.a_started_mailing(house, now=now)
    acts: dict[int, Callable[[Session], object]] = {
        3: lambda session: announcements.pause(session, sending.announcement, now=now, by="cli"),
        resumed_before: lambda session: announcements.resume(
            session, sending.announcement, now=now, by="cli"
        ),
    }
    _meanwhile(post.engine, acts)
    jobs.freeze(house, now)
    left = [acts.pop(number) for number in sorted(acts)]  # the clock had no so many transactions
    for act in left:
        make.act(house, act)
    jobs.freeze(house, now)
    mailing = make.the_mailing(house, sending)
    assert (mailing.state, mailing.planned) == ("sending", 120)


def _meanwhile(engine: Engine, acts: dict[int, Callable[[Session], object]]) -> None:
    """Somebody's acts, each right before so-many-th of the transactions that begin from now on."""
    begun, busy = [0], []

    def before(*_: object) -> None:
        if busy:
            return
        begun[0] += 1
        if act := acts.pop(begun[0], None):
            busy.append(1)
            with transaction(engine) as session:
                act(session)
            busy.clear()

    event.listen(engine, "checkout", before)


def _looks(engine: Engine) -> list[int]:
    """From now on, how many chunks of people each transaction that is committed has looked at."""
    done, open_ = [], [0]

    @event.listens_for(engine, "before_cursor_execute")
    def before(connection: object, cursor: object, statement: str, *_: object) -> None:
        open_[0] += statement.startswith("INSERT INTO audience")

    @event.listens_for(engine, "commit")
    def commit(connection: object) -> None:
        done.append(open_[0])
        open_[0] = 0

    @event.listens_for(engine, "rollback")
    def rollback(connection: object) -> None:
        open_[0] = 0

    return done


def _read(session: Session) -> dict[str, int]:
    """How many rows of the big tables this connection has read; PostgreSQL alone counts them."""
    if session.connection().dialect.name != "postgresql":
        return {}
    counted = text(
        "SELECT relname, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables "
        "WHERE relname IN ('person', 'address', 'preference')"
    )
    return {table: rows for table, rows in session.execute(counted)}
