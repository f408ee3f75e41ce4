"""Keyset pages: a cursor is the sort key of the last row seen, so a page costs the same however deep it lies."""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from service.kit.errors import Invalid

Row = TypeVar("Row")
LIMIT = 200
ROWS = 1 << 31  # what numbers of rows stay below: PostgreSQL has no place for more in their columns
ENTRIES = 1 << 63  # and those of the ledger's entries


class CursorInvalid(Invalid):
    """That page marker was not made by us; start again without it."""


@dataclass(frozen=True)
class Page(Generic[Row]):
    """Some rows, and the cursor of the next ones (None when there are no more)."""

    rows: Sequence[Row]
    next: str | None


def encode(key: int | str) -> str:
    """The cursor that starts after this key."""
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def decode(cursor: str | None, *, below: int = ROWS) -> int | str | None:
    """The key inside a cursor; None for the first page. Raises `CursorInvalid`, also for a number that no row can have."""
    if not cursor:
        return None
    try:
        key = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error, RecursionError) as broken:
        raise CursorInvalid(field="cursor") from broken
    if (
        isinstance(key, bool)
        or not isinstance(key, int | str)
        or (isinstance(key, int) and abs(key) >= below)
    ):
        raise CursorInvalid(field="cursor")
    return key


def size(asked: int | None) -> int:
    """How many rows a page holds: what was asked for, between 1 and 200; 50 when nothing was."""
    return max(1, min(asked or 50, LIMIT))
