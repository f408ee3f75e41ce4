"""Bring a database to the newest shape, or say whether it has it. Called by `db upgrade|check`, `up`, the readiness and the tests.

Alembic is loaded by whoever upgrades or compares: every other command and process starts a tenth of a second sooner without it.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection, Engine
from sqlmodel import SQLModel

from service.db.engine import is_sqlite
from service.db.migrations import guards

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).parent / "migrations"
_UPGRADE_LOCK = 0x62696464  # "bidd": two processes starting together upgrade one after the other


def _config() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


def upgrade(engine: Engine) -> None:
    """Run the missing migrations in one transaction. A database that a newer version has brought up stays as it is."""
    from alembic import command

    config = _config()
    with engine.execution_options(write=True).begin() as connection:
        if not is_sqlite(connection):
            connection.execute(text("SET LOCAL lock_timeout = 0"))  # the other may take its time
            connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _UPGRADE_LOCK})
        if _shape(connection) != "newer":
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def shape(engine: Engine) -> Literal["expected", "older", "newer"]:
    """How the database is to this version of the program: of the shape it expects, an older one (`upgrade` mends that), or of a
    newer one, made by a migration that this version does not know. Migrations add at first and take away only a version later
    (reliability 2.4), so on that one it works, too: during an update both versions run.
    """
    with engine.connect() as connection:
        return _shape(connection)


def _shape(connection: Connection) -> Literal["expected", "older", "newer"]:
    """By the number that Alembic keeps in the database and those that our migrations' files begin with (a house test holds that they
    are their revisions, in that order)."""
    current = None
    if inspect(connection).has_table("alembic_version"):
        current = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    known = sorted(one.name.partition("_")[0] for one in (MIGRATIONS / "versions").glob("[0-9]*.py"))
    if current == known[-1]:
        return "expected"
    return "older" if current in {None, *known} else "newer"


def drift(engine: Engine) -> list[str]:
    """What differs between the tables in the code and in the database; empty when they agree."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return [str(one) for one in compare_metadata(context, SQLModel.metadata)]


def guards_missing(engine: Engine) -> list[str]:
    """The triggers that should hold ledger and outcomes insert-only and do not; empty when all stand."""
    with engine.connect() as connection:
        return guards.missing(connection)
