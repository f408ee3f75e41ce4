"""`bidden privacy`: the record of processing, how long what is kept, and what the law of a country asks."""

import json
from datetime import timedelta
from typing import Annotated, Any

import typer
from sqlmodel import Session

from service.cli import desk
from service.domain.consent import jurisdictions
from service.domain.people import actions as people
from service.domain.preferences import expiring, reasking
from service.domain.topics import queries as topics
from service.kit import clock
from service.ops import processing
from service.ops import retention as ops

app = desk.group(
    "Privacy: the record of processing, how long what is kept, and what the law of a country asks."
)


@app.callback()
def privacy() -> None:
    """Privacy: the record of processing, how long what is kept, and what the law of a country asks."""


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


@app.command()
@desk.command
def attribute(
    name: Annotated[str, typer.Argument(help="As sites give it, such as plan.")],
    days: Annotated[
        int | None, typer.Option(help="How long a value is kept, from when a site last gave it.")
    ] = None,
    purpose: Annotated[
        str | None, typer.Option(help="What for, as the record of processing says it.")
    ] = None,
    as_json: desk.Json = False,
) -> None:
    """Say how long an attribute is kept, and what for. What is past its new time goes within the hour."""
    now = clock.now()
    changed = desk.change(
        desk.house(),
        lambda session: people.keep_attribute(session, name, days=days, purpose=purpose, now=now, by=desk.BY),
        as_json=as_json,
    )
    words = f"Changed: {', '.join(changed)}." if changed else "Nothing changed: it was so already."
    desk.say({"attribute": name, "changed": changed}, words, as_json=as_json)


@app.command()
@desk.command
def law(as_json: desk.Json = False) -> None:
    """Print what marketing may rest on without a yes of the person's own, country by country, how soon requests have to be answered
    there if that is sooner than a month, and who says so.

    Elsewhere, and where the attribute `country` is not known, nothing but a yes permits.
    """
    table = [
        {
            "name": one.name,
            "countries": sorted(one.countries),
            "permits": sorted(one.permits),
            "may_ask": one.may_ask,
            "source": one.source,
            "looked_at": one.looked_at.isoformat(),
            "answers": {
                right or "any": {"working_days": within.days, "more": within.more}
                for right, within in one.answers.items()
            },
            "answers_source": one.answers_source,
        }
        for one in jurisdictions.TABLE
    ]
    lines = []
    for one in jurisdictions.TABLE:
        permits = ", ".join(sorted(one.permits)).replace("_", " ") or "nothing but their own yes"
        lines += [f"{one.name} ({', '.join(sorted(one.countries))})", f"  {permits}", f"  {one.source}"]
        for right, within in one.answers.items():
            more = f", for a reason {within.more} more" if within.more else ""
            lines.append(f"  {right or 'any request'} to be answered within {within.days} working days{more}")
        lines += [f"  {one.answers_source}"] if one.answers else []
        asked = "may" if one.may_ask else "may not"
        lines.append(f"  who never said yes {asked} be asked by mail whether they would")
        lines.append(f"  looked at on {one.looked_at.isoformat()}")
    desk.say({"jurisdictions": table}, "\n".join(lines), as_json=as_json)


@app.command()
@desk.command
def ending(
    days: Annotated[int, typer.Option(min=1, max=731, help="How far to look ahead.")] = 60,
    as_json: desk.Json = False,
) -> None:
    """Print whose consents by a sale or an inquiry end by themselves soon, the next first."""
    now = clock.now()
    until = now + timedelta(days=days)
    found = desk.ask(desk.house(), lambda session: expiring.whose(session, now=now, until=until))
    rows = [
        {"person": subject, "topic": topic, "basis": basis, "ends": ends.isoformat()}
        for subject, topic, basis, ends in found
    ]
    lines = [f"{one['person']:<22}{one['topic']:<22}{one['basis']:<18}{one['ends'][:16]}" for one in rows]
    desk.say({"ending": rows}, "\n".join(lines) or f"Nothing ends within {days} days.", as_json=as_json)


@app.command()
@desk.command
def ask(
    topic: Annotated[str, typer.Argument(help="The topic's short name.")],
    stop: Annotated[
        bool, typer.Option("--stop", help="Ask nobody else, and keep back the mails that wait.")
    ] = False,
    as_json: desk.Json = False,
) -> None:
    """Ask once, by mail, whom registering made agree to a topic, where the law lets a mail ask. Whoever calls this approves it."""
    now = clock.now()
    if stop:
        kept_back = desk.change(
            desk.house(), lambda session: reasking.stop(session, topic, now=now, by=desk.BY), as_json=as_json
        )
        facts = {"topic": topic, "state": "stopped", "kept_back": kept_back}
        desk.say(
            facts,
            f"Nobody else is asked; mails that waited and will not leave: {kept_back:,}.",
            as_json=as_json,
        )
        return

    def begin(session: Session) -> dict[str, Any]:
        seen = reasking.outlook(session, topics.by_slug(session, topic), now=now)
        row = reasking.begin(session, topic, now=now, by=desk.BY)
        return {"id": row.public_id, "topic": topic, "people": seen.people, "left_out": seen.left_out}

    made = desk.change(desk.house(), begin, as_json=as_json)
    out = "".join(
        f"\n  left out, {why.replace('_', ' ')}: {count:,}" for why, count in made["left_out"].items()
    )
    desk.say(made, f"Being asked, a few at a time: {made['people']:,} people.{out}", as_json=as_json)
