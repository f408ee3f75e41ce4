"""`bidden post FILE.md`: a notice from a Markdown file, on the changelog at once and mailed if it says so."""

from pathlib import Path
from typing import Annotated, Any

import typer
from sqlmodel import Session

from service.cli import desk
from service.domain.notices import actions, queries, rules
from service.domain.notices.tables import Notice
from service.kit import clock
from service.ops.house import House


@desk.command
def post(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="Markdown, front matter if you like.")
    ],
    mail: Annotated[
        bool | None, typer.Option("--mail/--no-mail", help="As the front matter says when not said.")
    ] = None,
    publish: Annotated[
        bool, typer.Option("--publish/--draft", help="Publish it, or keep it as a draft.")
    ] = True,
    not_advertising: Annotated[
        bool,
        typer.Option(help="Say that an important notice which sounds like an offer is none; recorded."),
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Post it although the same text was posted.")
    ] = False,
    as_json: desk.Json = False,
) -> None:
    """Publish a notice and print its address."""
    opened, now = desk.house(), clock.now()
    settings = opened.settings
    posted = rules.read_post(_text(file))

    def act(session: Session) -> dict[str, Any]:
        row = actions.post(session, settings, posted, again=again, now=now, by=desk.BY)
        people = queries.audience(session, queries.draft_of(session, row), now=now)
        if publish:
            row = actions.publish(
                session,
                settings,
                row.public_id,
                mail=mail,
                hold_seconds=settings.hold_seconds,
                not_advertising=not_advertising,
                now=now,
                by=desk.BY,
            )
        return _facts(session, row, settings.base_url, people.total if publish and _mails(row, mail) else 0)

    facts = desk.change(opened, act, as_json=as_json)
    if not publish:
        words = f"“{facts['title']}” is a draft: {facts['id']}"
    elif facts["leaves_at"]:
        words = f"{facts['url']}\nIts mail goes to {facts['people']} people, {_leaves(opened, facts)}."
    else:
        words = f"{facts['url']}\nNot mailed."
    desk.say(facts, words, as_json=as_json)


def _leaves(opened: House, facts: dict[str, Any]) -> str:
    if not opened.settings.hold_seconds:
        return "now"
    page = f"{opened.settings.base_url}/staff/notices/{facts['id']}/report"
    return f"held until {facts['leaves_at']:%Y-%m-%d %H:%M:%S} UTC; {page} stops it"


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as broken:
        raise rules.FrontMatterInvalid("That file is not UTF-8 text.", field=file.name) from broken


def _mails(row: Notice, mail: bool | None) -> bool:
    return row.mail if mail is None else mail


def _facts(session: Session, row: Notice, base_url: str, people: int) -> dict[str, Any]:
    shown, mailing = queries.shown(session, row), queries.mailing_of(session, row)
    return {
        "id": shown.id,
        "slug": shown.slug,
        "title": shown.title,
        "state": shown.state,
        "topic": shown.topic,
        "url": f"{base_url}/changelog/{shown.slug}" if shown.state == "published" else None,
        "mail": people > 0 or shown.mailing is not None,
        "leaves_at": mailing.due_at if mailing else None,
        "people": people,
        "mailing": shown.mailing,
    }
