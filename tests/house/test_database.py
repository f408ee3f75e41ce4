"""Migrations equal the tables on both databases; the guards stand; seeds are idempotent; the wheel carries what it needs."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.engine import Engine

from service.db import migrate
from service.db.engine import is_sqlite

ROOT = Path(__file__).parents[2]
GUARDS = {
    "ledger_entry_no_update", "ledger_entry_no_delete", "ledger_entry_in_order", "outcome_no_update", "outcome_no_delete",
    "preference_moves", "preference_begins",
}  # fmt: skip
GUARDS_POSTGRESQL = {
    "ledger_entry_no_change", "ledger_entry_no_truncate", "ledger_entry_in_order", "outcome_no_change", "outcome_no_truncate",
    "preference_moves", "preference_begins",
}  # fmt: skip


def test_migrations_equal_the_tables(engine: Engine) -> None:
    assert migrate.shape(engine) == "expected"
    assert migrate.drift(engine) == []


def test_upgrading_again_changes_nothing(engine: Engine) -> None:
    migrate.upgrade(engine)
    assert migrate.shape(engine) == "expected"


def standing_guards(engine: Engine) -> set[str]:
    """The triggers that are there and enabled."""
    query = (
        "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        if is_sqlite(engine)
        else "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'D'"
    )
    with engine.connect() as connection:
        return set(connection.execute(text(query)).scalars())


def test_the_guards_stand_after_every_migration(engine: Engine) -> None:
    assert standing_guards(engine) == (GUARDS if is_sqlite(engine) else GUARDS_POSTGRESQL)


def drop(engine: Engine, guard: str) -> None:
    """Take a guard down as somebody with the database's password can."""
    table = (
        "preference" if guard.startswith("preference") else guard.partition("_no_")[0].partition("_in_")[0]
    )
    with engine.execution_options(write=True).begin() as connection:
        connection.execute(text(f"DROP TRIGGER {guard}" + ("" if is_sqlite(engine) else f" ON {table}")))


def test_guards_that_were_taken_down_are_named(engine: Engine) -> None:
    assert migrate.guards_missing(engine) == []
    for guard in standing_guards(engine):
        drop(engine, guard)
    assert set(migrate.guards_missing(engine)) == (GUARDS if is_sqlite(engine) else GUARDS_POSTGRESQL)


def test_a_guard_that_is_switched_off_is_named(engine: Engine) -> None:
    if is_sqlite(engine):
        return  # a trigger there stands or does not
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE outcome DISABLE TRIGGER outcome_no_change"))
        connection.execute(text("ALTER TABLE ledger_entry ENABLE REPLICA TRIGGER ledger_entry_in_order"))
    assert migrate.guards_missing(engine) == ["ledger_entry_in_order", "outcome_no_change"]


def test_no_migration_rebuilds_the_ledger_or_the_outcomes() -> None:
    """Alembic's batch mode copies a table and drops its triggers; the first migration alone may name these two."""
    for path in sorted((ROOT / "service/db/migrations/versions").glob("*.py")):
        if path.name.startswith("0001"):
            continue
        assert not re.search(r"batch_alter_table\(\s*['\"](ledger_entry|outcome)", path.read_text()), (
            path.name
        )


def test_the_wheel_renders_a_mail(tmp_path: Path) -> None:
    """Built without network, unpacked elsewhere: templates, migrations and pages are inside and found."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    script = (
        "import service.kit.places as p; from service.mail import letters; from service.db import migrate; import service;"
        "mail = letters.build_system('confirm', locale='de', brand=letters.BrandLook(name='Acme'));"
        "assert 'unpacked' in str(p.templates_dir()), p.templates_dir();"
        "assert (p.templates_dir() / 'web/public/join.html').exists();"
        "from service.web import pages; pages.environment().get_template('public/join.html');"
        "print(len(mail.html))"
    )
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 1000
