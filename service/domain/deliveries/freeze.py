"""Closing an audience: chunk by chunk through the gate, counted, cut into batches. Called by the timetable, and by the claim for
those whose registration is gone since then.

Where a freeze goes on is read from the audience itself under the mailing's lock, so any clock may take any step. Where the
last who were looked at are not meant, it is kept with the mailing.
"""

from datetime import datetime
from itertools import groupby, islice
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Exists,
    Insert,
    Select,
    Subquery,
    case,
    exists,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.orm import aliased
from sqlmodel import Session, UTCDateTime, col

from service.db.bulk import chunk_by_index
from service.db.locks import for_update
from service.domain.deliveries import queries, rules
from service.domain.ledger import actions as ledger
from service.domain.mailings.tables import Address, Audience, Batch, Exclusion, Mailing
from service.domain.people.tables import Person
from service.domain.preferences import queries as preferences
from service.domain.segments import queries as segments
from service.domain.topics import queries as topics
from service.domain.topics.tables import Topic
from service.kit import failpoints

SYSTEM = "system"
GONE = ("erased", "address_changed")  # why a member's registration is no more that of its mailbox
PASSED = "passed"  # in a mailing's facts: the number of the last person looked at, where the audience does not tell


def freezing(session: Session) -> list[int]:
    """The mailings whose audience is not closed yet."""
    return list(
        session.scalars(
            select(col(Mailing.id)).where(col(Mailing.state) == "freezing").order_by(col(Mailing.id))
        )
    )


def add_chunk(session: Session, mailing_id: int, *, now: datetime) -> bool | None:
    """Add whoever may be written to of the next `CHUNK` people, who may be nobody; False when nobody is left to look at, None when
    it is not freezing: somebody may be left then, and whoever would close it comes again.

    One transaction looks at no more than that, however few are meant: every no waits for it. A killed clock leaves
    nothing half done.
    """
    mailing = _locked(session, mailing_id)
    if mailing.state != "freezing" or mailing.topic_id is None:
        return None
    topic = topics.by_id(session, mailing.topic_id)
    last_pos, last_person = _ends(session, mailing_id)
    after = max(last_person, (mailing.facts or {}).get(PASSED, 0))
    chunk_by_index(session)
    if (end := _window(session, after)) is None:
        return False
    matches = segments.matches(segments.checked(session, mailing.audience))
    of_window = matches & (col(Person.id) > after) & (col(Person.id) <= end)
    session.connection().execute(_added(mailing, topic, of_window, last_pos, now))
    if _ends(session, mailing_id)[1] != end:
        mailing.facts = {**(mailing.facts or {}), PASSED: end}
        session.add(mailing)
    failpoints.hit("freeze.in_chunk")
    return True


def left_out(session: Session, mailing_id: int, *, now: datetime) -> dict[str, int]:
    """Why the others are not in the audience, counted over everybody: a look that takes a second with a million, so it is
    no part of the transaction that closes, in which every no would wait for it."""
    mailing = session.get_one(Mailing, mailing_id)
    if mailing.state != "freezing" or mailing.topic_id is None:
        return {}
    matches = segments.matches(segments.checked(session, mailing.audience))
    facts = queries.facts_of(mailing, topics.by_id(session, mailing.topic_id))
    return preferences.audience_counts(session, facts, matches, now).excluded


def close(
    session: Session, mailing_id: int, excluded: dict[str, int], *, batch: int = rules.BATCH, now: datetime
) -> None:
    """The count proof, then batches of `batch`: positions run from 1 to the number planned without a gap, or nothing is
    sent. Nothing happens where another clock was first."""
    mailing = _locked(session, mailing_id)
    if mailing.state != "freezing":
        return
    planned, _ = _ends(session, mailing_id)
    counted = session.execute(
        select(func.count()).select_from(Audience).where(col(Audience.mailing_id) == mailing_id)
    ).scalar_one()
    if counted != planned:
        halt(session, mailing, "audience_does_not_add_up", now=now)
        return
    if excluded:
        rows = [
            {"mailing_id": mailing_id, "reason": reason, "people": people}
            for reason, people in excluded.items()
        ]
        session.connection().execute(insert(Exclusion), rows)
    mailing.planned = planned
    batches = _cut_waves(session, mailing, batch) if _local(mailing)[0] else _cut(session, mailing, batch)
    mailing.state, mailing.started_at = "sending", now
    session.add(mailing)
    body = {"planned": planned, "excluded": excluded, "batches": batches}
    ledger.append(session, "mailing.frozen", subject=mailing.public_id, body=body, by=SYSTEM, now=now)
    failpoints.hit("freeze.at_close")


