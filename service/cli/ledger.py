"""`bidden ledger`: whether the chain holds."""

from service.cli import desk
from service.domain.ledger import queries

app = desk.group("The ledger: verify.")


@app.callback()
def about() -> None:
    """The ledger: verify."""


@app.command()
@desk.command
def verify(as_json: desk.Json = False) -> None:
    """Read every entry and say whether the chain holds; exit code 1 with the position if it does not."""
    verdict = desk.ask(desk.house(), queries.verify)
    if not verdict.holds:
        desk.refuse(
            f"Entry {verdict.position} does not hold: {verdict.fault}. The {verdict.entries} before it do.",
            why="ledger_broken",
            then="Keep the database as it is, and compare it with the last backup.",
            as_json=as_json,
        )
    facts = {"holds": True, "entries": verdict.entries, "head": verdict.head}
    desk.say(facts, f"The chain holds: {verdict.entries} entries, head {verdict.head}.", as_json=as_json)
