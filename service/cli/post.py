"""`bidden post FILE.md`: a notice from a Markdown file, on the changelog at once and mailed if it says so."""

from pathlib import Path
from typing import Annotated, Any

import typer
from sqlmodel import Session

from service.cli import desk
from service.domain.notices import actions, queries, rules
from service.domain.notices.tables import Notice
from service.kit import clock


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
    as_json: desk.Json = False,
) -> None:
    """Publish a notice and print its address."""
    opened, now = desk.house(), clock.now()
    settings = opened.settings
    posted = rules.read_post(_text(file))

    def act(session: Session) -> dict[str, Any]:
        row = actions.post(session, settings, posted, now=now, by=desk.BY)
        people = queries.audience(session, queries.draft_of(session, row), now=now)
        if publish:
            row = actions.publish(
                session,
                settings,
                row.public_id,
                mail=mail,
                hold_seconds=settings.hold_seconds,
                now=now,
                by=desk.BY,
            )
        return _facts(session, row, settings.base_url, people.total if publish and _mails(row, mail) else 0)

    facts = desk.change(opened, act, as_json=as_json)
    if not publish:
        words = f"“{facts['title']}” is a draft: {facts['id']}"
    else:
        words = f"{facts['url']}\n" + (
            f"Its mail goes to {facts['people']} people." if facts["mail"] else "Not mailed."
        )
    desk.say(facts, words, as_json=as_json)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as broken:
        raise rules.FrontMatterInvalid("That file is not UTF-8 text.", field=file.name) from broken


def _mails(row: Notice, mail: bool | None) -> bool:
    return row.mail if mail is None else mail


def _facts(session: Session, row: Notice, base_url: str, people: int) -> dict[str, Any]:
    shown = queries.shown(session, row)
    return {
        "id": shown.id,
        "slug": shown.slug,
        "title": shown.title,
        "state": shown.state,
        "topic": shown.topic,
        "url": f"{base_url}/changelog/{shown.slug}" if shown.state == "published" else None,
        "mail": people > 0 or shown.mailing is not None,
        "people": people,
        "mailing": shown.mailing,
    }
