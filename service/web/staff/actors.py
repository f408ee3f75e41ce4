"""Who did something, in words: the actors of ledger entries, authors and approvers."""

from collections.abc import Iterable

from sqlmodel import Session

from service.domain.api_keys import queries as api_keys
from service.domain.staff import queries as members

_OTHERS = {
    "person": "the person",
    "key": "a site",
    "system": "Bidden",
    "cli": "the command line",
    "visitor": "a visitor",
}


def names(session: Session, actors: Iterable[str | None]) -> dict[str, str]:
    """Actor → name, for every actor asked for: colleagues and keys by name, the rest by kind."""
    wanted = {actor for actor in actors if actor}
    known = members.names(session, wanted)
    if any(actor.startswith("key:") for actor in wanted):
        known |= {f"key:{key.public_id}": f"{key.name} (API)" for key in api_keys.everyone(session)}
    return {actor: known.get(actor) or _OTHERS.get(actor.partition(":")[0], actor) for actor in wanted}
