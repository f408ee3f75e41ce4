"""`bidden db`: make and upgrade the database, check it, copy it, bring a copy back."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli import desk
from service.db import migrate
from service.domain.ledger import checkpoints
from service.kit import clock
from service.kit.signing import KeyFileRefused, load
from service.ops import backup as copies
from service.ops import drill, restored
from service.ops.health import GUARDS_FIX
from service.ops.house import upgrade as bring_up

app = desk.group("The database: upgrade, check, backup, restore, merge.")
File = Annotated[Path, typer.Argument(help="The file of the copy.")]

Without = Annotated[
    bool,
    typer.Option(
        "--without-withdrawals",
        help="Go on though SAFE_DIR lacks what the copy tells of, or lines within; those noes and erasures are lost.",
    ),
]


@app.command()
@desk.command
def upgrade(as_json: desk.Json = False) -> None:
    """Make the database, or bring it up to this version, with its seeds."""
    opened = desk.house()
    bring_up(opened)
    desk.say({"upgraded": True}, "The database is ready.", as_json=as_json)


@app.command()
@desk.command
def check(as_json: desk.Json = False) -> None:
    """Whether the database has the shape this version expects, and whether the ledger holds."""
    opened = desk.house()
    shape = migrate.shape(opened.engine)
    if shape != "expected":
        desk.refuse(
            f"The database is of {'an older' if shape == 'older' else 'a newer'} version.",
            why="not_upgraded" if shape == "older" else "newer",
            then="bidden db upgrade"
            if shape == "older"
            else "Check it with the newer version of this program.",
            as_json=as_json,
        )
    drift = migrate.drift(opened.engine)
    if drift:
        desk.refuse(f"The tables differ from this version: {drift[0]}", why="drift", as_json=as_json)
    missing = migrate.guards_missing(opened.engine)
    if missing:
        desk.refuse(
            f"Nothing keeps the ledger or the outcomes from being changed: {', '.join(missing)} not in place.",
            why="guards_missing",
            then=GUARDS_FIX,
            as_json=as_json,
        )
    verdict = desk.ask_once(
        opened, lambda session: checkpoints.verify(session, opened.settings.safe, opened.ring)
    )
    if not verdict.holds:
        desk.refuse(
            f"The ledger does not hold at entry {verdict.position}: {verdict.fault}.",
            why="ledger_broken",
            as_json=as_json,
        )
    desk.say(
        {"holds": True, "entries": verdict.entries},
        f"All is well; {verdict.entries} entries.",
        as_json=as_json,
    )


@app.command()
@desk.command
def backup(file: File, as_json: desk.Json = False) -> None:
    """Copy the database while everything runs. Keep the key file too: without it the copy cannot be read."""
    opened = desk.house()
    size = copies.backup(opened, file)
    key = opened.settings.key_file
    desk.say(
        {"file": str(file), "bytes": size, "key_file": str(key)},
        f"{size:,} bytes in {file}. Keep {key} in another place: without it the copy cannot be read.",
        as_json=as_json,
    )


@app.command()
@desk.command
def restore(
    file: File,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put it in the place of the present database.")
    ] = False,
    without_withdrawals: Without = False,
    as_json: desk.Json = False,
) -> None:
    """Bring a copy back. Every later no is applied again, and sending starts off."""
    settings = desk.settings()
    if settings.key_file.exists() and file.is_file():
        drill.check_fits(load(settings.key_file), file)
    elif file.is_file():
        raise KeyFileRefused(
            f"The key file {settings.key_file} is missing; the copy cannot be read without it. First: bidden ring restore FILE"
        )
    done = copies.restore(
        settings, file, replace=replace, now=clock.now(), without_withdrawals=without_withdrawals
    )
    _say_merged("Restored", done, as_json)


@app.command()
@desk.command
def merge(without_withdrawals: Without = False, as_json: desk.Json = False) -> None:
    """The second half of a restore, where a copy was put in the database's place by other means: every later no is applied
    again, and sending stays off."""
    done = restored.merge(desk.house(), now=clock.now(), without_withdrawals=without_withdrawals)
    _say_merged("Read in", done, as_json)


def _say_merged(what: str, done: restored.Merged, as_json: bool) -> None:
    lost = "a no or an erasure since the copy may be forgotten. "
    if done.without:
        lacks = f"The withdrawal file lacked lines that the copy tells of, as was accepted: {lost}"
    else:
        lacks = "" if done.lines else f"There was no withdrawal file under SAFE_DIR: {lost}"
    for file in done.half_lines:
        lacks += f"{file} ends in half a line, which says nothing; where a crash has not left it, bring the whole file and restore again. "
    desk.say(
        {
            "restored": True,
            "reapplied": done.reapplied,
            "left": done.left,
            "lines": done.lines,
            "without_withdrawals": done.without,
            "half_lines": list(done.half_lines),
            "entries": done.entries,
            "sending_on": False,
        },
        f"{what}, {done.entries} entries; later withdrawals applied again: {done.reapplied}. "
        + (f"{done.left} lines of the withdrawal file concern nobody in this copy. " if done.left else "")
        + lacks
        + "Sending is off: look around, then turn it on under Settings.",
        as_json=as_json,
    )
