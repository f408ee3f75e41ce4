"""An audience as SQL over persons, and what the composer may offer to choose from."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, exists, func, true
from sqlmodel import Session, col, select

from service.domain.people.queries import attribute_kinds
from service.domain.people.tables import AttributeKind, Person, PersonAttribute
from service.domain.segments import rules


@dataclass(frozen=True)
class AttributeValues:
    """A declared attribute and its commonest values, each with how many people have it."""

    name: str
    type: str
    purpose: str
    values: list[tuple[str, int]]


def checked(session: Session, audience: object) -> rules.Filter:
    """Read an audience against the declared attributes. Raises `FilterInvalid` or `UnknownField`."""
    return rules.check(audience, attribute_kinds(session))


def matches(audience: rules.Filter) -> ColumnElement[bool]:
    """A condition on `Person`: has, of every attribute named, one of the values (each an index probe)."""
    conditions = [
        exists().where(
            col(PersonAttribute.person_id) == col(Person.id),
            col(PersonAttribute.name) == name,
            col(PersonAttribute.value).in_(values),
        )
        for name, values in sorted(audience.attributes.items())
    ]
    return and_(true(), *conditions)


def values(session: Session, *, most: int = 20) -> list[AttributeValues]:
    """Every declared attribute with at most so many of its values, the commonest first."""
    people = func.count().label("people")
    offered = []
    for kind in session.exec(select(AttributeKind).order_by(col(AttributeKind.name))).all():
        rows = session.exec(
            select(PersonAttribute.value, people)
            .where(col(PersonAttribute.name) == kind.name)
            .group_by(col(PersonAttribute.value))
            .order_by(people.desc(), col(PersonAttribute.value))
            .limit(most)
        )
        offered.append(
            AttributeValues(kind.name, kind.type, kind.purpose, [(value, count) for value, count in rows])
        )
    return offered
