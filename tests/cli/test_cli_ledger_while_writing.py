"""`bidden ledger export` and `verify` while others write and the clock signs: one moment of the ledger, with the heads of then."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Engine

from service.config import Settings
from service.db.session import reading, transaction
from service.domain.ledger import checkpoints, queries, tree
from service.domain.preferences import projection
from service.kit import clock
from service.kit.signing import Keyring
from tests.builders import a_person
from tests.cli.conftest import Run
from tests.cli.test_cli_ledger import read
from tests.domain.ledger.test_checkpoints import fill, grow, sign

Write = Callable[[], None]


@pytest.fixture
def write(engine: Engine, ring: Keyring, environment: dict[str, str]) -> Write:
    """Somebody writes, and the clock keeps a subtree, signs the head and writes it outside."""
    outside = Settings(data_dir=environment["BIDDEN_DATA_DIR"]).safe

    def more() -> None:
        fill(engine, clock.now(), tree.TILE)
        grow(engine)
        sign(engine, ring, clock.now())
        with reading(engine) as session:
            checkpoints.write_out(session, outside)

    return more


def _once(write: Write, real: Callable[..., Any], *, before: bool) -> Callable[..., Any]:
    """As `real`, with somebody writing just before it is asked the first time, or just after."""
    written: list[bool] = []

    def asked(*given: Any) -> Any:
        if before and not written:
            written.append(True)
            write()
        found = real(*given)
        if not written:
            written.append(True)
            write()
        return found

    return asked


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("at", ["tail", "notes_known"])
def test_an_export_has_no_head_of_what_came_meanwhile(
    bidden: Run, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str, before: bool
) -> None:
    write()
    key = bidden("ledger", "checkpoint", "--key").out.strip()
    place = checkpoints if at == "notes_known" else queries
    monkeypatch.setattr(place, at, _once(write, getattr(place, at), before=before))
    assert bidden("ledger", "export", str(tmp_path / "all.ndjson")).code == 0
    code, said = read(tmp_path / "all.ndjson", key)
    assert (code, said["fault"], said["holds"]) == (0, None, True)
    with (tmp_path / "all.ndjson").open() as file:
        assert said["entries"] == json.loads(file.readline())["bundle"]["size"]


@pytest.mark.parametrize("command", [("ledger", "verify"), ("db", "check")])
@pytest.mark.parametrize("at", ["_stored_heads", "_heads_outside"])
def test_a_head_signed_while_the_ledger_is_read_cuts_nothing_off(
    bidden: Run, write: Write, monkeypatch: pytest.MonkeyPatch, at: str, command: tuple[str, str]
) -> None:
    write()
    real = getattr(checkpoints, at)
    monkeypatch.setattr(checkpoints, at, _once(write, lambda *given: list(real(*given)), before=False))
    done = bidden(*command)
    assert (done.code, done.err) == (0, "")


def test_a_subtree_kept_while_the_ledger_is_read_is_no_lie(
    bidden: Run, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write()
    monkeypatch.setattr(tree, "wrong", _once(write, tree.wrong, before=True))
    done = bidden("ledger", "verify")
    assert (done.code, done.err) == (0, "")


def test_a_yes_given_while_preferences_are_computed_anew_was_not_written_past_the_ledger(
    bidden: Run, engine: Engine, ring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger was read before it, the table after."""

    def agree() -> None:
        with transaction(engine) as session:
            a_person(session, ring, "late@example.org", now=clock.now())

    monkeypatch.setattr(projection, "standing", _once(agree, projection.standing, before=True))
    done = bidden("ledger", "verify", "--projection")
    assert (done.code, done.err) == (0, "")
