"""`bidden brand dkim`: the keys that sign a brand's mail. Make one, publish its record, use it; retire the former later."""

from typing import Annotated, Any

import typer
from sqlmodel import Session

from service.cli import desk
from service.domain.brands import actions, queries
from service.domain.brands.tables import DkimKey
from service.kit import clock
from service.mail import dkim

app = desk.group("DKIM keys of a brand: new, use, retire, show.")

Brand = Annotated[str, typer.Argument(help="The brand; the seeded one is called default.")]
Selector = Annotated[str, typer.Argument(help="As new printed it, such as b20261125.")]


@app.command()
@desk.command
def new(
    brand: Brand = queries.DEFAULT,
    selector: Annotated[
        str | None, typer.Option(help="Its name in DNS; by default the day it is made.")
    ] = None,
    as_json: desk.Json = False,
) -> None:
    """Make a key for the present From domain and print the DNS record to publish. It does not sign yet."""
    opened, private, now = desk.house(), dkim.new_private_key(), clock.now()

    def act(session: Session) -> dict[str, Any]:
        row = actions.new_dkim_key(
            session, opened.ring, brand, private=private, selector=selector, now=now, by=desk.BY
        )
        return _facts(row)

    made = desk.change(opened, act, as_json=as_json)
    then = (
        f"Publish that record; when bidden doctor finds it: bidden brand dkim use {made['selector']} {brand}"
    )
    desk.say({"brand": brand, **made}, f"{made['record']['zone_line']}\n{then}", as_json=as_json)


@app.command()
@desk.command
def use(selector: Selector, brand: Brand = queries.DEFAULT, as_json: desk.Json = False) -> None:
    """Sign with this key, from every sender's next batch on. Publish its record first."""
    now = clock.now()
    before = desk.change(
        desk.house(),
        lambda session: actions.use_dkim_key(session, brand, selector, now=now, by=desk.BY),
        as_json=as_json,
    )
    words = f"{selector} signs from the next batch on."
    if before not in (None, selector):
        words += f" Leave the record of {before} in DNS for a week, then: bidden brand dkim retire {before} {brand}"
    desk.say({"brand": brand, "signing": selector, "before": before}, words, as_json=as_json)


@app.command()
@desk.command
def retire(
    selector: Selector,
    brand: Brand = queries.DEFAULT,
    unsigned: Annotated[bool, typer.Option(help="Even if mail leaves unsigned from then on.")] = False,
    as_json: desk.Json = False,
) -> None:
    """End a key for good. Its record may be taken out of DNS when the mail it signed has arrived: after a week."""
    now = clock.now()
    desk.change(
        desk.house(),
        lambda session: actions.retire_dkim_key(
            session, brand, selector, unsigned=unsigned, now=now, by=desk.BY
        ),
        as_json=as_json,
    )
    words = f"{selector} is retired and its private half is gone; its record may leave DNS."
    desk.say({"brand": brand, "retired": selector}, words, as_json=as_json)


@app.command()
@desk.command
def show(brand: Brand = queries.DEFAULT, as_json: desk.Json = False) -> None:
    """The live keys of a brand and the DNS record of each."""

    def question(session: Session) -> list[dict[str, Any]]:
        return [_facts(row) for row in queries.live_dkim_keys(session, queries.by_name(session, brand))]

    keys = desk.ask(desk.house(), question)
    words = "\n\n".join(f"{key['selector']}  {key['state']}\n{key['record']['zone_line']}" for key in keys)
    desk.say(
        {"brand": brand, "keys": keys},
        words or "No key: mail leaves unsigned. Make one: bidden brand dkim new",
        as_json=as_json,
    )


def _facts(row: DkimKey) -> dict[str, Any]:
    name, value = dkim.record_name(row.selector, row.domain), dkim.record_value(row.public)
    record = {
        "name": name,
        "type": "TXT",
        "value": value,
        "strings": dkim.record_strings(value),
        "zone_line": dkim.zone_line(name, value),
    }
    times = {"created_at": row.created_at, "began_at": row.began_at, "ended_at": row.ended_at}
    return {"selector": row.selector, "domain": row.domain, "state": row.state, **times, "record": record}
