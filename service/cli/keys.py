"""`bidden keys`: keys for programs."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from sqlmodel import Session

from service.cli import desk
from service.domain.api_keys import actions, queries, rules
from service.domain.topics import queries as topics
from service.kit import clock

app = desk.group("API keys: create, list, revoke.")


@app.command()
@desk.command
def create(
    name: Annotated[str, typer.Option(help="What uses it, such as the shop's sign-up form.")],
    source: Annotated[str, typer.Option(help="Whose people it speaks of: a short word such as shop.")],
    scope: Annotated[
        list[str], typer.Option(help=f"One or more of: {', '.join([*rules.SCOPES, rules.ALL])}.")
    ],
    topic: Annotated[
        list[str] | None, typer.Option(help="Only these topics; all of them when not said.")
    ] = None,
    expires: Annotated[datetime | None, typer.Option(help="The day it ends.", formats=["%Y-%m-%d"])] = None,
    as_json: desk.Json = False,
) -> None:
    """Make a key and print it, this once."""
    opened, now = desk.house(), clock.now()
    scopes = [part for given in scope for part in given.replace(",", " ").split()]
    slugs = [part for given in topic or [] for part in given.replace(",", " ").split()] or None

    def act(session: Session) -> actions.Created:
        for slug in slugs or []:
            topics.by_slug(session, slug)
        ends = expires.replace(tzinfo=UTC) if expires else None
        return actions.create(
            session,
            name=name,
            source=source,
            scopes=scopes,
            topics=slugs,
            expires_at=ends,
            now=now,
            by=desk.BY,
        )

    made = desk.change(opened, act, as_json=as_json)
    facts = {
        "key": made.plaintext,
        "id": made.key.public_id,
        "source": made.key.source,
        "scopes": made.key.scopes,
    }
    words = f"{made.plaintext}\nThis is the only time it is shown. It is called {made.key.public_id}."
    desk.say(facts, words, as_json=as_json)


@app.command("list")
@desk.command
def listed(as_json: desk.Json = False) -> None:
    """Every key, newest first."""
    rows = [
        {
            "id": key.public_id,
            "name": key.name,
            "source": key.source,
            "scopes": key.scopes,
            "topics": key.topics,
            "created_at": key.created_at,
            "expires_at": key.expires_at,
            "last_used_at": key.last_used_at,
            "revoked_at": key.revoked_at,
        }
        for key in desk.ask(desk.house(), queries.everyone)
    ]
    words = "\n".join(
        f"{row['id']}  {row['source']:<12} {row['name']}{'  (revoked)' if row['revoked_at'] else ''}"
        for row in rows
    )
    desk.say({"items": rows}, words or "There is no key yet. Make one: bidden keys create", as_json=as_json)


@app.command()
@desk.command
def revoke(key: Annotated[str, typer.Argument(help="Its id, k_…")], as_json: desk.Json = False) -> None:
    """End a key for good."""
    now = clock.now()
    desk.change(
        desk.house(), lambda session: actions.revoke(session, key, now=now, by=desk.BY), as_json=as_json
    )
    desk.say({"revoked": key}, "It is revoked; requests with it are refused from now on.", as_json=as_json)
