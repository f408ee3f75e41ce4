"""`bidden privacy`: the record of processing."""

import json

from service.cli import desk
from service.kit import clock
from service.ops import processing

app = desk.group("Privacy: the record of processing.")


@app.callback()
def privacy() -> None:
    """Privacy: the record of processing."""


@app.command()
@desk.command
def record(as_json: desk.Json = False) -> None:
    """Print the record of processing (GDPR Art. 30), made from topics, settings and configuration as they stand."""
    house = desk.house()
    made = desk.ask(house, lambda session: processing.record(session, house, now=clock.now()))
    desk.say(made, json.dumps(made, ensure_ascii=False, indent=1), as_json=as_json)
