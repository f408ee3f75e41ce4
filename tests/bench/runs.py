"""Whole installations under the clock: sign-up of many, announcements to them, noes meanwhile.

Everything goes through the commands, the API and a loopback SMTP sink. Called by `make bench` and the commands beside it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from tests.bench import stages
from tests.faults.__main__ import new_database, server
from tests.stack import Stack, stack, until

PLANS = ("pro", "few")  # values of an attribute: the plan of the first FEW people, and of all others
FEW = 2_000
READY = 3.0  # seconds until a sender's Python is up and its lease is taken


@contextmanager
def sink(log: Path, delay: float = 0.0) -> Iterator[int]:
    """A fast SMTP sink on loopback that writes one line per message and takes so many seconds to answer a dot; its port."""
    command = [sys.executable, "-m", "tests.faults.sink", "--port", "0", "--log", str(log)]
    command += ["--delay", str(delay), "--max-seconds", "3000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline().split()[-1])
    finally:
        process.terminate()
        process.wait()


@contextmanager
def place(doc: str | None) -> Iterator[tuple[int, dict[str, str], Path]]:
    """What a command of its own was asked for: how many people, the environment that names the database, and a folder."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=1_000_000)
    parser.add_argument("--database", choices=["sqlite", "postgres"], default="sqlite")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bidden-bench-") as temporary:
        directory = Path(temporary)
        directory.chmod(0o755)
        if arguments.database == "sqlite":
            yield arguments.people, {}, directory / "one"
            return
        with server(directory) as url:
            yield arguments.people, {"BIDDEN_DATABASE_URL": new_database(url)}, directory / "one"


def figures(doc: str | None, run: Callable[[Path, int, dict[str, str]], dict[str, Any]]) -> None:
    """What such a command does: one line of the figures of the database it was asked for."""
    with place(doc) as (people, environment, directory):
        named = {"database": "postgres" if environment else "sqlite"}
        print(json.dumps(named | run(directory, people, environment)))


@contextmanager
def installation(directory: Path, **environment: str) -> Iterator[Stack]:
    """Pages, API and clock; senders are started by whoever sends."""
    directory.mkdir()
    with stack(directory, BIDDEN_HOLD_SECONDS="0", **environment) as house:
        house.start("web")
        house.start("clock")
        house.ready()
        yield house


def person(number: int) -> dict[str, Any]:
    """One invented person who has agreed and confirmed, and refused another topic."""
    given = {
        "source": "sign-up form",
        "evidence": {
            "at": "2026-01-05T10:00:00Z",
            "url": "https://acme.example.org/join",
            "ip": "203.0.113.9",
        },
    }
    return {
        "external_id": f"u{number}",
        "email": f"reader{number}@example.org",
        "profile": {"first_name": f"Reader {number}", "company": "Example"},
        "attributes": {"plan": PLANS[number < FEW]},
        "consents": [
            {
                "topic": "new-products",
                "given": True,
                "confirmed": {"at": "2026-01-05T10:01:00Z", "method": "own mail"},
                **given,
            },
            {"topic": "updates", "given": False},
        ],
    }


def sign_up(house: Stack, people: int) -> float:
    """People per second through POST /people/bulk, 5,000 lines a request."""
    with house.client() as client:
        began = time.perf_counter()
        for start in range(0, people, 5_000):
            lines = "\n".join(json.dumps(person(n)) for n in range(start, min(start + 5_000, people)))
            answer = client.post(
                "/people/bulk", content=lines, headers={"Content-Type": "application/x-ndjson"}, timeout=300
            )
            assert answer.status_code == 200, answer.text
            wrong = [line for line in map(json.loads, answer.text.splitlines()) if line["status"] >= 300]
            assert not wrong, wrong[:3]
        return people / (time.perf_counter() - began)


def schedule(client: httpx2.Client, template: str, words: dict[str, str], plans: tuple[str, ...] = ()) -> str:
    """An announcement to everybody, or to those plans, to go now; its path in the API."""
    said: dict[str, Any] = {"topic": "new-products", "template": template, "content": {"en": words}}
    if plans:
        said["audience"] = {"attributes": {"plan": list(plans)}}
    made = client.post("/announcements", json=said).json()
    path = f"/announcements/{made['id']}"
    for step, more in (
        ("submit", {}),
        ("approve", {"content_hash": made["content_hash"]}),
        ("schedule", {"at": "now"}),
    ):
        answer = client.post(f"{path}/{step}", json=more)
        assert answer.status_code in (200, 202), answer.text
    return path


