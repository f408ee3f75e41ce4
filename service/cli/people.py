"""`bidden people`: take over people from elsewhere with the proof of their consent, take that back, give everybody out."""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlmodel import Session

from service.cli import desk, processes
from service.domain.topics import queries as topics
from service.domain.transfers import actions, queries, rules, sources
from service.domain.transfers.reading import FileFacts, Record
from service.domain.transfers.rows import Fault
from service.domain.transfers.tables import Import
from service.kit import clock
from service.ops import exports, imports
from service.ops.house import House

app = desk.group("People: import with proof, take an import back, export.")


Table = Annotated[
    Path,
    typer.Argument(exists=True, dir_okay=False, help="CSV, in whatever encoding and with whatever sign."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would become of each row; write nothing.")]
Source = Annotated[
    str, typer.Option(help="A short word for where these people come from; the system's name when not said.")
]
Topics = Annotated[
    list[str] | None,
    typer.Option(help="A topic they agreed to; without one they are registered with no consent."),
]
Wordings = Annotated[
    list[str] | None, typer.Option(help="The wording of ours they saw, such as new-products-v1-en.")
]
Text = Annotated[str, typer.Option(help="The words they saw, where they were not ours.")]
On = Annotated[str, typer.Option(help="When they agreed, where no column tells: 2024-05-01.")]
Said = Annotated[str, typer.Option(help="Where they agreed: “web shop, newsletter box”.")]
Legacy = Annotated[
    bool,
    typer.Option("--legacy", help="Registering meant agreeing: label it so; no marketing goes out on it."),
]
Basis = Annotated[
    str,
    typer.Option(help="What stands for their yes, where it was none: implied_purchase or implied_inquiry."),
]
Confirmed = Annotated[
    bool, typer.Option("--confirmed", help="The confirmation columns tell of a button in a mail.")
]
Mailed = Annotated[
    bool, typer.Option("--mail", help="Mail our own button to those whose yes nobody confirmed.")
]
Columns = Annotated[
    list[str] | None, typer.Option(help="NAME=MEANING, such as “Datum=agreed_at”; NAME= leaves it out.")
]
Dates = Annotated[str, typer.Option(help="How dates are written: iso, dmy or mdy.")]
Status = Annotated[
    str, typer.Option(help="What holds of everybody where no column tells: yes, no, bounced …")
]
Planned = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="All of this as JSON, for several topics.")
]
BadRows = Annotated[
    Path | None,
    typer.Option(help="Write the rows that cannot be taken over into this file, with the reason."),
]
LeaveOut = Annotated[
    bool, typer.Option("--leave-out-bad-rows", help="Import the others although some cannot be taken over.")
]


class FormUnknown(rules.PlanInvalid):
    """An export is csv or ndjson."""


@app.command("import")
@desk.command
def import_(
    file: Table,
    dry_run: DryRun = False,
    source: Source = "",
    topic: Topics = None,
    wording: Wordings = None,
    text: Text = "",
    on: On = "",
    said: Said = "",
    legacy: Legacy = False,
    basis: Basis = rules.CONSENT,
    confirmed: Confirmed = False,
    mail: Mailed = False,
    column: Columns = None,
    dates: Dates = "iso",
    status: Status = "",
    plan: Planned = None,
    bad_rows: BadRows = None,
    leave_out_bad_rows: LeaveOut = False,
    as_json: desk.Json = False,
) -> None:
    """Take over the people of a file. Running it again goes on where it stopped, or changes nothing."""
    house = desk.house()
    if bad_rows is not None and bad_rows.exists():
        raise exports.FileThere("There is a file by that name already.", field=str(bad_rows))
    facts = imports.look_at(lambda: file.open("rb"))
    if plan is not None:
        made = _read_plan(plan, facts, file.name)
        made = replace(made, leave_out_bad=made.leave_out_bad or leave_out_bad_rows)
    else:
        columns = _columns(facts, column or [], [one.slug for one in desk.ask(house, topics.active)])
        grants = _grants(topic or [], wording or [], text, on, said, rules.LEGACY if legacy else basis)
        status = status or _status(columns, file.name)
        word = source or sources.system_of(facts.columns) or "import"
        made = rules.Plan(word, columns, grants, dates, confirmed, mail, status, leave_out_bad_rows)
    made = rules.check_plan(made, facts.columns, now=clock.now())
    desk.ask(house, lambda session: queries.check_names(session, made))
    job = imports.Job(lambda: file.open("rb"), facts, made)
    with processes.collecting_less():
        _import(house, job, file, bad_rows, dry=dry_run, as_json=as_json)


