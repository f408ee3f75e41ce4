"""`bidden ledger`: whether the chain holds."""

from collections.abc import Callable
from typing import Annotated, TypeVar

import typer
from sqlmodel import Session

from service.cli import desk
from service.db.engine import found_damaged
from service.domain.ledger import queries
from service.domain.preferences import projection as preferences
from service.kit.errors import DatabaseDamaged
from service.ops.house import House

Value = TypeVar("Value")

Projection = Annotated[
    bool, typer.Option("--projection", help="Compute every preference anew from it, and compare.")
]

app = desk.group("The ledger: verify.")


@app.callback()
def about() -> None:
    """The ledger: verify."""


@app.command()
@desk.command
def verify(projection: Projection = False, as_json: desk.Json = False) -> None:
    """Read every entry and say whether the chain holds; exit code 1 with the position if it does not.

    A database file that is damaged anywhere else is refused, too.
    """
    house = desk.house()
    if desk.ask(house, lambda session: found_damaged(session.connection())):
        raise DatabaseDamaged
    verdict = _read(house, queries.verify)
    if not verdict.holds:
        desk.refuse(
            f"Entry {verdict.position} does not hold: {verdict.fault}. The {verdict.entries} before it do.",
            why="ledger_broken",
            as_json=as_json,
        )
    if projection and (wrong := _read(house, preferences.differences)):
        desk.refuse(
            f"The table of preferences differs from the ledger in {len(wrong)} places; the first: {wrong[0]}.",
            why="projection_differs",
            then="Keep the database as it is: somebody wrote past the ledger.",
            as_json=as_json,
        )
    facts = {"holds": True, "entries": verdict.entries, "head": verdict.head}
    desk.say(facts, f"The chain holds: {verdict.entries} entries, head {verdict.head}.", as_json=as_json)


def _read(house: House, query: Callable[[Session], Value]) -> Value:
    """What the query finds; a date or a body that is none any more is a damage SQLite itself does not see."""
    try:
        return desk.ask(house, query)
    except (TypeError, ValueError) as unreadable:
        raise DatabaseDamaged from unreadable
