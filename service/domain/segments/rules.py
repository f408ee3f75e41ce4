"""The small typed language of audiences: attributes that must all match, each with one value or any of
several. Pure.

`{"attributes": {"plan": "pro", "country": ["de", "at"]}}` is those on plan pro who are in Germany or Austria.
There is no nesting and no operator, so nothing to evaluate and nothing to inject.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from service.kit.errors import Invalid

MOST_ATTRIBUTES, MOST_VALUES, LONGEST_VALUE = 20, 200, 200
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class FilterInvalid(Invalid):
    """That is not an audience we can read."""

    fix_hint = 'Write it as in {"attributes": {"plan": "pro", "country": ["de", "at"]}}.'


class UnknownField(Invalid):
    """There is no attribute by that name."""


@dataclass(frozen=True)
class Filter:
    """Attribute name → values of which one must be there; all names must match. Empty: everybody.

    `words`: the wording whose promise the mail keeps within, so that a yes to it is enough; "": the newest words.
    """

    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    words: str = ""

    @property
    def as_audience(self) -> dict[str, Any]:
        """The filter in the shape it is stored and hashed in."""
        attributes = {name: list(values) for name, values in sorted(self.attributes.items())}
        return {"attributes": attributes} | ({"words": self.words} if self.words else {})


EVERYBODY = Filter()


def check(audience: object, kinds: Mapping[str, str] | None = None) -> Filter:
    """Read an audience as a form or program gave it. `kinds` are the declared attributes, name → type.

    Raises `FilterInvalid` for wrong types, depth or size (H67), `UnknownField` for an attribute nobody
    declared (H48).
    """
    if audience is None:
        return EVERYBODY
    if not isinstance(audience, dict) or not audience.keys() <= {"attributes", "words"}:
        raise FilterInvalid(field="audience")
    said = audience.get("words") or ""
    if not isinstance(said, str) or len(said) > LONGEST_VALUE or _CONTROL.search(said):
        raise FilterInvalid(field="audience.words", fix="A wording's id, such as new-products-v1-en.")
    given = audience.get("attributes")
    given = {} if given is None else given  # [] or "" or false is a slip of a program, not everybody
    if not isinstance(given, dict) or len(given) > MOST_ATTRIBUTES:
        raise FilterInvalid(field="audience.attributes")
    wanted = {}
    for name, value in given.items():
        if (
            not isinstance(name, str)
            or not _NAME.fullmatch(name)
            or (kinds is not None and name not in kinds)
        ):
            known = ", ".join(sorted(kinds or ())) or "none yet"
            raise UnknownField(field="audience.attributes", fix=f"Known attributes: {known}.")
        values = value if isinstance(value, list) else [value]
        if not 0 < len(values) <= MOST_VALUES:
            raise FilterInvalid(field=f"audience.attributes.{name}")
        wanted[name] = tuple(sorted({_text(one, name) for one in values}))
    return Filter(wanted, said)


def _text(value: object, name: str) -> str:
    """A value as stored with a person: text trimmed, numbers in figures, yes and no as true and false."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and abs(value) < 10**30:
        return str(value)
    if isinstance(value, str) and 0 < len(value.strip()) <= LONGEST_VALUE and not _CONTROL.search(value):
        return value.strip()
    raise FilterInvalid(field=f"audience.attributes.{name}")


def words(audience: Filter) -> str:
    """The filter as people read it: "plan is pro or team, and country is de"; "" for everybody."""
    return ", and ".join(
        f"{name} is {' or '.join(values)}" for name, values in sorted(audience.attributes.items())
    )
