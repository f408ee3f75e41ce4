"""What a person had said about each topic, and whether it permitted mail, as their page has it. Called by the timeline.

Only the ledger says it; of a day in the past the page says what the evidence file of that day says.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlmodel import Session

from service.domain.consent import queries as consent
from service.domain.ledger import queries as ledger
from service.domain.people.tables import Person
from service.domain.reports.permitted import ByThen
from service.domain.topics import queries as topics
from service.web.staff import audience as whom


def of_person(
    session: Session, persons: Sequence[Person], names: Mapping[str, str], until: datetime | None
) -> list[dict[str, Any]]:
    """What the person had said by then, and until they were merged what they had under a former registration (`persons`, their own
    first); of a day in the past with what rested on a registration."""
    person, *former = persons
    if until is None:
        return [_stood(one, names, None) for one in consent.states(session, person.public_id)]
    then = ByThen(session, [one.public_id for one in persons], until=until)
    rows = _by_then(session, person, names, then, until)
    for one in former:
        if then.shut(one.public_id) != "merged":
            under = f", as {one.public_id}"
            found = _by_then(session, one, names, then, until)
            rows += [{**row, "note": row["note"] + under} for row in found]
    return rows


def _by_then(
    session: Session, person: Person, names: Mapping[str, str], then: ByThen, until: datetime
) -> list[dict[str, Any]]:
    rows = [_stood(one, names, stops) for one, stops in then.stood(person.public_id)]
    return rows + _registered(session, person, names, rows, then, until)


def _stood(one: Mapping[str, Any], names: Mapping[str, str], stops: str | None) -> dict[str, Any]:
    return {
        "slug": one["topic"],
        "topic": names.get(one["topic"], one["topic"]),
        "state": one["state"],
        "note": f"since {one['since'].day} {one['since']:%b %Y}, entry {one['entry']}"
        + (f", {one['wording']}" if one["wording"] else ""),
        "allowed": stops is None,
        "why": whom.words_of_one(stops) if stops else f"entry {one['entry']} of the ledger",
        "said": True,
    }


def _registered(
    session: Session,
    person: Person,
    names: Mapping[str, str],
    said: Sequence[Mapping[str, Any]],
    then: ByThen,
    until: datetime,
) -> list[dict[str, Any]]:
    """What rested on the person's registration by then and nothing had been `said` about: no consent, and no entry of its own."""
    found: dict[str, dict[str, Any]] = {}
    for seen in ledger.of_subject(session, person.public_id, kinds=("person.registered",)):
        for one in seen.body.get("topics") or [] if seen.at <= until else []:
            told = {"topic": one["topic"], "state": "given", "since": seen.at, "entry": seen.seq}
            stops = then.stops(person.public_id, one["topic"])
            found.setdefault(
                one["topic"], _stood(told | {"wording": one.get("wording")}, names, stops) | {"said": False}
            )
    for slug in {str(one["slug"]) for one in said} & found.keys():
        del found[slug]
    for slug, row in found.items():
        row["note"] += f", stands on {topics.by_slug(session, slug).basis.replace('_', ' ')}"
    return list(found.values())
