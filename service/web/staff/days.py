"""The day a person's page is about: asked for by date, or by a slider from their first entry to today. Called by `people`, `evidence`.

A form without script sends both; `was` is the day it was made for, by which it shows which of the two was changed.
"""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any


def day_asked(text: str, now: datetime) -> date:
    """The day asked for; today for anything that is none."""
    try:
        return min(date.fromisoformat(text), now.date())
    except ValueError:
        return now.date()


def chosen(query: Mapping[str, str], first: date, now: datetime) -> date:
    """The day that a form asks for: the date where that was changed, being the more exact word, else the slider's where it was moved."""
    was, on = day_asked(query.get("was", ""), now), day_asked(query.get("on", ""), now)
    place, most = query.get("days", ""), _place(now.date(), first, now)
    moved = len(place) < 6 and place.isascii() and place.isdecimal() and int(place) <= most
    if on != was or not moved or int(place) == _place(was, first, now):
        return on
    return first + timedelta(days=int(place))


def slider(first: date, on: date, now: datetime) -> dict[str, Any] | None:
    """The slider as it stands at a day; None where there is one day alone."""
    most = _place(now.date(), first, now)
    place = _place(on, first, now)
    return {"first": first, "most": most, "place": place, "words": in_words(on)} if most else None


def in_words(day: date) -> str:
    """As the page writes a day: 12 May 2026."""
    return f"{day.day} {day:%b %Y}"


def _place(day: date, first: date, now: datetime) -> int:
    """How many days after the first one, none before it."""
    return max(0, (min(day, now.date()) - first).days)
