"""`bidden ledger` where the database is a copy from an earlier day: what was signed outside it is how that is noticed, and stays."""

import pytest
from sqlalchemy import delete
from sqlalchemy.engine import Engine

from service.config import Settings
from service.db.session import transaction
from service.domain.ledger import checkpoints
from service.domain.ledger.tables import Checkpoint, LedgerEntry
from tests import checks
from tests.cli.conftest import Run


def _put_back(engine: Engine, size: int) -> None:
    """As the database was at so many entries."""
    with transaction(engine) as session:
        checks.without_guards(session.connection())
        session.execute(delete(LedgerEntry).where(LedgerEntry.seq > size))
        session.execute(delete(Checkpoint).where(Checkpoint.size > size))


@pytest.mark.parametrize("command", [("checkpoint",), ("prove", "1")])
def test_a_copy_that_has_grown_signs_nothing_over_the_head_it_lacks(
    bidden: Run, engine: Engine, environment: dict[str, str], command: tuple[str, ...]
) -> None:
    """Else the next head outside would be one it has, and nothing would tell that mails left since the copy was made."""
    bidden("ledger", "checkpoint")
    before = bidden("ledger", "verify", "--json").json["entries"]
    bidden("brand", "set", "default", "title=Kettles")
    bidden("ledger", "checkpoint")
    _put_back(engine, before)
    for title in ("Pans", "Pots"):
        bidden("brand", "set", "default", f"title={title}")
    outside = Settings(data_dir=environment["BIDDEN_DATA_DIR"]).safe / checkpoints.NAME
    kept = outside.read_bytes()

    done = bidden("ledger", *command)
    assert (done.code, "database_behind" in done.err, "bidden db merge" in done.err) == (1, True, True)
    assert outside.read_bytes() == kept
    assert bidden("send", "on").code == 1, "it was noticed"
    assert bidden("db", "merge").code == 0
    assert bidden("ledger", *command).code == 0
