"""The fault runs F11 and F20: a journal as a power cut leaves it, and files in which a bit or a page is another.

The files are changed while nobody has them open. What is left of a journal is read by the checker's own rules.
"""

import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

import psycopg

from tests.faults.checker import whole_lines
from tests.faults.database_runs import home
from tests.faults.runs import Seen, Trial, again
from tests.faults.town import SERVICE_TIME, SLOWLY, Town, has_begun, wait_for
from tests.stack import until

LOSSES = [
    *((how, "marketing") for how in ("torn", "zeros", "empty", "lines", "header")),
    ("torn", "important"),
    ("empty", "important"),
]
PROVEN = {"ledger_entry", "preference"}  # what `ledger verify --projection` answers for


def rows(town: Town, statement: str) -> list[tuple[Any, ...]]:
    """What the database itself says, past the product."""
    if url := town.stack.environment.get("BIDDEN_DATABASE_URL", ""):
        with psycopg.connect(url.replace("+psycopg", "")) as connection:
            return connection.execute(statement.encode()).fetchall()
    with closing(sqlite3.connect(town.directory / "data" / "bidden.db")) as embedded:
        return embedded.execute(statement).fetchall()


# F11, F20: the journal


def damaged(town: Town, chance: random.Random, how: str, kind: str, *, boot: bool = True) -> Seen:
    """F11: power was lost, so the journal is what the disk had of it, and the kernel is another: whoever has no reply line is
    `unknown`, exactly they. F20: the same kernel, and one bit of it flipped."""
    with town.mailing(kind, *SLOWLY) as made:
        sender = town.sender()
        town.launch(made)
        wait_for(has_begun(made))
        time.sleep(chance.uniform(0.1, 0.8))
        sender.kill()
        sender.wait()
        town.bury(made)
        [path] = town.journals.glob("one.*.journal")
        whole = path.read_bytes()
        path.write_bytes(left := _damage(whole, how, chance, boot=boot))
        doubtful = _without_an_end(town, left)
        made.cuts += len(doubtful)  # the checker knows of the doubts a whole journal leaves, not of these
        again(town)
        seen = home(town, made)
    first = {row["pos"]: row["attempts"][0] for row in seen.evidence.deliveries if row["attempts"]}
    found = {pos for pos, one in first.items() if one["reason"] == "sender_died"}
    assert found == doubtful, f"{len(found ^ doubtful)} are not as they should be"
    return seen


def _damage(whole: bytes, how: str, chance: random.Random, *, boot: bool) -> bytes:
    lines = whole.split(b"\n")[:-1]
    if boot:
        name = lines[0].split(b" ")[3]
        head = b"J 1 0f0e0d0c-0000-4000-8000-000000000000 " + name
        lines[0] = b"%b %08x." % (head, crc32(head))
    left = b"".join(line + b"\n" for line in lines)
    begins = len(lines[0]) + 1
    at = chance.randrange(begins, len(left))
    match how:
        case "torn":
            return left[:at]
        case "zeros":
            return left[:at] + b"\0" * (len(left) - at)
        case "empty":
            return b""
        case "lines":
            return b"".join(line + b"\n" for line in lines[: chance.randrange(1, len(lines))])
        case "header":
            return left[: chance.randrange(1, begins - 1)]
        case _:  # one bit
            spot = chance.randrange(len(left)) if how == "bit" else chance.randrange(begins)
            return left[:spot] + bytes([left[spot] ^ (1 << chance.randrange(8))]) + left[spot + 1 :]


def _without_an_end(town: Town, left: bytes) -> set[int]:
    """Of the batches in a dead sender's hands the positions for which what is left of its journal has no reply."""
    replied = {int(fields[1]) for kind, *fields in whole_lines(left) if kind == "R"}
    noted = [bytes(one) for (one,) in rows(town, "SELECT warrants FROM batch WHERE state = 'claimed'")]
    return {int(pair.partition(b":")[0]) for one in noted for pair in one.split(b",")} - replied


# F20: the database file


