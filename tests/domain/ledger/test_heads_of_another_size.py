"""A signed head that stands under another size than its own, in the database or outside: else no later one would ever be written out,
and what comes after the last could be written anew (P4)."""

import json
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import delete
from sqlalchemy.engine import Engine
from sqlmodel import Session, col

from service.db.session import reading, transaction
from service.domain.ledger import checkpoints
from service.domain.ledger.tables import Checkpoint
from service.kit import linefile
from service.kit.signing import Keyring
from tests.domain.ledger.test_checkpoints import fill, sign

FAR = 10**12


def _write_out(engine: Engine, directory: Path) -> int:
    with reading(engine) as session:
        return checkpoints.write_out(session, directory)


def _forge(session: Session, size: int) -> None:
    """A rightly signed head of before, under a size that nothing reaches."""
    note = checkpoints.latest_note(session)
    assert note is not None
    session.add(Checkpoint(size=size, at=1, note=note))


def test_it_is_not_written_out_and_later_heads_are(
    engine: Engine, ring: Keyring, now: datetime, tmp_path: Path
) -> None:
    fill(engine, now, 3)
    sign(engine, ring, now)
    with transaction(engine) as session:
        _forge(session, FAR)
    _write_out(engine, tmp_path)
    with transaction(engine) as session, pytest.raises(checkpoints.TreeDiffers):
        checkpoints.sign(session, ring, now=now)
    with reading(engine) as session:
        assert checkpoints.verify(session, tmp_path, ring).fault == "badly_signed"
    with transaction(engine) as session:
        session.execute(delete(Checkpoint).where(col(Checkpoint.size) == FAR))  # whoever did it takes it back
    fill(engine, now, 3)
    head = sign(engine, ring, now)
    assert head is not None
    assert _write_out(engine, tmp_path) == 1
    line = linefile.last(tmp_path / checkpoints.NAME)
    assert line is not None
    assert line["size"] == head.size


def test_outside_it_is_told(engine: Engine, ring: Keyring, now: datetime, tmp_path: Path) -> None:
    fill(engine, now, 3)
    sign(engine, ring, now)
    _write_out(engine, tmp_path)
    file = tmp_path / checkpoints.NAME
    line = json.loads(file.read_text()) | {"size": FAR}
    file.write_text(json.dumps(line) + "\n")
    with reading(engine) as session:
        assert checkpoints.standing(session, tmp_path, ring).reason == "unreadable"
        assert checkpoints.verify(session, tmp_path, ring).fault == "badly_signed"