def announce(house: Stack, body: str, plans: tuple[str, ...] = ()) -> tuple[int, float]:
    """One announcement; how many it was for, and the seconds from "now" to its last message."""
    words = {
        "subject": "{{ first_name|default('there') }}, the new planner is here",
        "preheader": "Plan a week in two minutes, with the people you work with.",
        "body": body,
    }
    with house.client() as client:
        path = schedule(client, "launch", words, plans)
        began = time.perf_counter()
        until("the end of the mailing", lambda: client.get(path).json()["state"] == "sent", 2_000, 0.2)
        spent = time.perf_counter() - began
        report = client.get(f"{path}/report").json()
        outcomes = dict(report["outcomes"])
        assert report["planned"] == sum(outcomes.pop("skipped").values()) + sum(outcomes.values())
        return report["planned"], spent


def check_log(log: Path, people: int) -> tuple[float, int]:
    """Everybody exactly once; messages per second between the first and the last dot; octets of one message."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    counted = Counter(line["rcpt"] for line in lines if line["committed"])
    assert len(counted) == people, f"{len(counted)} of {people}"
    assert set(counted.values()) == {1}, "somebody got it twice"
    dots = sorted(line["t_dot"] for line in lines)
    return people / (dots[-1] - dots[0]), int(lines[0].get("size") or 0)


def cpu(process: "subprocess.Popen[str]") -> float:
    """Seconds of processor time a process has used."""
    facts = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(facts[11]) + int(facts[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Figures:
    """What one mailing did."""

    wire: float  # messages/s between the first and the last dot
    whole: float  # messages/s from "now" to sent
    sender: float  # µs of processor time a message, all senders together
    octets: int


def mailing(
    house: Stack,
    body: str = stages.BODY,
    *,
    plans: tuple[str, ...] = (),
    senders: int = 1,
    delay: float = 0.0,
) -> Figures:
    """One announcement, by so many senders over eight connections each, to a sink of its own; everybody exactly once."""
    name = f"run-{len(house.processes)}"
    log = house.directory / f"{name}.jsonl"
    with sink(log, delay) as port, sending(house, name, port, senders) as running:
        before = sum(map(cpu, running))
        planned, spent = announce(house, body, plans)
        used = sum(map(cpu, running)) - before
    rate, octets = check_log(log, planned)
    return Figures(rate, planned / spent, used / planned * 1e6, octets)


@contextmanager
def sending(house: Stack, name: str, port: int, senders: int = 1) -> Iterator[list["subprocess.Popen[str]"]]:
    """So many senders that are ready, ended afterwards."""
    url = f"smtp://127.0.0.1:{port}?starttls=never&connections=8"
    running = [house.start("send", "--name", f"{name}-{n}", BIDDEN_SMTP_URL=url) for n in range(senders)]
    time.sleep(READY)
    try:
        yield running
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(40)


def noes(house: Stack, people: int, *, a_second: float = 50.0) -> tuple[list[float], int]:
    """People say no over the API while a mailing to all of them goes out at full speed: seconds until each answer, and how
    many of the answers were 202."""
    with (
        sink(house.directory / "noes.jsonl") as port,
        sending(house, "noes", port),
        house.client() as client,
        ThreadPoolExecutor(16) as doors,
    ):
        going = doors.submit(announce, house, stages.BODY)
        answers: list[Future[tuple[float, int]]] = []
        person = people
        while not going.done():
            person -= 1  # the last in the audience first: most have not been written to yet
            answers.append(doors.submit(say_no, client, f"u{person}"))
            time.sleep(1 / a_second)
        going.result()
        told = [answer.result() for answer in answers]
    assert {status for _, status in told} <= {200, 202}, Counter(status for _, status in told)
    return [spent for spent, _ in told], sum(status == 202 for _, status in told)


def say_no(client: httpx2.Client, person: str) -> tuple[float, int]:
    """One no over the API: the seconds until its answer, and the answer's status."""
    choice = {"topics": [{"topic": "new-products", "state": "withdrawn"}]}
    began = time.perf_counter()
    answer = client.put(f"/people/{person}/preferences", json=choice, timeout=20)
    return time.perf_counter() - began, answer.status_code


def sign_letters(house: Stack) -> None:
    """From now on every letter bears a DKIM signature of a new RSA key."""
    selector = house.json("brand", "dkim", "new")["selector"]
    house.run("brand", "dkim", "use", selector)
