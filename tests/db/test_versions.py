"""Two versions on one database (reliability 2.4): migrations only add, and the version before works on what they made."""

import subprocess
import sys
from typing import Any

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text
from sqlalchemy.engine import Engine
from sqlmodel import select

from service.db import migrate
from service.db.engine import make_engine
from service.db.session import reading, transaction
from service.domain.preferences import projection
from service.domain.preferences.tables import Asked, Asking
from service.kit import clock
from service.kit.signing import Keyring
from service.ops import health
from service.ops.house import House
from tests import builders as make
from tests.scheduler.conftest import Post


@pytest.fixture
def house(engine: Engine, ring: Keyring, tmp_path: Any) -> House:
    return Post(engine, ring, tmp_path).house(9)


def test_a_database_of_a_newer_version_is_worked_on_and_left_as_it_is(house: House) -> None:
    """During an update the version before stays ready, and started again it does not fail on a migration that it does not know."""
    stamp(house.engine, "9999")
    assert migrate.shape(house.engine) == "newer"
    found = health.readiness(house, now=clock.now())
    assert (found.ready, found.facts[0].says.endswith("of a newer version)")) == (True, True)
    migrate.upgrade(house.engine)
    assert migrate.shape(house.engine) == "newer"


def test_a_database_of_an_older_version_is_not_ready(house: House) -> None:
    stamp(house.engine, "0009")
    found = health.readiness(house, now=clock.now())
    assert (found.ready, found.facts[0].fix) == (False, "bidden db upgrade")


def stamp(engine: Engine, revision: str) -> None:
    """Say that the database is of that revision."""
    with engine.execution_options(write=True).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :n"), {"n": revision})


def test_migrations_are_known_by_the_numbers_of_their_files() -> None:
    """Which is how every start and every look at the readiness tells a database's shape, without Alembic."""
    walked = list(ScriptDirectory.from_config(migrate._config()).walk_revisions())[::-1]
    numbers = [one.name.partition("_")[0] for one in sorted(migrate.MIGRATIONS.glob("versions/[0-9]*.py"))]
    assert [one.revision for one in walked] == numbers


def test_nobody_but_who_upgrades_waits_for_alembic() -> None:
    loaded = "import sys, service.cli.main, service.app; print([one for one in sys.modules if one.startswith('alembic')])"
    assert subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True).stdout == "[]\n"


def test_every_migration_only_adds(request: pytest.FixtureRequest, template: str, tmp_path: Any) -> None:
    """What the version before writes is still taken, what it reads is still there."""
    sqlite = template.startswith("sqlite")
    url = f"sqlite:///{tmp_path}/old.db" if sqlite else request.getfixturevalue("postgres_database")
    engine = make_engine(url)
    config = migrate._config()
    revisions = [one.revision for one in ScriptDirectory.from_config(config).walk_revisions()][::-1]
    before: dict[str, Any] = {}
    try:
        for revision in revisions:
            with engine.execution_options(write=True).begin() as connection:
                config.attributes["connection"] = connection
                command.upgrade(config, revision)
            after = tables(engine)
            assert taken_away(before, after) == [], revision
            before = after
        with engine.execution_options(write=True).begin() as connection:
            connection.execute(text("ALTER TABLE sender ADD COLUMN needed VARCHAR NOT NULL DEFAULT ''"))
            connection.execute(text("ALTER TABLE sender RENAME COLUMN host TO machine"))
            connection.execute(text("CREATE UNIQUE INDEX one_of_each ON topic (mail_class)"))
        assert taken_away(before, tables(engine)) == [
            "sender.host is gone", "sender.machine must be given", "topic: mail_class stands once only"
        ]  # fmt: skip
    finally:
        engine.dispose()


def tables(engine: Engine) -> dict[str, Any]:
    """Each table's columns, by name whether one must be given, and what stands once only."""
    found = inspect(engine)
    return {
        table: (
            {one["name"]: not one["nullable"] and one["default"] is None for one in found.get_columns(table)},
            {tuple(one["column_names"]) for one in found.get_indexes(table) if one["unique"]}
            | {tuple(one["column_names"]) for one in found.get_unique_constraints(table)},
        )
        for table in found.get_table_names()
    }


def taken_away(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What a program written for the one misses in the other, or is refused there."""
    found = [f"{table} is gone" for table in before if table not in after]
    for table in before.keys() & after.keys():
        (had, once), (has, now_once) = before[table], after[table]
        found += [f"{table}.{name} is gone" for name in had.keys() - has.keys()]
        found += [f"{table}.{name} must be given" for name, must in has.items() if must and not had.get(name)]
        found += [
            f"{table}: {', '.join(map(str, names))} stands once only"
            for names in now_once - once
            if set(names) <= had.keys()
        ]
    return sorted(found)


def test_a_database_in_which_people_were_asked_goes_back_and_forth(house: House) -> None:
    """Rows that refer to one another stand in the way of no migration."""
    with transaction(house.engine) as session:
        person = make.a_person(session, house.ring, now=clock.now())
        topic = make.the_topic(session)
        asking = Asking(public_id="q_1", topic_id=topic.id or 0, began_at=clock.now())
        session.add(asking)
        session.flush()
        digest, at = "a" * 64, clock.now()
        session.add(Asked(person_id=person.id, address_hash=digest, asking_id=asking.id, asked_at=at))
    config = migrate._config()
    for revision in ("0016", "head"):
        with house.engine.execution_options(write=True).begin() as connection:
            config.attributes["connection"] = connection
            (command.downgrade if revision == "0016" else command.upgrade)(config, revision)
    with reading(house.engine) as session:
        assert [one.question for one in session.exec(select(Asked))] == [""]
        assert projection.unfilled(session, 0) != []
        assert projection.differences(session) == []
    assert migrate.drift(house.engine) == []
