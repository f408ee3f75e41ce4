"""What the two settings on pace hold, read from JSON or from the words of a form or command. Pure; called by `rules`.

`domain_limits`: recipient domain → {"per_hour": n, "connections": n}. `warm_up`: {"from": date, "amounts": [n, …]}, how many
letters of mailings leave on each day (UTC) from that one on; before it and after the last amount there is no limit.
"""

import re
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

_DOMAIN = re.compile(r"(?=.{4,253}$)([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]")
_MOST = {"per_hour": 10_000_000, "connections": 1000}
_DAYS, _A_DAY = 366, 100_000_000


def domains(given: object) -> dict[str, dict[str, int]] | None:
    """Also written `gmail.com per_hour=2000 connections=4`, one domain a line or by comma. None: not understood."""
    if isinstance(given, str):
        lines = [line.split() for line in re.split(r"[\n,]", given) if line.strip()]
        given = {line[0]: dict(part.partition("=")[::2] for part in line[1:]) for line in lines}
    if not isinstance(given, dict) or not given:
        return None
    read: dict[str, dict[str, int]] = {}
    for name, limit in given.items():
        if (
            not isinstance(name, str)
            or not _DOMAIN.fullmatch(name)
            or not isinstance(limit, dict)
            or not limit
        ):
            return None
        numbers = {key: _number(value, _MOST.get(key, 0)) for key, value in limit.items()}
        if None in numbers.values():
            return None
        read[name] = {key: value for key, value in numbers.items() if value is not None}
    return read


def plan(given: object) -> dict[str, Any] | None:
    """Also written `2026-12-01: 200 400 800`. None: not understood."""
    if isinstance(given, str):
        start, _, amounts = given.partition(":")
        given = {"from": start.strip(), "amounts": amounts.split()}
    if (
        not isinstance(given, dict)
        or set(given) != {"from", "amounts"}
        or not isinstance(given["amounts"], list)
    ):
        return None
    numbers = [_number(value, _A_DAY) for value in given["amounts"]]
    try:
        start_on = date.fromisoformat(str(given["from"]))
    except ValueError:
        return None
    if not numbers or len(numbers) > _DAYS or None in numbers:
        return None
    return {"from": start_on.isoformat(), "amounts": numbers}


def amount_on(plan: Mapping[str, Any] | None, on: date) -> int | None:
    """How many letters may leave on that day; None when the plan does not speak of it."""
    if plan is None:
        return None
    place = (on - date.fromisoformat(plan["from"])) // timedelta(days=1)
    amounts: list[int] = plan["amounts"]
    return amounts[place] if 0 <= place < len(amounts) else None


def words(value: object) -> str:
    """A value as a person writes it."""
    if not isinstance(value, dict):
        return ""
    if "amounts" in value:
        return f"{value['from']}: {' '.join(map(str, value['amounts']))}"
    return ", ".join(
        " ".join([name, *(f"{key}={number}" for key, number in limit.items())])
        for name, limit in value.items()
    )


def _number(value: object, most: int) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most else None
