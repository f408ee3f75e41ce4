"""The triggers that make the ledger and the outcomes insert-only, and a consent move from state to state as it may; in both
dialects. Run by the migrations that brought them.

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


# Which state of a consent may follow which (design.md 2, standards J6). From no to yes only the person leads, by a button or an
# undo, which no trigger can see; what a trigger can see is a row that nothing of ours would ever write.
_MOVES = {
    "unknown": "requested given refused withdrawn",
    "requested": "given refused withdrawn",
    "given": "renewed withdrawn expired invalidated",
    "renewed": "given withdrawn expired invalidated",
    "refused": "given requested withdrawn",
    "withdrawn": "given renewed requested expired refused invalidated",
    "expired": "given requested refused withdrawn",
    "invalidated": "given withdrawn",
}
_FIRST = "unknown requested given refused withdrawn"
_OF_LEGACY = "requested refused"  # where registering counted as agreeing, the first answer of their own comes from `given`


def _quoted(words: list[str]) -> str:
    return ", ".join(f"'{one}'" for one in words)


_ALLOWED = _quoted([f"{one}>{other}" for one, others in _MOVES.items() for other in others.split()])
_LEGACY = f"OLD.basis = 'legacy_registration' AND OLD.state = 'given' AND NEW.state IN ({_quoted(_OF_LEGACY.split())})"
_ILLEGAL = f"OLD.state <> NEW.state AND OLD.state || '>' || NEW.state NOT IN ({_ALLOWED}) AND NOT ({_LEGACY})"
_NEVER_FIRST = f"NEW.state NOT IN ({_quoted(_FIRST.split())})"

STATES_SQLITE = [
    f"""CREATE TRIGGER preference_moves BEFORE UPDATE ON preference WHEN {_ILLEGAL}
       BEGIN SELECT RAISE(ABORT, 'a consent does not move from that state to this one'); END""",  # noqa: S608
    f"""CREATE TRIGGER preference_begins BEFORE INSERT ON preference WHEN {_NEVER_FIRST}
       BEGIN SELECT RAISE(ABORT, 'no consent begins in that state'); END""",
]

STATES_POSTGRESQL = [
    """CREATE FUNCTION refuse_state() RETURNS trigger LANGUAGE plpgsql AS
       $$ BEGIN RAISE EXCEPTION 'no consent moves to the state % so', NEW.state; END $$""",
    f"""CREATE TRIGGER preference_moves BEFORE UPDATE ON preference
       FOR EACH ROW WHEN ({_ILLEGAL}) EXECUTE FUNCTION refuse_state()""",
    f"""CREATE TRIGGER preference_begins BEFORE INSERT ON preference
       FOR EACH ROW WHEN ({_NEVER_FIRST}) EXECUTE FUNCTION refuse_state()""",
]

_NAME = re.compile(r"CREATE TRIGGER (\w+)")
_STANDING_SQLITE = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name IN ('ledger_entry', 'outcome', 'preference')"
# O and A fire for whoever writes; D is switched off, R fires for replication only.
_STANDING_POSTGRESQL = """SELECT tgname FROM pg_trigger WHERE tgenabled IN ('O', 'A')
    AND tgrelid IN (to_regclass('ledger_entry'), to_regclass('outcome'), to_regclass('preference'))"""


def put_up(connection: Connection) -> None:
    """Create the guards of ledger and outcomes in this connection's dialect."""
    for statement in SQLITE if connection.dialect.name == "sqlite" else POSTGRESQL:
        connection.execute(text(statement))


def put_up_states(connection: Connection) -> None:
    """Create the guards of consents in this connection's dialect."""
    for statement in STATES_SQLITE if connection.dialect.name == "sqlite" else STATES_POSTGRESQL:
        connection.execute(text(statement))


def take_down_states(connection: Connection) -> None:
    """The way back of the migration that put them up."""
    for name in ("preference_moves", "preference_begins"):
        table = "" if connection.dialect.name == "sqlite" else " ON preference"
        connection.execute(text(f"DROP TRIGGER {name}{table}"))
    if connection.dialect.name != "sqlite":
        connection.execute(text("DROP FUNCTION refuse_state()"))


def missing(connection: Connection) -> list[str]:
    """The guards that do not stand, or are switched off; empty when all is well."""
    standing = _STANDING_SQLITE if connection.dialect.name == "sqlite" else _STANDING_POSTGRESQL
    there = set(connection.execute(text(standing)).scalars())
    return sorted({_NAME.findall(one)[0] for one in _statements(connection) if _NAME.search(one)} - there)


def _statements(connection: Connection) -> list[str]:
    if connection.dialect.name == "sqlite":
        return SQLITE + STATES_SQLITE
    return POSTGRESQL + STATES_POSTGRESQL
