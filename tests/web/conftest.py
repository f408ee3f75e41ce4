"""The real application over a real database, and people in it, made by the same actions that sign-up uses."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from sqlalchemy import func
from sqlalchemy.engine import Engine
from sqlmodel import Session, col, select
from starlette.testclient import TestClient

from service import app
from service.config import Settings
from service.db.session import reading, transaction
from service.domain.ledger.tables import LedgerEntry
from service.domain.links import rules as links
from service.domain.mailings.tables import Mailing
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.domain.preferences import queries as preferences
from service.domain.preferences.registration import Registered, Registration, register_many
from service.domain.topics import queries as topics
from service.kit import clock
from service.kit.signing import Keyring
from service.ops.house import House
from service.web.public import limits

BASE = "http://127.0.0.1:8000"
ONE_CLICK = {"List-Unsubscribe": "One-Click"}


@pytest.fixture(autouse=True)
def _fresh_allowance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests all come from one network: none pays for another."""
    monkeypatch.setattr(limits, "allowance", limits.Allowance())


@pytest.fixture
def house(engine: Engine, ring: Keyring, tmp_path: Path, database_url: str) -> House:
    settings = Settings(data_dir=tmp_path, database_url=database_url, public_url=BASE)
    return House(settings, engine, ring)


@pytest.fixture
def client(house: House) -> Iterator[TestClient]:
    with TestClient(app.build(house), base_url=BASE, follow_redirects=False) as opened:
        yield opened


@contextmanager
def listening(house: House, line: socket.socket) -> Iterator[None]:
    """The application behind a real uvicorn."""
    config = uvicorn.Config(
        app.build(house),
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        lifespan="off",
    )
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, args=([line],), daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    yield
    running.should_exit = True
    thread.join(5)


@pytest.fixture
def server(house: House) -> Iterator[int]:
    """The port of a server that answers to the name in BASE."""
    with socket.create_server(("127.0.0.1", 0)) as line, listening(house, line):
        yield line.getsockname()[1]


@dataclass
class World:
    """What tests say about the database, in short words."""

    house: House

    def person(
        self,
        email: str = "ana@example.org",
        *,
        yes: tuple[str, ...] = ("new-products", "updates"),
        at: datetime | None = None,
        **more: Any,
    ) -> Person:
        """Somebody whose address is confirmed and who said yes to these topics, three days ago where nothing else is said."""
        at = at or clock.now() - timedelta(days=3)
        said = {
            "source": "signup-form",
            "evidence": {"url": "https://shop.example.org/join", "at": at.isoformat()},
        }
        proof = {"confirmed": {"at": at.isoformat(), "method": "button"}}
        consents = [{"topic": slug, "given": True, **said, **proof} for slug in yes]
        given = Registration(email, email, consents=consents, **{"locale": "en", **more})
        with transaction(self.house.engine) as session:
            made = register_many(
                session,
                self.house.ring,
                "shop",
                [given],
                attest=True,
                topics=None,
                now=clock.now(),
                by="key:k_test",
            )[0]
            if isinstance(made, Exception):
                raise made
            assert isinstance(made, Registered)
            found = people.by_public_id(session, made.person_id)
        assert found is not None
        return found

    def link(
        self,
        purpose: int,
        person: Person | int,
        topic: str | None = "new-products",
        *,
        mailing: int = 0,
        pos: int = 0,
    ) -> str:
        """A token as a mail would carry it."""
        alias = 0
        if topic is not None:
            with reading(self.house.engine) as session:
                alias = topics.by_slug(session, topic).alias
        who = person if isinstance(person, int) else person.alias
        return links.write(links.Link(purpose, who, alias, mailing, pos), self.house.ring.link_keys)

    def stop_link(self, person: Person | int, topic: str | None = "new-products") -> str:
        return "/u/" + self.link(links.STOP, person, topic)

    def states(self, person: Person) -> dict[str, str]:
        """Topic → state."""
        assert person.id is not None
        with reading(self.house.engine) as session:
            rows = preferences.of_person(session, person.id)
            return {topics.by_id(session, key).slug: row.state for key, row in rows.items()}

    def entries(self, kind: str | None = None) -> int:
        """How many entries the ledger holds."""
        with reading(self.house.engine) as session:
            statement = select(func.count()).select_from(LedgerEntry)
            return session.exec(statement.where(col(LedgerEntry.kind) == kind) if kind else statement).one()

    def mails(self, purpose: str) -> list[Mailing]:
        """System mails that were asked for."""
        with reading(self.house.engine) as session:
            return list(
                session.exec(select(Mailing).where(col(Mailing.purpose) == purpose).order_by(col(Mailing.id)))
            )

    def change(self, act: Callable[[Session], Any]) -> Any:
        """One transaction."""
        with transaction(self.house.engine) as session:
            return act(session)


@pytest.fixture
def world(house: House) -> World:
    return World(house)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], datetime]:
    """Move the clock of the pages on."""
    real = clock.now

    def move(by: timedelta) -> datetime:
        monkeypatch.setattr(clock, "now", lambda: real() + by)
        return clock.now()

    return move
