"""Every outcome of a mailing as its seals have it: what `verify_mailing.py` holds against the ledger (docs/ledger.md, "A mailing").

Called by `bidden ledger outcomes`. Opaque ids only.
"""

import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import select
from sqlmodel import Session, col

from service.domain.announcements.tables import Announcement
from service.domain.brands import queries as brands
from service.domain.mailings import queries, rules
from service.domain.mailings.tables import Audience, Mailing, Outcome
from service.domain.notices.tables import Notice
from service.domain.people.tables import Person
from service.kit.errors import NotFound
from service.kit.signing import Keyring

CHUNK = 5_000


class MailingUnknown(NotFound):
    """There is no mailing by this id."""

    fix_hint = "Give the id of an announcement, a notice, or a mailing."


def find(session: Session, public_id: str) -> Mailing:
    """The mailing of that id, or of the announcement or notice of that id. Raises `MailingUnknown`."""
    for table in (Announcement, Notice):
        statement = select(col(table.mailing_id)).where(col(table.public_id) == public_id)
        number = session.execute(statement).scalar()
        if number is not None:
            return session.get_one(Mailing, number)
    found = session.scalars(select(Mailing).where(col(Mailing.public_id) == public_id)).first()
    if found is None:
        raise MailingUnknown(field=public_id)
    return found


def lines(session: Session, ring: Keyring, mailing: Mailing) -> Iterator[str]:
    """The file line by line, in bounded memory: what it is, then each outcome by position and attempt."""
    yield _line({"outcomes": {"format": "bidden-outcomes", "version": 1, "mailing": mailing.public_id}})
    number, domain = mailing.id or 0, queries.domains(mailing, brands.by_id(session, mailing.brand_id)).ids
    for after in range(0, mailing.planned or 0, CHUNK):
        for row in session.execute(_between(number, after, after + CHUNK)):
            told: dict[str, Any] = dict(row._mapping)
            told["message_id"] = rules.message_id(ring.message_key, number, row.pos, domain)
            yield _line({"outcome": told})


def _between(mailing: int, after: int, last: int) -> Any:
    """The outcomes of positions after one and up to another. A position without one has none yet."""
    joined = (col(Audience.mailing_id) == col(Outcome.mailing_id)) & (col(Audience.pos) == col(Outcome.pos))
    return (
        select(
            col(Outcome.pos), col(Outcome.attempt), col(Person.public_id).label("person"),
            col(Outcome.warrant_seq).label("warrant"), col(Outcome.state), col(Outcome.reason),
        )
        .join(Audience, joined)
        .outerjoin(Person, col(Person.id) == col(Audience.person_id))
        .where(col(Outcome.mailing_id) == mailing, col(Outcome.pos) > after, col(Outcome.pos) <= last)
        .order_by(col(Outcome.pos), col(Outcome.attempt))
    )  # fmt: skip


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"
