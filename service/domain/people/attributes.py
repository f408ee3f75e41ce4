"""What sites say about people so that a mail reaches whom it concerns: attributes, declared by their first use.

`people.actions` calls this for each chunk of registrations, after merges, so that what a site says last stands. An attribute
lives for its days from when it was last said (`privacy.retention`), so what is said again is dated again.
"""

from datetime import datetime, timedelta

from sqlalchemy import delete, tuple_, update
from sqlmodel import Session, col, select

from service.db.bulk import insert_rows
from service.db.locks import insert_or_skip
from service.domain.people.mailbox import Known
from service.domain.people.tables import AttributeKind, PersonAttribute

DATED = timedelta(days=1)  # what was said within it is not dated again: a site may send everybody every hour


def replace(
    session: Session, said: list[tuple[Known, dict[str, tuple[str, list[str]]]]], *, now: datetime
) -> None:
    """Replace the attributes that were said and differ; who was known before gets `attributes` among the changed.

    `said` pairs a person with {name: (type, values)}; no values take the attribute away.
    """
    if not said:
        return
    _declare(session, {name: kind for _, one in said for name, (kind, values) in one.items() if values}, now)
    before, dates = _attributes_of(session, [row.person.id or 0 for row, _ in said if not row.created])
    again: set[tuple[int, str]] = set()
    fresh: dict[tuple[int, str], list[str]] = {}
    for row, named in said:
        person = row.person.id or 0
        if row.created:
            fresh |= {(person, name): values for name, (_, values) in named.items() if values}
            continue
        differing = {
            name: values
            for name, (_, values) in named.items()
            if set(values) != before.get((person, name), set())
        }
        again |= {(person, name) for name, (_, values) in named.items() if values and name not in differing}
        if differing:
            row.changed.append("attributes")
            session.connection().execute(
                delete(PersonAttribute).where(
                    col(PersonAttribute.person_id) == person, col(PersonAttribute.name).in_(differing)
                )
            )
        for name, values in differing.items():
            fresh[person, name], before[person, name] = values, set(values)
    rows = [
        {"person_id": person, "name": name, "value": value, "set_at": now}
        for (person, name), values in fresh.items()
        for value in dict.fromkeys(values)
    ]
    insert_rows(session, PersonAttribute, rows)
    _date(session, [key for key in again if (at := dates.get(key, now)) is None or at <= now - DATED], now)


def _date(session: Session, keys: list[tuple[int, str]], now: datetime) -> None:
    """These, by person and name, were said again as they were."""
    if keys:
        theirs = tuple_(col(PersonAttribute.person_id), col(PersonAttribute.name)).in_(keys)
        session.connection().execute(update(PersonAttribute).where(theirs).values(set_at=now))


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


def _attributes_of(
    session: Session, people: list[int]
) -> tuple[dict[tuple[int, str], set[str]], dict[tuple[int, str], datetime | None]]:
    """By person and name: the values, and when the one that was said longest ago was (None: nobody knows)."""
    found: dict[tuple[int, str], set[str]] = {}
    dates: dict[tuple[int, str], datetime | None] = {}
    if people:
        for row in session.exec(select(PersonAttribute).where(col(PersonAttribute.person_id).in_(people))):
            key = (row.person_id, row.name)
            found.setdefault(key, set()).add(row.value)
            known = dates.get(key, row.set_at)
            dates[key] = min(known, row.set_at) if known and row.set_at else None
    return found, dates
