"""`make bench`: what things cost, as a table and in tests/out/bench.json.

Ratios of one run decide, the machine is noisy; what is only orientation has no bar. Takes about eight minutes.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from tests.bench import runs, stages, usual_loop, wires
from tests.faults.__main__ import new_database, server
from tests.stack import Stack

PEOPLE = 20_000
OUT = Path(__file__).parents[1] / "out"


class Table:
    """Figures by name. A bar is to be kept, an aim to be reached: the least that will do, or with `most` the most."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}

    def note(
        self,
        name: str,
        value: float,
        unit: str,
        *,
        bar: float | None = None,
        aim: float | None = None,
        most: bool = False,
    ) -> None:
        """One figure."""
        row: dict[str, Any] = {"value": round(value, 2), "unit": unit}
        for kind, wanted in (("bar", bar), ("aim", aim)):
            if wanted is not None:
                row |= {kind: wanted, f"{kind} holds": value <= wanted if most else value >= wanted}
        self.rows[name] = row
        print(f"  {name}: {value:.2f} {unit}", flush=True)

    def lines(self) -> list[str]:
        """The table."""
        width = max(map(len, self.rows))
        return [
            f"{name:<{width}}  {row['value']:>10} {row['unit']}{_word(row)}"
            for name, row in self.rows.items()
        ]


def _word(row: dict[str, Any]) -> str:
    said = ""
    if "bar" in row:
        said += f"  bar {row['bar']:g} {'holds' if row['bar holds'] else 'MISSED'}"
    if "aim" in row:
        said += f"  aim {row['aim']:g} {'reached' if row['aim holds'] else 'not reached'}"
    return said


def main() -> None:
    """Run all, print the table, write the JSON."""
    table = Table()
    for name, value in stages.costs().items():
        table.note(name, value, "µs a message", aim=150 if "assemble" in name else None, most=True)
    for milliseconds in (20, 50):
        ours, waiting = wires.far(milliseconds / 1_000)
        name = f"one connection at {milliseconds} ms beside a client that waits"
        table.note(name, ours / waiting, "×", aim=3.5 if milliseconds == 50 else None)
    with tempfile.TemporaryDirectory(prefix="bidden-bench-") as temporary:
        directory = Path(temporary)
        directory.chmod(0o755)
        with runs.installation(directory / "one") as house:
            _one_database(table, "SQLite", house)
            _noes(table, "SQLite", house)
            _signed(table, "SQLite", house)
        with server(directory) as url:
            where = {"BIDDEN_DATABASE_URL": new_database(url)}
            with runs.installation(directory / "two", **where) as house:
                _one_database(table, "PostgreSQL", house)
                for senders in (2, 4):
                    found = runs.mailing(house, senders=senders)
                    table.note(f"PostgreSQL, {senders} senders, first to last dot", found.wire, "messages/s")
                _noes(table, "PostgreSQL", house)
                _signed(table, "PostgreSQL", house)
        shutil.rmtree(directory / "postgres", ignore_errors=True)
    print("\n".join(["", f"{os.cpu_count()} processors", *table.lines()]))
    OUT.mkdir(exist_ok=True)
    (OUT / "bench.json").write_text(json.dumps(table.rows, indent=1, ensure_ascii=False))


def _one_database(table: Table, name: str, house: Stack) -> None:
    """One installation with one sender: beside what others do, at a distance, with mails of a hundred kilobytes."""
    joined = runs.sign_up(house, PEOPLE)
    table.note(f"{name}, sign-up, bulk", joined, "people/s", bar=1_000 if name == "SQLite" else None)
    with runs.sink(house.directory / "usual.jsonl") as port:
        usual = usual_loop.run(port, 3_000, house.directory / "usual.db")
    found = runs.mailing(house)
    _beside(table, name, found, usual, wires.in_c(found.octets))
    for milliseconds in (20, 50):
        slow = runs.mailing(house, delay=milliseconds / 1_000, plans=runs.PLANS[1:])
        kind = f"eight connections, {milliseconds} ms to each answer"
        table.note(f"{name}, {kind}", slow.wire, "messages/s")
    found = runs.mailing(house, stages.LONG, plans=runs.PLANS[1:])
    table.note(f"{name}, mails of {found.octets / 1024:.0f} KB", found.wire, "messages/s")
    if others := wires.in_c(found.octets, 5_000):
        table.note(f"{name}, these beside smtp-source", found.wire / others, "×")


def _signed(table: Table, name: str, house: Stack) -> None:
    """The same with a DKIM signature each."""
    runs.sign_letters(house)
    found = runs.mailing(house)
    table.note(f"{name}, signed", found.wire, "messages/s")
    table.note(
        f"{name}, signed, processor time of the sender", found.sender, "µs a message", aim=550, most=True
    )


def _beside(table: Table, name: str, found: runs.Figures, usual: float, others: float | None) -> None:
    """How we compare, in one run, with mails of one length."""
    kind = f"{found.octets / 1024:.0f} KB"
    table.note(f"{name}, one sender, first to last dot, {kind}", found.wire, "messages/s")
    table.note(f"{name}, from now to sent", found.whole, "messages/s")
    table.note(f"{name}, processor time of the sender", found.sender, "µs a message", aim=180, most=True)
    table.note(f"{name}, the usual loop beside it, 8 connections", usual, "messages/s")
    table.note(f"{name}, beside the usual loop", found.wire / usual, "×", bar=5, aim=12)
    if others:
        table.note(f"{name}, smtp-source to smtp-sink beside it, 8 connections", others, "messages/s")
        table.note(f"{name}, beside smtp-source", found.wire / others, "×", aim=0.45)


def _noes(table: Table, name: str, house: Stack) -> None:
    """Fifty noes a second at full speed."""
    spent, fenced = runs.noes(house, PEOPLE)
    spent.sort()
    table.note(f"{name}, noes while sending at full speed", len(spent), "answers")
    table.note(f"{name}, of these still fencing (202)", fenced, "answers")
    table.note(f"{name}, a no while sending, median", spent[len(spent) // 2] * 1e3, "ms", aim=60, most=True)
    ninety_nine = spent[len(spent) * 99 // 100] * 1e3
    table.note(f"{name}, a no while sending, 99 of 100", ninety_nine, "ms", aim=300, most=True)


if __name__ == "__main__":
    main()
