"""A sender and a sink in one event loop, on a database of the test's own."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Engine

from scheduler import jobs
from scheduler.sender import Sender
from service.config import Settings
from service.db.session import reading, transaction
from service.domain.announcements import actions as announcements
from service.domain.announcements import queries as announcement_queries
from service.domain.brands import actions as brands
from service.domain.links import rules as links
from service.domain.notices import actions as notices
from service.domain.notices import queries as notice_queries
from service.domain.people import queries as people
from service.domain.preferences import registration
from service.domain.reports import queries as reports
from service.kit import clock
from service.kit.signing import Keyring
from service.ops.house import House
from tests.faults.sink import Settings as SinkSettings
from tests.faults.sink import Sink

WORDS = {
    "en": {
        "subject": "The planner is here",
        "preheader": "Plan a week in two minutes, with the people you work with.",
        "body": "Hello {{ first_name|default('there') }}, plan a week in two minutes.",
    }
}


@dataclass
class Post:
    """What a test of the sender does with its installation."""

    engine: Engine
    ring: Keyring
    directory: Path
    people: int = 0
    environment: dict[str, Any] = field(default_factory=dict)

    def house(self, port: int, **more: Any) -> House:
        """The installation with its relay at this port."""
        settings = Settings(
            data_dir=self.directory,
            hold_seconds=0,
            **{
                "smtp_url": f"smtp://127.0.0.1:{port}?starttls=never&connections={more.pop('connections', 1)}",
                "retry_seconds": "0,0,0",
                **more,
            },
        )
        return House(settings, self.engine, self.ring)

    def sign_up(
        self,
        count: int,
        *,
        attributes: dict[str, Any] | None = None,
        zone: str | None = None,
        domain: str = "example.org",
        **profile: str,
    ) -> None:
        """People u0, u1, … who agreed to `new-products`, confirmed."""
        evidence = {"source": "form", "evidence": {"at": "2026-01-05T10:00:00Z"}}
        confirmed = {"at": "2026-01-05T10:01:00Z", "method": "own mail"}
        said = [{"topic": "new-products", "given": True, "confirmed": confirmed, **evidence}]
        items = [
            registration.Registration(f"u{n}", f"u{n}@{domain}", "en", zone, dict(profile), attributes, said)
            for n in range(self.people, self.people + count)
        ]
        self.people += count
        for start in range(0, count, 200):
            with transaction(self.engine) as session:
                answers = registration.register_many(
                    session,
                    self.ring,
                    "site",
                    items[start : start + 200],
                    attest=True,
                    topics=None,
                    now=clock.now(),
                    by="cli",
                )
                assert all(isinstance(one, registration.Registered) for one in answers)

    def announce(
        self, house: House, words: dict[str, Any] = WORDS, *, now: datetime | None = None, **when: Any
    ) -> str:
        """One announcement to all of them, frozen; its public id. `when`: other than at once."""
        now = now or clock.now()
        with transaction(self.engine) as session:
            brands.set_fields(session, "default", {"postal_address": "Street 1, Berlin"}, now=now, by="cli")
        with transaction(self.engine) as session:
            row = announcements.create(
                session,
                house.settings,
                topic="new-products",
                template="letter",
                content=words,
                now=now,
                by="cli",
            )
            announcements.submit(session, house.settings, row.public_id, now=now, by="cli")
            announcements.approve(
                session, house.settings, row.public_id, content_hash=row.content_hash, now=now, by="cli"
            )
            due = {"at": "now", **when}
            announcements.schedule(session, row.public_id, **due, hold_seconds=0, now=now, by="cli")
            public_id = row.public_id
        jobs.start_due(house, now)
        jobs.freeze(house, now)
        return public_id

    def warn(self, house: House) -> str:
        """An important notice to everybody, frozen; its public id."""
        now = clock.now()
        content = {"en": {"title": "Keys expire", "preheader": "", "body": "Renew them by Friday."}}
        with transaction(self.engine) as session:
            brands.set_fields(session, "default", {"postal_address": "Street 1, Berlin"}, now=now, by="cli")
        with transaction(self.engine) as session:
            given = {"topic": "important-notices", "content": content, "mail": True}
            public_id = notices.create(session, house.settings, **given, now=now, by="cli").public_id
            notices.publish(session, house.settings, public_id, now=now, by="cli")
        jobs.freeze(house, now)
        return public_id

    def report(self, public_id: str) -> dict[str, Any]:
        """The report as the API gives it."""
        with reading(self.engine) as session:
            return reports.of_announcement(session, announcement_queries.by_public_id(session, public_id))

    def report_of_notice(self, public_id: str) -> dict[str, Any]:
        """The same of a notice."""
        with reading(self.engine) as session:
            return reports.of_notice(session, notice_queries.by_public_id(session, public_id))

    def open_batches(self) -> int:
        """How many batches are not closed."""
        with self.engine.connect() as connection:
            return int(
                connection.execute(text("SELECT count(*) FROM batch WHERE state <> 'closed'")).scalar_one()
            )

    def batches_in_hand(self) -> int:
        """How many batches a sender holds."""
        with self.engine.connect() as connection:
            held = text("SELECT count(*) FROM batch WHERE state = 'claimed'")
            return int(connection.execute(held).scalar_one())

    def stop_link(self, external_id: str) -> links.Link:
        """The stop link of one person, for `new-products`."""
        with reading(self.engine) as session:
            identity = people.identity(session, "site", external_id)
            assert identity is not None
            alias = (
                session.connection()
                .execute(text("SELECT alias FROM person WHERE id = :i"), {"i": identity.person_id})
                .scalar_one()
            )
            topic = (
                session.connection()
                .execute(text("SELECT alias FROM topic WHERE slug = 'new-products'"))
                .scalar_one()
            )
        return links.Link(links.STOP, alias, topic)


@pytest.fixture
def post(engine: Engine, ring: Keyring, tmp_path: Path) -> Post:
    return Post(engine, ring, tmp_path)


async def send_all(
    post: Post, house: House, *, names: tuple[str, ...] = ("one",), meanwhile: Callable[[], Any] | None = None
) -> None:
    """Run senders until no batch is open; `meanwhile` is awaited beside them."""
    stop = asyncio.Event()
    senders = [asyncio.create_task(Sender(house, name).run(stop)) for name in names]
    beside = asyncio.create_task(meanwhile()) if meanwhile else None
    try:
        async with asyncio.timeout(60):
            while await asyncio.to_thread(post.open_batches):
                for task in [*senders, *([beside] if beside else [])]:
                    if task.done():
                        task.result()
                await asyncio.sleep(0.02)
            if beside:
                await beside
    finally:
        stop.set()
        await asyncio.gather(*senders)
    jobs.finish(house, clock.now())
    jobs.settle(house, clock.now())


def sink_log(path: Path) -> list[dict[str, Any]]:
    """What the sink saw, line by line."""
    return [json.loads(line) for line in path.read_text().splitlines()]


__all__ = ["WORDS", "Post", "Sink", "SinkSettings", "datetime", "send_all", "sink_log"]
