"""Two processes each of web, clock and send on one PostgreSQL: one scheduled announcement reaches everybody once."""

import json
from collections import Counter
from pathlib import Path

import httpx2
import pytest

from tests.journeys.test_api_journey import WORDS, yes
from tests.mailbox import mailbox
from tests.stack import free_port, stack, until

pytestmark = pytest.mark.journey
PEOPLE = 900


def test_two_of_each_send_once(tmp_path: Path, postgres_database: str) -> None:
    port, second = free_port(), free_port()
    url = f"smtp://127.0.0.1:{port}?starttls=never&connections=3"
    with (
        mailbox(port) as box,
        stack(tmp_path, BIDDEN_DATABASE_URL=postgres_database, BIDDEN_SMTP_URL=url) as house,
    ):
        house.start("web")
        house.ready()
        house.environment["BIDDEN_LISTEN"] = f"127.0.0.1:{second}"
        house.start("web")
        for command in (("clock",), ("clock",), ("send", "--name", "one"), ("send", "--name", "two")):
            house.start(*command)
        with house.client() as client:
            people = [
                {"external_id": f"u{n}", "email": f"reader{n}@example.org", "consents": [yes("new-products")]}
                for n in range(PEOPLE)
            ]
            lines = "\n".join(json.dumps(one) for one in people)
            answer = client.post(
                "/people/bulk", content=lines, headers={"Content-Type": "application/x-ndjson"}
            )
            assert answer.status_code == 200
            made = client.post(
                "/announcements", json={"topic": "new-products", "template": "launch", "content": WORDS}
            ).json()
            path = f"/announcements/{made['id']}"
            client.post(f"{path}/submit")
            client.post(f"{path}/approve", json={"content_hash": made["content_hash"]})
        other = httpx2.Client(
            base_url=f"http://127.0.0.1:{second}/api/v1",
            headers={"Authorization": f"Bearer {house.key}"},
            timeout=60,
        )
        until("the second web process", lambda: _alive(second))
        with other:
            assert other.post(f"{path}/schedule", json={"at": "now"}).status_code in (200, 202)
            report = until(
                "sent", lambda: (r := other.get(f"{path}/report").json())["state"] == "sent" and r, 120
            )
        assert report["planned"] == report["outcomes"]["sent"] == PEOPLE
        counted = Counter(rcpt for rcpt, _ in box.raw)
        assert len(counted) == PEOPLE
        assert set(counted.values()) == {1}


def _alive(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/readyz", timeout=1).status_code == 200
    except httpx2.HTTPError:
        return False
