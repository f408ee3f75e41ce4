"""Whether a sender's memory stays flat over a mailing to a million.

    python -m tests.bench.memory --people 1000000 --database postgres

Not part of `make bench`: everybody signs up over the API first, and all of them are written to, which takes twenty minutes.
"""

import threading
from pathlib import Path
from subprocess import Popen
from typing import Any

from tests.bench import runs, stages

MARKS = (0, 10_000, 100_000, 1_000_000)


class Watch(threading.Thread):
    """A sender's resident memory and its letters so far, twice a second."""

    def __init__(self, sender: "Popen[str]", log: Path) -> None:
        super().__init__()
        self.sender, self.log, self.ended = sender, log, threading.Event()
        self.seen: list[tuple[int, float]] = []

    def run(self) -> None:
        with self.log.open("rb") as log:
            sent = 0
            while not self.ended.wait(0.5):
                sent += log.read().count(b"\n")
                self.seen.append((sent, megabytes(self.sender, "VmRSS")))


def megabytes(process: "Popen[str]", fact: str) -> float:
    """A line of /proc/PID/status that is in kB, in MB."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
    return int(lines[fact].split()[0]) / 1024


def run(directory: Path, people: int, environment: dict[str, str]) -> dict[str, Any]:
    """The most memory a sender held until each mark, in MB."""
    with runs.installation(directory, **environment) as house:
        joined = runs.sign_up(house, people)
        log = house.directory / "all.jsonl"
        with runs.sink(log) as port, runs.sending(house, "all", port) as (sender,):
            watch = Watch(sender, log)
            watch.start()
            try:
                planned, spent = runs.announce(house, stages.BODY)
            finally:
                watch.ended.set()
                watch.join()
            most = megabytes(sender, "VmHWM")
        rate, _ = runs.check_log(log, planned)
    figures = {"people": people, "sign-up a second": round(joined), "messages a second": round(rate)}
    figures["seconds from now to sent"] = round(spent)
    held = {mark: [mb for sent, mb in watch.seen if sent <= mark] for mark in MARKS if mark <= people}
    return (
        figures | {f"MB at {mark}": round(max(mb)) for mark, mb in held.items() if mb} | {"most": round(most)}
    )


if __name__ == "__main__":
    runs.figures(__doc__, run)
