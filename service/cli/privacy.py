"""`bidden privacy`: the record of processing, and what is past its time."""

import json

from service.cli import desk
from service.kit import clock
from service.ops import processing
from service.ops import retention as ops

app = desk.group("Privacy: the record of processing, and what is past its time.")


@app.callback()
def privacy() -> None:
    """Privacy: the record of processing, and what is past its time."""


@app.command()
@desk.command
def record(as_json: desk.Json = False) -> None:
    """Print the record of processing (GDPR Art. 30), made from topics, settings and configuration as they stand."""
    house = desk.house()
    made = desk.ask(house, lambda session: processing.record(session, house, now=clock.now()))
    desk.say(made, json.dumps(made, ensure_ascii=False, indent=1), as_json=as_json)


@app.command()
@desk.command
def retention(as_json: desk.Json = False) -> None:
    """Print how long what is kept, and how much would go now. Nothing goes by this command: the clock takes it every hour."""
    house = desk.house()
    found = desk.ask(house, lambda session: ops.standing(session, house, now=clock.now()))
    classes = [
        {
            "class": one.data_class.name,
            "holds": one.data_class.holds,
            "days": one.days,
            "counted_from": one.data_class.begins,
            "due": one.due,
            "last_run": one.ran_at,
        }
        for one in found
    ]
    lines = [f"{'class':<12}{'days':>9}{'due now':>9}  last gone through"]
    for one in found:
        days = "each own" if one.days is None else f"{one.days:,}"
        ran = one.ran_at.isoformat(sep=" ", timespec="minutes") if one.ran_at else "never"
        lines.append(f"{one.data_class.name:<12}{days:>9}{one.due:>9,}  {ran}")
        lines.append(f"  {one.data_class.holds}")
    desk.say({"classes": classes}, "\n".join(lines), as_json=as_json)
