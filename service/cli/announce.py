"""`bidden announce`: an announcement from a file or from options, then step by step to its report."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from sqlmodel import Session

from service.cli import desk
from service.domain.announcements import actions, queries, rules
from service.domain.announcements.tables import Announcement
from service.domain.reports import queries as reports
from service.kit import clock
from service.kit.errors import Invalid

app = desk.group("Announcements: create, submit, approve, schedule, pause, resume, cancel, report.")
Id = Annotated[str, typer.Argument(metavar="ID", help="The announcement, a_…")]
_FIELDS = {"topic", "template", "content", "audience", "default_locale"}
_WORDS = ("subject", "preheader", "body")


class FileInvalid(Invalid):
    """That file does not hold an announcement."""

    fix_hint = (
        "TOML or JSON with the fields of the API, or Markdown with front matter (topic, template, subject …)."
    )


@app.command()
@desk.command
def create(
    file: Annotated[
        Path | None, typer.Argument(exists=True, dir_okay=False, help="TOML, JSON, or Markdown.")
    ] = None,
    topic: Annotated[str | None, typer.Option()] = None,
    template: Annotated[str | None, typer.Option(help="A starter, such as launch.")] = None,
    subject: Annotated[str | None, typer.Option()] = None,
    preheader: Annotated[str | None, typer.Option()] = None,
    body_file: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="The text, in Markdown.")
    ] = None,
    locale: Annotated[str, typer.Option(help="The language of these options' text.")] = "en",
    attribute: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Only people with it.")
    ] = None,
    within: Annotated[
        str,
        typer.Option(
            "--words", help="It keeps within these, such as new-products-v1-en: an older yes is enough."
        ),
    ] = "",
    as_json: desk.Json = False,
) -> None:
    """Write a new announcement, as a draft. Options add to the file, or replace what it says."""
    said = read(file) if file else {}
    said.update({name: value for name, value in (("topic", topic), ("template", template)) if value})
    words = {"subject": subject, "preheader": preheader, "body": body_file.read_text() if body_file else None}
    if any(words.values()):
        here = said.setdefault("content", {}).setdefault(locale, {})
        here.update({name: value for name, value in words.items() if value is not None})
    if attribute:
        said["audience"] = {**(said.get("audience") or {}), "attributes": _attributes(attribute)}
    if within:
        said["audience"] = {**(said.get("audience") or {}), "words": within}
    for name in ("topic", "template", "content"):
        if name not in said:
            raise typer.BadParameter(f"neither the file nor an option gives the {name}")
    settings, now = desk.settings(), clock.now()
    _step(
        lambda session: actions.create(session, settings, **said, now=now, by=desk.BY),
        "is a draft",
        as_json=as_json,
    )


def read(file: Path) -> dict[str, Any]:
    """What a file says, as the fields of the API. Raises `FileInvalid`."""
    try:
        text = file.read_text(encoding="utf-8")
        said = {".toml": tomllib.loads, ".json": json.loads}.get(file.suffix, _markdown)(text)
    except (ValueError, yaml.YAMLError) as broken:
        raise FileInvalid(field=file.name) from broken
    if not isinstance(said, dict) or set(said) - _FIELDS:
        raise FileInvalid(field=file.name)
    return said


def _markdown(text: str) -> dict[str, Any]:
    """Markdown with YAML front matter between two lines of three dashes: fields above, the body below."""
    first, _, rest = text.replace("\r\n", "\n").partition("\n")
    head, dashes, body = rest.partition("\n---\n")
    if first.strip() != "---" or not dashes:
        raise FileInvalid
    said = yaml.safe_load(head)
    if not isinstance(said, dict):
        raise FileInvalid
    locale = str(said.pop("locale", "en"))
    words = {name: str(said.pop(name)) for name in _WORDS if name in said}
    return {**said, "content": {locale: {**words, "body": body}}}


def _attributes(given: list[str]) -> dict[str, Any]:
    found: dict[str, list[str]] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals:
            raise typer.BadParameter(f"{one!r} is not NAME=VALUE")
        found.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


@app.command()
@desk.command
def submit(announcement: Id, as_json: desk.Json = False) -> None:
    """Have it checked and ask for its approval."""
    settings, now = desk.settings(), clock.now()
    _step(
        lambda s: actions.submit(s, settings, announcement, now=now, by=desk.BY),
        "is in review",
        as_json=as_json,
    )


@app.command()
@desk.command
def approve(
    announcement: Id,
    content_hash: Annotated[
        str | None,
        typer.Option(
            help="Of the content that was read (`submit` prints it); the present one when not said."
        ),
    ] = None,
    as_json: desk.Json = False,
) -> None:
    """Approve exactly what was read."""
    settings, now = desk.settings(), clock.now()

    def act(session: Session) -> Announcement:
        read = content_hash or queries.by_public_id(session, announcement).content_hash
        return actions.approve(session, settings, announcement, content_hash=read, now=now, by=desk.BY)

    _step(act, "is approved", as_json=as_json)


@app.command()
@desk.command
def schedule(
    announcement: Id,
    at: Annotated[
        str, typer.Option(help="now, an instant such as 2026-11-24T09:00Z, or a local time with --zone.")
    ],
    zone: Annotated[str | None, typer.Option(help="Such as Europe/Berlin.")] = None,
    local: Annotated[
        bool, typer.Option("--local", help="On each reader's own clock; --zone is for whose is not known.")
    ] = False,
    as_json: desk.Json = False,
) -> None:
    """Say when it goes. `now` is after the hold, in which it can be called back."""
    hold, now = desk.settings().hold_seconds, clock.now()

    def act(session: Session) -> Announcement:
        return actions.schedule(
            session, announcement, at=at, zone=zone, local=local, hold_seconds=hold, now=now, by=desk.BY
        )

    _step(act, "is scheduled", as_json=as_json)


@app.command()
@desk.command
def pause(announcement: Id, as_json: desk.Json = False) -> None:
    """Let no more of it depart until it is resumed."""
    now = clock.now()
    _step(
        lambda session: actions.pause(session, announcement, now=now, by=desk.BY),
        "is paused",
        as_json=as_json,
    )


@app.command()
@desk.command
def resume(announcement: Id, as_json: desk.Json = False) -> None:
    """Let a paused or halted one go on."""
    now = clock.now()
    _step(
        lambda session: actions.resume(session, announcement, now=now, by=desk.BY), "goes on", as_json=as_json
    )


@app.command()
@desk.command
def cancel(announcement: Id, as_json: desk.Json = False) -> None:
    """End it for good; what has not left never will."""
    now = clock.now()
    _step(
        lambda session: actions.cancel(session, announcement, now=now, by=desk.BY),
        "is cancelled",
        as_json=as_json,
    )


@app.command()
@desk.command
def show(announcement: Id, as_json: desk.Json = False) -> None:
    """One announcement as it stands."""
    shown = desk.ask(
        desk.house(), lambda session: queries.shown(session, queries.by_public_id(session, announcement))
    )
    _say(shown, f"is {shown.state.replace('_', ' ')}", as_json=as_json)


@app.command()
@desk.command
def report(announcement: Id, as_json: desk.Json = False) -> None:
    """What became of it."""

    def ask(session: Session) -> dict[str, Any]:
        return reports.of_announcement(session, queries.by_public_id(session, announcement))

    desk.say_report(desk.ask(desk.house(), ask), as_json=as_json)


def _step(act: Callable[[Session], Announcement], done: str, *, as_json: bool) -> None:
    shown = desk.change(desk.house(), lambda session: queries.shown(session, act(session)), as_json=as_json)
    _say(shown, done, as_json=as_json)


def _say(shown: queries.Shown, done: str, *, as_json: bool) -> None:
    facts = {
        "id": shown.id,
        "name": shown.name,
        "state": shown.state,
        "reason": shown.reason,
        "topic": shown.topic,
        "template": shown.template,
        "content_hash": shown.content_hash,
        "due_at": shown.due_at,
        "hold_until": shown.hold_until,
    }
    words = f"“{shown.name}” {done}.\n  id            {shown.id}\n  content hash  {shown.content_hash}"
    desk.say(facts, words + _leaves(shown), as_json=as_json)


def _leaves(shown: queries.Shown) -> str:
    """When a scheduled one leaves, and until when it can still be called back in its hold."""
    if shown.state != "scheduled" or shown.due_at is None:
        return ""
    utc = f"{shown.due_at:%Y-%m-%d %H:%M:%S} UTC"
    local = f" ({shown.wall_time} {shown.zone})" if shown.zone not in (None, "UTC") else ""
    if rules.is_local(shown.wall_time):
        local = f" at the earliest ({shown.wall_time} on each reader's own clock)"
    said = f"\n  leaves        {utc}{local}"
    if shown.hold_until is None:
        return said
    return f"{said}\n  held until then; bidden announce cancel {shown.id} calls it back"
