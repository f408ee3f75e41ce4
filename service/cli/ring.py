"""`bidden ring`: the keys of this installation. Make one, back the ring up, use the new one, end the former; try a backup."""

from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli import desk
from service.domain.people import queries as people
from service.kit import clock, signing
from service.kit.signing import Key
from service.ops import drill
from service.ops import ring as keys
from service.ops import ring_copies as copies
from service.ops.ring_fits import standing

app = desk.group("The key ring: show, new, use, rewrap, retire, backup, check, restore.")

Kind = Annotated[str, typer.Argument(help="master, link, signing or session.")]
File = Annotated[Path, typer.Argument(help="The ring's backup.")]
NEXT = {
    signing.MASTER: "The clock wraps every person's key anew; bidden ring rewrap does it now.",
    signing.LINK: "New mails bear it; links of mails already sent go on working, for ever.",
    signing.SIGNING: "Heads bear both signatures until the former key is retired. Hand the new public key to whoever checks: "
    "bidden ledger checkpoint --key",
    signing.SESSION: "Readers who are signed in stay so.",
}


@app.command()
@desk.command
def show(as_json: desk.Json = False) -> None:
    """Every key of the ring by kind and number, never the key itself, and whether the ring fits the database."""
    opened = desk.house()
    ring = opened.ring
    wrapped = desk.ask(opened, people.masters)
    found = desk.ask(opened, lambda session: standing(session, ring))
    rows = [
        _facts(key) | ({"persons": wrapped.get(key.id, 0)} if key.kind == signing.MASTER else {})
        for key in ring.keys
    ]
    words = "\n".join(
        f"{row['kind']:<9}{row['id']:>4}  {row['state']:<8}  {row['made_on']:<10}"
        + (f"  wraps {row['persons']} persons' keys" if "persons" in row else "")
        for row in rows
    )
    fits = "It fits this database." if found is None else f"It does not fit this database: it is {found}."
    desk.say({"keys": rows, "fits": found is None, "standing": found}, f"{words}\n{fits}", as_json=as_json)


def _facts(key: Key) -> dict[str, Any]:
    return {"kind": key.kind, "id": key.id, "state": key.state, "made_on": key.made_on, "mark": key.mark}


@app.command()
@desk.command
def new(kind: Kind, as_json: desk.Json = False) -> None:
    """Make a key. It waits, and neither seals nor signs, until it is backed up and used."""
    made = keys.new(desk.house(), kind, now=clock.now(), by=desk.BY)
    words = f"{kind} {made.id} waits. Back it up (bidden ring backup FILE), then: bidden ring use {kind}"
    desk.say(_facts(made), words, as_json=as_json)


@app.command()
@desk.command
def use(kind: Kind, as_json: desk.Json = False) -> None:
    """Let the key that waits seal or sign from now on. Running processes take it up by themselves."""
    used = keys.use(desk.house(), kind, now=clock.now(), by=desk.BY)
    desk.say(_facts(used), f"{kind} {used.id} is in use. {NEXT[kind]}", as_json=as_json)


@app.command()
@desk.command
def rewrap(as_json: desk.Json = False) -> None:
    """Wrap every person's key by the master in use, now. It can be killed and run again at any time."""
    done = keys.rewrap(desk.house(), now=clock.now(), by=desk.BY)
    if done.left:
        left = ", ".join(f"{count} by master {kid}" for kid, count in sorted(done.left.items()))
        desk.refuse(
            f"Some keys are still wrapped by another master: {left}.",
            why="keys_remain",
            then="Run it again; what then remains has its master in another backup of the ring: bidden ring check",
            as_json=as_json,
        )
    desk.say({"left": 0}, "Every person's key is wrapped by the master in use.", as_json=as_json)


@app.command()
@desk.command
def retire(
    kind: Kind,
    number: Annotated[int, typer.Argument(help="As bidden ring show has it.")],
    copies_gone: Annotated[
        bool, typer.Option("--copies-gone", help="No copy of the database from before is kept any more.")
    ] = False,
    handed_on: Annotated[
        bool, typer.Option("--handed-on", help="Whoever checks has the new public key.")
    ] = False,
    as_json: desk.Json = False,
) -> None:
    """End a former key for good. Refused while anything needs it; a link key is never ended."""
    gone = keys.retire(
        desk.house(), kind, number, copies_gone=copies_gone, handed_on=handed_on, now=clock.now(), by=desk.BY
    )
    desk.say(
        _facts(gone),
        f"{kind} {number} is ended. Back the ring up again: bidden ring backup FILE",
        as_json=as_json,
    )


@app.command()
@desk.command
def backup(file: File, as_json: desk.Json = False) -> None:
    """Copy the ring into a file of its own, never beside the database."""
    copies.back_up(desk.house(), file, now=clock.now(), by=desk.BY)
    words = f"The ring is in {file}. Keep it apart from every copy of the database: who has both can read everything."
    desk.say({"file": str(file)}, words, as_json=as_json)


@app.command()
@desk.command
def check(
    file: File,
    copy: Annotated[Path, typer.Argument(help="A copy of the database, from bidden db backup.")],
    link: Annotated[list[str] | None, typer.Option(help="A link out of a mail, old or new.")] = None,
    as_json: desk.Json = False,
) -> None:
    """Whether this backup of the ring opens that copy of the database. Starts nothing and changes nothing."""
    facts = drill.examine(signing.load(file), copy, link or [])
    bad = [fact for fact in facts if not fact.ok]
    if bad:
        first = bad[0]
        desk.refuse(
            "This ring and that copy do not belong together: "
            + "; ".join(f"{fact.name}: {fact.says}" for fact in bad)
            + ".",
            why="ring_does_not_fit",
            field=first.name,
            then=first.fix,
            as_json=as_json,
        )
    words = "\n".join(f"ok   {fact.name:<14}{fact.says}" for fact in facts)
    desk.say({"fits": True, "facts": [fact.as_json() for fact in facts]}, words, as_json=as_json)


@app.command()
@desk.command
def restore(
    file: File,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put it in the place of the present key file.")
    ] = False,
    as_json: desk.Json = False,
) -> None:
    """Put a backup of the ring in the key file's place, once it is seen to fit the database, if there is one."""
    place = copies.restore(desk.settings(), file, replace=replace)
    desk.say({"key_file": str(place)}, f"The ring is in {place}.", as_json=as_json)
