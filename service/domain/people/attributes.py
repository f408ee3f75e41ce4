"""What sites say about people so that a mail reaches whom it concerns: attributes, declared by their first use.

`people.actions` calls this for each chunk of registrations, after merges, so that what a site says last stands.
"""

from datetime import datetime

from sqlalchemy import delete, insert
from sqlmodel import Session, col, select

from service.db.locks import insert_or_skip
from service.domain.people.mailbox import Known
from service.domain.people.tables import AttributeKind, PersonAttribute


def replace(
    session: Session, said: list[tuple[Known, dict[str, tuple[str, list[str]]]]], *, now: datetime
) -> None:
    """Replace the attributes that were said and differ; who was known before gets `attributes` among the changed.

    `said` pairs a person with {name: (type, values)}; no values take the attribute away.
    """
    if not said:
        return
    _declare(session, {name: kind for _, one in said for name, (kind, values) in one.items() if values}, now)
    before = _attributes_of(session, [row.person.id or 0 for row, _ in said if not row.created])
    fresh: dict[tuple[int, str], list[str]] = {}
    for row, named in said:
        person = row.person.id or 0
        differing = {
            name: values
            for name, (_, values) in named.items()
            if set(values) != before.get((person, name), set())
        }
        if differing and not row.created:
            row.changed.append("attributes")
            session.connection().execute(
                delete(PersonAttribute).where(
                    col(PersonAttribute.person_id) == person, col(PersonAttribute.name).in_(differing)
                )
            )
        for name, values in differing.items():
            fresh[person, name], before[person, name] = values, set(values)
    rows = [
        {"person_id": person, "name": name, "value": value}
        for (person, name), values in fresh.items()
        for value in dict.fromkeys(values)
    ]
    if rows:
        session.connection().execute(insert(PersonAttribute), rows)


def _declare(session: Session, kinds: dict[str, str], now: datetime) -> None:
    """Unknown names are declared by their first use, with the plainest purpose."""
    rows = [
        {
            "name": name,
            "type": kind,
            "purpose": "choosing who a mail concerns",
            "retention_days": 1095,
            "declared_at": now,
        }
        for name, kind in sorted(kinds.items())
    ]
    if rows:
        session.connection().execute(insert_or_skip(session, AttributeKind, ["name"]), rows)


def _attributes_of(session: Session, people: list[int]) -> dict[tuple[int, str], set[str]]:
    found: dict[tuple[int, str], set[str]] = {}
    if people:
        for row in session.exec(select(PersonAttribute).where(col(PersonAttribute.person_id).in_(people))):
            found.setdefault((row.person_id, row.name), set()).add(row.value)
    return found
