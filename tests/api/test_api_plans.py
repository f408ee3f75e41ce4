"""How SQLite looks things up on the paths that must stay fast however many people there are: never by going through them all.

Without statistics it takes an index by its shape; one of two columns that all rows share once made every no go through
everybody.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event
from starlette.testclient import TestClient

from service.db.engine import is_sqlite
from service.ops.house import House
from tests.api.shapes import ana, said_yes

LARGE = ("person", "address", "identity", "preference", "consent", "ledger_entry", "outcome", "audience")
SHARED = (
    "(owner_kind=?)",
    "(topic_id=?)",
    "(source=?)",
    "(kind=?)",
    "(state=?)",
)  # what thousands of rows have alike


@contextmanager
def plans(house: House) -> Iterator[list[tuple[str, str]]]:
    """Each statement and how it is looked up, as they are run."""
    found: list[tuple[str, str]] = []

    def explain(
        _connection: Any, cursor: Any, statement: str, parameters: Any, _context: Any, many: bool
    ) -> None:
        if statement.startswith(("SELECT", "UPDATE", "DELETE")) and not many:
            plan = cursor.connection.cursor()
            plan.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            found.extend((statement, row[3]) for row in plan.fetchall())

    event.listen(house.engine, "before_cursor_execute", explain)
    try:
        yield found
    finally:
        event.remove(house.engine, "before_cursor_execute", explain)


def _goes_through_all(statement: str, step: str) -> bool:
    by_number = "ORDER BY" in statement and "LIMIT" in statement  # the last row of a table is at its end
    scans = any(step.startswith(f"SCAN {table}") for table in LARGE) and not by_number
    return scans or (any(f"SEARCH {table} " in step for table in LARGE) and step.endswith(SHARED))


def _register(api: TestClient) -> None:
    lines = "\n".join(
        json.dumps(
            {
                "external_id": f"{n}",
                **ana(email=f"r{n}@example.org", consents=said_yes("new-products", "updates")),
            }
        )
        for n in range(3)
    )
    assert api.post("people/bulk", content=lines).status_code == 200


def _withdraw(api: TestClient) -> None:
    body = {"topics": [{"topic": "new-products", "state": "withdrawn"}]}
    assert api.put("people/1/preferences", json=body).status_code == 200


@pytest.mark.parametrize("act", [_register, _withdraw])
def test_nobody_goes_through_everybody(api: TestClient, house: House, act: Any) -> None:
    if not is_sqlite(house.engine):
        return
    _register(api)
    with plans(house) as found:
        act(api)
    assert len(found) > 5
    assert [one for one in found if _goes_through_all(*one)] == []


def test_the_check_sees_one_that_does(api: TestClient, house: House) -> None:
    if not is_sqlite(house.engine):
        return
    _register(api)
    with house.engine.begin() as connection:
        connection.exec_driver_sql("DROP INDEX ix_address_hash")
    with plans(house) as found:
        _withdraw(api)
    assert any(_goes_through_all(*one) for one in found)
