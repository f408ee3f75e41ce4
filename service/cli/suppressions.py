"""`bidden suppressions`: the do-not-mail list, and what stands on it for one address."""

import sys
from typing import Annotated, Any

import typer
from sqlmodel import Session

from service.cli import desk
from service.domain.mailings.queries import address_hash
from service.domain.people import actions as people
from service.domain.preferences import queries
from service.domain.preferences.queries import Listed
from service.domain.suppressions import actions, rules
from service.kit import addresses, clock, paging
from service.kit.errors import Invalid
from service.kit.signing import Keyring

STDIN = "-"


class OneAddress(Invalid):
    """Please give one address: the standard input holds more lines than one."""


@desk.command
def suppressions(
    address: Annotated[
        str, typer.Option(help="Only what stands for this address; - reads it from the standard input.")
    ] = "",
    cause: Annotated[str, typer.Option(help="Only one cause, such as complaint or legal.")] = "",
    after: Annotated[str, typer.Option(help="The page that follows, as the one before names it.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=paging.LIMIT, help="How many to a page.")] = 50,
    as_json: desk.Json = False,
) -> None:
    """Print who must not be written to, newest first: how far, why, whence, since when, and what would lift it. Who was shown is
    written down."""
    house, now = desk.house(), clock.now()
    if cause:
        rules.check_cause(cause)
    digest = _digest(house.ring, address) if address else ""

    def look(session: Session) -> paging.Page[Listed]:
        if digest:
            rows = [one for one in queries.listed_for(session, digest) if cause in ("", one.row.cause)]
            found = paging.Page(rows, None)
            if rows:
                actions.note_look(session, [one.row for one in rows], now=now, by=desk.BY)
        else:
            found = queries.do_not_mail(session, after=after, limit=limit, cause=cause or None)
        known = queries.whose(found.rows)
        if known:
            people.note_list(session, known, now=now, by=desk.BY)
        return found

    found = desk.change(house, look, as_json=as_json)
    lines = [_words(one) for one in found.rows]
    if found.next:
        lines.append(f"The next page: --after {found.next}")
    nobody = "This address is not on the list." if digest else "Nobody. Good."
    facts = {"items": [_facts(one) for one in found.rows], "next": found.next}
    desk.say(facts, "\n".join(lines) or nobody, as_json=as_json)


def _digest(ring: Keyring, typed: str) -> str:
    """The keyed hash of the address that is meant, wherever it is to be read."""
    said = _only_line() if typed == STDIN else typed
    return address_hash(ring, addresses.parse(said, field="address"))


def _only_line() -> str:
    """What stands in the standard input. Raises `OneAddress`: to look up the first of a list alone would seem an answer for all."""
    first = sys.stdin.readline().strip()
    if not sys.stdin.isatty() and sys.stdin.read().strip():
        raise OneAddress(field="address")
    return first


def _facts(one: Listed) -> dict[str, Any]:
    return {
        "person": one.person.public_id if one.person else None,
        "scope": one.row.scope,
        "topic": one.topic.slug if one.topic else None,
        "cause": one.row.cause,
        "origin": one.row.origin,
        "since": one.row.since_at,
        "entry": one.row.source_seq,
        "lifted_by": rules.words_of(one.row.cause)[1],
    }


def _words(one: Listed) -> str:
    why, lifts = rules.words_of(one.row.cause)
    who = one.person.public_id if one.person else "nobody registered"
    scope = f"topic {one.topic.slug}" if one.topic else rules.SCOPES[one.row.scope].lower()
    whence = f"from {rules.origin_words(one.row.origin)}, entry {one.row.source_seq}"
    first = f"{one.row.since_at:%Y-%m-%d}  {who:<22}{scope:<24}{one.row.cause:<12}{whence}"
    return f"{first}\n  {why} {lifts}"