def flipped(town: Town, chance: random.Random, times: int) -> Seen:
    """F20: one bit of the database file is another. What the ledger proves is never silently so: `verify` refuses it, with words."""
    with town.mailing("important", *SERVICE_TIME, people=100) as made:
        town.sender()
        town.launch(made)
        until("the end", lambda: town.ended(made))
        whole, changed = _copy(town), 0
        copy = town.directory / "flipped.db"
        for _ in range(times):
            spot = chance.randrange(len(whole))
            left = bytearray(whole)
            left[spot] ^= 1 << chance.randrange(8)
            copy.write_bytes(left)
            code, words = _verify(town, copy)
            assert "Traceback" not in words, f"bit at {spot}: {words[-300:]}"
            if code:
                continue
            differs = _differences(town, copy)
            assert not differs & PROVEN, f"bit at {spot}: {differs} changed, and nobody says so"
            changed += bool(differs)
        return home(town, made, **{"bits that changed a row no proof covers, bits": changed})


def _copy(town: Town) -> bytes:
    """A whole copy of the embedded database, made the way backups are."""
    path = town.directory / "whole.db"
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(town.directory / "data" / "bidden.db")) as embedded:
        embedded.execute("VACUUM INTO ?", (str(path),))
    return path.read_bytes()


def _verify(town: Town, database: Path) -> tuple[int, str]:
    for beside in database.parent.glob(f"{database.name}-*"):
        beside.unlink()
    done = subprocess.run(
        [sys.executable, "-m", "service", "ledger", "verify", "--projection"],
        env=town.stack.environment | {"BIDDEN_DATABASE_URL": f"sqlite:///{database}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


def _differences(town: Town, copy: Path) -> set[str]:
    """The tables in which a copy holds something else."""
    with closing(sqlite3.connect(town.directory / "whole.db")) as one, closing(sqlite3.connect(copy)) as two:
        one.text_factory = two.text_factory = bytes  # what is flipped need not be UTF-8 any more
        tables = one.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        names = [name.decode() for (name,) in tables]
        return {
            name
            for name in names
            if one.execute(f"SELECT * FROM {name}").fetchall()
            != two.execute(f"SELECT * FROM {name}").fetchall()
        }


def damaged_file(town: Town, chance: random.Random) -> Seen:
    """F20: a page of the database file is overwritten. The sender says so and sends nothing; with the page back it sends."""
    with town.mailing("marketing", *SERVICE_TIME) as made:
        town.launch(made)
        until("the audience", lambda: town.report(made)["planned"] == len(made.people))
        town.end(town.web, town.clock)
        path = town.directory / "data" / "bidden.db"
        with closing(sqlite3.connect(path)) as embedded:
            embedded.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            size = embedded.execute("PRAGMA page_size").fetchone()[0]
            [(root,)] = embedded.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'batch'")
        with path.open("r+b") as file:
            file.seek((root - 1) * size)
            page = file.read(size)
            file.seek((root - 1) * size)
            file.write(chance.randbytes(size))
        sender = town.sender()
        assert sender.wait(30) == 1, town.said(sender.returncode)
        assert b"damaged" in town.words_of(sender), town.said(1)
        assert not made.lines(), "mail left"
        assert "damaged" in town.stack.run("ledger", "verify", refused=True)
        with path.open("r+b") as file:
            file.seek((root - 1) * size)
            file.write(page)
        town.again("clock")
        town.again("web")
        town.sender()
        return home(town, made)


def ordinary(database: str) -> list[Trial]:
    """Every trial of these runs on one database."""
    made = [Trial("F11", f"{how} {kind}", partial(damaged, how=how, kind=kind)) for how, kind in LOSSES]
    bits = partial(damaged, kind="marketing", boot=False)
    made += [Trial("F20", f"journal, one bit {n}", partial(bits, how="bit")) for n in range(3)]
    made += [Trial("F20", "journal, one bit of its head", partial(bits, how="head bit"))]
    if database == "sqlite":
        made += [Trial("F20", f"database {n}", partial(flipped, times=12)) for n in range(2)]
        made.append(Trial("F20", "database, a page", damaged_file))
    return made


def small(database: str) -> list[Trial]:
    """The dearest loss, on one of the two databases: the others take as long."""
    if database == "sqlite":
        return []
    return [Trial("F11", "empty marketing", partial(damaged, how="empty", kind="marketing"))]
