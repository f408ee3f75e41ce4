"""What every seed begins with: one database with people who have agreed and mailings ready to go, made once and copied.

Made by `campaign` (once per process) and by the tests; the copy stands in memory where the system has such a place.
"""

import gc
import logging
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.engine import Engine

import service.domain
from service.config import Settings
from service.db import migrate
from service.db.engine import make_engine
from service.db.session import transaction
from service.domain.announcements import actions as announcements
from service.domain.brands import actions as brands
from service.domain.notices import actions as notices
from service.domain.preferences import registration
from service.kit import clock
from service.kit.signing import Keyring
from service.ops import seed as seeds
from service.ops.house import House
from tests.sim.loop import Loop
from tests.sim.machine import Host, Machine

MEMORY = Path("/dev/shm")
GROUPS = ("g1", "g2", "g3")
GROUP = 18  # people in each
BUSY = "busy.example"
TOPICS = {"marketing": "new-products", "important": "important-notices"}
WORDS = {"preheader": "A plan for the week.", "body": "Dear reader,\n\nit is **here**."}
BY = "staff:s_sim"

# What the run wants to know afterwards of every change of state, written down by the database itself.
_EDGES = """
CREATE TABLE sim_edge (kind TEXT, id INTEGER, was TEXT, became TEXT);
CREATE TRIGGER sim_mailing AFTER UPDATE OF state ON mailing WHEN old.state <> new.state
  BEGIN INSERT INTO sim_edge VALUES ('mailing', new.id, old.state, new.state); END;
CREATE TRIGGER sim_announcement AFTER UPDATE OF state ON announcement WHEN old.state <> new.state
  BEGIN INSERT INTO sim_edge VALUES ('announcement', new.id, old.state, new.state); END;
CREATE TRIGGER sim_batch AFTER UPDATE OF state ON batch WHEN old.state <> new.state
  BEGIN INSERT INTO sim_edge VALUES ('batch', new.id, old.state, new.state); END;
"""


@dataclass(frozen=True)
class Reader:
    """One person of the town."""

    name: str  # the site's id
    address: str
    subject: str
    alias: int
    address_hash: str
    group: str


