"""What a sender asks fifty times a second is complete, and costs a probe of an index, however long the ledger is."""

from collections.abc import Callable
from datetime import datetime

import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import Engine
from sqlmodel import Session

from service.db.session import reading, transaction
from service.domain.ledger import actions, queries

MANY = 12_000  # so many that PostgreSQL, which has not counted them yet, would rather sort a third of them


def _noes(engine: Engine, number: int, now: datetime, *, yeses: int = 0) -> list[int]:
    """So many people's no, after each of them some yeses; the numbers of the noes."""
    said = []
    with transaction(engine) as session:
        for one in range(number):
            for kind in ("consent.withdrawn", *["consent.given"] * yeses):
                seq = actions.append(session, kind, subject=f"p_{one}", body={}, by="test", now=now)
                said += [seq] * (kind == "consent.withdrawn")
    return said


@pytest.mark.parametrize("number", [499, 500, 501, 1_000, 1_203])
def test_everything_taken_is_found_in_order_however_much_it_is(
    engine: Engine, now: datetime, number: int
) -> None:
    said = _noes(engine, number, now)
    with reading(engine) as session:
        assert [one.seq for one in queries.taken_since(session, said[0] - 1)] == said
        assert [one.seq for one in queries.taken_since(session, said[0] - 1, 700)] == said[:700]
        assert [one.seq for one in queries.taken_since(session, said[-3])] == said[-2:]
        assert queries.taken_since(session, said[-1]) == []


@pytest.mark.parametrize("ask", [lambda session: queries.taken_since(session, 7, 10_000), queries.last_taken])
@pytest.mark.parametrize("counted", [True, False])
def test_a_look_is_a_probe_of_the_index_of_what_was_taken(
    engine: Engine, now: datetime, ask: Callable[[Session], object], counted: bool
) -> None:
    """Whether the database has counted the table lately or not: of all else that was written nothing is read."""
    _noes(engine, MANY // 10, now, yeses=9)
    if counted:
        with transaction(engine) as session:
            session.execute(text("ANALYZE"))
    asked: list[tuple[str, object]] = []
    with reading(engine) as session:
        connection = session.connection()

        @event.listens_for(connection, "before_cursor_execute")
        def remember(_c: object, _cursor: object, statement: str, given: object, *_: object) -> None:
            asked.append((statement, given))

        ask(session)
        event.remove(connection, "before_cursor_execute", remember)
        explain = "EXPLAIN " if engine.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN "
        for statement, given in asked:
            plan = str(connection.exec_driver_sql(explain + statement, given).all())  # type: ignore[arg-type]
            assert "ix_ledger_entry_takes" in plan
            assert "Seq Scan" not in plan
    assert asked
