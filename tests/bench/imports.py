"""How many people a second an import takes over, in how much memory, and how long noes wait meanwhile.

    python -m tests.bench.imports --people 20000 --database postgres

Not part of `make bench`: a million take minutes. The file is a Mailchimp export with member rating and a whole opt-in trail, so
every row makes a person, an address, an identity, two attributes, a consent with its sealed evidence, and three entries of the
ledger. It is run by the command, as an operator would; noes come over the API at fifty a second.
"""

import json
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.bench import runs
from tests.bench.runs import say_no, sign_up
from tests.stack import Stack, stack

NOES_A_SECOND = 50
WRITERS = 4  # one client answers in turn; as many as keep the pace while answers take long
HEAD = "Email Address,First Name,Last Name,MEMBER_RATING,OPTIN_TIME,OPTIN_IP,CONFIRM_TIME,CONFIRM_IP,TIMEZONE,LEID,EUID,TAGS"


def write(path: Path, people: int) -> None:
    """The file."""
    with path.open("w") as out:
        out.write(f"{HEAD}\n")
        for n in range(people):
            ip = f"192.0.2.{n % 256}"
            out.write(
                f"m{n}@example.org,Given{n % 997},Family{n % 1009},{n % 5 + 1},2020-01-02 10:00:00,{ip},"
                f'2020-01-02 10:05:00,{ip},Europe/Berlin,{n},e{n},"""VIP"""\n'
            )


class Noes(threading.Thread):
    """One part of the noes, at its share of the pace."""

    def __init__(self, house: Stack, first: int, known: int) -> None:
        super().__init__()
        self.house, self.known, self.first = house, range(first, known, WRITERS), first
        self.ended, self.said = threading.Event(), list[tuple[float, int]]()

    def run(self) -> None:
        began = time.monotonic() + self.first / NOES_A_SECOND
        with self.house.client() as client:
            for turn, number in enumerate(self.known):
                due = began + turn * WRITERS / NOES_A_SECOND
                if self.ended.wait(max(0.0, due - time.monotonic())):
                    return
                self.said.append(say_no(client, f"u{number}"))


def imported(house: Stack, path: Path) -> tuple[float, float, dict[str, Any]]:
    """Seconds by the clock, seconds of the processor, and what the command answered."""
    command = [
        sys.executable,
        "-m",
        "service",
        "people",
        "import",
        str(path),
        "--topic",
        "new-products",
        "--json",
    ]
    command += ["--said", "old shop", "--text", "Send me news about new products.", "--confirmed"]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, env=house.environment, capture_output=True, text=True, check=True)
    spent, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent, busy, json.loads(done.stdout)


def run(directory: Path, people: int, environment: dict[str, str]) -> dict[str, Any]:
    """The figures of one database."""
    directory.mkdir()
    write(directory / "members.csv", people)
    known = max(2_000, people // 20)
    with stack(directory, **environment) as house:
        house.start("web")
        house.ready()
        sign_up(house, known)
        noes = [Noes(house, first, known) for first in range(WRITERS)]
        for one in noes:
            one.start()
        try:
            spent, busy, answer = imported(house, directory / "members.csv")
        finally:
            for one in noes:
                one.ended.set()
                one.join()
        assert answer["counts"]["new"] == people, answer
        house.run("ledger", "verify")
    waited = sorted(seconds for one in noes for seconds, status in one.said if status in (200, 202))
    assert len(waited) == sum(len(one.said) for one in noes)
    began, ended = answer["created_at"], answer["ended_at"]
    return {
        "people": people,
        "seconds": round(spent, 1),
        "people_a_second": round(people / spent),
        "processor_us_a_person": round(busy / people * 1e6),
        "written_from": began,
        "written_until": ended,
        "peak_mb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024),
        "noes": len(waited),
        "noes_a_second": round(len(waited) / spent, 1),
        "median_ms": round(waited[len(waited) // 2] * 1e3) if waited else None,
        "p99_ms": round(waited[len(waited) * 99 // 100] * 1e3) if waited else None,
    }


if __name__ == "__main__":
    runs.figures(__doc__, run)
