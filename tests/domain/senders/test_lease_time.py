"""Whether a sender lives is told by no wall clock of a machine: neither its own nor the one of whoever looks (reliability 2.4)."""

import os
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Engine
from sqlmodel import Session

from service.db.session import reading, transaction
from service.domain.senders import actions, queries
from service.domain.senders.tables import Sender
from service.kit import clock
from service.ops import restored

JUMPS = [timedelta(hours=5), timedelta(hours=-5), timedelta(days=400), timedelta(days=-400)]
BOOT = Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _lease(engine: Engine, *, off: timedelta = timedelta(), host: str = "elsewhere") -> int:
    """A sender on a machine whose wall clock is so much ahead has begun, and has been heard of just now."""
    with transaction(engine) as session:
        made = actions.begin(session, "far", boot_id=BOOT, seen_seq=0, now=clock.now() + off)
        assert made.id is not None
        lease_id = made.id
    with transaction(engine) as session:
        assert actions.renew(session, lease_id, seen_seq=0, says={}, now=clock.now() + off)
    with transaction(engine) as session:
        session.connection().execute(text("UPDATE sender SET host = :host, pid = 1"), {"host": host})
    return lease_id


def _suspect(session: Session, off: timedelta = timedelta()) -> list[str]:
    return [one.name for one in queries.suspect(session, now=clock.now() + off)]


@pytest.mark.parametrize("off", JUMPS)
@pytest.mark.parametrize("host", ["elsewhere", socket.gethostname()])
def test_rel_f26_who_looks_by_a_wrong_clock_suspects_no_living_sender(
    engine: Engine, off: timedelta, host: str
) -> None:
    _lease(engine, host=host)
    with reading(engine) as session:
        assert _suspect(session, off) == []
        with pytest.raises(actions.SenderNotLost):
            actions.check_lost(session, "far", now=clock.now() + off)
        with pytest.raises(restored.StillRunning):
            restored.check_idle(session, now=clock.now() + off)


@pytest.mark.parametrize("off", JUMPS)
def test_rel_f26_a_sender_with_a_wrong_clock_is_heard_of_all_the_same(engine: Engine, off: timedelta) -> None:
    _lease(engine, off=off)
    with reading(engine) as session:
        assert _suspect(session) == []


@pytest.mark.parametrize("sender", JUMPS)
@pytest.mark.parametrize("looker", [timedelta(), *JUMPS])
def test_rel_f26_a_dead_sender_is_suspect_by_any_clock(
    engine: Engine, sender: timedelta, looker: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    _lease(engine, off=sender)
    heard = time.monotonic()
    monkeypatch.setattr(queries, "STALE_AFTER", timedelta(seconds=0.2))
    while time.monotonic() <= heard + 0.25:
        time.sleep(0.02)
    with reading(engine) as session:
        assert _suspect(session, looker) == ["far"]
        actions.check_lost(session, "far", now=clock.now() + looker)


def test_a_lease_of_before_the_machine_was_started_is_suspect_at_once(engine: Engine) -> None:
    """On one machine; on several the database's clock decides, and half a minute."""
    _lease(engine, host=socket.gethostname())
    with transaction(engine) as session:
        session.connection().execute(text("UPDATE sender SET boot_id = 'before'"))
    with reading(engine) as session:
        expected = ["far"] if engine.dialect.name == "sqlite" else []
        assert _suspect(session) == expected


def test_a_lease_of_the_future_belongs_to_nobody_who_lives(engine: Engine) -> None:
    """The database's clock was put back since: whoever lives renews by the new one within a second."""
    lease_id = _lease(engine)
    with transaction(engine) as session:
        lease = session.get_one(Sender, lease_id)
        lease.renewed_at += timedelta(hours=5)
    with reading(engine) as session:
        assert _suspect(session) == (["far"] if engine.dialect.name != "sqlite" else [])


# The command, under a clock that really is wrong


def _send_lost(database_url: str, directory: Path, off: str) -> subprocess.CompletedProcess[str]:
    [library] = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(sys.path),
        "LD_PRELOAD": str(library),
        "FAKETIME": off,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "BIDDEN_DATABASE_URL": database_url,
        "BIDDEN_DATA_DIR": str(directory / "data"),
    }
    return subprocess.run(
        [sys.executable, "-m", "service", "send", "lost", "far"],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.skipif(
    not sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), reason="libfaketime is not installed"
)
@pytest.mark.parametrize("off", ["+5h", "-5h"])
def test_rel_f26_send_lost_under_a_wrong_clock(
    engine: Engine, database_url: str, tmp_path: Path, off: str
) -> None:
    """It refuses for one that lives, and gives up one not heard of for an hour."""
    _lease(engine)
    refused = _send_lost(database_url, tmp_path, off)
    assert refused.returncode == 1, refused.stdout + refused.stderr
    assert "still at work" in refused.stdout + refused.stderr
    with transaction(engine) as session:
        lease = session.get_one(Sender, 1)
        lease.renewed_at -= timedelta(hours=1)
        lease.pace = (
            {**lease.pace, "beat": lease.pace["beat"] - 3600} if lease.pace.get("beat") else lease.pace
        )
    given_up = _send_lost(database_url, tmp_path, off)
    assert given_up.returncode == 0, given_up.stdout + given_up.stderr
    with reading(engine) as session:
        assert session.get_one(Sender, 1).state == "lost"
