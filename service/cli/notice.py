"""`bidden notice`: what became of a notice's mail, letting one that was halted go on, stopping one. `bidden post` writes them."""

from typing import Annotated, Any

import typer
from sqlmodel import Session

from service.cli import desk
from service.domain.notices import actions, queries
from service.domain.notices.tables import Notice
from service.domain.reports import queries as reports
from service.kit import clock

app = desk.group("The mail of notices: report, resume, cancel.")
Id = Annotated[str, typer.Argument(metavar="ID", help="The notice, n_…")]


@app.command()
@desk.command
def report(notice: Id, as_json: desk.Json = False) -> None:
    """What became of its mail."""

    def ask(session: Session) -> dict[str, Any]:
        return reports.of_notice(session, queries.by_public_id(session, notice))

    desk.say_report(desk.ask(desk.house(), ask), as_json=as_json)


@app.command()
@desk.command
def resume(notice: Id, as_json: desk.Json = False) -> None:
    """Let the mail of a halted or paused one go on; nobody gets it twice."""
    now = clock.now()
    facts = desk.change(
        desk.house(),
        lambda session: _facts(session, actions.resume(session, notice, now=now, by=desk.BY)),
        as_json=as_json,
    )
    desk.say(facts, f"The mail of “{facts['title']}” goes on.", as_json=as_json)


@app.command()
@desk.command
def cancel(notice: Id, as_json: desk.Json = False) -> None:
    """Give up a draft, or stop the mail of a published one; the page stays."""
    now = clock.now()
    facts = desk.change(
        desk.house(),
        lambda session: _facts(session, actions.cancel(session, notice, now=now, by=desk.BY)),
        as_json=as_json,
    )
    words = (
        "is given up" if facts["state"] == "cancelled" else "stays on its page; nobody else gets it by mail"
    )
    desk.say(facts, f"“{facts['title']}” {words}.", as_json=as_json)


def _facts(session: Session, row: Notice) -> dict[str, Any]:
    shown = queries.shown(session, row)
    return {
        "id": shown.id,
        "title": shown.title,
        "state": shown.state,
        "mailing_state": shown.mailing_state,
    }
