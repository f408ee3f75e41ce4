"""Which lines stand on a page of one person's record: ledger entries and mails by moment, newest first, whichever of
their registrations they are of. Called by the timeline."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlmodel import Session

from service.domain.ledger import queries as ledger
from service.domain.mailings import queries as mailings
from service.domain.people.tables import Person
from service.kit import paging
from service.kit.clock import from_micros, to_micros

PAGE = 100  # lines: nobody reads five thousand at once
_LAST_MAILING, _LAST_ENTRY = 2**31 - 1, 2**53 - 1  # no number is higher
_WRITTEN = re.compile(r"(\d{1,17})\.([01])\.(\d{1,15})\.(\d{1,9})", re.ASCII)


class Place(NamedTuple):
    """Where a line stands: at its moment (microseconds), and of one moment mails, by mailing and position, before entries, by number.
    No two lines have one place, so that between two pages none is lost and none stands on both."""

    at: int
    entry: bool
    number: int
    pos: int = 0

    @property
    def cursor(self) -> str:
        """As it stands in a link."""
        return paging.encode(".".join(str(int(part)) for part in self))


class Line(NamedTuple):
    """What is told, and its place."""

    place: Place
    told: ledger.Seen | mailings.Received


def read(cursor: str | None) -> Place | None:
    """The place in a link; None where there is none. Raises `CursorInvalid`."""
    if not cursor:
        return None
    match = _WRITTEN.fullmatch(str(paging.decode(cursor)))
    if match is None:
        raise paging.CursorInvalid(field="cursor")
    at, entry, number, pos = (int(part) for part in match.groups())
    return Place(at, entry == 1, number if entry else min(number, _LAST_MAILING), pos)


def end_of(until: datetime) -> Place:
    """After everything of a moment."""
    return Place(to_micros(until), True, _LAST_ENTRY)


def older(
    session: Session,
    persons: Sequence[Person],
    before: Place | None,
    *,
    kinds: Mapping[str, Sequence[str]] | None,
    mails: bool,
) -> list[Line]:
    """What a page tells and one line more, from before a place on, of these registrations. `kinds`: of entries, `kinds` or `other_than`
    of `ledger.newest_of`; None for no entries at all. `mails`: whether mails are told."""
    lines: list[Line] = []
    for person in persons:
        if kinds is not None:
            seen = ledger.newest_of(
                session,
                person.public_id,
                before=before and (before.at, before.number if before.entry else 0),
                most=PAGE + 1,
                **kinds,
            )
            lines += [Line(Place(to_micros(one.at), True, one.seq), one) for one in seen]
        if mails:
            received = mailings.newest_of(
                session, person.id or 0, before=before and _mail(before), most=PAGE + 1
            )
            lines += [
                Line(Place(to_micros(one.at), False, one.mailing.id or 0, one.pos), one) for one in received
            ]
    return sorted(lines, key=lambda line: line.place, reverse=True)[: PAGE + 1]


def _mail(place: Place) -> tuple[datetime, int, int]:
    """The same among mails alone: all of an entry's moment come after it on the page."""
    number, pos = (_LAST_MAILING, 0) if place.entry else (place.number, place.pos)
    return from_micros(place.at), number, pos
