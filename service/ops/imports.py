"""Running an import: the file is looked at, tried without writing, and taken over in short transactions, whatever interrupts.

Called by `bidden people` and the staff pages. Every writing transaction goes through the fence; between two of them SQLite's
one writer is left to others (design.md 3).
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import BinaryIO

from sqlmodel import Session

from service import fence
from service.db.engine import rest
from service.db.session import reading
from service.domain.brands import queries as brands
from service.domain.preferences.intake import Transfer, look_up
from service.domain.transfers import actions, forecast, queries, rules
from service.domain.transfers import reading as files
from service.domain.transfers.preparing import Prepared, prepare
from service.domain.transfers.reading import FileFacts, Record
from service.domain.transfers.rows import Fault, Row, fault_in, understand
from service.domain.transfers.tables import Import
from service.kit import clock
from service.ops.house import House

LOG = logging.getLogger("bidden.imports")
LONGEST = 0.05  # seconds a transaction is to hold the database (design.md 3) …
SMALLEST = 100  # … but no fewer rows than this: what a transaction costs by itself would be most of it
AT_A_LOOK = 500  # rows of one reading transaction

Open = Callable[[], BinaryIO]
Told = Callable[[int, int], None]  # rows done, rows in all (0 while nobody knows)
Bad = Callable[[Record, list[Fault]], None]


@dataclass
class Examined:
    """What a dry run found: the counts, and the first bad cells in full."""

    counts: rules.Counts = field(default_factory=rules.Counts)
    faults: list[Fault] = field(default_factory=list)
    rows: int = 0

    @property
    def refused(self) -> int:
        """How many rows cannot be taken over as they are."""
        return sum(self.counts.refused.values())


@dataclass(frozen=True)
class Job:
    """A file under a plan: how to open it, what it is, what was decided, which cells were mended."""

    open: Open
    file: FileFacts
    plan: rules.Plan
    mended: dict[int, dict[str, str]] = field(default_factory=dict)

    def records(self, stream: BinaryIO) -> Iterator[Record]:
        """The rows of the file, mended cells in place."""
        places = {column: place for place, column in enumerate(self.file.columns)}
        for record in files.records(stream, self.file):
            cells = self.mended.get(record.number)
            if cells and record.wrong is None:
                told = list(record.cells)
                for column, value in cells.items():
                    if column in places:
                        told[places[column]] = value
                record = Record(record.number, record.line, tuple(told))
            yield record

    def rows(
        self, stream: BinaryIO, *, now: datetime, after: int = 0
    ) -> Iterator[tuple[Record, Row | list[Fault]]]:
        """Each record with what it says, or what is wrong with it; the first `after` are passed over."""
        for record in islice(self.records(stream), after, None):
            yield record, understand(record, self.file.columns, self.plan, now=now)


def look_at(open_: Open) -> FileFacts:
    """What the file is. Raises the errors of `reading.examine`."""
    with open_() as stream:
        return files.examine(stream)


def dry_run(
    house: House, job: Job, *, now: datetime, told: Told | None = None, bad: Bad | None = None
) -> Examined:
    """What an import would make of every row, nothing written. `bad` is handed each row that cannot be taken over."""
    found, before = Examined(), forecast.Before()
    with job.open() as stream:
        pairs = job.rows(stream, now=now)
        while part := list(islice(pairs, AT_A_LOOK)):
            with reading(house.engine) as session:
                facts = look_up(session, now, Transfer("", job.plan.mail, _bases(job.plan)))
                good = [row for _, row in part if isinstance(row, Row)]
                outlook = forecast.of_rows(session, house.ring, job.plan, good, facts, before, now=now)
            _note(found, job, part, outlook, bad)
            if told:
                told(found.rows, 0)
    return found


def _bases(plan: rules.Plan) -> dict[str, str]:
    return {one.topic: one.basis for one in plan.grants if one.basis != rules.CONSENT}


def _note(
    found: Examined,
    job: Job,
    part: Sequence[tuple[Record, Row | list[Fault]]],
    outlook: Iterable[forecast.Outlook],
    bad: Bad | None,
) -> None:
    coming = iter(outlook)
    for record, row in part:
        found.rows += 1
        faults = row if isinstance(row, list) else _counted(found.counts, job, next(coming), record)
        if not faults:
            continue
        found.counts.add("refused", faults[0].code)
        found.faults += faults[: max(0, rules.SHOWN - len(found.faults))]
        if bad:
            bad(record, faults)


def _counted(counts: rules.Counts, job: Job, outlook: forecast.Outlook, record: Record) -> list[Fault]:
    wrong = forecast.counted(counts, outlook)
    return [fault_in(record, job.file.columns, job.plan, outlook.verdict.about, wrong)] if wrong else []


def run(house: House, job: Job, row: Import, *, by: str, told: Told | None = None) -> Import:
    """Take over the rows that are not done yet, and end the import. Going on after a crash is calling this again.

    Raises `ImportMoved` when another run of the same import is at work.
    """
    assert row.id is not None
    import_id, size, plan = row.id, SMALLEST, rules.plan_of(row.plan)
    with reading(house.engine) as session:
        keep_ip = brands.setting(session, "ip_evidence")
    with job.open() as stream:
        pairs = job.rows(stream, now=clock.now(), after=row.rows_done)
        free_since = 0.0
        # They are read, and all that rests on nothing known here is made, while the database is left to others.
        while part := [
            prepare(house.ring, plan, one, keep_ip=keep_ip) if isinstance(one, Row) else one
            for _, one in islice(pairs, size)
        ]:
            time.sleep(max(0.0, free_since + rest(house.engine) - time.monotonic()))
            row, seconds = _chunk(house, import_id, row.rows_done, part, by=by)
            free_since = time.monotonic()
            size = max(SMALLEST, min(actions.BATCH, int(size * LONGEST / seconds)))
            if told:
                told(row.rows_done, row.rows_total)
    ended = fence.perform_now(house, lambda session: actions.end(session, import_id, now=clock.now(), by=by))
    return ended.value


def _chunk(
    house: House, import_id: int, first: int, part: Sequence[Prepared | list[Fault]], *, by: str
) -> tuple[Import, float]:
    """One transaction, and the seconds it had the database for itself."""
    began = 0.0

    def act(session: Session) -> Import:
        nonlocal began
        began = time.perf_counter()
        return actions.take_chunk(session, house.ring, import_id, first, part, now=clock.now(), by=by)

    row = fence.perform_now(house, act).value
    return row, max(time.perf_counter() - began, 0.001)


def in_background(work: Callable[[], object]) -> None:
    """Run or take back in a thread of this process. It ends with the process; the page then offers to go on."""

    def quietly() -> None:
        try:
            work()
        except rules.ImportMoved:
            pass  # another process is at work on it
        except Exception:
            LOG.exception("an import stopped")

    threading.Thread(target=quietly, name="import", daemon=True).start()


def is_still(row: Import, *, now: datetime) -> bool:
    """Whether nobody seems to work on a running import any more, so that somebody else may go on with it."""
    return rules.is_still(row.beat_at, now)


def take_back(house: House, public_id: str, *, reason: str, by: str, told: Told | None = None) -> Import:
    """Take back what an import gave and is standing on it still; going on after a crash is calling this again.

    Raises `ReasonMissing`, `ImportUnknown`, `ImportNotDone`.
    """
    row = fence.perform_now(
        house,
        lambda session: actions.begin_taking_back(session, public_id, reason=reason, now=clock.now(), by=by),
    ).value
    assert row.id is not None
    import_id = row.id
    with reading(house.engine) as session:
        spans = queries.spans(session, row)
        standing = queries.standing_on(session, spans)
    while row.state == "taking_back":
        after = row.back_after
        row = fence.perform_now(
            house,
            lambda session, after=after: actions.take_back_chunk(  # type: ignore[misc]
                session, import_id, spans, after, now=clock.now(), by=by
            ),
        ).value
        if told:
            told(row.taken_back, standing)
        time.sleep(rest(house.engine))
    return row
