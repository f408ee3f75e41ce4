"""How long the audience of one announcement to a million takes to close, and how long noes wait meanwhile.

    python -m tests.bench.freezes --people 1000000 --database postgres

Not part of `make bench`: it takes minutes. Ten thousand people sign up over the API; the others are copies of their rows, which
no API could make in the time (the freeze reads nothing that a copy lacks). Announcement and noes go over the API again.
"""

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg

from tests.bench import runs
from tests.bench.runs import say_no, schedule, sign_up
from tests.stack import Stack, stack, until

SIGNED_UP = 10_000
NOES_A_SECOND = 20
Execute = Callable[[str], Any]
ORIGINALS = """
CREATE TEMPORARY TABLE first_address AS SELECT * FROM address WHERE owner_kind = 'person';
CREATE TEMPORARY TABLE first_person AS SELECT * FROM person;
CREATE TEMPORARY TABLE first_preference AS SELECT * FROM preference
"""
COPIES = """
INSERT INTO address (
  id, owner_kind, owner_id, sealed, address_hash, attested, created_at, confirmed_at, ended_at)
SELECT id + {by}, owner_kind, owner_id + {by}, sealed, substr(address_hash, 1, 48) || '{by}', attested, created_at,
  confirmed_at, ended_at FROM first_address;
INSERT INTO person (
  id, alias, public_id, state, locale, zone, wrapped_key, max_per_week, address_id, created_at)
SELECT id + {by}, id + {by}, 'p_' || (id + {by}), state, locale, zone, wrapped_key, max_per_week, address_id + {by},
  created_at FROM first_person;
INSERT INTO preference (
  person_id, topic_id, state, basis, cadence, break_until, warrant_seq, since_at, valid_until, last_seq)
SELECT person_id + {by}, topic_id, state, basis, cadence, break_until, warrant_seq, since_at, valid_until, last_seq
  FROM first_preference
"""


def copy_rows(execute: Execute, people: int) -> None:
    """Copies of everybody until there are `people`; each copy's numbers and hashes are its own."""
    for statement in ORIGINALS.split(";"):
        execute(statement)
    last = max(execute(f"SELECT max(id) FROM {table}").fetchone()[0] for table in ("address", "person"))
    for copy in range(1, people // SIGNED_UP):
        for statement in COPIES.split(";"):
            execute(statement.format(by=copy * (last + 1)))


def fill(house: Stack, url: str | None, people: int) -> None:
    """Ten thousand over the API, the rest in the database itself."""
    sign_up(house, SIGNED_UP)
    if url is None:
        with closing(sqlite3.connect(house.directory / "data" / "bidden.db", timeout=30)) as connection:
            copy_rows(connection.execute, people)
            connection.commit()
        return
    with psycopg.connect(url.replace("postgresql+psycopg://", "postgresql://")) as connection:
        copy_rows(connection.execute, people)  # type: ignore[arg-type]
        for table in ("address", "person"):
            connection.execute(
                f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}"
            )
        connection.commit()
        connection.autocommit = True
        connection.execute("ANALYZE")  # autovacuum would have


class Noes(threading.Thread):
    """Noes at a steady pace over the API, each with the moment it was said."""

    def __init__(self, house: Stack) -> None:
        super().__init__()
        self.house, self.ended = house, threading.Event()
        self.said: list[tuple[float, float, int]] = []

    def run(self) -> None:
        with self.house.client() as client:
            for number in range(SIGNED_UP):
                if self.ended.wait(1 / NOES_A_SECOND):
                    return
                at = time.time()
                self.said.append((at, *say_no(client, f"u{number}")))


def frozen(house: Stack) -> tuple[float, float, int]:
    """One announcement to everybody: when its mailing was there, when its audience was closed, and how many are in it.

    By our own clock, asked every 20 ms: an entry says when its transaction was begun.
    """
    words = {"subject": "To all", "preheader": "A line that stands beside the subject.", "body": "Hello.\n"}
    with house.client() as client:
        client.timeout = 300
        schedule(client, "letter", words)

        def entry(kind: str) -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = client.get("/ledger", params={"kind": kind}).json()["items"]
            return found

        until("the start of the mailing", lambda: entry("mailing.started"), 60, 0.02)
        began = time.time()
        closed = until("the end of the freeze", lambda: entry("mailing.frozen"), 900, 0.02)
        return began, time.time(), int(closed[0]["body"]["planned"])


def run(directory: Path, people: int, environment: dict[str, str]) -> dict[str, Any]:
    """The figures of one database."""
    directory.mkdir()
    with stack(directory, BIDDEN_HOLD_SECONDS="0", **environment) as house:
        house.start("web")
        house.ready()
        fill(house, environment.get("BIDDEN_DATABASE_URL"), people)
        house.start("clock")
        noes = Noes(house)
        noes.start()
        try:
            began, ended, planned = frozen(house)
        finally:
            noes.ended.set()
            noes.join()
        meanwhile = sorted((spent, status) for at, spent, status in noes.said if began <= at <= ended)
        assert {status for _, status in meanwhile} <= {200, 202}, meanwhile[-3:]
        return {
            "people": people,
            "planned": planned,
            "seconds": round(ended - began, 2),
            "noes": len(meanwhile),
            "median_ms": round(meanwhile[len(meanwhile) // 2][0] * 1e3) if meanwhile else None,
            "p99_ms": round(meanwhile[len(meanwhile) * 99 // 100][0] * 1e3) if meanwhile else None,
        }


if __name__ == "__main__":
    runs.figures(__doc__, run)
