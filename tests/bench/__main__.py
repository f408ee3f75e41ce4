"""`make bench`: sign-up of many, one announcement to them, the usual loop beside it in the same run.

Everything goes through the commands, the API and a loopback SMTP sink; ratios of one run decide, the machine is noisy.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench import stages, usual_loop
from tests.stack import Stack, stack, until

PEOPLE = 20_000
OUT = Path(__file__).parents[1] / "out"


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


def announce(house: Stack, body: str) -> tuple[str, float]:
    """One announcement to everybody; its id, and the seconds from "now" to its last message."""
    words = {
        "subject": "{{ first_name|default('there') }}, the new planner is here",
        "preheader": "Plan a week in two minutes, with the people you work with.",
        "body": body,
    }
    with house.client() as client:
        made = client.post(
            "/announcements", json={"topic": "new-products", "template": "launch", "content": {"en": words}}
        ).json()
        path = f"/announcements/{made['id']}"
        for step, said in (
            ("submit", {}),
            ("approve", {"content_hash": made["content_hash"]}),
            ("schedule", {"at": "now"}),
        ):
            answer = client.post(f"{path}/{step}", json=said)
            assert answer.status_code in (200, 202), answer.text
        began = time.perf_counter()
        report = until(
            "the end of the mailing",
            lambda: (r := client.get(f"{path}/report").json())["state"] == "sent" and r,
            600,
            0.2,
        )
        spent = time.perf_counter() - began
        assert report["planned"] == sum(n for n in report["outcomes"].values() if isinstance(n, int)) + sum(
            report["outcomes"]["skipped"].values()
        )
        return made["id"], spent


def check_log(log: Path, people: int) -> tuple[float, int]:
    """Everybody exactly once; messages per second between the first and the last dot; octets of one message."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    counted = Counter(line["rcpt"] for line in lines if line["committed"])
    assert len(counted) == people, f"{len(counted)} of {people}"
    assert set(counted.values()) == {1}, "somebody got it twice"
    dots = sorted(line["t_dot"] for line in lines)
    return people / (dots[-1] - dots[0]), int(lines[0].get("octets") or 0)


def end_to_end(directory: Path, people: int, **environment: str) -> dict[str, float]:
    """Sign-up, announcement, sink: one installation, one run."""
    log = directory / "sink.jsonl"
    with (
        sink(log) as port,
        stack(
            directory,
            BIDDEN_SMTP_URL=f"smtp://127.0.0.1:{port}?starttls=never&connections=8",
            BIDDEN_HOLD_SECONDS="0",
            **environment,
        ) as house,
    ):
        house.start("up")
        house.ready()
        joined = sign_up(house, people)
        _, spent = announce(house, stages.BODY)
        rate, _ = check_log(log, people)
        return {"sign_up": joined, "wire": rate, "whole": people / spent}


def main() -> None:
    """Run all, print the table, write the JSON."""
    figures: dict[str, dict[str, Any]] = {}

    def note(name: str, value: float, unit: str, bar: float | None = None) -> None:
        figures[name] = {
            "value": round(value, 2),
            "unit": unit,
            "bar": bar,
            "holds": bar is None or value >= bar,
        }

    for name, value in stages.costs().items():
        note(name, value, "µs a message")
    with tempfile.TemporaryDirectory(prefix="bidden-bench-") as temporary:
        directory = Path(temporary)
        ours = end_to_end(directory, PEOPLE)
        with sink(directory / "usual.jsonl") as port:
            usual = usual_loop.run(port, 3_000, directory / "usual.db")
        note("sign-up, bulk, SQLite", ours["sign_up"], "people/s", 1000)
        note("announcement, first to last dot", ours["wire"], "messages/s")
        note("announcement, from now to sent", ours["whole"], "messages/s")
        note("the usual loop, 8 connections", usual, "messages/s")
        note("ours beside the usual loop", ours["wire"] / usual, "×", 5)
    width = max(map(len, figures))
    for name, row in figures.items():
        bar = "" if row["bar"] is None else f"  bar {row['bar']:g} {'holds' if row['holds'] else 'MISSED'}"
        print(f"{name:<{width}}  {row['value']:>10} {row['unit']}{bar}")
    OUT.mkdir(exist_ok=True)
    (OUT / "bench.json").write_text(json.dumps(figures, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
