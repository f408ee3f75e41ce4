"""`bidden doctor`: what is right, what is not, why it matters, and what to do."""

import typer

from service.cli import desk
from service.kit import clock
from service.ops import doctor as examination


@desk.command
def doctor(as_json: desk.Json = False) -> None:
    """Look at database, senders, queue, disk, SMTP, DNS and public address. Exit code 1 if something is wrong."""
    facts = examination.examine(desk.house(), now=clock.now())
    wrong = [fact for fact in facts if not fact.ok]
    lines = []
    for fact in facts:
        lines.append(f"{'ok ' if fact.ok else 'BAD'}  {fact.name}: {fact.says}")
        if not fact.ok:
            lines += [f"       why:  {fact.why}", f"       next: {fact.fix}"]
    desk.say(
        {"well": not wrong, "facts": [fact.as_json() for fact in facts]}, "\n".join(lines), as_json=as_json
    )
    if wrong:
        raise typer.Exit(1)
