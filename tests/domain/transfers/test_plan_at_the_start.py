"""What the entry says an import was begun with is what it is run with, though somebody changes the plan in that moment."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.engine import Engine

from service import fence
from service.db.session import reading, transaction
from service.domain.transfers import actions, queries, rules
from service.kit import clock
from service.kit.signing import Keyring
from service.ops.house import House
from tests import builders as make
from tests.domain.transfers import files
from tests.domain.transfers.test_imports import entries


@pytest.fixture
def house(engine: Engine, ring: Keyring, tmp_path: Path) -> House:
    return make.a_house(engine, ring, tmp_path)


def drafted(house: House, job: files.imports.Job) -> str:
    with transaction(house.engine) as session:
        row = actions.draft(session, job.file, job.plan, file_name="f.csv", rows=1, now=clock.now(), by="t")
        return row.public_id


def test_a_plan_changed_while_it_begins_is_the_one_in_its_entry(house: House, ring: Keyring) -> None:
    job = files.job(files.simple("ana@example.org"), files.GRANT)
    public_id, other = drafted(house, job), replace(job.plan, mail=True)
    changed = threading.Event()

    def change() -> None:
        with transaction(house.engine) as session:
            actions.revise(session, ring, public_id, other)
            session.flush()
            changed.set()
            time.sleep(0.3)

    thread = threading.Thread(target=change)
    thread.start()
    changed.wait(5)

    def begin(session: object) -> object:
        row = queries.by_public_id(session, public_id)  # type: ignore[arg-type]
        return actions.begin(session, row, now=clock.now(), by="t")  # type: ignore[arg-type]

    fence.perform_now(house, begin)  # type: ignore[arg-type]
    thread.join()
    [started] = entries(house, "import.started")
    with reading(house.engine) as session:
        row = queries.by_public_id(session, public_id)
        assert (row.state, row.plan) == ("running", started.body["plan"])
        assert row.plan["mail"] is True


def test_a_draft_that_is_gone_is_unknown(house: House) -> None:
    """Two press the button for a file that was imported already: the first one's draft goes."""
    job = files.job(files.simple("ana@example.org"), files.GRANT)
    files.imported(house, job)
    public_id = drafted(house, job)
    with reading(house.engine) as session:
        row = queries.by_public_id(session, public_id)
    with transaction(house.engine) as session:
        session.delete(queries.by_public_id(session, public_id))
    with transaction(house.engine) as session, pytest.raises(rules.ImportUnknown):
        actions.begin(session, row, now=clock.now(), by="t")