def _locked(session: Session, mailing_id: int) -> Mailing:
    statement = for_update(session, select(Mailing).where(col(Mailing.id) == mailing_id))
    mailing: Mailing = session.scalars(statement).one()
    return mailing


def _ends(session: Session, mailing_id: int) -> tuple[int, int]:
    """The last position and its person: positions are given in the order of persons' numbers."""
    last = (
        select(col(Audience.pos), func.coalesce(col(Audience.person_id), 0))
        .where(col(Audience.mailing_id) == mailing_id)
        .order_by(col(Audience.pos).desc())
        .limit(1)
    )
    pos, person = session.execute(last).first() or (0, 0)
    return pos, person


def _window(session: Session, after: int) -> int | None:
    """The number of the last of the next `CHUNK` people. Between two numbers a database sees how little it has to read; to
    "so many whom the gate lets through" PostgreSQL would read and sort everybody, for every chunk."""
    following = (
        select(col(Person.id)).where(col(Person.id) > after).order_by(col(Person.id)).limit(rules.CHUNK)
    )
    end: int | None = session.execute(select(func.max(following.subquery().c.id))).scalar()
    return end


def _added(
    mailing: Mailing, topic: Topic, matches: ColumnElement[bool], last_pos: int, now: datetime
) -> Insert:
    """The statement that makes those members whom the gate lets through."""
    found = preferences.eligible(queries.facts_of(mailing, topic), matches, now)
    # Service mail reaches unconfirmed mailboxes, too; a confirmed one is one person already (unique index).
    several = topic.mail_class == "service"
    chosen = _one_per_mailbox(found.where(~_mailbox_is_in(mailing))) if several else found.subquery()
    numbered = select(
        literal(mailing.id),
        literal(last_pos) + func.row_number().over(order_by=chosen.c[1]),
        chosen.c[0],
        chosen.c[1],
        chosen.c[2],
        chosen.c[3],
        _moment(mailing),
    ).select_from(chosen.join(Person, col(Person.id) == chosen.c[1]) if _local(mailing)[0] else chosen)
    names = ["mailing_id", "pos", "address_id", "person_id", "locale", "warrant_seq", "due_at"]
    return insert(Audience).from_select(names, numbered)


def _moment(mailing: Mailing) -> ColumnElement[Any]:
    """When a member is due: all at once, or each at the same time of day on their own clock (`Person`'s zone)."""
    at_once = literal(mailing.due_at, type_=UTCDateTime())
    wall_time, unknown = _local(mailing)
    if wall_time is None or mailing.due_at is None:
        return at_once
    waves = rules.waves(wall_time, not_before=mailing.due_at)
    default = next(moment for moment, zones in waves.items() if unknown in zones)
    moments = [
        (col(Person.zone).in_(zones), literal(moment, type_=UTCDateTime())) for moment, zones in waves.items()
    ]
    return case(*moments, else_=literal(default, type_=UTCDateTime()))


def _local(mailing: Mailing) -> tuple[datetime | None, str]:
    facts = mailing.facts or {}
    wall_time = facts.get("wall_time")
    return (datetime.fromisoformat(wall_time) if wall_time else None), facts.get("zone", "UTC")


def _one_per_mailbox(found: Select[int | None, int | None, str, int | None]) -> Subquery:
    """Of several registrations of one mailbox the confirmed one, else the first: service mail reaches unconfirmed ones too,
    and one mailbox gets one message (H10)."""
    candidates = found.add_columns(col(Address.address_hash), col(Address.confirmed_at)).subquery()
    place = func.row_number().over(
        partition_by=candidates.c[4], order_by=(candidates.c[5].is_(None), candidates.c[1])
    )
    placed = select(*list(candidates.c)[:4], place.label("place")).subquery()
    return select(*list(placed.c)[:4]).where(placed.c.place == 1).subquery()


def _mailbox_is_in(mailing: Mailing) -> Exists:
    """Whether a mailbox is in the audience already, by an earlier chunk and perhaps another registration."""
    present = aliased(Address)
    return exists(
        select(col(Audience.pos))
        .join(present, col(present.id) == col(Audience.address_id))
        .where(
            col(Audience.mailing_id) == mailing.id,
            col(present.address_hash) == col(Address.address_hash),
        )
        .correlate(Address)
    )


