"""Whole installations under the clock: sign-up of many, one announcement to them, noes meanwhile.

Everything goes through the commands, the API and a loopback SMTP sink. Called by `make bench`.
"""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from tests.bench import stages
from tests.stack import Stack, stack, until


@contextmanager
def sink(log: Path) -> Iterator[int]:
    """A fast SMTP sink on loopback that writes one line per message; its port."""
    command = [
        sys.executable,
        "-m",
        "tests.faults.sink",
        "--port",
        "0",
        "--log",
        str(log),
        "--max-seconds",
        "900",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline().split()[-1])
    finally:
        process.terminate()
        process.wait()


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
        "attributes": {"plan": "pro" if number % 2 else "free"},
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


def schedule(client: httpx2.Client, template: str, words: dict[str, str]) -> str:
    """An announcement to everybody, to go now; its path in the API."""
    said = {"topic": "new-products", "template": template, "content": {"en": words}}
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


def announce(house: Stack, body: str) -> tuple[str, float]:
    """One announcement to everybody; its id, and the seconds from "now" to its last message."""
    words = {
        "subject": "{{ first_name|default('there') }}, the new planner is here",
        "preheader": "Plan a week in two minutes, with the people you work with.",
        "body": body,
    }
    with house.client() as client:
        path = schedule(client, "launch", words)
        began = time.perf_counter()
        until("the end of the mailing", lambda: client.get(path).json()["state"] == "sent", 600, 0.2)
        spent = time.perf_counter() - began
        report = client.get(f"{path}/report").json()
        outcomes = dict(report["outcomes"])
        assert report["planned"] == sum(outcomes.pop("skipped").values()) + sum(outcomes.values())
        return path.rpartition("/")[2], spent


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
    """What one installation did."""

    sign_up: float  # people/s
    wire: float  # messages/s between the first and the last dot
    whole: float  # messages/s from "now" to sent
    sender: float  # µs of processor time a message, all senders together
    octets: int


def end_to_end(directory: Path, people: int, *, senders: int = 1, **environment: str) -> Figures:
    """Sign-up, announcement, sink: one installation, one run; everybody exactly once."""
    directory.mkdir()
    log = directory / "sink.jsonl"
    with sink(log) as port, _installation(directory, port, **environment) as house:
        joined = sign_up(house, people)
        running = [house.start("send", "--name", f"bench-{n}") for n in range(senders)]
        time.sleep(3)  # Python is up, the leases are taken
        before = sum(map(cpu, running))
        _, spent = announce(house, stages.BODY)
        used = sum(map(cpu, running)) - before
        rate, octets = check_log(log, people)
        return Figures(joined, rate, people / spent, used / people * 1e6, octets)


@contextmanager
def _installation(directory: Path, port: int, **environment: str) -> Iterator[Stack]:
    url = f"smtp://127.0.0.1:{port}?starttls=never&connections=8"
    with stack(directory, BIDDEN_SMTP_URL=url, BIDDEN_HOLD_SECONDS="0", **environment) as house:
        house.start("web")
        house.start("clock")
        house.ready()
        yield house


def noes(directory: Path, people: int, *, a_second: float = 50.0) -> tuple[list[float], int]:
    """People say no over the API while a mailing to all of them goes out at full speed: seconds until each answer, and how
    many of the answers were 202."""
    directory.mkdir()
    with sink(directory / "sink.jsonl") as port, _installation(directory, port) as house:
        sign_up(house, people)
        house.start("send", "--name", "bench")
        time.sleep(3)
        with house.client() as client, ThreadPoolExecutor(16) as doors:
            sending = doors.submit(announce, house, stages.BODY)
            answers: list[Future[tuple[float, int]]] = []
            person = people
            while not sending.done():
                person -= 1  # the last in the audience first: most have not been written to yet
                answers.append(doors.submit(say_no, client, f"u{person}"))
                time.sleep(1 / a_second)
            sending.result()
        told = [answer.result() for answer in answers]
        assert {status for _, status in told} <= {200, 202}, Counter(status for _, status in told)
        return [spent for spent, _ in told], sum(status == 202 for _, status in told)


def say_no(client: httpx2.Client, person: str) -> tuple[float, int]:
    """One no over the API: the seconds until its answer, and the answer's status."""
    choice = {"topics": [{"topic": "new-products", "state": "withdrawn"}]}
    began = time.perf_counter()
    answer = client.put(f"/people/{person}/preferences", json=choice, timeout=20)
    return time.perf_counter() - began, answer.status_code