def _status(columns: Mapping[str, str], name: str) -> str:
    """What a file's name says of everybody in it, where no column tells."""
    return "" if "status" in columns.values() else sources.state_of_all(name) or ""


def _read_plan(plan: Path, facts: FileFacts, name: str) -> rules.Plan:
    try:
        said = json.loads(plan.read_text(encoding="utf-8"))
    except ValueError as wrong:
        raise rules.PlanInvalid("That plan is not JSON.", field=plan.name) from wrong
    if not isinstance(said, dict):
        raise rules.PlanInvalid(field=plan.name)
    made = rules.plan_of({"source": "import", "columns": sources.proposed(facts.columns, ()), **said})
    return made if made.status else replace(made, status=_status(made.columns, name))


def _columns(facts: FileFacts, told: list[str], known: list[str]) -> dict[str, str]:
    """What the header proposes, and what was said of single columns."""
    columns = sources.proposed(facts.columns, known)
    for one in told:
        name, sign, role = one.rpartition("=")
        if not sign:
            raise rules.PlanInvalid("Write it so: NAME=MEANING.", field="column")
        once = role not in sources.SEVERAL
        columns = {
            key: value for key, value in columns.items() if key != name and not (once and value == role)
        }
        if role:
            columns[name] = role
    return columns


def _grants(
    slugs: list[str], wordings: list[str], text: str, on: str, said: str, basis: str
) -> tuple[rules.Grant, ...]:
    """The proof of each topic: its wording by the name it begins with, or the one text."""
    found = []
    for slug in slugs:
        own = next((one for one in wordings if one.startswith(f"{slug}-v")), "")
        found.append(rules.Grant(slug, said, own, "" if own else text, on, basis))
    return tuple(found)


def _import(
    house: House, job: imports.Job, file: Path, bad_rows: Path | None, *, dry: bool, as_json: bool
) -> None:
    """Try it; then, if nothing is wrong or the wrong may stay out, run it."""
    earlier = desk.ask(house, lambda s: queries.of_file(s, job.file.sha256, job.plan.digest))
    if earlier is None or dry:
        examined = _tried(house, job, bad_rows, as_json=as_json)
        facts = {"file": asdict(job.file), "counts": examined.counts.as_json(), "rows": examined.rows}
        facts["faults"] = [asdict(one) for one in examined.faults]
        if dry:
            desk.say(
                {"dry_run": True, **facts},
                _words(job.file, examined.counts, examined.faults),
                as_json=as_json,
            )
            return
        if examined.refused and not job.plan.leave_out_bad:
            if not as_json:
                print(_words(job.file, examined.counts, examined.faults))
            raise rules.BadRows(f"{examined.refused} rows cannot be taken over, and nothing was imported.")
        rows = examined.rows
    else:
        rows = earlier.rows_total
    row = _run(house, job, file, rows, as_json=as_json)
    again = earlier is not None and earlier.state == "done"
    words = (
        f"This file was imported under this plan already; nothing changed. It is {row.public_id}."
        if again
        else (_words(job.file, rules.Counts.of(row.counts), []) + f"\nIt is {row.public_id}.")
    )
    desk.say({**_facts(row), "again": again}, words, as_json=as_json)


def _tried(house: House, job: imports.Job, bad_rows: Path | None, *, as_json: bool) -> imports.Examined:
    out = bad_rows.open("x", encoding="utf-8", newline="") if bad_rows else None
    with out or nullcontext(), _bar("Looking at", as_json=as_json) as told:
        if out and bad_rows:
            bad_rows.chmod(0o600)
            out.write(exports.bad_rows_header(job.file.columns))

        def bad(record: Record, faults: list[Fault]) -> None:
            if out:
                out.write(exports.bad_row(record, len(job.file.columns), faults))

        return imports.dry_run(house, job, now=clock.now(), told=told, bad=bad)


def _run(house: House, job: imports.Job, file: Path, rows: int, *, as_json: bool) -> Import:
    """Begin it or go on with it; while another process is at work on it, wait until that ends or is heard of no more."""

    def act(session: Session) -> Import:
        row = queries.of_file(session, job.file.sha256, job.plan.digest)
        if row is None:
            now = clock.now()
            row = actions.draft(
                session, job.file, job.plan, file_name=file.name, rows=rows, now=now, by=desk.BY
            )
            return actions.begin(session, row, now=now, by=desk.BY)
        return row

    row = desk.change(house, act, as_json=as_json)
    name = row.public_id
    while row.state == "running" and row.rows_done and not imports.is_still(row, now=clock.now()):
        time.sleep(0.5)
        row = desk.ask(house, lambda s: queries.by_public_id(s, name))
    if row.state != "running":
        return row
    with _bar("Importing", as_json=as_json) as told:
        return imports.run(house, job, row, by=desk.BY, told=told)