def members(
    session: Session, batch: Batch, mailing: Mailing, topic: Topic | None, fields: set[str], *, now: datetime
) -> list[queries.Member]:
    """A batch's members as `queries.members` has them. An important notice is owed to the mailbox: where the registration that
    stood for it there is gone since the freeze, another one of that mailbox takes its place (P3)."""
    found = queries.members(session, batch, mailing, topic, fields, now=now)
    if topic is None or topic.mail_class != "service" or mailing.kind in ("system", "test"):
        return found
    # After a first try the place stays theirs: its outcome is on record under what permitted it.
    gone = [one.pos for one in found if one.refusal in GONE and one.attempt == 1]
    if not gone or not _replace(session, mailing, topic, gone, now=now):
        return found
    return queries.members(session, batch, mailing, topic, fields, now=now)


def _replace(session: Session, mailing: Mailing, topic: Topic, gone: list[int], *, now: datetime) -> bool:
    """Put others of the same mailbox, who are no members, in the places of these; whether there were any."""
    theirs = (
        select(col(Address.address_hash), col(Audience.pos))
        .join(Audience, col(Audience.address_id) == col(Address.id))
        .where(
            col(Audience.mailing_id) == mailing.id,
            col(Audience.pos).in_(gone),
            col(Address.address_hash) != "",
        )
    )
    places = {digest: pos for digest, pos in session.execute(theirs)}
    there = select(col(Address.owner_id)).where(
        col(Address.owner_kind) == "person",
        col(Address.address_hash).in_(places),
        col(Address.ended_at).is_(None),
    )
    numbers = session.scalars(there).all()
    if not numbers:
        return False
    is_member = exists(select(col(Audience.pos)).where(
        col(Audience.mailing_id) == mailing.id, col(Audience.person_id) == col(Person.id)
    ).correlate(Person))  # fmt: skip
    meant = segments.matches(segments.checked(session, mailing.audience)) & col(Person.id).in_(numbers)
    found = preferences.eligible(queries.facts_of(mailing, topic), meant, now)
    chosen = _one_per_mailbox(found.where(col(Address.address_hash).in_(places), ~is_member))
    others = select(chosen, col(Address.address_hash)).join(Address, col(Address.id) == chosen.c[0])
    put = session.execute(others).all()
    for address_id, person_id, locale, warrant, digest in put:
        place = (col(Audience.mailing_id) == mailing.id, col(Audience.pos) == places[digest])
        given = {"address_id": address_id, "person_id": person_id, "locale": locale, "warrant_seq": warrant}
        session.connection().execute(update(Audience).where(*place).values(given))
    return bool(put)


def _cut(session: Session, mailing: Mailing, size: int) -> int:
    """Batches as ranges of positions; how many."""
    cut = [
        {"mailing_id": mailing.id, "first_pos": a, "last_pos": b, "due_at": mailing.due_at, "state": "open"}
        for a, b in rules.ranges(mailing.planned or 0, size)
    ]
    if cut:
        session.connection().execute(insert(Batch), cut)
    return len(cut)


def _cut_waves(session: Session, mailing: Mailing, size: int) -> int:
    """Batches of listed positions, each of one wave; how many."""
    assert mailing.id is not None
    members = (
        select(col(Audience.due_at), col(Audience.pos))
        .where(col(Audience.mailing_id) == mailing.id)
        .order_by(col(Audience.due_at), col(Audience.pos))
    )
    count = 0
    rows = session.execute(members, execution_options={"yield_per": 10_000})
    for due_at, wave in groupby(rows, key=lambda row: row.due_at):
        while listed := [[row.pos, 1] for row in islice(wave, size)]:
            ends = {"first_pos": listed[0][0], "last_pos": listed[-1][0]}
            session.add(
                Batch(mailing_id=mailing.id, **ends, positions=listed, due_at=due_at, reason="local_time")
            )
            count += 1
    return count


def halt(session: Session, mailing: Mailing, reason: str, *, now: datetime) -> None:
    """Figures that do not add up stop a mailing by themselves; only a person goes on with it. The entry is one that senders
    heed."""
    mailing.state, mailing.reason = "halted", reason
    kind = "notice.halted" if mailing.kind == "notice" else "announcement.halted"
    session.add(mailing)
    body = {"mailing": mailing.public_id, "reason": reason}
    ledger.append(session, kind, subject=mailing.public_id, body=body, by=SYSTEM, now=now)
