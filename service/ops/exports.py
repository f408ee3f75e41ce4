"""Tables of people that leave the house: an export with its reason, and the bad rows of an import with what is wrong.

Called by `bidden people` and the staff pages. CSV is RFC 4180 with CRLF, a UTF-8 mark for spreadsheets, and no cell that one of
them would take for a formula (standards N9); NDJSON is one object for each line.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from sqlmodel import Session

from service import fence
from service.db.session import reading
from service.domain.transfers import actions, queries
from service.domain.transfers.reading import Record, neutralised
from service.domain.transfers.rows import Fault
from service.kit import clock
from service.kit.errors import Conflict
from service.ops.house import House

FORMS = {"csv": "text/csv; charset=utf-8", "ndjson": "application/x-ndjson"}
MARK = "\ufeff"
WRONG = "what is wrong"


class FileThere(Conflict):
    """There is a file by that name already; an export overwrites nothing."""


def parts(house: House, *, form: str, by: str) -> Iterator[tuple[str, int]]:
    """Everybody who is not restricted, a part at a time, with the number of people in it. Who takes them out and why was noted before
    (`actions.note_export`); whose data left is noted as it leaves (standards K8).
    """
    with reading(house.engine) as session:
        columns = queries.export_columns(session)
    if form == "csv":
        yield MARK + _csv([columns]), 0
    after: int | None = 0
    while after is not None:
        cells, after = _part(house, after, by)
        if form == "csv":
            yield _csv([str(one[column]) for column in columns] for one in cells), len(cells)
        else:
            yield "".join(f"{json.dumps(one, ensure_ascii=False)}\n" for one in cells), len(cells)


def _part(house: House, after: int, by: str) -> tuple[list[dict[str, str]], int | None]:
    """The next people, noted as gone out in the transaction that reads them."""

    def act(session: Session) -> tuple[list[dict[str, str]], int | None]:
        cells, names, following = queries.people_after(session, house.ring, after, most=actions.BATCH)
        if names:
            actions.note_exported(session, names, now=clock.now(), by=by)
        return cells, following or None

    return fence.perform_now(house, act).value


def bad_rows_header(columns: Sequence[str]) -> str:
    """The first line of a file of bad rows: the file's own columns, and what is wrong as the last."""
    return MARK + _csv([[*columns, WRONG]])


def bad_row(record: Record, width: int, faults: Sequence[Fault]) -> str:
    """A row that was not taken over, as it was, with every reason; mended, the file can be imported as it is. Cells beyond the last
    column stand behind the reason."""
    cells = [*record.cells, *[""] * (width - len(record.cells))]
    told = [
        " ".join(part for part in (f"{one.column}:" if one.column else "", one.sentence, one.fix) if part)
        for one in faults
    ]
    reason = f"Row {record.number}, line {record.line}. " + " ".join(told)
    return _csv([[*cells[:width], reason, *cells[width:]]])


def _csv(rows: Iterable[Iterable[str]]) -> str:
    out = io.StringIO(newline="")
    csv.writer(out).writerows([neutralised(cell) for cell in row] for row in rows)
    return out.getvalue()


def file_name(form: str, now: datetime) -> str:
    """What an export is called."""
    return f"people-{now:%Y-%m-%d}.{form}"
