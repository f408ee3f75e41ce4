"""Reading what the ledger says of one subject without reading all of it out: the newest, and the last word on each thing."""

from datetime import datetime, timedelta

from sqlalchemy.engine import Engine

from service.db.session import reading, transaction
from service.domain.ledger import actions, queries
from service.kit.clock import to_micros

MINUTE = timedelta(minutes=1)


def write(engine: Engine, said: list[tuple[str, str | None, datetime]]) -> list[int]:
    """Entries of one subject among those of another: kind, topic, moment; their numbers."""
    numbers = []
    with transaction(engine) as session:
        for kind, topic, at in said:
            body = {"topic": topic} if topic else {"n": 1}
            actions.append(session, kind, subject="p_other", body=body, by="cli", now=at)
            numbers.append(actions.append(session, kind, subject="p_one", body=body, by="cli", now=at))
    return numbers


def test_the_newest_come_by_moment_and_then_by_number(engine: Engine, now: datetime) -> None:
    """A moment is taken before the ledger's tail is, so that a later entry may name an earlier one."""
    at = [now, now + MINUTE, now, now, now - MINUTE]
    a, b, c, d, e = write(engine, [("note.made", None, one) for one in at])
    order = [b, d, c, a, e]
    with reading(engine) as session:
        found = [one.seq for one in queries.newest_of(session, "p_one", before=None, most=10)]
        assert found == order
        before: tuple[int, int] | None = None
        for seq in order:
            [one] = queries.newest_of(session, "p_one", before=before, most=1)
            assert one.seq == seq
            before = to_micros(one.at), one.seq
        assert queries.newest_of(session, "p_one", before=before, most=1) == []


def test_the_newest_of_some_kinds_and_of_all_others(engine: Engine, now: datetime) -> None:
    a, b, c = write(engine, [(kind, None, now) for kind in ("note.made", "note.kept", "note.told")])
    with reading(engine) as session:

        def newest(**which: tuple[str, ...]) -> list[int]:
            return [one.seq for one in queries.newest_of(session, "p_one", before=None, most=9, **which)]

        assert newest(kinds=("note.made", "note.told")) == [c, a]
        assert newest(other_than=("note.made", "note.told")) == [b]
        assert newest() == [c, b, a]


def test_the_last_word_on_each_topic_up_to_a_moment(engine: Engine, now: datetime) -> None:
    kinds = "consent.given", "consent.withdrawn"
    said = [
        ("consent.given", "a", now),
        ("consent.given", "b", now),
        ("consent.withdrawn", "a", now + MINUTE),
        ("consent.given", None, now),
        ("note.made", "a", now),
        ("consent.given", "b", now),
    ]
    a, b, later, _, _, again = write(engine, said)
    with reading(engine) as session:

        def last(until: datetime | None) -> dict[str, int]:
            found = queries.last_of_each(session, "p_one", "topic", kinds=kinds, until=until)
            assert all(one.subject == "p_one" and one.body["topic"] == said for said, one in found.items())
            return {said: one.seq for said, one in found.items()}

        assert last(None) == last(now + MINUTE) == {"a": later, "b": again}
        assert last(now) == last(now + MINUTE - timedelta(microseconds=1)) == {"a": a, "b": again}
        assert last(now - timedelta(microseconds=1)) == {}
        assert b < again