@contextmanager
def _bar(what: str, *, as_json: bool) -> Iterator[imports.Told]:
    """A progress bar, where somebody looks at a terminal."""
    quiet = as_json or not sys.stderr.isatty()
    parts = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*parts, console=Console(stderr=True), disable=quiet, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


def _words(file: FileFacts, counts: rules.Counts, faults: list[Fault]) -> str:
    """The counts for people, each reason on a line of its own."""
    guessed = "; the encoding is a guess, look at names with accents" if file.guessed else ""
    lines = [f"{counts.rows:,} rows ({file.encoding}{guessed})"]
    lines += [f"  {getattr(counts, name):>9,}  {name}" for name in ("new", "changed", "unchanged")]
    for kind, said in (("skipped", rules.SKIPPED), ("noes", {}), ("refused", {})):
        for code, count in sorted(getattr(counts, kind).items()):
            lines.append(f"  {count:>9,}  {kind}: {code}" + (f" – {said[code]}" if code in said else ""))
    lines += [f"  {count:>9,}  yes: {one}" for one, count in sorted(counts.given.items())]
    lines += [f"  {count:>9,}  left out: {one}" for one, count in sorted(counts.left_out.items())]
    for one in faults:
        value = f" “{one.value}”" if one.value else ""
        lines.append(f"Row {one.row}, {one.column or 'whole row'}{value}: {one.sentence} {one.fix}".rstrip())
    return "\n".join(lines)


def _facts(row: Import) -> dict[str, Any]:
    return {
        "id": row.public_id,
        "state": row.state,
        "file": row.file_name,
        "file_sha256": row.file_sha256,
        "source": row.plan["source"],
        "rows": row.rows_total,
        "rows_done": row.rows_done,
        "counts": row.counts,
        "taken_back": row.taken_back,
        "created_at": row.created_at,
        "ended_at": row.ended_at,
    }


@app.command("imports")
@desk.command
def listed(as_json: desk.Json = False) -> None:
    """Every import, newest first."""
    rows = [_facts(row) for row in desk.ask(desk.house(), queries.newest)]
    words = "\n".join(
        f"{row['id']}  {_day(row['created_at'])}  {row['state']:<11} {row['rows_done']:>9,} rows  {row['source']}"
        for row in rows
    )
    desk.say({"items": rows}, words or "Nothing was imported yet.", as_json=as_json)


def _day(at: datetime) -> str:
    return f"{at:%Y-%m-%d}"


@app.command("take-back")
@desk.command
def take_back(
    which: Annotated[str, typer.Argument(help="The import's id, i_…", metavar="ID")],
    reason: Annotated[str, typer.Option(help="Why; it is written into the ledger.")],
    as_json: desk.Json = False,
) -> None:
    """Take back the consents an import gave and that stand on it still; people and their noes stay."""
    house = desk.house()
    with _bar("Taking back", as_json=as_json) as told:
        row = imports.take_back(house, which, reason=reason, by=desk.BY, told=told)
    words = f"{row.taken_back:,} consents are taken back. What people have chosen themselves since stands."
    desk.say(_facts(row), words, as_json=as_json)


@app.command()
@desk.command
def export(
    file: Annotated[
        Path, typer.Argument(help="Where to write it; it must not be there yet.", dir_okay=False)
    ],
    reason: Annotated[str, typer.Option(help="Why everybody's data leaves; it is written into the ledger.")],
    form: Annotated[str, typer.Option("--format", help="csv (safe for spreadsheets) or ndjson.")] = "csv",
    as_json: desk.Json = False,
) -> None:
    """Write everybody, with what they agreed to, into a file of your own (mode 0600). Who is restricted is left out."""
    if form not in exports.FORMS:
        raise FormUnknown(field="format")
    if file.exists():
        raise exports.FileThere(field=str(file))
    house, people, now = desk.house(), 0, clock.now()
    desk.change(
        house, lambda session: actions.note_export(session, reason=reason, form=form, now=now, by=desk.BY)
    )
    with desk.new_file(file) as out:
        for text, count in exports.parts(house, form=form, by=desk.BY):
            out.write(text)
            people += count
    _, kept = desk.ask(house, queries.going_out)
    said = f"{people:,} people are in {file}." + (f" Left out, because restricted: {kept:,}." if kept else "")
    found = {"file": str(file), "people": people, "restricted_left_out": kept}
    desk.say(found, said, as_json=as_json)
