"""One transaction per action, committed at the edge. Doors, jobs and the sender open them; nobody below commits."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.engine import Engine
from sqlmodel import Session

from service.db.engine import at_one_moment


@contextmanager
def transaction(engine: Engine, *, since: float | None = None) -> Iterator[Session]:
    """A writing transaction: everything in it happens, or nothing. What `at_end` collected runs last, before commit.

    `since`, by the steady clock, is when it was asked for, where it has waited for its turn already."""
    with Session(engine.execution_options(write=True, since=since), expire_on_commit=False) as session:
        yield session
        session.flush()
        for last in session.info.pop("at_end", []):
            last(session)
        session.commit()
        for after in session.info.pop("after_commit", []):
            after()


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """A reading transaction: no lock, never committed. What it sees may grow from one statement to the next (`snapshot`)."""
    with Session(engine, expire_on_commit=False, autoflush=False) as session:
        yield session


@contextmanager
def snapshot(engine: Engine) -> Iterator[Session]:
    """The same, seeing the moment of its first statement to the end: for what is held against something else that it reads."""
    with reading(at_one_moment(engine)) as session:
        yield session


def at_end(session: Session, last: Callable[[Session], None]) -> None:
    """Run this as the last statement before commit (the ledger's append, which holds a lock everybody wants)."""
    session.info.setdefault("at_end", []).append(last)


def after_commit(session: Session, then: Callable[[], None]) -> None:
    """Run this once the transaction is durable; it must not fail."""
    session.info.setdefault("after_commit", []).append(then)
