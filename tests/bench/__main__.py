"""`make bench`: what things cost, as a table and in tests/out/bench.json.

Ratios of one run decide, the machine is noisy; what is only orientation has no bar. Takes about four minutes.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from tests.bench import runs, stages, usual_loop, wires
from tests.faults.__main__ import new_database, server

PEOPLE = 20_000
OUT = Path(__file__).parents[1] / "out"
USUAL = "the usual loop, 8 connections"


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
                row |= {kind: wanted, "holds": value <= wanted if most else value >= wanted}
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
    if "bar" in row:
        return f"  bar {row['bar']:g} {'holds' if row['holds'] else 'MISSED'}"
    return f"  aim {row['aim']:g} {'reached' if row['holds'] else 'not reached'}" if "aim" in row else ""


def main() -> None:
    """Run all, print the table, write the JSON."""
    table = Table()
    for name, value in stages.costs().items():
        table.note(name, value, "µs a message", aim=150 if "assemble" in name else None, most=True)
    ours, waiting = wires.far(0.05)
    table.note("one connection at 50 ms beside a client that waits", ours / waiting, "×", aim=3.5)
    with tempfile.TemporaryDirectory(prefix="bidden-bench-") as temporary:
        directory = Path(temporary)
        directory.chmod(0o755)
        with runs.sink(directory / "usual.jsonl") as port:
            usual = usual_loop.run(port, 3_000, directory / "usual.db")
        table.note(USUAL, usual, "messages/s")
        others = wires.in_c()
        if others:
            table.note("smtp-source to smtp-sink, 8 connections", others, "messages/s")
        _one(table, "SQLite", directory / "one", usual, others)
        with server(directory) as url:
            where = {"BIDDEN_DATABASE_URL": new_database(url)}
            _one(table, "PostgreSQL", directory / "two", usual, others, **where)
            where = {"BIDDEN_DATABASE_URL": new_database(url)}
            both = runs.end_to_end(directory / "three", PEOPLE, senders=2, **where)
            table.note("PostgreSQL, two senders, first to last dot", both.wire, "messages/s")
        _noes(table, directory / "four")
        shutil.rmtree(directory / "postgres", ignore_errors=True)
    print("\n".join(["", f"{os.cpu_count()} processors", *table.lines()]))
    OUT.mkdir(exist_ok=True)
    (OUT / "bench.json").write_text(json.dumps(table.rows, indent=1, ensure_ascii=False))


def _one(
    table: Table, name: str, directory: Path, usual: float, others: float | None, **environment: str
) -> None:
    """One installation with one sender on one database."""
    found = runs.end_to_end(directory, PEOPLE, **environment)
    table.note(f"{name}, sign-up, bulk", found.sign_up, "people/s", bar=1_000 if name == "SQLite" else None)
    table.note(
        f"{name}, one sender, first to last dot, {found.octets / 1024:.0f} KB", found.wire, "messages/s"
    )
    table.note(f"{name}, from now to sent", found.whole, "messages/s")
    table.note(f"{name}, processor time of the sender", found.sender, "µs a message", aim=180, most=True)
    table.note(f"{name}, beside the usual loop", found.wire / usual, "×", bar=5)
    if others:
        table.note(f"{name}, beside smtp-source", found.wire / others, "×", aim=0.45)


def _noes(table: Table, directory: Path) -> None:
    """Fifty noes a second at full speed."""
    spent, fenced = runs.noes(directory, PEOPLE)
    spent.sort()
    table.note("noes while sending at full speed", len(spent), "answers")
    table.note("of these still fencing (202)", fenced, "answers")
    table.note("a no while sending, median", spent[len(spent) // 2] * 1e3, "ms", aim=60, most=True)
    table.note("a no while sending, 99 of 100", spent[len(spent) * 99 // 100] * 1e3, "ms", aim=300, most=True)


if __name__ == "__main__":
    main()
