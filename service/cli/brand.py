"""`bidden brand`: the face of a sender."""

from typing import Annotated

import typer

from service.cli import desk, dkim
from service.domain.brands import actions, queries, rules
from service.kit import clock

app = desk.group("Brands: set, show; dkim: their keys.")
app.add_typer(dkim.app, name="dkim")


@app.command("set")
@desk.command
def set_fields(
    name: Annotated[str, typer.Argument(help="The brand; the seeded one is called default.")],
    fields: Annotated[
        list[str], typer.Argument(metavar="FIELD=VALUE…", help=f"Of: {', '.join(rules.FIELDS)}.")
    ],
    as_json: desk.Json = False,
) -> None:
    """Change fields of a brand. Reply-To and bounce domain follow from_domain until they are set."""
    pairs = dict(_pair(field) for field in fields)
    now = clock.now()
    changed = desk.change(
        desk.house(),
        lambda session: actions.set_fields(session, name, pairs, now=now, by=desk.BY),
        as_json=as_json,
    )
    words = f"Changed: {', '.join(changed)}." if changed else "Nothing changed: it was so already."
    desk.say({"brand": name, "changed": changed}, words, as_json=as_json)


def _pair(field: str) -> tuple[str, str]:
    name, equals, value = field.partition("=")
    if not equals:
        raise typer.BadParameter(f"{field!r} is not FIELD=VALUE")
    return name, value.replace("\\n", "\n")


@app.command()
@desk.command
def show(name: Annotated[str, typer.Argument()] = queries.DEFAULT, as_json: desk.Json = False) -> None:
    """What is set."""
    brand = desk.ask(desk.house(), lambda session: queries.by_name(session, name))
    facts = {field: getattr(brand, field) for field in rules.FIELDS}
    desk.say(facts, "\n".join(f"{field:<16}{value}" for field, value in facts.items()), as_json=as_json)