class Town:
    """The made database and the engine that every run of this process uses on its copy."""

    def __init__(self) -> None:
        service.domain.load_tables()
        logging.disable(logging.CRITICAL)
        where = MEMORY if MEMORY.is_dir() else None
        self.directory = Path(tempfile.mkdtemp(prefix="bidden-sim-", dir=where))
        self.made, self.live = self.directory / "made.db", self.directory / "live.db"
        self.ring = Keyring({1: b"k" * 32}, "0011223344556677")
        self.beginning: Callable[[Connection], None] = _nothing
        self.committing: Callable[[Connection], None] = _nothing
        self.returning: Callable[[], None] = lambda: None
        self.looking: sqlite3.Connection | None = None
        self.houses: dict[tuple[Any, ...], House] = {}
        self._make()
        self.engine: Engine = make_engine(f"sqlite:///{self.live}")
        event.listen(self.engine, "begin", lambda connection: self.beginning(connection))
        event.listen(self.engine, "commit", lambda connection: self.committing(connection))
        event.listen(self.engine, "checkin", lambda connection, record: self.returning())
        self.readers = self._readers()
        self.topics = self._pairs("SELECT slug, alias FROM topic")
        self.announcements = self._by_size("announcement")
        self.notices = self._by_size("notice")
        # As the product's own processes do: the collector need not go through all that was loaded again and again.
        self.collected = gc.get_threshold()
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)

    def close(self) -> None:
        """Take it away again."""
        gc.set_threshold(*self.collected)
        gc.unfreeze()
        self._look_away()
        self.engine.dispose()
        shutil.rmtree(self.directory, ignore_errors=True)

    def begin(self) -> None:
        """A fresh copy, and empty directories for journals and the withdrawal file."""
        self.beginning = self.committing = _nothing
        self.returning = lambda: None
        self._look_away()
        self.engine.dispose()
        for old in self.directory.glob("live.db*"):
            old.unlink()
        for name in ("a", "b", "safe"):
            shutil.rmtree(self.directory / name, ignore_errors=True)
            (self.directory / name).mkdir()
        shutil.copyfile(self.made, self.live)

    def _look_away(self) -> None:
        if self.looking is not None:
            self.looking.close()
            self.looking = None

    def house(self, host: str, **settings: Any) -> House:
        """The installation as processes on that host see it."""
        known = self.houses.get((host, *settings.values()))
        if known is None:
            given = Settings(
                data_dir=self.directory,
                journal_dir=self.directory / host,
                safe_dir=self.directory / "safe",
                hold_seconds=0,
                **settings,
            )
            known = self.houses[host, *settings.values()] = House(given, self.engine, self.ring)
        return known

    def query(self, statement: str, *given: Any) -> list[Any]:
        """Rows of the copy as they are now, past the engine."""
        if self.looking is None:
            self.looking = sqlite3.connect(self.live, isolation_level=None)
        return self.looking.execute(statement, given).fetchall()

    # Making it

    def _make(self) -> None:
        """Under a machine of its own, so that it is the same wherever it is made."""
        machine = Machine(Loop(random.Random(0)), 0, Host("town", self.directory / "a"))
        engine = make_engine(f"sqlite:///{self.made}")
        with machine.running():
            migrate.upgrade(engine)
            with transaction(engine) as session:
                seeds.seed(session, self.ring, now=clock.now())
                brands.set_fields(
                    session, "default", {"postal_address": "Street 1, Berlin"}, now=clock.now(), by="cli"
                )
            self._sign_up(engine)
            for size in range(1, len(GROUPS) + 1):
                self._prepare(engine, list(GROUPS[:size]))
        engine.dispose()
        with sqlite3.connect(self.made) as connection:
            connection.executescript(_EDGES)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()

    def _sign_up(self, engine: Engine) -> None:
        said = {
            "given": True,
            "source": "form",
            "evidence": {"at": "2026-01-05T10:00:00Z"},
            "confirmed": {"at": "2026-01-05T10:01:00Z", "method": "own mail"},
        }
        consents = [{"topic": topic, **said} for topic in TOPICS.values()]
        items = []
        for number in range(GROUP * len(GROUPS)):
            domain = BUSY if number % 5 == 4 else "example.org"
            name, plan = f"u{number}", GROUPS[number % len(GROUPS)]
            items.append(
                registration.Registration(
                    name, f"{name}@{domain}", "en", None, {}, {"plan": plan}, list(consents)
                )
            )
        with transaction(engine) as session:
            answers = registration.register_many(
                session, self.ring, "site", items, attest=True, topics=None, now=clock.now(), by="cli"
            )
        assert all(isinstance(one, registration.Registered) for one in answers), answers

    def _prepare(self, engine: Engine, plans: list[str]) -> None:
        """An approved announcement and a notice to these people."""
        audience, settings = {"attributes": {"plan": plans}}, self._settings()
        now = clock.now()
        with transaction(engine) as session:
            row = announcements.create(
                session,
                settings,
                topic=TOPICS["marketing"],
                template="letter",
                content={"en": {"subject": "The planner", **WORDS}},
                audience=audience,
                now=now,
                by=BY,
            )
            announcements.submit(session, settings, row.public_id, now=now, by=BY)
            announcements.approve(
                session, settings, row.public_id, content_hash=row.content_hash, now=now, by=BY
            )
        with transaction(engine) as session:
            notices.create(
                session,
                settings,
                topic=TOPICS["important"],
                content={"en": {"title": "An outage", **WORDS}},
                audience=audience,
                mail=True,
                now=now,
                by=BY,
            )

    def _settings(self) -> Settings:
        return Settings(data_dir=self.directory, hold_seconds=0)

    # Reading it

    def _made(self, statement: str) -> list[Any]:
        with sqlite3.connect(self.made) as connection:
            rows = connection.execute(statement).fetchall()
        connection.close()
        return rows

    def _pairs(self, statement: str) -> dict[str, int]:
        return {name: alias for name, alias in self._made(statement)}

    def _by_size(self, table: str) -> list[str]:
        return [row[0] for row in self._made(f"SELECT public_id FROM {table} ORDER BY id")]

    def _readers(self) -> list[Reader]:
        rows = self._made(
            "SELECT identity.external_id, person.public_id, person.alias, address.address_hash FROM identity"
            " JOIN person ON person.id = identity.person_id JOIN address ON address.id = person.address_id"
            " WHERE identity.source = 'site' ORDER BY person.id"
        )
        found = []
        for name, subject, alias, digest in rows:
            number = int(name[1:])
            domain = BUSY if number % 5 == 4 else "example.org"
            found.append(
                Reader(name, f"{name}@{domain}", subject, alias, digest, GROUPS[number % len(GROUPS)])
            )
        return found


def _nothing(connection: Connection) -> None:
    """Between two runs nobody looks at transactions."""
