"""`bidden ledger`: whether it holds, its signed heads, and what leaves the house for whoever checks it."""

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from sqlmodel import Session

from service.cli import desk
from service.db.engine import found_damaged
from service.db.session import reading, snapshot
from service.domain.brands.rules import DatabaseBehind
from service.domain.ledger import bundles, checkpoints
from service.domain.preferences import projection as preferences
from service.domain.reports import outcomes as reports
from service.kit import clock
from service.kit.errors import Conflict, DatabaseDamaged
from service.ops import restored
from service.ops import witness as memory
from service.ops.backup import CopyThere
from service.ops.house import House

Value = TypeVar("Value")

Projection = Annotated[
    bool, typer.Option("--projection", help="Compute every preference anew from it, and compare.")
]
PublicKey = Annotated[
    bool, typer.Option("--key", help="Print the public key: what a checker must have before it checks.")
]
Trusted = Annotated[list[str], typer.Option("--key", help="The installation's public key, written out.")]


class HeadsUnreadable(Conflict):
    """The last line of the file of signed heads outside is none; nothing was added to it."""

    fix_hint = "bidden doctor"


app = desk.group("The ledger: verify, checkpoint, export, outcomes, prove, witness.")


@app.callback()
def about() -> None:
    """The ledger: verify, checkpoint, export, outcomes, prove, witness."""


@app.command()
@desk.command
def verify(projection: Projection = False, as_json: desk.Json = False) -> None:
    """Read every entry, and hold all against every signed head; exit code 1 with the position if anything does not hold.

    A database file that is damaged anywhere else is refused, too.
    """
    house = desk.house()
    if desk.ask(house, lambda session: found_damaged(session.connection())):
        raise DatabaseDamaged
    verdict = _read(house, lambda session: checkpoints.verify(session, house.settings.safe, house.ring))
    if not verdict.holds:
        desk.refuse(
            f"Entry {verdict.position} does not hold: {verdict.fault}. Entries that do one by one: {verdict.entries}.",
            why="ledger_broken",
            field=f"{verdict.position} {verdict.fault}",
            as_json=as_json,
        )
    if projection and (wrong := _read(house, preferences.differences)):
        desk.refuse(
            f"The table of preferences differs from the ledger in {len(wrong)} places; the first: {wrong[0]}.",
            why="projection_differs",
            then="Keep the database as it is: somebody wrote past the ledger.",
            as_json=as_json,
        )
    facts = {
        "holds": True,
        "entries": verdict.entries,
        "head": verdict.head,
        "after_last": verdict.after_last,
    }
    words = f"The chain holds: {verdict.entries} entries, head {verdict.head}. "
    words += f"After the last signed head: {verdict.after_last}."
    desk.say(facts, words, as_json=as_json)


def _read(house: House, query: Callable[[Session], Value]) -> Value:
    """What the query finds; a date or a body that is none any more is a damage SQLite itself does not see."""
    try:
        return desk.ask_once(house, query)
    except (TypeError, ValueError) as unreadable:
        raise DatabaseDamaged from unreadable


@app.command()
@desk.command
def checkpoint(key: PublicKey = False, as_json: desk.Json = False) -> None:
    """Sign the head as it is now, and write it outside; print the last one. The clock does it every minute."""
    house = desk.house()
    if key:
        written = list(checkpoints.keys(house.ring))
        desk.say({"keys": written}, "\n".join(written), as_json=as_json)
        return
    _sign(house)
    note = desk.ask(house, checkpoints.latest_note)
    desk.say({"note": note}, note.rstrip() if note else "There is no entry yet.", as_json=as_json)


def _sign(house: House) -> None:
    """Not over a head that a copy from an earlier day lacks: by it alone is such a copy known."""
    found = restored.hold(house, now=clock.now())
    if found.reason == "unreadable":
        raise HeadsUnreadable(field=str(house.settings.safe / checkpoints.NAME))
    if found.reason is not None:
        raise DatabaseBehind
    desk.change(house, lambda session: checkpoints.sign(session, house.ring, now=clock.now()))
    try:
        with reading(house.engine) as session:
            checkpoints.write_out(session, house.settings.safe)
    except ValueError as odd:
        raise HeadsUnreadable(field=str(house.settings.safe / checkpoints.NAME)) from odd


@app.command()
@desk.command
def export(file: Annotated[Path, typer.Argument(help="A new file.")], as_json: desk.Json = False) -> None:
    """Write the whole ledger with its signed heads into a file that verify_ledger.py checks. Personal parts stay sealed."""
    house = desk.house()
    if file.exists():
        raise CopyThere(field=str(file))
    with snapshot(house.engine) as session:
        entries = _write(file, bundles.lines(session, house.settings.safe, house.ring))
    desk.say({"file": str(file), "lines": entries}, f"{entries:,} lines in {file}.", as_json=as_json)


@app.command()
@desk.command
def outcomes(
    mailing: Annotated[str, typer.Argument(help="The id of an announcement, a notice or a mailing.")],
    file: Annotated[Path, typer.Argument(help="A new file.")],
    as_json: desk.Json = False,
) -> None:
    """Write every outcome of a mailing into a file that verify_mailing.py holds against the exported ledger. Opaque ids only."""
    house = desk.house()
    if file.exists():
        raise CopyThere(field=str(file))
    with snapshot(house.engine) as session:
        found = reports.find(session, mailing)
        count = _write(file, reports.lines(session, house.ring, found)) - 1
    desk.say({"file": str(file), "outcomes": count}, f"{count:,} outcomes in {file}.", as_json=as_json)


def _write(file: Path, lines: Iterable[str]) -> int:
    """Into a new file; how many."""
    count = 0
    with desk.new_file(file) as opened:
        for line in lines:
            opened.write(line)
            count += 1
    return count


@app.command()
@desk.command
def prove(
    entries: Annotated[list[int], typer.Argument(help="Numbers of entries.", min=1)],
    as_json: desk.Json = False,
) -> None:
    """Print the proof that these entries stand under a signed head: what verify_ledger.py checks without the rest."""
    house = desk.house()
    _sign(house)
    found = desk.ask(house, lambda session: bundles.proof(session, entries, house.ring))
    desk.say(found, json.dumps(found, ensure_ascii=False, indent=1), as_json=as_json)


@app.command()
@desk.command
def witness(
    state: Annotated[Path, typer.Argument(help="Where this witness keeps the last head it saw.")],
    url: Annotated[
        str, typer.Option(help="An installation elsewhere; BIDDEN_API_KEY has a key for it.")
    ] = "",
    key: Trusted = [],  # noqa: B006 - typer copies it
    as_json: desk.Json = False,
) -> None:
    """Look at the last signed head and remember it; refuse one that is smaller than, or does not go on from, the one seen
    before. Run it every hour from another machine."""
    source = (
        memory.from_url(url, os.environ.get("BIDDEN_API_KEY", "")) if url else memory.from_house(desk.house())
    )
    seen = memory.watch(state, source, key)
    came = "seen for the first time" if seen.came is None else f"{seen.came} more than the last time"
    facts = {"size": seen.head.size, "root": seen.head.root, "at": seen.head.at, "came": seen.came}
    desk.say(facts, f"Holds: {seen.head.size} entries, {came}.", as_json=as_json)
