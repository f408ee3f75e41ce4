"""The language of audiences, and what it means in SQL."""

import pickle
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, strategies
from sqlmodel import Session, col, select

from service.domain.people import queries as people_queries
from service.domain.people.tables import AttributeKind, Person, PersonAttribute
from service.domain.segments import queries, rules
from service.kit.ids import new_alias, person_id

KINDS = {"plan": "text", "country": "text", "seats": "number", "beta": "flag", "tools": "tags"}


def _person(session: Session, now: datetime, **attributes: list[str]) -> int:
    alias = new_alias(8)
    person = Person(alias=alias, public_id=person_id(alias), created_at=now)
    session.add(person)
    session.flush()
    assert person.id
    session.add_all(
        PersonAttribute(person_id=person.id, name=name, value=value)
        for name, values in attributes.items()
        for value in values
    )
    session.flush()
    return person.id


@pytest.fixture
def people(session: Session, now: datetime) -> dict[str, int]:
    known = people_queries.attribute_kinds(session)
    session.add_all(
        AttributeKind(name=name, type=kind, purpose="a test", declared_at=now)
        for name, kind in KINDS.items()
        if name not in known
    )
    return {
        "ana": _person(
            session, now, plan=["pro"], country=["de"], seats=["5"], beta=["true"], tools=["api", "cli"]
        ),
        "bo": _person(session, now, plan=["pro"], country=["at"]),
        "cy": _person(session, now, plan=["free"], country=["de"], tools=["cli"]),
        "di": _person(session, now),
    }


def _found(session: Session, people: dict[str, int], audience: object) -> list[str]:
    condition = queries.matches(queries.checked(session, audience))
    ids = set(session.exec(select(Person.id).where(condition, col(Person.id).in_(people.values()))))
    return [name for name, number in people.items() if number in ids]


@pytest.mark.parametrize(
    ("audience", "found"),
    [
        (None, ["ana", "bo", "cy", "di"]),
        ({}, ["ana", "bo", "cy", "di"]),
        ({"attributes": {}}, ["ana", "bo", "cy", "di"]),
        ({"attributes": {"plan": "pro"}}, ["ana", "bo"]),
        ({"attributes": {"plan": ["pro", "free"]}}, ["ana", "bo", "cy"]),
        ({"attributes": {"plan": "pro", "country": "de"}}, ["ana"]),
        ({"attributes": {"tools": ["cli"]}}, ["ana", "cy"]),
        ({"attributes": {"seats": 5}}, ["ana"]),
        ({"attributes": {"beta": True}}, ["ana"]),
        ({"attributes": {"plan": "x' OR '1'='1"}}, []),
        ({"attributes": {"plan": "%"}}, []),
    ],
)
def test_matches_means_what_it_says(
    session: Session, people: dict[str, int], audience: object, found: list[str]
) -> None:
    assert _found(session, people, audience) == found


def _nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {"attributes": {"plan": "pro"}}
    for _ in range(depth):
        value = {"or": [value]}
    return value


@pytest.mark.parametrize(
    "audience",
    [
        "plan = 'pro'",
        pickle.dumps({"attributes": {}}),
        [],
        7,
        True,
        _nested(1000),
        {"attributes": {"plan": _nested(1000)}},
        {"attributes": [["plan", "pro"]]},
        {"attributes": "plan"},
        {"attributes": {"plan": None}},
        {"attributes": {"plan": []}},
        {"attributes": {"plan": 1.5}},
        {"attributes": {"plan": {"$ne": ""}}},
        {"attributes": {"plan": ""}},
        {"attributes": {"plan": "x" * 201}},
        {"attributes": {"plan": ["x"] * 201}},
        {"attributes": {"plan": "a\x00"}},
        {"attributes": {"plan": "\ud800"}},
        {"attributes": {"plan": 10**40}},
        {"attributes": {f"a{n}": "x" for n in range(21)}},
        {"attributes": {}, "sql": "1=1"},
    ],
)
def test_rel_h67_a_filter_of_wrong_type_or_depth_is_refused(audience: object) -> None:
    with pytest.raises(rules.FilterInvalid) as refused:
        rules.check(audience)
    assert (refused.value.code, refused.value.status) == ("filter_invalid", 422)


@pytest.mark.parametrize("name", ["password", "id;--", "plan'", "Plan", "", "x" * 41, "__class__", 5])
def test_rel_h48_an_unknown_attribute_is_refused_by_name(session: Session, name: object) -> None:
    with pytest.raises(rules.UnknownField) as refused:
        queries.checked(session, {"attributes": {name: "x"}})
    assert (refused.value.code, refused.value.status) == ("unknown_field", 422)


@given(
    strategies.recursive(
        strategies.none() | strategies.booleans() | strategies.floats() | strategies.text(),
        lambda inner: strategies.lists(inner) | strategies.dictionaries(strategies.text(), inner),
    )
)
def test_rel_h67_no_value_breaks_the_reader(audience: object) -> None:
    for value in (audience, {"attributes": audience}, {"attributes": {"plan": audience}}):
        try:
            rules.check(value)
        except (rules.FilterInvalid, rules.UnknownField):
            continue


def test_a_filter_reads_the_same_however_it_was_written() -> None:
    one = rules.check({"attributes": {"plan": ["team", "pro", "pro"], "country": "de"}}, KINDS)
    two = rules.check({"attributes": {"country": ["de"], "plan": [" pro", "team "]}}, KINDS)
    assert one == two
    assert one.as_audience == {"attributes": {"country": ["de"], "plan": ["pro", "team"]}}
    assert rules.check(one.as_audience) == one
    assert rules.words(one) == "country is de, and plan is pro or team"
    assert rules.words(rules.EVERYBODY) == ""


def test_values_for_the_composer_are_the_commonest_first(session: Session, people: dict[str, int]) -> None:
    offered = {one.name: one.values for one in queries.values(session, most=2)}
    assert offered["plan"] == [("pro", 2), ("free", 1)]
    assert offered["tools"] == [("cli", 2), ("api", 1)]
    assert len(offered["country"]) == 2
