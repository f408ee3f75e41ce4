"""The triggers that make the ledger and the outcomes insert-only, in both dialects. Run by the first migration.

Called with a connection; dropping or changing one later is a migration of its own, which the house test will ask about.
`missing` tells `bidden db check` and the health page which of them somebody has taken down.
"""

import re

from sqlalchemy import Connection, text

SQLITE = [
    """CREATE TRIGGER ledger_entry_no_update BEFORE UPDATE ON ledger_entry
       BEGIN SELECT RAISE(ABORT, 'the ledger is never changed'); END""",
    """CREATE TRIGGER ledger_entry_no_delete BEFORE DELETE ON ledger_entry
       BEGIN SELECT RAISE(ABORT, 'the ledger is never shortened'); END""",
    """CREATE TRIGGER ledger_entry_in_order BEFORE INSERT ON ledger_entry
       WHEN NEW.seq IS NOT COALESCE((SELECT seq FROM ledger_entry ORDER BY seq DESC LIMIT 1), 0) + 1
       BEGIN SELECT RAISE(ABORT, 'the ledger grows at its end only'); END""",
    """CREATE TRIGGER outcome_no_update BEFORE UPDATE ON outcome
       BEGIN SELECT RAISE(ABORT, 'an outcome is never changed'); END""",
    """CREATE TRIGGER outcome_no_delete BEFORE DELETE ON outcome
       BEGIN SELECT RAISE(ABORT, 'an outcome is never removed'); END""",
]

POSTGRESQL = [
    """CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
       $$ BEGIN RAISE EXCEPTION '% is insert-only', TG_TABLE_NAME; END $$""",
    """CREATE FUNCTION ledger_in_order() RETURNS trigger LANGUAGE plpgsql AS
       $$ BEGIN
         IF NEW.seq IS DISTINCT FROM COALESCE((SELECT seq FROM ledger_entry ORDER BY seq DESC LIMIT 1), 0) + 1 THEN
           RAISE EXCEPTION 'the ledger grows at its end only';
         END IF;
         RETURN NEW;
       END $$""",
    """CREATE TRIGGER ledger_entry_no_change BEFORE UPDATE OR DELETE ON ledger_entry
       FOR EACH ROW EXECUTE FUNCTION refuse_change()""",
    """CREATE TRIGGER ledger_entry_no_truncate BEFORE TRUNCATE ON ledger_entry
       FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()""",
    """CREATE TRIGGER ledger_entry_in_order BEFORE INSERT ON ledger_entry
       FOR EACH ROW EXECUTE FUNCTION ledger_in_order()""",
    """CREATE TRIGGER outcome_no_change BEFORE UPDATE OR DELETE ON outcome
       FOR EACH ROW EXECUTE FUNCTION refuse_change()""",
    """CREATE TRIGGER outcome_no_truncate BEFORE TRUNCATE ON outcome
       FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()""",
]


_NAME = re.compile(r"CREATE TRIGGER (\w+)")
_STANDING_SQLITE = (
    "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name IN ('ledger_entry', 'outcome')"
)
# O and A fire for whoever writes; D is switched off, R fires for replication only.
_STANDING_POSTGRESQL = """SELECT tgname FROM pg_trigger WHERE tgenabled IN ('O', 'A')
    AND tgrelid IN (to_regclass('ledger_entry'), to_regclass('outcome'))"""


def put_up(connection: Connection) -> None:
    """Create the guards in this connection's dialect."""
    for statement in _statements(connection):
        connection.execute(text(statement))


def missing(connection: Connection) -> list[str]:
    """The guards that do not stand, or are switched off; empty when all is well."""
    standing = _STANDING_SQLITE if connection.dialect.name == "sqlite" else _STANDING_POSTGRESQL
    there = set(connection.execute(text(standing)).scalars())
    return sorted({_NAME.findall(one)[0] for one in _statements(connection) if _NAME.search(one)} - there)


def _statements(connection: Connection) -> list[str]:
    return SQLITE if connection.dialect.name == "sqlite" else POSTGRESQL
