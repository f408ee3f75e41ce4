"""Many rows in one statement say the same as each by itself, on either database."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import Engine, LargeBinary, MetaData, select
from sqlalchemy.exc import IntegrityError
from sqlmodel import Field, SQLModel, col

from service.db import bulk
from service.db.bulk import among, delete_some, insert_rows, next_numbers
from service.db.session import reading, transaction


class Scratch(SQLModel):
    """What a table of our own may hold."""

    metadata = MetaData()


class Line(Scratch, table=True):
    __tablename__ = "scratch_line"

    number: int = Field(primary_key=True)
    words: str
    maybe: int | None = None
    done: bool
    at: datetime


class Octets(Scratch, table=True):
    __tablename__ = "scratch_octets"

    number: int = Field(primary_key=True)
    octets: bytes = Field(sa_type=LargeBinary)


class Numbered(Scratch, table=True):
    __tablename__ = "scratch_numbered"

    id: int | None = Field(default=None, primary_key=True)
    words: str


WORDS = ["", "plain", 'a "quote", it\'s', "Zoë 日本 👋", "two\nlines\\n", "[1, null]", "\x01\x7f"]


def _line(number: int, words: str = "", **more: Any) -> dict[str, Any]:
    at = datetime(2026, 3, 1, 12, 30, 0, 123456, tzinfo=UTC)
    return {"number": number, "words": words, "maybe": None, "done": False, "at": at} | more


@pytest.fixture
def tables(engine: Engine) -> Engine:
    Scratch.metadata.create_all(engine)
    return engine


def test_what_is_written_is_read(tables: Engine) -> None:
    rows = [_line(n, words, maybe=n or None, done=n % 2 == 0) for n, words in enumerate(WORDS)]
    rows.append(_line(1 << 30, maybe=-5))
    with transaction(tables) as session:
        insert_rows(session, Line, [])
        insert_rows(session, Line, rows)
    with reading(tables) as session:
        found = session.scalars(select(Line).order_by(col(Line.number))).all()
    assert [line.model_dump() for line in found] == rows


def test_a_row_twice_is_refused_and_none_of_them_stays(tables: Engine) -> None:
    with pytest.raises(IntegrityError), transaction(tables) as session:
        insert_rows(session, Line, [_line(1), _line(2), _line(1)])
    with reading(tables) as session:
        assert session.scalars(select(Line)).all() == []


def test_text_with_a_zero_in_it_is_not_cut(tables: Engine) -> None:
    """PostgreSQL holds no such text at all."""
    if tables.dialect.name != "sqlite":
        return
    with transaction(tables) as session:
        insert_rows(session, Line, [_line(1, "a\0b"), _line(2, "c")])
    with reading(tables) as session:
        assert session.scalars(select(col(Line.words)).order_by(col(Line.number))).all() == ["a\0b", "c"]


def test_octets_are_written_as_they_are(tables: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "PARAMETERS", 7)  # so that they take several statements
    bulk._by_hand.cache_clear()
    rows = [
        {"number": n, "octets": octets}
        for n, octets in enumerate([b"", b"\x00\xff", b"plain", *(bytes([n]) * n for n in range(9))])
    ]
    with transaction(tables) as session:
        insert_rows(session, Octets, rows)
    with reading(tables) as session:
        found = session.scalars(select(Octets).order_by(col(Octets.number))).all()
    bulk._by_hand.cache_clear()
    assert [row.model_dump() for row in found] == rows


def test_instants_that_alternate_are_each_written_as_they_are(tables: Engine) -> None:
    hour = timedelta(hours=1)
    first, east = _line(0)["at"], timezone(hour)
    rows = [_line(n, at=(first + n % 2 * hour).astimezone(east)) for n in range(5)]
    with transaction(tables) as session:
        insert_rows(session, Line, rows)
    with reading(tables) as session:
        found = session.scalars(select(col(Line.at)).order_by(col(Line.number))).all()
    assert found == [row["at"] for row in rows]


@pytest.mark.parametrize("many", [0, 1, 3, 2000])
def test_of_many_values_those_are_found_that_are_there(tables: Engine, many: int) -> None:
    """Also where one is not there, or holds what SQL or JSON write in another way."""
    with transaction(tables) as session:
        insert_rows(session, Line, [_line(n, words) for n, words in enumerate(WORDS)])
    words, numbers = [*WORDS, *map(str, range(2000))][1 : 1 + many], list(range(1, 1 + many))
    with reading(tables) as session:
        by_words = session.scalars(select(Line).where(among(col(Line.words), "words")), {"words": words})
        there = {one.words for one in by_words}
        by_number = session.scalars(
            select(Line).where(among(col(Line.number), "numbers")), {"numbers": numbers}
        )
        others = select(col(Line.number)).where(~among(col(Line.number), "numbers"))
        left = session.scalars(others, {"numbers": numbers}).all()
        assert there == {one.words for one in by_number} == set(WORDS) & set(words)
        assert len(left) == len(WORDS) - len(there)


def test_many_values_are_looked_up_by_index(tables: Engine) -> None:
    """SQLite looks for each; it would go through the whole table if it were asked whether the answer equals 1."""
    if tables.dialect.name != "sqlite":
        return
    with tables.connect() as connection:
        asked = str(select(Line).where(among(col(Line.number), "numbers")).compile(tables))
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked}", ("[1]",)).all()
    assert any("SEARCH scratch_line" in row[3] for row in plan), plan


def test_rows_that_name_each_other_get_numbers_nobody_else_gets(tables: Engine) -> None:
    with transaction(tables) as session:
        session.add(Numbered(words="one by the database"))
        session.flush()
        drawn = next_numbers(session, Numbered, 3)
        insert_rows(session, Numbered, [{"id": number, "words": "by hand"} for number in drawn])
        assert next_numbers(session, Numbered, 0) == []
    with transaction(tables) as session:
        session.add(Numbered(words="and one more"))
    with reading(tables) as session:
        found = session.execute(
            select(col(Numbered.id), col(Numbered.words)).order_by(col(Numbered.id))
        ).all()
    assert [number for number, words in found if words == "by hand"] == drawn
    assert [words for _, words in found] == ["one by the database", *["by hand"] * 3, "and one more"]


def test_old_rows_go_a_few_at_a_time_and_others_stay(tables: Engine) -> None:
    with transaction(tables) as session:
        insert_rows(session, Line, [_line(n, done=n % 2 == 0) for n in range(10)])
    gone = []
    for _ in range(3):
        with transaction(tables) as session:
            gone.append(delete_some(session, Line, col(Line.done), most=3))
    assert gone == [3, 2, 0]
    with reading(tables) as session:
        assert session.scalars(select(col(Line.number)).order_by(col(Line.number))).all() == [1, 3, 5, 7, 9]
