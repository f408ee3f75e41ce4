"""`bidden prove`: what is on record of one person as of a day, with the proof that it stands in the ledger."""

import json
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlmodel import Session

from service.cli import desk
from service.domain.ledger import checkpoints
from service.domain.people import actions, erasing, queries
from service.domain.people.rules import UnknownPerson
from service.domain.people.tables import Person
from service.domain.privacy import copies
from service.domain.reports import evidence, receipts
from service.kit import addresses, clock
from service.kit.errors import Conflict, Invalid
from service.kit.signing import Keyring


class SeveralPeople(Conflict):
    """Several people answer to that."""

    fix_hint = "Name one by the opaque id (p_…), as the person's page gives it."


class DayInvalid(Invalid):
    """A day is written as 2026-11-24."""


@desk.command
def prove(
    person: Annotated[str, typer.Argument(help="Mail address, opaque id, or a site's own id.")],
    on: Annotated[str, typer.Option(help="As of the end of this day (UTC); now when not said.")] = "",
    into: Annotated[
        Path | None,
        typer.Option("--receipts", help="Write a consent receipt for each topic into this directory."),
    ] = None,
    as_json: desk.Json = False,
) -> None:
    """Print the evidence file, or write receipts (as of now): what was said, before which words, and the proof that
    verify_ledger.py checks. The look is written down in the ledger."""
    house, now = desk.house(), clock.now()
    until = min(_end_of(on), now) if on else now
    desk.change(house, lambda session: checkpoints.sign(session, house.ring, now=now), as_json=as_json)

    def look(session: Session) -> dict[str, Any]:
        found = _found(session, house.ring, person)
        reason = "receipts" if into else "evidence"
        actions.note_read(session, found, "exported", reason=reason, now=now, by=desk.BY)
        if into:
            return {"receipts": receipts.of_person(session, house.ring, found, now=now)}
        given = copies.disclosed(session, erasing.with_merged(session, found), until=until)
        return evidence.of_person(session, house.ring, found, on=until, now=now, disclosed=given)

    file = desk.change(house, look, as_json=as_json)
    if into:
        into.mkdir(parents=True, exist_ok=True)
        for one in file["receipts"]:
            with desk.new_file(into / f"receipt-{one['purpose']}.json") as receipt:
                receipt.write(json.dumps(one, ensure_ascii=False, indent=1))
    desk.say(file, json.dumps(file, ensure_ascii=False, indent=1), as_json=as_json)


def _end_of(day: str) -> datetime:
    try:
        return datetime.combine(date.fromisoformat(day), time.max, UTC)
    except ValueError as odd:
        raise DayInvalid(field="--on") from odd


def _found(session: Session, ring: Keyring, person: str) -> Person:
    """Who answers to that. Raises `UnknownPerson`, `SeveralPeople`."""
    if "@" in person:
        people = list(queries.by_address(session, ring, addresses.parse(person)))
        people = people or queries.by_external_id(session, person)  # some sites know people by an address
    else:
        one = queries.by_public_id(session, person)
        people = [one] if one else queries.by_external_id(session, person)
    if not people:
        raise UnknownPerson
    if len({one.id for one in people}) > 1:
        raise SeveralPeople
    return people[0]
