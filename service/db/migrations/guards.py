"""The triggers that make the ledger and the outcomes insert-only, in both dialects. Run by the first migration.

Called with a connection; dropping or changing one later is a migration of its own, which the house test will ask about.
"""

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


def put_up(connection: Connection) -> None:
    """Create the guards in this connection's dialect."""
    for statement in SQLITE if connection.dialect.name == "sqlite" else POSTGRESQL:
        connection.execute(text(statement))
