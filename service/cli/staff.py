"""`bidden staff`: colleagues."""

from typing import Annotated

import typer

from service.cli import desk
from service.domain.staff import actions, rules
from service.kit import addresses, clock

app = desk.group("Staff: invite.")


@app.callback()
def about() -> None:
    """Staff: invite."""


@app.command()
@desk.command
def invite(
    email: Annotated[str, typer.Argument(help="Their e-mail address.")],
    name: Annotated[str, typer.Option(help="Their name.")],
    role: Annotated[str, typer.Option(help=f"One of: {', '.join(rules.ROLES)}.")],
    mail: Annotated[bool, typer.Option("--mail/--no-mail", help="Mail them the link as well.")] = True,
    as_json: desk.Json = False,
) -> None:
    """Invite a colleague: mails the link that opens their account, and prints it."""
    opened, now, address = desk.house(), clock.now(), addresses.parse(email)
    invited = desk.change(
        opened,
        lambda session: actions.invite(
            session, opened.ring, address=address, name=name, role=role, mail=mail, now=now, by=desk.BY
        ),
        as_json=as_json,
    )
    link = f"{opened.settings.base_url}/staff/start/{invited.token}"
    facts = {"id": invited.member.public_id, "role": invited.member.role, "link": link, "mailed": mail}
    desk.say(facts, f"{link}\nThe link works once.", as_json=as_json)
